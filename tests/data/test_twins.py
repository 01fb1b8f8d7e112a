"""data/splits.py: equal pictures play one role, sizes stay exact, and sets without any keep their splits."""
import hashlib
import json

import numpy as np
import pytest

from common.errors import CompLeakError, UsageError
from data import splits


def twins_of(rng, n, sizes):
    """Disjoint random rows of n, one tuple (ascending) for each size."""
    rows = iter(rng.permutation(n).tolist())
    return tuple(tuple(sorted(next(rows) for _ in range(size))) for size in sizes)


def roles(split):
    """For each row what it is to each world and pool."""
    found = np.zeros((split.n, 2 + len(split.shadows)), int)
    for number, world in enumerate(split.worlds):
        found[world.members, number], found[world.non_members, number] = 1, 2
    return found


@pytest.mark.parametrize(("n", "seed", "known"), [
    (60_000, 0, ("4ee13d739983a8fc", "024ad07bfdd11846")), (1_797, 0, ("09eeee5f2c96c9f4", "27908ccfac3b8037")),
    (11, 4, ("268bec645a5acd78", "e7d809234ab1f81e"))])
def test_sets_without_twins_keep_their_splits(n, seed, known):
    """Fingerprint and every byte of the saved split as the first version of this code gave them."""
    split = splits.make_split(n, seed, 2, None, "data")
    saved = json.dumps(splits.to_json(split))
    assert (split.digest, hashlib.sha256(saved.encode()).hexdigest()[:16]) == known


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "train_size", "sizes"), [
    (400, None, [2] * 60), (400, 77, [3] * 40 + [2] * 20), (401, 150, [40, 30, 9, 2]), (60, 20, [2] * 28),
    (400, 130, [130]), (400, 10, [190]), (96, None, [2] * 48), (100, 25, [25, 25, 25, 25])])
def test_twins_share_a_role_and_sizes_are_exact(n, train_size, sizes, seed):
    twins = twins_of(np.random.default_rng(seed), n, sizes)
    split = splits.make_split(n, seed, 3, train_size, "data", twins)
    pool = n // 2
    members = 2 * pool // 3 if train_size is None else train_size
    for world in split.worlds:
        assert (len(world.members), len(world.non_members)) == (members, pool - members)
        assert len(set(world.members) | set(world.non_members)) == pool
    found = roles(split)
    for rows in twins:
        assert (found[list(rows)] == found[rows[0]]).all()


def test_no_twin_of_a_member_is_anywhere_else():
    """Without the care half of these pairs would be torn apart."""
    rng = np.random.default_rng(0)
    twins = twins_of(rng, 1_000, [2] * 300)
    plain, careful = (roles(splits.make_split(1_000, 3, 1, None, "data", given)) for given in ((), twins))
    torn = [sum((found[a] != found[b]).any() for a, b in twins) for found in (plain, careful)]
    assert torn[0] > 150 and torn[1] == 0


def test_twins_fall_into_every_role_as_often_as_single_pictures():
    counts = np.zeros((2, 5))
    for seed in range(40):
        twins = twins_of(np.random.default_rng(seed), 600, [4] * 20)
        found = roles(splits.make_split(600, seed, 1, None, "data", twins))
        role = found[:, 0] + 2 * found[:, 1]  # members 1, non-members 2 of the target, then of the shadow 2 and 4
        for kind, rows in enumerate(([rows[0] for rows in twins], range(600))):
            counts[kind] += np.bincount(role[list(rows)], minlength=5)[:5]
    shares = counts / counts.sum(1, keepdims=True)
    assert np.abs(shares[0] - shares[1]).max() < 0.06  # 800 contents: three standard deviations are 0.05


def test_the_split_records_its_twins_and_gives_them_back():
    twins = twins_of(np.random.default_rng(1), 300, [3, 2, 2])
    split = splits.make_split(300, 7, 2, 80, "data", twins)
    saved = json.loads(json.dumps(splits.to_json(split)))
    assert saved["twins"] == [list(rows) for rows in twins]
    back = splits.from_json(saved)
    assert back.twins == twins and back.digest == split.digest
    again = splits.make_split(300, 7, 2, 80, "data", tuple(np.array(rows) for rows in twins))
    assert json.dumps(splits.to_json(again)) == json.dumps(splits.to_json(split))


def test_a_split_from_before_this_care_stays_valid():
    saved = splits.to_json(splits.make_split(300, 7, 2, 80, "data"))
    assert "twins" not in saved
    assert splits.from_json(saved).twins == ()


@pytest.mark.parametrize("change", [lambda saved: saved.pop("twins"), lambda saved: saved["twins"].pop(),
                                    lambda saved: saved["twins"][0].append(5)])
def test_an_edited_record_of_twins_is_refused(change):
    saved = splits.to_json(splits.make_split(300, 7, 2, 80, "data", ((0, 9), (4, 6))))
    change(saved)
    with pytest.raises(CompLeakError, match="^split: the file was changed"):
        splits.from_json(saved)


def test_torn_twins_are_found():
    from dataclasses import replace
    split = splits.make_split(300, 7)
    member, other = int(split.target.members[0]), int(split.target.non_members[0])
    splits.check_together(replace(split, twins=((member, int(split.target.members[1])),)))
    for rows in ((member, other), (member, int(split.shadows[0].members[0]))):
        with pytest.raises(CompLeakError, match="hold equal pictures and lie in different parts"):
            splits.check_together(replace(split, twins=(rows,)))


@pytest.mark.parametrize(("n", "train_size", "sizes", "says"), [
    (400, 100, [150], "150 equal pictures .*take 100, 100, 100, 0 of one content"),
    (400, 130, [131], "131 equal pictures .*take 130, 70, 130, 0"),
    (100, 25, [24, 24, 24, 24, 4], "4 equal pictures .*room for 1, 1, 2, 0"),
    (100, 33, [2] * 50, "2 equal pictures"),
])
def test_a_content_that_fits_nowhere_is_refused(n, train_size, sizes, says):
    twins = twins_of(np.random.default_rng(0), n, sizes)
    with pytest.raises(UsageError, match=says + ".*remove repeated ones, or choose another --train_size"):
        splits.make_split(n, 0, 1, train_size, "data", twins)
