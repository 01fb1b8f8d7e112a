"""NR, SR and MR on made-up runs: who sees what, what is saved, and what is refused."""
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import CompLeakNR
import CompLeakSR
from attacks import classifiers, mr, nr, sr, train_based
from attacks.attack import Context, Options
from attacks.inputs import check_pair, read_version
from attacks.rmia import game
from common.errors import CompLeakError, UsageError
from common.metrics import auc
from common.paths import ORIGINAL, Version
from models import queries
from models.run import Run

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
FLAGS = ["--dataset_name", "digits", "--num_cls", "10"]
PAIR = [*FLAGS, "--original", "--compress", "--compress_name"]
CONTEXT = Context(1)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Smaller forests: what is tested here holds for any number of trees, and fitting them is nearly all the time."""
    monkeypatch.setattr(classifiers, "TREES", 100)


def pair_of(layout):
    return sr.Pair(read_version(Run(layout), ORIGINAL), read_version(Run(layout), PRUNED))


def test_the_label_and_what_both_models_say_of_it_help_a_forest(made_up_run):
    layout = made_up_run([PRUNED], leak=2.0, n=1600)
    pair = pair_of(layout)
    found = [sr.ATTACKS["SR2 (RF)"].run(pair, CONTEXT), *(nr.ATTACKS[name].run(pair.original, CONTEXT) for name in
                                                         ("SR2_twice (RF)", "train_based_2 (RF)"))]
    areas = [auc(scored.scores, pair.original.target.member) for scored in found]
    assert areas == sorted(areas, reverse=True)


def test_rmia_references_exclude_models_that_trained_on_the_point(made_up_run):
    attacked = read_version(Run(made_up_run([], n=1200, shadow_num=3)), ORIGINAL)
    points = attacked.shadows[0].index
    log_p, references, usable = game(attacked, 0, points)
    assert log_p.shape == (len(points),) and references.shape == usable.shape == (len(points), 3)
    assert not usable[:, 0].all() and not usable[:, 1:].all()
    for column, shadow in enumerate(attacked.shadows):
        trained_on = set(shadow.queries.index[shadow.queries.member])
        assert [point not in trained_on for point in points] == usable[:, column].tolist()
    # A shadow's references: the target, which trained on none of its points, and the other shadows that did not.
    _, references, usable = game(attacked, 1, points)
    assert usable[:, 0].all() and references.shape == (len(points), 3)
    trained_on = set(attacked.shadows[2].queries.index[attacked.shadows[2].queries.member])
    assert [point not in trained_on for point in points] == usable[:, 2].tolist()


def test_rmia_says_which_a_it_chose_and_how_many_references_there_were(made_up_run):
    attacked = read_version(Run(made_up_run([], leak=1.0, n=1200, shadow_num=3)), ORIGINAL)
    notes = nr.ATTACKS["RMIA"].run(attacked, Context(0, options=Options(rmia_a="auto"))).notes
    assert 0 <= notes["a"] <= 1 and notes["target_references"] == {"3": len(attacked.target.index)}
    assert sum(notes["shadow_references"].values()) == 3 * len(attacked.target.index)
    assert set(notes["shadow_references"]) <= {"1", "2", "3"} and len(notes["shadow_references"]) > 1


def test_several_shadows_are_used_and_cross_fitted_by_shadow(made_up_run):
    layout = made_up_run([PRUNED], leak=1.0, n=1200, shadow_num=2)
    pair = pair_of(layout)
    one, other = (sr.Pair(*(replace(version, shadows=(version.shadows[i],)) for version in pair)) for i in (0, 1))
    both, first, second = (sr.ATTACKS["SR2 (RF)"].run(some, CONTEXT) for some in (pair, one, other))
    rows = len(first.on_shadow)
    assert len(both.on_shadow) == 2 * rows == 2 * len(pair.original.target.index)
    assert not np.allclose(both.scores, first.scores)
    # With two shadows, the first one's rows are scored by a forest that saw the second alone.
    features = train_based.side_by_side(*(version.shadows[0] for version in pair), True)
    forest = classifiers.FITS["RF"](CONTEXT.seed)(
        train_based.side_by_side(*(version.shadows[1] for version in pair), True), pair.original.shadows[1].member)
    assert np.array_equal(both.on_shadow[:rows], forest.score(features))


def test_samia_is_left_out_without_sensitivities(made_up_run, capsys):
    layout = made_up_run([], n=1200)
    layout.file(ORIGINAL, "shadow_0", "sensitivity.npz").unlink()
    CompLeakNR.main([*FLAGS, "--original", "--run_dir", str(layout.run_dir)])
    said = capsys.readouterr().out
    assert "SAMIA is left out: it needs sensitivity.npz" in said and "metric_based_1" in said


def test_an_attack_that_cannot_run_is_an_error_where_there_is_nothing_else_to_show(made_up_run):
    layout = made_up_run([], n=1200)
    layout.file(ORIGINAL, "shadow_0", "sensitivity.npz").unlink()
    with pytest.raises(CompLeakError, match="^SAMIA: cannot run on original"):
        CompLeakNR.main([*FLAGS, "--original", "--attacks", "SAMIA", "--run_dir", str(layout.run_dir)])


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
    expected = "SR.json is missing: run python CompLeakSR.py .*--compress_degree 0.6"
    with pytest.raises(CompLeakError, match=expected):
        mr.attack_groups(Run(layout), CONTEXT, {"one": [PRUNED]})


def test_answers_of_another_split_original_or_truncated_are_refused(made_up_run):
    layout, other = made_up_run([PRUNED], n=1200), made_up_run([PRUNED], n=1200, seed=5, folder="other")
    theirs = other.file(PRUNED, "target", "queries.npz").read_bytes()
    mine = layout.file(PRUNED, "target", "queries.npz")
    short = mine.read_bytes()[:3000]
    for bad, says in ((theirs, "belongs to split"), (short, "is damaged"), (b"junk" * 100, "is damaged")):
        mine.write_bytes(bad)
        with pytest.raises(CompLeakError, match=says):
            read_version(Run(layout), PRUNED)


def test_a_compressed_model_of_another_original_is_not_paired(made_up_run):
    layout = made_up_run([PRUNED], n=1200)
    pair = pair_of(layout)
    pair.original.target.queries.meta["weights"] = "trained again"
    with pytest.raises(CompLeakError, match="was made from another original"):
        check_pair(Run(layout), *pair)


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


def test_answers_are_read_once(made_up_run, monkeypatch):
    layout, read, load = made_up_run([PRUNED, Version("pruning", "0.7")], n=300), Counter(), queries.load_queries
    monkeypatch.setattr("models.run.load_queries", lambda path: read.update([path]) or load(path))
    CompLeakSR.main([*PAIR, "pruning", "--compress_degree", "0.6", "0.7", "--attacks", "SR2 (RF)", "--run_dir",
                     str(layout.run_dir)])
    assert len(read) == 6 and set(read.values()) == {1}
    read.clear()
    mr.attack_groups(Run(layout), CONTEXT, rows=["confidence with the original"])
    assert len(read) == 6 and set(read.values()) == {1}


@pytest.mark.parametrize("first", ["NR", "SR"])
def test_nr_and_sr_share_the_forest_that_mr_without_the_original_is_made_from(made_up_run, monkeypatch, first):
    run, fits, fit = Run(made_up_run([PRUNED], n=600)), [], classifiers.RandomForestClassifier.fit
    monkeypatch.setattr(classifiers.RandomForestClassifier, "fit",
                        lambda self, *given: fits.append(given[0].shape[1]) or fit(self, *given))
    attacks = {"NR": lambda: nr.attack_version(run, PRUNED, CONTEXT, [train_based.AGGREGATED]),
               "SR": lambda: sr.attack_version(run, PRUNED, CONTEXT, [sr.AGGREGATED])}
    for setting in (first, *attacks.keys() - {first}):
        attacks[setting]()
    assert sorted(fits) == [20, 30]  # train_based_2's of one model's posteriors and label, SR2's of two
