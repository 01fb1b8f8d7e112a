"""Two run folders: the same results up to times, or each difference named."""
import json

import numpy as np
import pytest

from common.files import save_arrays, write_json
from tests import compare_runs as compare


@pytest.fixture
def pair(tmp_path):
    """Two run folders with the same results, made at different speeds."""
    for name, seconds in (("one", 1.5), ("other", 9.0)):
        folder = tmp_path / name / "results/target"
        (tmp_path / name / ".workflow").mkdir(parents=True)
        (tmp_path / name / ".workflow/train.all.json").write_text(f'{{"config.json": "{name}"}}')
        save_arrays(folder / "queries.npz", {"split": "s"}, logits=np.array([[0.1, np.nan]], np.float32))
        config = {"weights": "w", "seconds": seconds, "in": [{"seconds": seconds}]}
        write_json(folder / "config.json", config)
        (folder / "log.jsonl").write_text(json.dumps({"epoch": 1, "seconds": seconds}) + "\n")
        (folder / "weights.pt").write_bytes(b"weights")
    return tmp_path / "one", tmp_path / "other"


def test_only_times_may_differ(pair):
    assert compare.differences(*pair) == (4, [])


@pytest.mark.parametrize("name, change", [
    ("config.json", lambda path: path.write_text('{"weights": "v", "seconds": 1.5, "in": [{}]}')),
    ("log.jsonl", lambda path: path.write_text('{"epoch": 2, "seconds": 9}\n')),
    ("weights.pt", lambda path: path.write_bytes(b"weighty")),
    ("queries.npz", lambda path: save_arrays(path, {"split": "t"}, logits=np.array([[0.1, np.nan]], np.float32))),
    ("queries.npz", lambda path: save_arrays(path, {"split": "s"}, logits=np.array([[0.1, 0.0]], np.float32)))])
def test_a_difference_is_named(pair, name, change):
    change(pair[1] / "results/target" / name)
    assert compare.differences(*pair) == (4, [f"results/target/{name}: differs"])


def test_a_missing_file_is_a_difference_and_nothing_is_not_equal_to_nothing(pair, tmp_path, capsys):
    (pair[0] / "results/target/log.jsonl").unlink()
    assert compare.differences(*pair) == (3, [f"results/target/log.jsonl: only in {pair[1]}"])
    config = pair[1] / "results/target/config.json"
    config.write_text(config.read_text().replace('"w"', '"v"'))
    assert compare.differences(*pair)[1][1:] == [f"results/target/config.json: {config} is damaged (its contents "
                                                 "changed): delete it and run its stage again"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        compare.main([str(tmp_path / "empty"), str(tmp_path / "empty")])
    assert stop.value.code == 1 and "share no result" in capsys.readouterr().err
