"""models/stage.py: a run keeps equal pictures together from its first command on, and an older one keeps its split."""
import numpy as np
import pytest
from PIL import Image

from common.files import write_json
from common.paths import ORIGINAL
from data import cache, sets, splits
from models import stage
from models.arguments import training_parser


@pytest.fixture
def args(tmp_path, monkeypatch):
    """The arguments of a stage on 60 pictures of two classes, ten of which are there twice."""
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "datasets")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(25):
            picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture.save(tmp_path / "pictures" / name / f"{i}.png")
            if i < 5:
                picture.save(tmp_path / "pictures" / name / f"{i} again.png")
    words = ["--dataset_name", "imagefolder", "--data_dir", tmp_path / "pictures", "--run_dir", tmp_path / "run"]
    args = training_parser("a stage", 0.1, "--epochs", 1).parse_args([str(word) for word in words])
    args.image_size = 8
    return args


def test_a_new_run_keeps_twins_together(args):
    opened = stage.open_stage(args, create=True)
    assert len(opened.split.twins) == 10
    stage._write_split(opened)
    assert stage.open_stage(args).split.fingerprint == opened.split.fingerprint


def test_a_run_from_before_this_care_keeps_its_split(args):
    opened = stage.open_stage(args, create=True)
    old = splits.make_split(60, opened.run["seed"], 1, None, opened.data.fingerprint)
    assert old.fingerprint != opened.split.fingerprint
    write_json(opened.layout.result(ORIGINAL, "split.json"), {"run": opened.run, **splits.to_json(old)})
    assert stage.open_stage(args).split.fingerprint == old.fingerprint


def test_decoded_pictures_go_to_the_run_folder_of_a_read_only_checkout(args, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "file" / "no folder")
    assert isinstance(stage.open_stage(args, create=True).data, sets.Dataset)
    assert list((tmp_path / "run" / "datasets").glob("*.npy"))
