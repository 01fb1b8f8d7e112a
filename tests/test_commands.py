"""Every command of the appendix, word for word, in order, each in its own process; extra flags only shrink it."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from common.paths import ORIGINAL, Layout
from models.compression import paper_versions
from models.queries import load_queries

PRUNED, CLUSTERED = "--compress_degree 0.6 0.7 0.8 0.9", "--compress_degree 4 8 16"
COMMANDS = {
    "train": ("train.py --dataset_name cifar10 --model_name resnet18 --num_cls 10 --lr 0.1 --epochs 100 "
              "--batch_size 128", "{data} --image_size 8 --epochs 2"),
    "prune": ("pruning/prune.py --dataset_name cifar10 --model_name resnet18 --num_cls 10 --lr 0.001 "
              "--prune_epochs 30 --prune_sparsity 0.6",
              "{data} --prune_epochs 1 --prune_sparsity 0.6 0.7 0.8 0.9"),
    "quantise": ("quantization/qat.py --degree int8 --model_name resnet18 --num_cls 10 --lr 0.001 "
                 "--quantized_epochs 30 --dataset_name cifar10", "{data} --quantized_epochs 1"),
    "cluster": ("clustering/clustering.py --model_name resnet18 --num_cls 10 --lr 0.00001 --epochs 30 --bit 2 "
                "--dataset_name cifar10", "{data} --epochs 1 --bit 2 3 4"),
    "NR original": ("CompLeakNR.py --model_name resnet18 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                    "--original", ""),
    "NR pruning": ("CompLeakNR.py --compress_degree 0.9 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                   "--compress --compress_name pruning --model_name resnet18", ""),
    "NR quantization": ("CompLeakNR.py --compress_degree int8 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                        "--compress --compress_name quantization --model_name resnet18", ""),
    "NR clustering": ("CompLeakNR.py --compress_degree 4 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                      "--compress --compress_name clustering --model_name resnet18", ""),
    "SR pruning": ("CompLeakSR.py --compress_degree 0.9 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                   "--original --compress --model_name resnet18 --compress_name pruning", PRUNED),
    "SR quantization": ("CompLeakSR.py --compress_degree int8 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                        "--original --compress --model_name resnet18 --compress_name quantization", ""),
    "SR clustering": ("CompLeakSR.py --compress_degree 4 --dataset_name cifar10 --num_cls 10 --batch_size 128 "
                      "--original --compress --model_name resnet18 --compress_name clustering", CLUSTERED),
}
NR_ATTACKS = {"SAMIA", "metric_based_1", "metric_based_2", "loss_threshold", "correctness", "train_based_1 (LR)",
              "train_based_1 (RF)", "train_based_2 (LR)", "train_based_2 (RF)", "RMIA", "RMIA (population)",
              "confidence", "calibrated", "SR1_twice (LR)", "SR1_twice (RF)", "SR2_twice (LR)", "SR2_twice (RF)"}


QUICK = """
from functools import partial
from attacks import classifiers, mr_network
classifiers.TREES, mr_network.train_multi = 10, partial(mr_network.train_multi, epochs=2)
"""


def execute(root, *words, **environment):
    """A finished Python process run from the project's folder."""
    return subprocess.run([sys.executable, *map(str, words)], cwd=root, capture_output=True, text=True,
                          env={**os.environ, **environment})


@pytest.fixture(scope="module")
def chain(root, cifar_like, tmp_path_factory):
    """(run folder, {command: what it printed}) after every command above and the notebook."""
    run_dir = tmp_path_factory.mktemp("chain")
    said = {}
    for name, (command, shrink) in COMMANDS.items():
        extra = shrink.format(data=f"--data_dir {cifar_like}") + f" --run_dir {run_dir} --device cpu"
        done = execute(root, *command.split(), *extra.split())
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
        said[name] = done.stdout
    # The kernel begins with fewer trees and epochs: what the notebook shows holds for any number.
    startup = tmp_path_factory.mktemp("ipython") / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "quick.py").write_text(QUICK)
    notebook = execute(root, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "CompLeakMR.ipynb",
                       "--output-dir", run_dir, "--output", "MR.ipynb", COMPLEAK_RUN_DIR=str(run_dir),
                       IPYTHONDIR=str(startup.parent.parent))
    assert notebook.returncode == 0, notebook.stderr[-2000:]
    yield run_dir, said
    for cache in (root / "data/datasets").glob("cifar10-8-*"):
        cache.unlink()


@pytest.fixture(scope="module")
def layout(chain):
    return Layout(chain[0], "cifar10", "resnet18")


def test_stages_leave_the_appendix_folders(chain, layout):
    for version in paper_versions():
        for world in ("target", "shadow_0"):
            for file in ("weights.pt", "config.json", "log.jsonl", "queries.npz", "sensitivity.npz"):
                assert layout.file(version, world, file).is_file(), (version, world, file)
            assert not layout.file(version, world, "progress.pt").exists()
    run_dir = chain[0]
    for folder in ("results/cifar10_resnet18", "results_pruning/cifar10_resnet18_0.6",
                   "results_quantization/cifar10_resnet18_int8", "results_clustering/cifar10_resnet18_16"):
        assert (run_dir / folder / "target").is_dir()


