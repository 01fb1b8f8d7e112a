"""benchmarks/: every script on tiny settings, and the table of what they leave."""
import json
import subprocess
from functools import partial
from types import SimpleNamespace

import pytest
import torch

import CompLeakNR
import CompLeakSR
from attacks import classifiers
from attacks.inputs import read_version
from attacks.metric_based import loss_score
from benchmarks import (
    artifact,
    clustered_step,
    disk,
    growth,
    kmeans,
    learned,
    loaded,
    memory,
    nr_sr,
    rmia,
    samia,
    startup,
    table,
    training,
)
from benchmarks.common import benchmark
from benchmarks.made_up import write_run
from common.errors import CompLeakError, UsageError
from common.metrics import auc
from common.paths import ORIGINAL, Layout, Version
from common.threads import CHOICES
from models.compression import paper_versions
from models.run import Run

TINY = {
    rmia: {"points": 40, "population": 30, "looped": 10},
    samia: {"steps": 1, "repeats": 1},
    clustered_step: {"steps": 1, "batch_size": 2, "repeats": 1},
    training: {"steps": 1, "batch_size": 2, "repeats": 1},
    nr_sr: {"scored": 60},
    growth: {"rows": (120, 240), "shadows": (1, 2), "trees": 40},
    disk: {"scored": 60},
    loaded: {"count": 1, "spinning_count": 1, "batch_size": 2},
    memory: {"classes": (12,), "scored": 60, "trees": 40},
    startup: {"repeats": 1},
    learned: {"scored": 60},
    kmeans: {"most": 3000, "k": 4},
}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 40)


def measured(script, folder, name, **more):
    row = next(row for row in table.ROWS if row.name == name)
    benchmark("", partial(script.measure, **TINY[script], **more), [row], ["--results", str(folder)])
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize(("script", "name", "fast", "plain"), [
    (rmia, "rmia", "sorted_s", "double_loop_s"), (samia, "samia", "ours_s", "plain_s"),
    (clustered_step, "clustered_step", "plain_s", "clustered_s"),
    (training, "training_cpu", "bare_images_per_s", "images_per_s")])
def test_ratios_are_those_of_the_times_beside_them(tmp_path, script, name, fast, plain):
    record = measured(script, tmp_path, name)
    figures = record["figures"]
    assert min(figures.values()) > 0
    assert figures["ratio"] == pytest.approx(figures[plain] / figures[fast], rel=1e-2)
    assert record["command"] == f"python -m benchmarks.{script.__name__.split('.')[1]}"
    assert {"machine", "threads", "date", "versions", "settings", "load_before"} <= record.keys()


def test_the_learners_networks_are_timed_for_every_learned_attack(tmp_path):
    record = measured(learned, tmp_path, "learned")
    # Twice 9 models, 8 pairs and 4 groups with and without the original.
    assert record["settings"]["attacks"] == 2 * (9 + 8 + 2 * 4) and record["figures"]["all_s"] > 0


def test_the_stages_of_nr_and_sr_add_up(tmp_path):
    figures = measured(nr_sr, tmp_path, "nr_sr")["figures"]
    assert figures.pop("all other attacks") > 0
    assert figures["all"] == pytest.approx(sum(some for stage, some in figures.items() if stage != "all"), rel=1e-2)
    assert all(figures[stage] > 0 for stage in nr_sr.STAGES if stage != "SAMIA") and figures["SAMIA"] == 0
    assert 0 < figures["the rest"] < 0.6 * figures["all"]


def test_the_goal_is_about_the_appendix_s_attacks():
    """Its six attacks but SAMIA, metric-based in all their forms, and SR1, SR2; no control, nothing among equals."""
    assert nr_sr.APPENDIX == {
        "NR": ["metric_based_1", "metric_based_2", "loss_threshold", "correctness", "train_based_1 (LR)",
               "train_based_1 (RF)", "train_based_2 (LR)", "train_based_2 (RF)", "RMIA", "RMIA (population)"],
        "SR": ["SR1 (LR)", "SR1 (RF)", "SR2 (LR)", "SR2 (RF)"]}
    timed = nr_sr.commands(Layout("run", "cifar10", "resnet18"), [ORIGINAL], "cpu", nr_sr.APPENDIX)
    assert [argv[-len(nr_sr.APPENDIX["NR"]) - 3:-2] for _, argv in timed] == [["--attacks", *nr_sr.APPENDIX["NR"]]]


def test_samia_is_timed_where_there_are_sensitivities():
    assert nr_sr.measure_stages([ORIGINAL], 60, "cpu", sensitivity=True)["SAMIA"] > 0


def test_the_commands_attack_every_model_alone_and_every_compressed_one_with_the_original():
    found = nr_sr.commands(Layout("run", "cifar10", "resnet18"), paper_versions(), "cpu")
    pairs = [argv for main, argv in found if main is CompLeakSR.main]
    alone = [argv for main, argv in found if main is CompLeakNR.main]
    assert len(found) == 7 and len(pairs) == 3 and sum("--compress" in argv for argv in alone) == 3
    for some in (pairs, alone):
        degrees = [word for argv in some for word in argv if word in {v.degree for v in paper_versions()}]
        assert degrees == [v.degree for v in paper_versions() if v != ORIGINAL]


