"""NR, SR and MR on made-up runs: models that know nothing of their members leak nothing; models that do, do."""
import json

import numpy as np
import pytest

import CompLeakNR
import CompLeakSR
from attacks import classifiers, mr, nr, sr
from attacks.features import train_based_features
from attacks.inputs import read_version, reference_game
from common.errors import CompLeakError, UsageError
from common.metrics import auc
from common.paths import ORIGINAL, Version

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
FLAGS = ["--dataset_name", "digits", "--num_cls", "10"]
PAIR = [*FLAGS, "--original", "--compress", "--compress_name"]
Z_999 = 3.29


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Smaller forests: what is tested here holds for any number of trees, and fitting them is nearly all the time."""
    monkeypatch.setattr(classifiers, "TREES", 100)


def null_half_width(members, non_members):
    """Half the 99.9% interval of the AUC of a score that knows nothing (Mann-Whitney's variance without ties)."""
    return Z_999 * np.sqrt((members + non_members + 1) / (12 * members * non_members))


def sr_inputs(layout):
    return read_version(layout, ORIGINAL), read_version(layout, PRUNED)


def test_models_that_know_nothing_give_every_attack_a_coins_auc(made_up_run):
    layout = made_up_run([PRUNED, CLUSTERED], leak=0.0, n=2000)
    original, pruned = sr_inputs(layout)
    results = nr.attack(*original, seed=1, device="cpu") | sr.attack(original, pruned, seed=1)[0]
    assert len(results) == 15
    for version in (PRUNED, CLUSTERED):
        degree = ["--compress_degree", version.degree, "--run_dir", str(layout.run_dir)]
        CompLeakSR.main([*PAIR, version.technique, *degree])
    mr.attack_groups(layout, 1, "cpu", {"both": [PRUNED, CLUSTERED]})
    with np.load(layout.result(ORIGINAL, "MR_scores.npz")) as saved:
        results |= {name: (saved[name], None) for name in saved.files if name.startswith("both")}
    member = original[0].member
    bound = null_half_width(member.sum(), (~member).sum())
    for name, (scores, _) in results.items():
        assert abs(auc(scores, member) - 0.5) < bound, name


def test_models_that_leak_are_caught_by_every_attack(made_up_run):
    layout = made_up_run([PRUNED], leak=2.0, n=1600)
    original, pruned = sr_inputs(layout)
    results = nr.attack(*original, seed=1, device="cpu") | sr.attack(original, pruned, seed=1)[0]
    member = original[0].member
    for name, (scores, decisions) in results.items():
        assert decisions.shape == member.shape and decisions.dtype == bool
        # A sum over classes cannot see which posterior belongs to the label, which is all that leaks here.
        if name not in ("train_based_1 (LR)", "train_based_2 (LR)"):
            assert auc(scores, member) > 0.6, name
    assert auc(results["SR2 (RF)"][0], member) > auc(results["train_based_2 (RF)"][0], member)


def test_rmia_references_exclude_shadows_that_trained_on_the_point(made_up_run):
    layout = made_up_run([], n=1200, shadow_num=3)
    target, shadows = read_version(layout, ORIGINAL)
    points = shadows[0].index[~shadows[0].member]
    p, p_references, usable = reference_game(target, points, shadows)
    assert p.shape == (len(points),) and p_references.shape == usable.shape == (len(points), 3)
    assert usable[:, 0].all() and not usable[:, 1:].all()
    for column, shadow in enumerate(shadows):
        trained_on = set(shadow.queries.index[shadow.queries.member])
        assert [point not in trained_on for point in points] == usable[:, column].tolist()


def test_several_shadows_are_used_and_cross_fitted_by_shadow(made_up_run):
    layout = made_up_run([PRUNED], leak=1.0, n=1200, shadow_num=2)
    original, pruned = sr_inputs(layout)
    _, both = sr.attack(original, pruned, seed=0)
    rows = sum(len(shadow.index) for shadow in original[1])
    assert len(both["shadow_SR2"]) == rows == 2 * len(original[0].index)
    _, one = sr.attack((original[0], original[1][:1]), (pruned[0], pruned[1][:1]), seed=0)
    assert not np.allclose(both["target_train_based_2"], one["target_train_based_2"])
    # With two shadows, the first one's rows are scored by a forest that saw the second alone.
    _, swapped = sr.attack((original[0], original[1][1:]), (pruned[0], pruned[1][1:]), seed=0)
    assert not np.allclose(both["shadow_SR2"][: len(one["shadow_SR2"])], one["shadow_SR2"])
    assert not np.allclose(both["shadow_SR2"][len(one["shadow_SR2"]):], swapped["shadow_SR2"])


def test_the_train_based_2_forest_that_nr_fitted_is_taken_as_it_is(made_up_run, monkeypatch):
    layout = made_up_run([PRUNED], leak=1.0, n=1200)
    original, (target, shadows) = sr_inputs(layout)
    expected, for_multi = sr.attack(original, (target, shadows), seed=3)
    fitted_on, scored = (train_based_features(one.posteriors, one.labels) for one in (*shadows, target))
    forest = nr.fits(3)["RF"](fitted_on, shadows[0].member)
    alone = classifiers.stand_in("train_based_2", forest, forest.score(scored), np.zeros(len(fitted_on)))
    fits, fit = [], classifiers.fit_forest
    monkeypatch.setattr(classifiers, "fit_forest", lambda *given: fits.append(given) or fit(*given))
    found, again = sr.attack(original, (target, shadows), seed=3, alone=alone)
    assert len(fits) == 2  # SR1's and SR2's
    assert again.keys() == for_multi.keys() == {f"{side}_{name}{kind}" for name in ("SR2", "train_based_2")
                                                for side, kind in (("target", ""), ("shadow", ""),
                                                                   ("shadow", "_in_sample"))}
    for name in again:
        np.testing.assert_array_equal(again[name], for_multi[name])
    for name in expected:
        np.testing.assert_array_equal(found[name][0], expected[name][0])


def test_samia_is_left_out_without_sensitivities(made_up_run, capsys):
    layout = made_up_run([], n=1200)
    layout.file(ORIGINAL, "shadow_0", "sensitivity.npz").unlink()
    CompLeakNR.main([*FLAGS, "--original", "--run_dir", str(layout.run_dir)])
    said = capsys.readouterr().out
    assert "SAMIA is left out: it needs sensitivity.npz" in said and "metric_based_1" in said


def test_saved_metrics_are_those_of_the_saved_scores_and_repeat_exactly(made_up_run):
    first, second = (made_up_run([PRUNED], leak=1.0, n=1200, folder=name) for name in ("one", "two"))
    for layout in (first, second):
        CompLeakSR.main([*PAIR, "pruning", "--compress_degree", "0.6", "--run_dir", str(layout.run_dir)])
    texts = [layout.result(PRUNED, "SR.json").read_text() for layout in (first, second)]
    assert texts[0] == texts[1]
    saved = json.loads(texts[0])["attacks"]
    with np.load(first.result(PRUNED, "SR_scores.npz")) as scores:
        for name, metrics in saved.items():
            assert metrics["auc"] == pytest.approx(auc(scores[name], scores["member"]), abs=1e-12)


@pytest.mark.parametrize(("file", "says"), [("split.json", "split.json is missing"),
                                            ("queries.npz", "is missing: run")])
def test_missing_files_name_the_command_that_makes_them(made_up_run, file, says):
    layout = made_up_run([PRUNED], n=1200)
    path = layout.result(ORIGINAL, file) if file == "split.json" else layout.file(PRUNED, "target", file)
    path.unlink()
    with pytest.raises(CompLeakError, match=says) as caught:
        CompLeakNR.main([*FLAGS, "--compress", "--compress_name", "pruning", "--compress_degree", "0.6", "--run_dir",
                         str(layout.run_dir)])
    expected = "python train.py" if file == "split.json" else "python pruning/prune.py"
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_mr_names_the_sr_command_that_is_missing(made_up_run):
    layout = made_up_run([PRUNED], n=1200)
    expected = "SR_scores.npz is missing: run python CompLeakSR.py .*--compress_degree 0.6"
    with pytest.raises(CompLeakError, match=expected):
        mr.attack_groups(layout, 0, "cpu", {"one": [PRUNED]})


def test_answers_of_another_split_original_or_truncated_are_refused(made_up_run):
    layout, other = made_up_run([PRUNED], n=1200), made_up_run([PRUNED], n=1200, seed=5, folder="other")
    theirs = other.file(PRUNED, "target", "queries.npz").read_bytes()
    mine = layout.file(PRUNED, "target", "queries.npz")
    short = mine.read_bytes()[:3000]
    for bad, says in ((theirs, "belongs to split"), (short, "is damaged"), (b"junk" * 100, "is damaged")):
        mine.write_bytes(bad)
        with pytest.raises(CompLeakError, match=says):
            read_version(layout, PRUNED)


def test_a_compressed_model_of_another_original_is_not_paired(made_up_run):
    layout = made_up_run([PRUNED], n=1200)
    original, pruned = sr_inputs(layout)
    original[0].queries.meta["weights"] = "trained again"
    with pytest.raises(CompLeakError, match="was made from another original"):
        CompLeakSR.check_pair(original[0], pruned[0], layout, PRUNED)


@pytest.mark.parametrize(("flags", "says"), [
    (["--original", "--num_cls", "7"], "--num_cls 7: made up has 10 classes"),
    (["--original", "--seed", "3"], "--seed 3: the run in .* has seed 0"),
    (["--original", "--shadow_num", "4"], "has 1 shadow"),
    ([], "name the models to attack"),
    (["--compress"], "--compress needs --compress_name"),
    (["--compress", "--compress_name", "pruning", "--compress_degree", "1.5"], "0.6, 0.7, 0.8, 0.9"),
    (["--compress", "--compress_name", "clustering", "--compress_degree", "5"], "4, 8, 16"),
    (["--compress", "--compress_name", "quantization", "--compress_degree", "int4"], "int8"),
])
def test_contradicting_flags_are_refused(made_up_run, flags, says):
    layout = made_up_run([PRUNED], n=1200)
    with pytest.raises(UsageError, match=says):
        CompLeakNR.main(["--dataset_name", "digits", "--run_dir", str(layout.run_dir), *flags])
