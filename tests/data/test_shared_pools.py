"""data/splits.py with shared pools: every model draws from everything, by itself; disjoint pools still never meet."""
import json

import numpy as np
import pytest

from common.errors import CompLeakError, UsageError
from data import splits


def shared(n=900, seed=5, shadow_num=3, train_size=300, twins=()):
    return splits.make_split(n, seed, shadow_num, train_size, "data", twins, splits.SHARED)


def inside(split):
    """[worlds, n] bool: who trains on what."""
    return np.stack([np.isin(np.arange(split.n), world.members) for world in split.worlds])


def test_every_model_splits_all_rows_and_takes_each_with_the_same_probability():
    split = shared(4001, shadow_num=7, train_size=1000)
    member = inside(split)
    for world, flags in zip(split.worlds, member, strict=True):
        assert sorted(np.concatenate([world.members, world.non_members])) == list(range(4001))
        assert flags.sum() == 1000 and world.scored == 1000
        assert flags[world.evaluation].sum() == 1000 and len(set(world.evaluation.tolist())) == 2000
    # Any two models draw independently: they share 1000²/4001 members, standard deviation near 12.
    both = (member.astype(int) @ member.T)[~np.eye(8, dtype=bool)]
    assert np.abs(both - 250).max() < 60 and len(set(both.tolist())) > 10
    # A row's models are binomial: with a share of 1000/4001 each, 8 models have a variance of 1.5.
    assert member.sum(0).var() == pytest.approx(8 * 0.25 * 0.75, rel=0.1)


def test_the_default_size_is_the_disjoint_ones_and_more_is_allowed():
    assert splits.make_split(900, 0, pools=splits.SHARED).train_size == splits.make_split(900, 0).train_size == 300
    assert shared(train_size=600).target.scored == 300
    with pytest.raises(UsageError, match="a pool has 900 images, choose 2 to 899"):
        shared(train_size=900)


@pytest.mark.parametrize("pools", splits.POOLS)
def test_pools_may_be_smaller_and_are_a_random_part_of_the_data(pools):
    twins = tuple((row, row + 450) for row in range(40))
    split = splits.make_split(900, 5, 3, 100, "data", twins, pools, pool_size=200)
    drawn = [np.sort(np.concatenate([world.members, world.non_members])) for world in split.worlds]
    assert all(len(set(rows.tolist())) == 200 for rows in drawn) and all(w.scored == 100 for w in split.worlds)
    assert all(np.array_equal(drawn[1], rows) for rows in drawn[2:])
    assert np.isin(drawn[0], drawn[1]).all() if pools == splits.SHARED else not np.isin(drawn[0], drawn[1]).any()
    assert {np.isin(rows, drawn[0]).sum() for rows in twins} == {0, 2}  # twins are in together, or out
    assert abs(drawn[0].mean() - 449.5) < 5 * 260 / 200**0.5 and inside(split).sum(1).tolist() == [100] * 4
    assert splits.from_json(json.loads(json.dumps(splits.to_json(split)))).digest == split.digest
    most = 900 if pools == splits.SHARED else 450
    for size in (2, most + 1):
        with pytest.raises(UsageError, match=f"--pool_size {size}: .* choose 3 to {most}$"):
            splits.make_split(900, 5, 3, 100, "data", pools=pools, pool_size=size)
    whole = splits.make_split(900, 5, 3, 100, "data", twins, pools, pool_size=most)
    assert whole.digest == splits.make_split(900, 5, 3, 100, "data", twins, pools).digest


def test_a_further_shadow_changes_nothing_else_and_pools_have_names_of_their_own():
    one, three = shared(shadow_num=1), shared(shadow_num=3)
    assert one.digest == three.digest != splits.make_split(900, 5, 3, 300, "data").digest
    for before, after in zip(one.worlds, three.worlds, strict=False):
        assert np.array_equal(before.members, after.members)


def test_twins_are_members_of_a_model_together():
    rows = np.random.default_rng(0).permutation(900).reshape(-1, 3)[:200]
    member = inside(shared(twins=tuple(map(tuple, np.sort(rows)))))
    assert (member[:, rows] == member[:, rows[:, :1]]).all() and (member.sum(1) == 300).all()


def test_the_file_says_which_pools_and_cannot_be_given_others():
    split = shared()
    saved = json.loads(json.dumps(splits.to_json(split)))
    back = splits.from_json(saved)
    assert (saved["pools"], back.pools, back.digest) == ("shared", "shared", split.digest)
    with pytest.raises(CompLeakError, match="^split: shadow_0 shares images"):
        splits.from_json({**saved, "pools": "disjoint"})
    apart = splits.to_json(splits.make_split(900, 5, 1, 300, "data"))
    with pytest.raises(CompLeakError, match="^split: the file was changed"):
        splits.from_json({**apart, "pools": "shared"})
