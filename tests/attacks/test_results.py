"""attacks/results.py: results are kept for each attack, known by what they were made from, never misread."""
from dataclasses import replace

import numpy as np
import pytest

from attacks import nr
from attacks.attack import Context, Options
from attacks.results import Results
from attacks.saved import context_of, read_result
from common.errors import CompLeakError
from common.files import load_arrays, read_json, save_arrays
from common.paths import ORIGINAL, Version
from models.run import Run

PRUNED = Version("pruning", "0.6")
NAMES = ["metric_based_2", "loss_threshold", "RMIA"]


@pytest.fixture
def run(made_up_run):
    """A run whose original has three attacks."""
    run = Run(made_up_run([PRUNED], leak=1.0, n=800))
    nr.attack_version(run, ORIGINAL, Context(0), NAMES)
    return run


def rewrite(path, change, **more):
    """Change a file of arrays: change(arrays) → those that are replaced; more: values of its meta."""
    arrays, meta = load_arrays(path)
    kept = {name: value for name, value in meta.items() if name != "format"}
    save_arrays(path, {**kept, **more}, **{**arrays, **change(arrays)})


def attacked(run):
    """The attacks of the original's NR.json that hold for who opens the run now."""
    return set((read_result(Run(run.layout), "NR", ORIGINAL) or {"attacks": {}})["attacks"])


def test_named_attacks_alone_are_run_and_others_are_added(run):
    assert attacked(run) == set(NAMES)
    first = read_json(Results(run, ORIGINAL, "NR").path)["attacks"]
    nr.attack_version(run, ORIGINAL, Context(0), ["correctness"])
    after = read_json(Results(run, ORIGINAL, "NR").path)["attacks"]
    assert attacked(run) == {*NAMES, "correctness"} and {name: after[name] for name in NAMES} == first


def test_what_is_finished_is_not_run_again(run, monkeypatch):
    def never(seen, context):
        raise AssertionError("run again")

    monkeypatch.setattr(nr, "ATTACKS", {name: replace(entry, run=never) for name, entry in nr.ATTACKS.items()})
    before = Results(run, ORIGINAL, "NR").path.stat().st_mtime_ns
    nr.attack_version(run, ORIGINAL, Context(0), NAMES)
    assert Results(run, ORIGINAL, "NR").path.stat().st_mtime_ns == before
    # An option decides only what depends on it.
    nr.attack_version(run, ORIGINAL, Context(0, options=Options(batch_size=7)), NAMES)
    with pytest.raises(AssertionError, match="run again"):
        nr.attack_version(run, ORIGINAL, Context(0, options=Options(rmia_a=0.3)), NAMES)


def test_results_without_their_scores_do_not_count(run):
    path = Results(run, ORIGINAL, "NR").scores_path
    whole, scores = path.read_bytes(), load_arrays(path)[0]["RMIA"]
    path.unlink()
    assert not attacked(run)
    path.write_bytes(whole)
    rewrite(path, lambda arrays: {"RMIA": arrays["RMIA"][::-1]})
    with pytest.raises(CompLeakError, match="was not made together with NR.json: delete NR.json and run python"):
        Results(run, ORIGINAL, "NR").scored(["RMIA"])
    nr.attack_version(run, ORIGINAL, Context(0), NAMES)
    assert np.array_equal(Results(run, ORIGINAL, "NR").scored(["RMIA"])[2]["RMIA"].scores, scores)


def test_an_older_format_is_made_again(run, edit_json):
    edit_json(Results(run, ORIGINAL, "NR").path, format=2)
    assert not attacked(run)
    nr.attack_version(run, ORIGINAL, Context(0), NAMES)
    assert attacked(run) == set(NAMES)


def test_other_answers_make_results_stale_whatever_their_weights_are(run):
    path = run.layout.file(ORIGINAL, "shadow_0", "queries.npz")
    rewrite(path, lambda arrays: {"logits": arrays["logits"] + np.float32(1e-3)})
    assert not attacked(run)


def test_sensitivities_decide_samia_alone(run):
    nr.attack_version(run, ORIGINAL, Context(0), ["SAMIA", *NAMES])
    path = run.layout.file(ORIGINAL, "target", "sensitivity.npz")
    rewrite(path, lambda arrays: {"sensitivity": 2 * arrays["sensitivity"]})
    assert attacked(run) == set(NAMES)


def test_answers_asked_otherwise_than_the_run_says_are_refused(run):
    path = run.layout.file(ORIGINAL, "target", "queries.npz")
    rewrite(path, lambda arrays: {}, augmented_members=True)
    with pytest.raises(CompLeakError, match="was asked under augmented_members, the run's protocol is sound: run pyth"):
        nr.attack_version(Run(run.layout), ORIGINAL, context_of(run))


def test_one_attack_that_cannot_be_computed_takes_no_other_with_it(run, monkeypatch, capsys):
    def cannot(seen, context):
        raise CompLeakError("no such thing")

    monkeypatch.setitem(nr.ATTACKS, "correctness", replace(nr.ATTACKS["correctness"], run=cannot))
    nr.attack_version(run, ORIGINAL, Context(0), [*NAMES, "correctness"])
    assert attacked(run) == set(NAMES) and "correctness is left out: no such thing" in capsys.readouterr().out
    Results(run, ORIGINAL, "NR").path.unlink()
    with pytest.raises(CompLeakError, match="no such thing"):
        nr.attack_version(run, ORIGINAL, Context(0), ["correctness"])
