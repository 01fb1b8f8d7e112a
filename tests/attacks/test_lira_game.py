"""Attacks that need several references, LiRA and calibrated_all, with disjoint and with shared pools.

As in test_every_attack.py: plain loops give each one's scores, null models a coin's AUC, swapped labels the mirror."""
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from scipy.linalg import block_diag, eigh
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import ledoit_wolf

import CompLeakNR
import CompLeakSR
from attacks import classifiers, equals, learned, learners, mr, mr_network, nr, sr
from attacks.attack import REFERENCE, Context
from attacks.games import signals_of
from attacks.inputs import read_version
from attacks.saved import read_multi, read_result
from attacks.views import read_views
from common.files import read_json
from common.metrics import auc
from common.paths import ORIGINAL, Version
from evaluation import ablation, claims, evidence
from models.run import Run
from workflow import reference

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
CONTEXT, POOLS = Context(1), ("disjoint", "shared")
METHODS = {**{("NR", name): name for name in nr.ATTACKS}, **{("SR", name): name for name in sr.ATTACKS},
           **{("MR", row): name for row, (name, _) in mr.EQUALS.items()},
           **{("MR", row): name for row, name in mr.ON_VIEWS.items()}}
CASES = [(pools, entry) for pools in POOLS for entry, name in METHODS.items()
         if name in equals.SEVERAL and (pools == "shared" or name not in equals.ONLINE)]
every_case = pytest.mark.parametrize(("pools", "entry"), CASES, ids=[", ".join([one, *two]) for one, two in CASES])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 20)
    monkeypatch.setattr(mr_network, "train_multi", partial(mr_network.train_multi, epochs=2))
    monkeypatch.setattr(learned, "learn", partial(learners.learn, kinds=["logistic"]))


