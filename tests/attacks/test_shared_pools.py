"""With shared pools the target is never a reference, whatever its members; attacks find what there is."""
from dataclasses import replace

import numpy as np
import pytest

from attacks import nr
from attacks.attack import Context
from attacks.games import gaps, signals_of
from attacks.inputs import read_version
from attacks.signals import completed
from common.metrics import auc
from common.paths import ORIGINAL
from models.run import Run


def flipped(attacked):
    """The same answers, the target's members called non-members and the other way round."""
    queries = attacked.target.queries
    target = replace(attacked.target, member=~attacked.target.member, queries=replace(queries, member=~queries.member))
    return replace(attacked, target=target)


@pytest.fixture(name="attacked")
def _attacked(made_up_run):
    return read_version(Run(made_up_run([], leak=1.5, n=1200, shadow_num=4, pools="shared")), ORIGINAL)


def test_the_target_is_no_reference_and_its_members_change_no_score(attacked):
    for place, shadow in enumerate(attacked.shadows):
        _, of_references, usable = gaps(attacked, 1 + place, shadow.index)
        assert usable.shape == (len(shadow.index), 4) and not usable[:, 0].any() and usable.any(1).all()
    other = flipped(attacked)
    for name in ("RMIA", "RMIA (population)"):
        one, two = (nr.ATTACKS[name].run(some, Context(0)) for some in (attacked, other))
        assert np.array_equal(one.scores, two.scores) and np.array_equal(one.decisions, two.decisions)
        assert auc(one.scores, attacked.target.member) > 0.6
    one, two = signals_of(attacked, 0), signals_of(other, 0)
    assert all(np.array_equal(a, b) for side in (0, 1) for a, b in zip(one[side], two[side], strict=True))


def test_models_that_trained_on_a_point_stand_in_less_the_mean_shift():
    phi = np.array([[1.0, 2.0], [5.0, 9.0], [4.0, 0.0]])
    out = np.array([[True, True], [False, False], [False, True]])
    values, mask = completed(phi, out, ~out)
    shift = (5 + 9 + 4) / 3 - (1 + 2 + 0) / 3
    np.testing.assert_allclose(values, [[1, 2], [5 - shift, 9 - shift], [4, 0]])
    assert mask.tolist() == [[True, True], [True, True], [False, True]]


def test_a_single_shadow_has_no_reference(made_up_run):
    attacked = read_version(Run(made_up_run([], n=600, shadow_num=1, pools="shared")), ORIGINAL)
    found, lines = nr.possible(attacked)
    assert not {"RMIA", "RMIA (population)", "calibrated"} & found.keys() and "confidence" in found
    assert [line for line in lines if "two shadows" in line] and len(lines) == 2
