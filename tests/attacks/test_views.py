"""More queries as a control: fixed views of the original, from train.py --views to MR's rows on them."""
import os
from functools import partial

import numpy as np
import pytest
import torch

import train
from attacks import classifiers, equals, learned, mr, nr
from attacks.attack import Context
from attacks.inputs import read_version
from attacks.learners import learn
from attacks.signals import label_gap
from attacks.views import read_views
from common.errors import CompLeakError
from common.files import load_arrays, save_arrays
from common.paths import ORIGINAL, Layout, Version
from data import sets
from data.augment import VIEWS, normalise
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.run import Run
from models.weights import load_model, read_weights

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
PAIR, CONTEXT = {"pair": [PRUNED, CLUSTERED]}, Context(0)
ROWS = [row for row, name in mr.ON_VIEWS.items() if name not in equals.SEVERAL]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 20)
    monkeypatch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))


def write_views(layout, count=2, **meta):
    """Made-up views.npz of each original, and their logits [n, count, 10] by world."""
    run, rng, made = Run(layout), np.random.default_rng(5), {}
    index = np.unique(np.concatenate([world.evaluation for world in run.split.worlds]))
    for world in run.split.worlds:
        plain = run.queries(ORIGINAL, world.name)
        logits = plain.logits[plain.rows(index)][:, None] + rng.normal(size=(len(index), count, 10))
        made[world.name] = logits.astype(np.float32)
        save_arrays(layout.file(ORIGINAL, world.name, "views.npz"), {**plain.meta, "views": count, **meta},
                    index=index, logits=made[world.name])
    return index, made


def test_train_asks_the_views_of_scored_pictures_on_request_and_once(tmp_path):
    words = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--no-sensitivity", "--image_size", "8",
             "--train_size", "40", "--batch_size", "20", "--epochs", "1", "--run_dir", str(tmp_path)]
    layout = Layout(tmp_path, "digits", "resnet18")
    train.main([*words, "--query_rows", "all"])
    assert not list(tmp_path.rglob("views.npz"))
    train.main([*words, "--query_rows", "all", "--views", "3"])
    run = Run(layout)
    scored = np.sort(np.concatenate([world.evaluation for world in run.split.worlds]))
    data = sets.load("digits", None, None, 8, None, tmp_path)
    for world in run.split.worlds:
        saved = read_weights(layout.file(ORIGINAL, world.name, "weights.pt"))
        arrays, meta = load_arrays(layout.file(ORIGINAL, world.name, "views.npz"))
        assert np.array_equal(arrays["index"], scored) and meta["weights"] == saved["digest"]
        for number, (down, right, flip) in enumerate(VIEWS[:3]):  # the mirror image, a pixel to the right, to the left
            pictures = np.roll(data.images[scored], (down, right), (1, 2))
            pictures[:, :, :1 if right > 0 else 0] = pictures[:, :, -1 if right < 0 else 8:] = 0
            shown = normalise(torch.from_numpy(pictures[:, :, ::-1 if flip else 1].copy()), *data.statistics)
            with torch.inference_mode():
                expected = load_model(saved)(shown).numpy()
            np.testing.assert_allclose(arrays["logits"][:, number], expected, rtol=1e-4, atol=1e-4)
    path = layout.file(ORIGINAL, "target", "views.npz")
    os.utime(path, (1, 1))
    train.main([*words, "--query_rows", "all", "--views", "3"])
    assert path.stat().st_mtime == 1


@pytest.mark.parametrize("count", ["-1", "18", "x"])
def test_a_number_of_views_that_cannot_be_is_refused(count, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--views", count, "--run_dir", str(tmp_path)])
    assert stop.value.code == 2 and "--views" in capsys.readouterr().err


def test_mr_on_views_learns_phi_and_references_of_the_original_and_each_view(made_up_run, monkeypatch):
    layout = made_up_run([PRUNED, CLUSTERED], leak=1.0, n=600)
    index, views = write_views(layout, 3)
    run, asked = Run(layout), {}
    monkeypatch.setattr(learned, "learn", lambda *given: asked.update({given[2].shape[1]: given[2]}) or learn(
        *given, kinds=["logistic"]))
    found = mr.attack_groups(run, CONTEXT, PAIR, rows=ROWS)
    assert set(found["attacks"]) == {f"pair, {row}" for row in ROWS}
    worlds, expected = run.split.worlds, []
    for point in np.sort(worlds[0].evaluation):
        row = []
        for world in worlds:  # the target's own φ of the picture and of two views, then what the shadow says of them
            plain, at = run.queries(ORIGINAL, world.name), list(index).index(point)
            logits = [plain.logits[plain.rows([point])[0]], *views[world.name][at, :2]]
            label = plain.labels[plain.rows([point])[0]]
            row += [label_gap(one[None], [label])[0] for one in logits]
        expected.append(row)
    np.testing.assert_allclose(asked[6], expected)
    np.testing.assert_allclose(asked[3], np.array(expected)[:, :3])
    attack = mr.attack_of("pair, calibrated on views")
    assert attack.knowledge == "reference" and attack.name.endswith("on views")


def test_views_belong_to_the_answers_beside_them_and_new_ones_are_attacked_anew(made_up_run, monkeypatch, capsys):
    layout = made_up_run([PRUNED, CLUSTERED], leak=1.0, n=400)
    monkeypatch.setattr(learned, "learn", partial(learn, kinds=["logistic"]))
    with pytest.raises(KeyError):  # without views there is no row, and nothing is said of it
        mr.attack_groups(Run(layout), CONTEXT, PAIR, rows=ROWS)["attacks"]["pair, calibrated on views"]
    assert "views" not in capsys.readouterr().out
    write_views(layout, 1)
    mr.attack_groups(Run(layout), CONTEXT, PAIR, rows=ROWS)
    assert "views.npz holds 1 views and it has 2 versions; train.py --views 2" in capsys.readouterr().out
    write_views(layout)
    before = mr.attack_groups(Run(layout), CONTEXT, PAIR, rows=ROWS)["attacks"]
    expected = mr.expected(Run(layout), CONTEXT, PAIR)
    assert all(expected[name] == metrics["inputs"] for name, metrics in before.items())
    index, views = write_views(layout)
    save_arrays(layout.file(ORIGINAL, "target", "views.npz"),
                {**Run(layout).queries(ORIGINAL, "target").meta, "views": 2}, index=index, logits=2 * views["target"])
    assert mr.expected(Run(layout), CONTEXT, PAIR)["pair, calibrated on views"] != expected["pair, calibrated on views"]
    write_views(layout, weights="others")
    with pytest.raises(CompLeakError, match="views.npz belongs to other answers .*run python train.py .*--views 2"):
        read_views(Run(layout), read_version(Run(layout), ORIGINAL))
    save_arrays(layout.file(ORIGINAL, "target", "views.npz"), {"weights": "x"}, index=index, logits=views["target"][0])
    with pytest.raises(CompLeakError, match="views.npz is damaged"):
        read_views(Run(layout), read_version(Run(layout), ORIGINAL))
    assert "calibrated on views" not in nr.ATTACKS