@pytest.fixture(scope="module")
def known(tmp_path_factory, made_up):
    """known(pools, leak, n) → {version or "views": Attacked} of a made-up run: three shadows, four in shared pools."""

    @cache
    def make(pools, leak, n):
        sizes = {"shadow_num": 3} if pools == "disjoint" else {"shadow_num": 4, "train_size": n // 2}
        layout = made_up.run(tmp_path_factory.mktemp("run"), [PRUNED, CLUSTERED], leak=leak, n=n, seed=1, pools=pools,
                             **sizes)
        made_up.views(layout)
        read = {version: read_version(Run(layout), version) for version in (ORIGINAL, PRUNED, CLUSTERED)}
        return {**read, "views": read_views(Run(layout), read[ORIGINAL])}

    return make


def versions_of(entry, read):
    """What an attack sees: the Attacked versions in their order."""
    setting, name = entry
    several = [read[PRUNED], read[CLUSTERED]]
    if setting != "MR":
        return [read[ORIGINAL], read[PRUNED]][:1 if setting == "NR" else 2]
    if name in mr.ON_VIEWS:
        return [read[ORIGINAL], *read["views"]]
    return several if name.endswith(mr.WITHOUT) else [read[ORIGINAL], *several]


def scored(entry, versions):
    setting, name = entry
    if setting == "NR":
        return nr.ATTACKS[name].run(versions[0], CONTEXT)
    if setting == "SR":
        return sr.ATTACKS[name].run(sr.Pair(*versions), CONTEXT)
    signals = [signals_of(one, CONTEXT.seed) for one in versions]
    return mr.attack_of(f"both, {name}").run(mr.Seen(signals, learned.rows_of(versions[0])), CONTEXT)


def turned(model):
    """The same answers, the flags of the scored rows the other way, wherever they lie."""
    queries = model.queries
    flags = queries.member ^ np.isin(queries.index, model.index)
    return replace(model, member=~model.member, queries=replace(queries, member=flags))


# Plain loops: one point, one model, one version after the other.

def gap(model, point):
    at = list(model.queries.index).index(point)
    logits, label = model.queries.logits[at].astype(float), model.queries.labels[at]
    return logits[label] - np.log(sum(np.exp(np.delete(logits, label))))


def plain_game(pools, versions, player, method):
    """(φ [k], [φ of each model that did not train on it], [φ of each that did]) of each scored point of a world."""
    rows, models = [], versions[0].models
    for point in models[player].index:
        own, out, inside = None, [], []
        for place, model in enumerate(models):
            phi = np.array([gap(one.models[place], point) for one in versions])
            if place == player:
                own = phi
            elif place > 0 and model.queries.member[list(model.queries.index).index(point)]:
                inside.append(phi)
            elif place > 0 or pools == "disjoint":
                out.append(phi)
        rows.append((own, out, inside))
    if pools == "disjoint" or "Bayes" in method:
        return rows
    of_out, of_in = (np.mean([x for row in rows for x in row[kind]], 0) for kind in (1, 2))
    moved = of_in - of_out
    return [(own, out or [x - moved for x in inside], inside or [x + moved for x in out]) for own, out, inside in rows]


def plain_density(rows, variance, joint):
    """(a frozen normal density of each point, its mean, the covariance) from the φ of each point's models."""
    means, freedom = [np.mean(of_point, 0) for of_point in rows], sum(len(of_point) - 1 for of_point in rows)
    away = np.array([x - mean for of_point, mean in zip(rows, means, strict=True) for x in of_point])
    scale = np.sqrt((away ** 2).sum(0) / freedom)
    if joint:
        shrunk, _ = ledoit_wolf(away / scale * np.sqrt(len(away) / freedom), assume_centered=True)
        covariance = (shrunk + 1e-9 * np.eye(len(scale))) * np.outer(scale, scale)
        return [multivariate_normal(mean, covariance) for mean in means], means, covariance
    deviations = {"example": [np.std(one, ddof=1) if len(one) > 1 else scale[0] for one in rows],
                  "pooled": [scale[0]] * len(rows),
                  "global": [np.std([x for one in rows for x in one], ddof=1)] * len(rows)}[variance]
    return [norm(mean[0], one) for mean, one in zip(means, deviations, strict=True)], means, None


def plain_bayes(rows):
    """φ of a point given the means of OUT and of IN that it has, all three being normal together."""
    noises = [plain_density([one[kind] for one in rows if one[kind]], None, True)[2] for kind in (1, 2)]
    k, seen, errors, scores = len(rows[0][0]), [], [], []
    for one in rows:  # a kind without models: an error as good as infinite
        seen.append(np.concatenate([np.mean(one[kind], 0) if one[kind] else np.zeros(k) for kind in (1, 2)]))
        errors.append(block_diag(noises[0] / (len(one[1]) or 1e-12), noises[1] / (len(one[2]) or 1e-12)))
    own = [place for place, one in enumerate(rows) if one[1] and one[2]]
    usual, share = np.array(seen)[own].mean(0), np.array(errors)[own].mean(0)
    values, vectors = eigh(np.cov(np.array(seen)[own].T), share)
    spread = share @ vectors @ np.diag(np.maximum(values - 1, 0)) @ vectors.T @ share
    for (phi, _, _), mean, error in zip(rows, seen, errors, strict=True):
        gain, each = spread @ np.linalg.inv(spread + error), []
        for kind, noise in ((slice(k, None), noises[1]), (slice(k), noises[0])):
            about = (usual + gain @ (mean - usual))[kind]
            each.append(multivariate_normal.logpdf(phi, about, noise + (spread - gain @ spread)[kind, kind]))
        scores.append(each[0] - each[1])
    return scores


def plain_lira(method, rows, shift):
    if "Bayes" in method:
        return plain_bayes(rows)
    joint, variance = "joint" in method, next((one for one in ("pooled", "global") if one in method), "example")
    outside, means, covariance = plain_density([out for _, out, _ in rows], variance, joint)
    if "online" in method:
        inside = plain_density([one for _, _, one in rows], variance, joint)[0]
        return [np.squeeze(one.logpdf(own) - other.logpdf(own)) for one, other, (own, _, _) in
                zip(inside, outside, rows, strict=True)]
    return [(own - mean) @ np.linalg.inv(covariance) @ shift if joint else (own[0] - one.mean()) / one.std()
            for one, mean, (own, _, _) in zip(outside, means, rows, strict=True)]


def plain_scores(method, pools, versions):
    """(the target's scores, the shadows' one after the other)."""
    games = [plain_game(pools, versions, player, method) for player in range(len(versions[0].models))]
    if method == learned.CALIBRATED_ALL:
        ours, *theirs = [[np.hstack([own, np.mean(out, 0)]) for own, out, _ in rows] for rows in games]
        fitted = classifiers.fit_logistic(np.concatenate(theirs), versions[0].shadow_member)
        return fitted.score(np.array(ours)), None
    shifts = []
    for rows, shadow in zip(games[1:], versions[0].shadows, strict=True):
        above = np.array([own - np.mean(out or [own], 0) for own, out, _ in rows])  # with a prior out may be empty
        shifts.append(np.subtract(*(above[flags].mean(0) for flags in (shadow.member, ~shadow.member))))
    others = [[one for one in range(len(shifts)) if one != place] for place in range(-1, len(shifts))]
    ours, *theirs = [plain_lira(method, rows, np.mean([shifts[one] for one in kept], 0))
                     for rows, kept in zip(games, others, strict=True)]
    return ours, np.concatenate(theirs)


@every_case
def test_a_plain_loop_gives_the_scores_of_target_and_shadows(known, pools, entry):
    versions = versions_of(entry, known(pools, 1.0, 120))
    found, (ours, shadows) = scored(entry, versions), plain_scores(METHODS[entry], pools, versions)
    np.testing.assert_allclose(found.scores, ours, rtol=1e-5, atol=1e-6)
    if METHODS[entry] != learned.CALIBRATED_ALL:  # whose scores there are cross-fitted
        np.testing.assert_allclose(found.on_shadow, shadows, rtol=1e-5, atol=1e-6)


@every_case
def test_null_models_give_a_coins_auc_and_leaks_are_caught(known, pools, entry):
    versions = versions_of(entry, known(pools, 0.0, 1600))
    member = versions[0].target.member
    assert abs(auc(scored(entry, versions).scores, member) - 0.5) < 3.29 * np.sqrt((len(member) + 1) / 3) / len(member)
    versions = versions_of(entry, known(pools, 2.0, 1600))
    found = scored(entry, versions)
    assert found.scores.dtype == np.float64 and found.decisions.dtype == bool
    for scores, flags in ((found.scores, versions[0].target.member), (found.on_shadow, versions[0].shadow_member)):
        assert auc(scores, flags) > 0.6
    assert found.decisions[versions[0].target.member].mean() > found.decisions[~versions[0].target.member].mean() + 0.1


@every_case
def test_the_targets_flags_change_nothing_and_swapped_shadows_mirror_what_is_fitted(known, pools, entry):
    versions = versions_of(entry, known(pools, 2.0, 1600))
    found, member = scored(entry, versions), versions[0].target.member
    other = scored(entry, [replace(one, target=turned(one.target)) for one in versions])
    assert all(np.array_equal(a, b) for a, b in zip(found[:3], other[:3], strict=True))
    swapped = scored(entry, [replace(one, shadows=tuple(map(turned, one.shadows))) for one in versions])
    fitted, before = not METHODS[entry].startswith("LiRA_offline"), auc(found.scores, member)
    assert auc(swapped.scores, member) == pytest.approx(1 - before if fitted else before, abs=0.04)
    if METHODS[entry] in equals.ONLINE:  # IN and OUT change places
        np.testing.assert_allclose(swapped.scores, -found.scores, rtol=1e-6, atol=1e-6)
    if pools == "disjoint" and not fitted:
        assert np.array_equal(swapped.scores, found.scores)


def test_several_versions_with_noise_of_their_own_find_more_than_one(known):
    for pools, kind in (("disjoint", "offline"), ("shared", "offline"), ("shared", "online")):
        read, name = known(pools, 2.0, 1600), f"joint_LiRA_{kind}"
        areas = [auc(scored(entry, versions_of(entry, read)).scores, read[ORIGINAL].target.member) for entry in (
            ("NR", f"LiRA_{kind} (pooled)"), ("SR", name), ("MR", f"{name} with the original"))]
        assert areas[0] + 0.03 < areas[1] < areas[2] - 0.01


def test_all_references_make_one_more_row_and_the_same_fit(known):
    versions = versions_of(("NR", "calibrated"), known("disjoint", 2.0, 1600))
    drawn, every = (nr.ATTACKS[name].run(versions[0], CONTEXT) for name in ("calibrated", "calibrated_all"))
    assert np.array_equal(drawn.on_shadow, every.on_shadow) and not np.array_equal(drawn.scores, every.scores)


@pytest.mark.parametrize(("pools", "shadow_num", "lacking", "line"), [
    ("disjoint", 1, equals.SEVERAL, equals.ONE_REFERENCE), ("shared", 2, equals.SEVERAL, equals.ONE_REFERENCE),
    ("shared", 1, equals.NAMES - {learned.CONFIDENCE}, equals.NO_REFERENCE)])
def test_with_too_few_references_rows_are_absent_in_one_line(made_up_run, pools, shadow_num, lacking, line):
    attacked = read_version(Run(made_up_run([], n=60, shadow_num=shadow_num, pools=pools)), ORIGINAL)
    assert equals.possible(attacked) == (equals.NAMES - lacking, [line])
    assert nr.possible(attacked)[1].count(line) == 1 and not nr.possible(attacked)[0].keys() & lacking
    assert line not in nr.possible(attacked, ["metric_based_1"])[1]


def test_where_a_shadow_of_disjoint_pools_is_attacked_nobody_trained_on_the_first_targets_pictures(made_up_run):
    layout = made_up_run([], n=300, shadow_num=3)
    attacked = read_version(Run(replace(layout, run_dir=layout.run_dir / "as_shadow_1")), ORIGINAL)
    assert not attacked.disjoint and equals.possible(attacked) == (equals.NAMES - equals.ONLINE, [equals.NONE_TRAINED])
    found = nr.ATTACKS["LiRA_offline (pooled)"].run(attacked, CONTEXT)
    assert np.isfinite(found.scores).all() and len(found.on_shadow) == 3 * len(found.scores)


@pytest.mark.parametrize(("pools", "shadow_num", "lacking", "line"), [
    ("disjoint", 2, equals.ONLINE, equals.NONE_TRAINED), ("shared", 3, set(), None)])
def test_from_the_commands_to_the_attackers_best(made_up_run, capsys, pools, shadow_num, lacking, line):
    layout = made_up_run([PRUNED, CLUSTERED], leak=1.0, n=300, shadow_num=shadow_num, pools=pools)
    for path in layout.run_dir.rglob("sensitivity.npz"):
        path.unlink()
    flags = ["--dataset_name", "digits", "--run_dir", str(layout.run_dir)]
    CompLeakNR.main([*flags, "--original"])
    said = capsys.readouterr().out
    assert line is None or said.count(f"\n{line}\n") == 1
    for technique, degree in (("pruning", "0.6"), ("clustering", "4")):
        named = ["--compress", "--compress_name", technique, "--compress_degree", degree]
        CompLeakNR.main([*flags, *named])
        CompLeakSR.main([*flags, "--original", *named])
    mr.main(flags)
    said = capsys.readouterr().out
    assert line is None or (f"MR: {line}" in said and f"original + clustering_4: {line}" in said)
    run = Run(layout)
    wanted = equals.NAMES - lacking
    for entered, setting, version in ((nr, "NR", ORIGINAL), (sr, "SR", PRUNED)):
        assert read_result(run, setting, version)["attacks"].keys() & equals.NAMES == entered.ATTACKS.keys() & wanted
    rows = {name.rsplit(", ", 1)[1] for name in read_multi(run)["attacks"]}
    assert rows == {row for row in mr.ROWS if row in mr.COLUMNS or mr.EQUALS[row][0] in wanted}
    claims.main(flags)
    judged = read_json(layout.result(ORIGINAL, "claims.json"))
    for way in ("every NR attack", "same family"):
        compared = [row["against"] + row["attack"] for row in judged["comparisons"] if row["judged"] == way]
        assert compared and not [words for words in compared if "LiRA" in words or "calibrated_all" in words]
    candidates = {method for (setting, _, method) in evidence.read(run).areas if setting != "MR"}
    assert candidates & equals.NAMES == wanted and judged["best"]["differences"]["MR - SR"]


def test_they_know_references_are_none_of_the_papers_and_liras_are_formulas():
    assert {mr.attack_of(f"any, {name}").knowledge if setting == "MR" else (nr if setting == "NR" else sr).ATTACKS[
        name].knowledge for _, (setting, name) in CASES} == {REFERENCE}
    assert not equals.SEVERAL.intersection(ablation.PAPER_NR)
    names = {f"all eight, {name}" if setting == "MR" else name for _, (setting, name) in CASES if "views" not in name}
    assert all((reference.allowed(name) == reference.FORMULA) == ("LiRA" in name) for name in names)
