"""models/stage.py: a run keeps equal pictures together from its first command on, and an older one keeps its split."""
import numpy as np
import pytest
from PIL import Image

from common.files import write_json
from data import cache, sets, splits
from models import making, stage
from models.arguments import training_parser, training_request


@pytest.fixture(name="asked")
def _asked(tmp_path, monkeypatch):
    """The Request of a stage on 60 pictures of two classes, ten of which are there twice."""
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
    return training_request(args)


def test_a_new_run_keeps_twins_together(asked):
    opened = stage.open_stage(asked, create=True)
    assert len(opened.split.twins) == 10
    making._write_split(opened)
    assert stage.open_stage(asked).split.digest == opened.split.digest


def test_a_run_from_before_this_care_keeps_its_split(asked):
    opened = stage.open_stage(asked, create=True)
    old = splits.make_split(60, opened.settings.seed, 1, None, opened.data.digest)
    assert old.digest != opened.split.digest
    write_json(opened.run.path, {"run": opened.settings.as_json(), **splits.to_json(old)})
    assert stage.open_stage(asked).split.digest == old.digest


def test_decoded_pictures_go_to_the_run_folder_of_a_read_only_checkout(asked, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "file" / "no folder")
    assert isinstance(stage.open_stage(asked, create=True).data, sets.Dataset)
    assert list((tmp_path / "run" / "datasets").glob("*.npy"))
