"""What a larger study costs, reckoned from a run's own records."""
import json

import pytest
import yaml

from common.errors import CompLeakError
from workflow import cost, plan


@pytest.fixture
def run(tmp_path):
    """A run of two versions, a target and one shadow each."""
    for technique, degree, folder in ((None, None, "results/digits_resnet18"),
                                      ("pruning", "0.9", "results_pruning/digits_resnet18_0.9")):
        for world, seconds in (("target", 3000), ("shadow_0", 4200)):
            model = tmp_path / folder / world
            model.mkdir(parents=True)
            (model / "config.json").write_text(json.dumps(
                {"seconds": seconds if technique is None else 360, "bytes": 1_000_000, "device": "a card", "settings": {
                    "technique": technique, "degree": degree, "data_label": "digits", "train_size": 598, "epochs": 4}}))
            (model / "queries.npz").write_bytes(bytes(500_000))
    (tmp_path / ".workflow").mkdir()
    (tmp_path / ".workflow/NR.original.seconds").write_text('{"seconds": 40, "left": ""}')
    (tmp_path / ".workflow/NR.pruning.seconds").write_text('{"seconds": 50, "left": ""}')
    return tmp_path


def test_hours_and_disk_are_the_measured_means_times_the_models(run):
    rows = cost.reckon(cost.read_models(run), cost.read_attacks(run), shadows=4, seeds=2, trained_shadows=1)
    assert rows == [("original", 10, pytest.approx(10.0), pytest.approx(15e6)),
                    ("pruning_0.9", 10, pytest.approx(1.0), pytest.approx(15e6)),
                    ("NR", 0, pytest.approx(2 * 90 / 3600 * 4), 0)]


def test_a_stopped_model_costs_what_its_epochs_took(run):
    log = run / "results/digits_resnet18/target/log.jsonl"
    log.write_text("".join(json.dumps({"seconds": 2000}) + "\n" for _ in range(4)))
    assert [model["seconds"] for model in cost.read_models(run)["original"]] == [4200, 8000]


def test_jobs_are_those_that_the_workflow_starts(root):
    config = yaml.safe_load((root / "workflow/defaults.yaml").read_text())
    assert cost.jobs({**config, "dataset": "digits"}, seeds=1) == 1 + 3 + 4 + 3 + 1 + 2 + 2
    assert cost.jobs({**config, "shadows": 64, "worlds_per_job": 13}, seeds=5) == 5 * (20 + 10) + 3


def test_the_table_names_the_device_and_what_was_not_measured(run, capsys):
    cost.main([str(run), "--shadows", "4", "--seeds", "2"])
    said = capsys.readouterr().out
    assert "a card" in said and "| sum | 20 | 11.2 | 0.0 |" in said and "not in the sum: SR, MR" in said


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CompLeakError, match="holds no finished model"):
        cost.main([str(tmp_path)])
    assert plan.DEFAULTS.exists()
