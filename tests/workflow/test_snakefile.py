"""The workflow's plan: which jobs a configuration asks for, and what a change makes it run again."""
import json
import shutil

import pytest
import torch

import train
from common.files import take
from common.paths import ORIGINAL, Layout, Version
from models import training, weights

A_RUN = {"train": 1, "compress": 3, "NR": 4, "SR": 3, "MR": 1, "figures": 1, "tables": 1, "claims": 1,
         "report": 1}
ONE_TECHNIQUE = A_RUN | {"compress": 1, "NR": 1, "SR": 1}
del ONE_TECHNIQUE["train"]


def times(number, **more):
    return {rule: number * count for rule, count in A_RUN.items()} | {"claims": 1, "report": 1} | more


@pytest.mark.parametrize("name, settings, expected", [
    ("demo", {}, A_RUN), ("cifar10", {}, times(1, data=1)),
    ("cifar10", {"seeds": "[0,1]"}, times(2, data=1)),
    ("demo", {"claims": "false"}, {rule: count for rule, count in A_RUN.items() if rule != "claims"}),
    ("demo", {"ptq": "{degrees: [onnx-int8]}"}, A_RUN | {"compress": 4, "NR": 5, "SR": 4}),
    ("cifar10-cpu", {"data_dir": "pictures"}, times(3, data=1)),
    ("field", {"data_dir": "pictures"}, A_RUN | {"data": 1, "train": 2, "compress": 6}),
    ("eight", {"data_dir": "pictures"}, times(9, data=1, compress=27, NR=36, SR=27, figures=1, tables=1)),
    ("cifar10", {"seeds": "[0,1,2,3,4]", "shadows": 64, "worlds_per_job": 13}, times(5, data=1, train=25, compress=75)),
])
def test_a_dry_run_lists_the_expected_jobs(snakemake, jobs, tmp_path, name, settings, expected):
    done = snakemake("-n", "--configfile", f"workflow/{name}.yaml", run_dir=tmp_path / "seed_{seed}", **settings)
    assert jobs(done) == expected


def test_a_configuration_that_cannot_be_run_is_refused_in_one_line(snakemake):
    done = snakemake("-n", "--configfile", "workflow/demo.yaml", epochs=5)
    assert done.returncode != 0 and "epochs=5: choose" in done.stdout and "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("changes, expected", [
    ({}, {}), ({"threads": 1, "device": "cpu"}, {}), ({"train": "{epochs: 21}"}, A_RUN), ({"seeds": "[1]"}, A_RUN),
    ({"pruning": "{epochs: 5}"}, ONE_TECHNIQUE), ({"clustering": "{lr: 0.1}"}, ONE_TECHNIQUE),
    ({"NR": "{flags: --rmia_a auto}"}, {"NR": 4, "MR": 1, "figures": 1, "tables": 1, "claims": 1,
                                            "report": 1})])
def test_a_change_runs_again_what_depends_on_it_and_nothing_else(snakemake, jobs, finished, changes, expected):
    done = snakemake("-n", "--configfile", "workflow/demo.yaml", run_dir=finished, python="true", **changes)
    assert jobs(done) == expected
    for technique in ("pruning", "quantization", "clustering"):
        again = f"output: {finished}/.workflow/{technique}.all.json" in done.stdout
        assert again == (expected == A_RUN or technique in changes)


def test_a_lost_file_runs_its_stage_again(snakemake, jobs, finished, tmp_path):
    layout = Layout(finished, "digits", "resnet18")
    lost = layout.file(Version("pruning", "0.7"), "target", "queries.npz")
    shutil.move(lost, tmp_path / "kept")
    mark = finished / ".workflow/pruning.all.json"
    text = mark.read_text()
    try:
        done = snakemake("-n", "--configfile", "workflow/demo.yaml", run_dir=finished, python="true")
        assert jobs(done) == ONE_TECHNIQUE and f"{lost} is gone or changed" in done.stderr
    finally:
        shutil.move(tmp_path / "kept", lost)
        mark.write_text(text)


def test_a_stage_that_changed_nothing_runs_nothing_after_it(snakemake, jobs, finished):
    mark = finished / ".workflow/train.all.json"
    mark.write_text(mark.read_text())  # as when train.py found its work finished: newer, and the same
    assert jobs(snakemake("-n", "--configfile", "workflow/demo.yaml", run_dir=finished, python="true")) == {}


def test_a_second_workflow_in_the_same_folder_stops(snakemake, finished):
    lock = take(finished / ".workflow/lock")
    done = snakemake("--cores", 2, "--configfile", "workflow/demo.yaml", run_dir=finished, python="true",
                     pruning="{epochs: 9}")
    lock.close()
    assert done.returncode != 0 and "another workflow works in" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


SMALL = "--dataset_name digits --image_size 8 --no-augment --train_size 24 --batch_size 12 --epochs 2 --lr 0.05 " \
        "--query_rows scored --no-sensitivity --device cpu --seed 0 --shadow_num 1 --worlds target"


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """(a training that ran through, the same one stopped in its second epoch with its state saved), as Layouts."""
    whole, cut = (Layout(tmp_path / name, "digits", "resnet18") for name in ("whole", "cut"))
    train.main([*SMALL.split(), "--run_dir", str(whole.run_dir)])
    save, calls = weights.Progress.save, []

    def save_and_stop(progress, state):
        calls.append(state)
        if len(calls) == 3:
            save(progress, state)
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    monkeypatch.setattr(weights.Progress, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train.main([*SMALL.split(), "--run_dir", str(cut.run_dir)])
    return whole, cut


def test_a_stopped_training_goes_on_under_the_workflow(snakemake, stopped):
    whole, cut = stopped
    log, progress = (cut.file(ORIGINAL, "target", name) for name in ("log.jsonl", "progress.pt"))
    first = json.loads(log.read_text()) | {"seconds": 12345}  # a training from the start would not keep this line
    log.write_text(json.dumps(first) + "\n")
    assert progress.exists()
    threads = torch.get_num_threads()  # sums depend on it, and Snakemake gives a job no more threads than cores
    done = snakemake(f"{cut.run_dir}/.workflow/train.target.json", "--cores", threads,
                     "--configfile", "workflow/demo.yaml", run_dir=cut.run_dir, image_size=8, train_size=24,
                     batch_size=12, sensitivity="false", worlds_per_job=1, train="{epochs: 2}", device="cpu",
                     threads=threads)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2] and lines[0] == first and not progress.exists()
    resumed, expected = (json.loads(each.file(ORIGINAL, "target", "config.json").read_text()) for each in (cut, whole))
    assert resumed["weights"] == expected["weights"] and resumed["settings"] == expected["settings"]