def test_every_stage_prints_accuracy_before_and_after_and_size(chain):
    said = chain[1]
    assert "original target: accuracy" in said["train"]
    for stage in ("prune", "quantise", "cluster"):
        assert "(original " in said[stage] and "times smaller than the original" in said[stage]


def test_config_records_label_settings_and_versions(layout):
    config = json.loads(layout.file(paper_versions()[1], "shadow_0", "config.json").read_text())
    assert config["settings"]["data_label"] == "CIFAR-10 (JPEG q75)"
    assert config["settings"]["epochs"] == 1 and config["settings"]["degree"] == "0.6"
    assert config["versions"]["torch"] == torch.__version__.split("+")[0]
    assert config["bytes"] == layout.file(paper_versions()[1], "shadow_0", "weights.pt").stat().st_size


def test_compressed_files_are_smaller_in_the_expected_order(layout):
    size = {str(v): layout.file(v, "target", "weights.pt").stat().st_size for v in paper_versions()}
    assert size["pruning_0.9"] < size["pruning_0.8"] < size["pruning_0.7"] < size["pruning_0.6"] < size["original"]
    assert size["clustering_4"] < size["clustering_8"] < size["clustering_16"] < size["quantization_int8"]
    assert size["quantization_int8"] < 0.27 * size["original"]


def test_queries_cover_both_pools_with_this_models_members(layout):
    target = load_queries(layout.file(ORIGINAL, "target", "queries.npz"))
    shadow = load_queries(layout.file(ORIGINAL, "shadow_0", "queries.npz"))
    assert len(target.index) == 400 and target.member.sum() == shadow.member.sum() == 133
    assert not (target.member & shadow.member).any()
    assert np.array_equal(target.index, shadow.index) and np.array_equal(target.labels, shadow.labels)


@pytest.mark.parametrize("name", ["NR original", "NR pruning", "NR quantization", "NR clustering"])
def test_nr_prints_and_saves_every_attack(chain, layout, name):
    printed = chain[1][name]
    for attack in NR_ATTACKS:
        line = next(row for row in printed.splitlines() if row.strip().startswith(attack))
        assert "ACC" in line and "AUC" in line and "TPR at 0.1% FPR" in line
    saved = json.loads(layout.result(ORIGINAL, "NR.json").read_text())
    assert set(saved["attacks"]) == NR_ATTACKS


def test_sr_says_the_appendix_words_and_shows_nr_beside(chain):
    said = chain[1]["SR pruning"]
    assert said.startswith("Start Membership Inference Attacks")
    for row in ("SR1 (LR)", "SR1 (RF)", "SR2 (LR)", "SR2 (RF)", "RMIA"):
        assert row in said
    assert "pruned 60%: not attacked yet, run python CompLeakNR.py" in said


def test_notebook_shows_the_mr_table_in_cell_19(chain):
    notebook = json.loads((chain[0] / "MR.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    shown = json.dumps(code[18]["outputs"])
    for group in ("pruned four", "clustered three", "pruned + int8", "all eight"):
        assert group in shown
    assert "with the original" in shown and "without the original" in shown
    assert code[3]["outputs"][-1]["data"]["text/markdown"][0].startswith("**Best on the original alone ")


def test_finished_stages_and_attacks_are_not_repeated(root, chain, layout, cifar_like):
    watched = [layout.file(paper_versions()[3], "target", "weights.pt"), layout.result(paper_versions()[4], "SR.json")]
    before = [path.stat().st_mtime_ns for path in watched]
    for name in ("prune", "SR pruning"):
        command, shrink = COMMANDS[name]
        extra = shrink.format(data=f"--data_dir {cifar_like}") + f" --run_dir {chain[0]} --device cpu"
        done = execute(root, *command.split(), *extra.split())
        assert done.returncode == 0 and "trained in" not in done.stdout
    assert [path.stat().st_mtime_ns for path in watched] == before


def test_tables_and_figures_from_the_saved_results(root, chain, layout):
    for module in ("attacks.mr", "evaluation.figures", "evaluation.tables"):
        done = execute(root, "-m", module, "--run_dir", chain[0])
        assert done.returncode == 0, done.stderr[-2000:]
    for name in ("models", "C1", "C2", "C3"):
        for ending in ("md", "csv", "tex"):
            assert (layout.tables / f"{name}.{ending}").stat().st_size > 100
    assert {path.name for path in layout.tables.glob("*.png")} >= {"roc.png", "auc.png"}
    assert "CIFAR-10 (JPEG q75)" in (layout.tables / "C1.md").read_text()


@pytest.mark.parametrize("module", ["train", "pruning.prune", "quantization.qat", "clustering.clustering", "CompLeakNR",
                                    "CompLeakSR", "CompLeakAudit"])
def test_stages_run_as_modules_and_explain_every_flag(root, module):
    done = execute(root, "-m", module, "--help")
    assert done.returncode == 0 and "--run_dir" in done.stdout and "--device" in done.stdout