def test_several_models_train_at_once_in_processes_of_their_own(tmp_path):
    record = measured(training, tmp_path, "training_cpu", models=(2,))
    assert record["figures"]["images_per_s_of_2_models"] > 0 and record["measured"].startswith("2 at once")
    with pytest.raises(CompLeakError, match=r"1 model\(s\) at once failed"):
        training.at_once(1, steps=1, batch=0, device=torch.device("cpu"), bfloat16=False)


def test_growth_has_every_stage_at_every_size(tmp_path):
    record = measured(growth, tmp_path, "growth")
    assert list(record["figures"]["seconds_by_rows"]) == ["120", "240"]
    assert all(some > 0 for by in record["figures"]["seconds_by_rows"].values() for some in by.values())
    assert classifiers.TREES == 40


def test_a_loaded_step_is_timed_beside_busy_processes_and_leaves_none(tmp_path, monkeypatch):
    started, beside, popen = [], [], subprocess.Popen

    def timed(count, batch, environment):
        beside.append(sum(one.poll() is None for one in started))
        return 1.0 + beside[-1], 2.0 + beside[-1]

    monkeypatch.setattr(subprocess, "Popen", lambda *a, **more: started.append(popen(*a, **more)) or started[-1])
    monkeypatch.setattr(loaded, "in_process", timed)
    figures = measured(loaded, tmp_path, "loaded")["figures"]
    assert beside == [0, 0, loaded.BUSY, loaded.BUSY] and all(one.poll() is not None for one in started)
    assert figures["ratio"] == pytest.approx(figures["loaded_s"] / figures["idle_s"]) == 4.0


def test_steps_are_timed_in_a_process_of_their_own():
    fastest, mean = loaded.in_process(2, 2, {})
    assert 0 < fastest <= mean


def test_each_way_of_waiting_has_a_process_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(loaded.subprocess, "run", lambda *_, env, **__: chosen.append(env) or SimpleNamespace(
        returncode=0, stdout="[1.0, 3.0]"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert loaded.in_process(2, 2, loaded.SPINNING) == loaded.in_process(2, 2, {}) == (1.0, 2.0)
    assert chosen[0]["GOMP_SPINCOUNT"] == "300000" and not set(CHOICES) & set(chosen[1])


def test_memory_is_that_of_a_process_that_attacks(tmp_path):
    figures = measured(memory, tmp_path, "memory")["figures"]
    assert 0.1 < figures["12_classes_gb"] < 2


def test_startup_of_help_and_of_a_finished_stage(tmp_path, monkeypatch):
    asked, train = [], startup.train
    monkeypatch.setattr(startup, "train", lambda words, folder: asked.append(words))
    figures = measured(startup, tmp_path, "startup")["figures"]
    assert 0 < figures["help_s"] and 0 < figures["finished_s"]
    assert asked == 2 * [["--help"], [*startup.FINISHED, "--run_dir", "run"]]
    with pytest.raises(CompLeakError, match="train.py --lr none failed"):
        train(["--lr", "none"], tmp_path)


def test_disk_weighs_packed_models(tmp_path, monkeypatch):
    some = [ORIGINAL, Version("pruning", "0.9"), Version("quantization", "int8")]
    monkeypatch.setattr(disk, "paper_versions", lambda: some)
    figures = measured(disk, tmp_path, "disk")["figures"]
    assert figures["original_model_mb"] == pytest.approx(44.8, abs=0.2)
    # A pruned weight costs a bit, and four bytes where it stays; an int8 weight one byte.
    assert figures["models_mb"] == pytest.approx(2 * (44.8 + 11.2 * (1 / 8 + 0.1 * 4) + 11.2), abs=0.5)
    assert figures["models_mb"] < figures["all_mb"] < figures["models_mb"] + 1


def test_kmeans_is_near_the_optimum(tmp_path):
    pytest.importorskip("kmeans1d")
    figures = measured(kmeans, tmp_path, "kmeans")["figures"]
    assert -1e-9 < figures["ours_excess_inertia"] < kmeans.EXCESS


def test_the_made_up_members_are_surer_and_the_compressed_model_resembles_its_original(tmp_path):
    version = Version("pruning", "0.6")
    run = Run(write_run(tmp_path, [version], 300))
    (original, *_), (pruned, *shadows) = (read_version(run, one).models for one in (ORIGINAL, version))
    assert len(original.index) == 600 and original.member.sum() == 300 and len(shadows) == 1
    assert 0.55 < auc(loss_score(original.losses), original.member) < 0.9
    assert (original.logits.argmax(1) == pruned.logits.argmax(1)).mean() > 0.8


def test_rows_about_a_gpu_say_so_on_a_cpu(tmp_path):
    with pytest.raises(UsageError, match="--device cuda"):
        benchmark("", artifact.measure, [artifact.ROW], ["--device", "cpu", "--results", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_failed_command_is_no_measurement():
    with pytest.raises(CompLeakError, match="nothing was measured"):
        artifact.measure("cuda", ["false"])


def test_the_table_shows_measurements_and_names_the_command_of_the_others(tmp_path, capsys):
    assert table.table(tmp_path).count("not measured") == len(table.ROWS) == 15
    record = measured(rmia, tmp_path, "rmia")
    table.main(["--results", str(tmp_path)])
    text = (tmp_path / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("not measured") == 14 and f"{record['measured']}: **" in text
    assert all(f"`{row.command}`" in text for row in table.ROWS)
