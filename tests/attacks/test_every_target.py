"""Every world as the target: a run's folder as_shadow_1 is the same run with shadow_1 attacked, soundly."""
import shutil
from dataclasses import replace

import numpy as np
import pytest

import train
from attacks import nr
from attacks.attack import Context
from attacks.games import gaps, signals_of
from attacks.inputs import read_version
from attacks.saved import read_result
from attacks.views import read_views
from common.errors import UsageError
from common.files import save_arrays, write_json
from common.metrics import auc
from common.paths import ORIGINAL
from data import splits
from evaluation import evidence
from models.hints import training
from models.run import Run

RMIA = ("RMIA", "RMIA (population)", "metric_based_2")


def as_world(layout, world):
    return replace(layout, run_dir=layout.run_dir / f"as_{world}")


@pytest.fixture(params=splits.POOLS)
def layout(made_up_run, request):
    return made_up_run([], leak=1.5, n=1200, shadow_num=3, pools=request.param)


def test_the_world_that_is_named_is_attacked_and_the_runs_own_results_stay(layout):
    nr.attack_version(Run(layout), ORIGINAL, Context(0), RMIA)
    before = {path: path.read_bytes() for path in layout.run_dir.rglob("*") if path.is_file()}
    run = Run(as_world(layout, "shadow_1"))
    assert [world.name for world in run.split.worlds] == ["shadow_1", "target", "shadow_0", "shadow_2"]
    assert run.split.digest == Run(layout).split.digest and run.versions() == [ORIGINAL]
    result = nr.attack_version(run, ORIGINAL, Context(0), RMIA)[0]
    made = set(layout.run_dir.rglob("*")) - before.keys()
    assert {path.name for path in made if path.is_file()} == {"NR.json", "NR_scores.npz"}
    assert all(path.read_bytes() == content for path, content in before.items())
    asked = [run.queries(ORIGINAL, world).identity for world in ("shadow_1", "target", "shadow_0", "shadow_2")]
    assert all(one["inputs"]["answers"] == asked for one in result["attacks"].values())
    assert result["attacks"]["RMIA"]["auc"] > 0.6 and read_result(run, "NR")["attacks"].keys() == set(RMIA)
    shadow = run.split.named(["shadow_1"])[0]
    other = Run(as_world(layout, "shadow_2"))
    for name in ("NR.json", "NR_scores.npz"):  # one target's results, copied, are not another's
        other.layout.result(ORIGINAL, name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.layout.result(ORIGINAL, name), other.layout.result(ORIGINAL, name))
    assert read_result(other, "NR") is None
    one = evidence.read(run)
    assert one.member.sum() == shadow.scored and run.config(ORIGINAL) == run.config(ORIGINAL, "shadow_1")
    evidence.check_together([evidence.read(Run(layout)), one])
    with pytest.raises(UsageError, match="both have seed 0"):
        evidence.check_together([one, evidence.read(Run(run.layout))])


def test_what_the_attacked_shadow_trained_on_changes_no_score_and_no_reference(layout):
    attacked = read_version(Run(as_world(layout, "shadow_1")), ORIGINAL)
    trained = np.stack([model.at(attacked.target.index)[2] for model in attacked.models], axis=1)
    _, _, usable = gaps(attacked, 0, attacked.target.index)
    assert (usable <= ~trained[:, 1:] | trained[:, 1:].all(1, keepdims=True)).all() and usable.any(1).all()
    if Run(layout).split.pools == splits.DISJOINT:
        assert usable[:, 0].all()  # the first target never trained on the shadows' pool
    for place, shadow in enumerate(attacked.shadows):
        assert not gaps(attacked, 1 + place, shadow.index)[2][:, 0].any()  # the attacked one is nobody's reference
    told = replace(attacked.target.queries, member=~attacked.target.queries.member)
    other = replace(attacked, target=replace(attacked.target, queries=told, member=~attacked.target.member))
    for name in RMIA:
        one, two = (nr.ATTACKS[name].run(some, Context(0)).scores for some in (attacked, other))
        assert np.array_equal(one, two)
    one, two = signals_of(attacked, 0), signals_of(other, 0)
    assert all(np.array_equal(a, b) for side in (0, 1) for a, b in zip(one[side], two[side], strict=True))


def test_it_equals_a_run_in_which_the_worlds_changed_names(made_up_run):
    layout = made_up_run([], leak=1.5, n=900, shadow_num=2, pools="shared")
    run, renamed = Run(as_world(layout, "shadow_1")), replace(layout, run_dir=layout.run_dir.with_name("renamed"))
    pairs = list(zip(run.split.worlds, ("target", "shadow_0", "shadow_1"), strict=True))
    target, *shadows = (replace(world, name=name) for world, name in pairs)
    split = replace(Run(layout).split, target=target, shadows=tuple(shadows))
    write_json(renamed.result(ORIGINAL, "split.json"), {"run": run.settings.as_json(), **splits.to_json(split)})
    for world, name in pairs:
        queries = run.queries(ORIGINAL, world.name)
        arrays = {key: getattr(queries, key) for key in ("logits", "losses", "labels", "index", "member")}
        meta = {key: value for key, value in queries.meta.items() if key != "format"}
        save_arrays(renamed.file(ORIGINAL, name, "queries.npz"),
                    {**meta, "world": name, "split": split.digest}, **arrays)
    one, two = (read_version(each, ORIGINAL) for each in (run, Run(renamed)))
    for name in RMIA:
        found, expected = (nr.ATTACKS[name].run(attacked, Context(0)) for attacked in (one, two))
        assert np.array_equal(found.scores, expected.scores) and np.array_equal(found.decisions, expected.decisions)
        assert auc(found.scores, one.target.member) > 0.6


def test_two_worlds_are_one_pair_whoever_is_attacked(made_up_run):
    layout = made_up_run([], n=600, shadow_num=1)
    attacked = read_version(Run(as_world(layout, "shadow_0")), ORIGINAL)
    assert attacked.disjoint and gaps(attacked, 1, attacked.shadows[0].index)[2].all()
    three = Run(as_world(made_up_run([], n=600, shadow_num=2, folder="three"), "shadow_1"))
    assert not read_version(three, ORIGINAL).disjoint and read_version(three, ORIGINAL, 1).disjoint


def test_views_know_which_pools_they_are_of(made_up_run):
    layout = made_up_run([], n=600, shadow_num=2, pools="shared")
    run = Run(layout)
    for world in run.split.worlds:
        plain = run.queries(ORIGINAL, world.name)
        save_arrays(layout.file(ORIGINAL, world.name, "views.npz"), {"weights": plain.meta["weights"]},
                    index=plain.index, logits=plain.logits[:, None])
    view, = read_views(run, read_version(run, ORIGINAL))
    assert not view.disjoint


def test_such_a_folder_trains_nothing_and_names_a_world_of_the_run(layout):
    run = Run(as_world(layout, "shadow_3"))
    with pytest.raises(UsageError, match="as_shadow_3: this run has target, shadow_0, .*, so choose as_shadow_2$"):
        read_version(run, ORIGINAL)
    words = ["--dataset_name", "digits", "--device", "cpu", "--run_dir", str(run.layout.run_dir)]
    with pytest.raises(UsageError, match=f"for attacks on shadow_3; models are made with --run_dir {layout.run_dir}$"):
        train.main(words)
    assert training(run.layout) == training(layout)
