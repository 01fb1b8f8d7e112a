"""workflow/fetch.py: a data set is in its cache before jobs ask for it, and said to be what it is."""
import numpy as np
from PIL import Image

from workflow import fetch


def test_digits_are_said_to_hold_no_picture_twice(capsys):
    fetch.main(["--dataset_name", "digits", "--image_size", "8"])
    assert capsys.readouterr().out == ("digits: 1,797 pictures in 10 classes, none of them equal to an earlier one\n")


def test_pictures_go_to_the_folder_named_for_them(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture.save(tmp_path / "pets" / name / f"{i}.png")
    picture.save(tmp_path / "pets" / "cat" / "again.bmp")
    fetch.main(["--dataset_name", "imagefolder", "--data_dir", str(tmp_path / "pets"), "--image_size", "8",
                "--cache_dir", str(tmp_path / "cache")])
    assert capsys.readouterr().out.splitlines()[-1] == \
        "pets: 7 pictures in 2 classes, 1 of them equal to an earlier one"
    assert len(list((tmp_path / "cache").glob("imagefolder-8-*"))) == 2
