"""evaluation/claims.py end to end on made-up runs whose attacks' strengths are planted."""
import contextlib
import io
import json
import re
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest

from attacks import mr
from attacks.attack import Options
from attacks.groups import groups_of, paper_groups
from common.errors import CompLeakError, UsageError
from common.files import read_json, write_json
from common.metrics import auc
from common.paths import ORIGINAL, Layout, Version
from common.seeds import derive_seed
from data.splits import make_split, to_json
from evaluation import claim_pairs, claims, claims_table
from evaluation.names import short
from evaluation.writing import WIDTH
from models.compression import paper_versions
from models.run import Run, Settings

FAMILY = {"SR1 (LR)": "SR1_twice (LR)", "SR1 (RF)": "SR1_twice (RF)",
          "SR2 (LR)": "SR2_twice (LR)", "SR2 (RF)": "SR2_twice (RF)", "confidence": "confidence",
          "calibrated": "calibrated"}
NR = ("metric_based_2", "train_based_1 (LR)", "train_based_1 (RF)", "train_based_2 (LR)", "train_based_2 (RF)", "RMIA",
      *FAMILY.values())
NON_MEMBERS = 1200


def planted(setting, model, attack):
    """How far members' scores are shifted: heavy compression leaks less, SR and MR beat all NR but RMIA."""
    if setting != "NR":
        return 1.2 if setting == "SR" or attack == mr.REPEATED else 1.5
    if attack == "train_based_1 (LR)":
        return 0.0
    return (2.5 if attack == "RMIA" else 0.8) - (0.5 if model in claim_pairs.HEAVY else 0.0)


@pytest.fixture(scope="module")
def make_run(made_up):
    """make(folder, seed, shift, versions, non_members, rmia_a, **settings) → a Run with NR, SR and MR made up.

    Light versions score almost as the original does, the others on their own.
    """

    def make(folder, seed=0, shift=planted, versions=None, non_members=NON_MEMBERS, rmia_a=0.5, **settings):
        versions = versions or paper_versions()
        run, rng = Run(Layout(folder, "digits", "resnet18")), np.random.default_rng(derive_seed(seed, "made up"))
        split = make_split(6 * non_members, seed, train_size=2 * non_members, data_digest="made up")
        settings = Settings(**{"data_label": "made up", "classes": ("0", "1"), "seed": seed, **settings})
        write_json(run.path, {"run": settings.as_json(), **to_json(split)})
        labels = rng.integers(2, size=split.n)
        for version, world in product(versions, split.worlds):
            made_up.answers(run.layout, version, world, split, labels, 0.0, 2, rng, moved=False)
            write_json(run.layout.file(version, world.name, "config.json"), {
                "settings": {"epochs": 3, "seed": seed, "parent": str(seed)}, "weights": f"{version} {world.name}"})
        member = np.isin(np.sort(split.target.evaluation), split.target.members)
        shared = rng.normal(size=len(member))
        noise = {attack: rng.normal(size=len(member)) for attack in NR}

        def result(version, setting, names, **more):
            scores = {}
            for model, attack, name in names:
                own = 0.002 if model in ("original", *claim_pairs.LIGHT) and setting == "NR" else 0.5
                base = 0.5 * shared + 0.8 * noise.get(attack, 0) + own * rng.normal(size=len(member))
                scores[name] = base + shift(setting, model, attack) * member
            made_up.scores(run, version, setting, {name: (one, one > 0.5) for name, one in scores.items()}, **more)

        for version in versions:
            nr, sr = ([(str(version), attack, attack) for attack in attacks] for attacks in (NR, FAMILY))
            result(version, "NR", nr, options=Options(rmia_a=rmia_a))
            if version != ORIGINAL:
                result(version, "SR", sr)
        groups = groups_of([version for version in versions if version != ORIGINAL])
        if groups:
            result(ORIGINAL, "MR", [(group, knows, f"{group}, {knows}") for group, knows in
                                    product(groups, mr.COLUMNS)], groups=groups)
        return run

    return make


def run_main(*runs):
    claims.main(["--dataset_name", "digits", "--run_dir", *(str(run.layout.run_dir) for run in runs)])
    return json.loads(runs[0].layout.result(ORIGINAL, "claims.json").read_text())


def chosen(saved, **wanted):
    return [row for row in saved["comparisons"] if all(row[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def two_seeds(make_run, tmp_path_factory):
    """Two whole runs, judged together, and what was printed: (Runs, values of claims.json, text)."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [make_run(folder / f"seed_{seed}", seed) for seed in (3, 4)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        saved = run_main(*runs)
    return runs, saved, out.getvalue()


def test_planted_strengths_decide_every_claim(two_seeds):
    _, saved, out = two_seeds
    verdicts = saved["verdicts"]
    assert verdicts["C1"]["verdict"] == "supported"
    assert {way: words["auc"] for way, words in verdicts["C1"]["judged"].items()} == {
        "every NR attack": "supported", "equivalence": "supported"}
    assert verdicts["C1"]["text"].startswith("C1 supported. Heavily compressed models")
    for claim in ("C2", "C3"):
        assert {way: words["auc"] for way, words in verdicts[claim]["judged"].items()} == {
            "same family": "supported", "every NR attack": "contradicted"}
        assert verdicts[claim]["verdict"] == "contradicted" and "against RMIA on" in verdicts[claim]["text"]
    assert [run["seed"] for run in saved["runs"]] == [3, 4] and saved["format"] == claims.FORMAT
    needed = {"claim", "version", "judged", "metric", "attack", "against", "difference", "interval", "p", "p_holm",
              "verdict", "per_seed", "spread"}
    assert all(needed <= row.keys() and len(row["per_seed"]) == 2 for row in saved["comparisons"])
    shown = out[out.index("claims  The paper's claims") : out.index("claims.json written to")]
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("C")][:3] == [
        f"{claim} {verdicts[claim]['verdict']}" for claim in ("C1", "C2", "C3")]
    assert out.index("C1 supported: Heavily") < out.index("\nVerdicts") < out.index("Rules.")
    assert max(map(len, shown.splitlines())) <= WIDTH and "p Holm" in shown
    assert "seeds 3, 4: made up, 1,200 members and 1,200 non-members" in " ".join(shown.split())


def test_comparisons_are_those_that_the_rules_name(two_seeds):
    saved = two_seeds[1]
    both = {"claim": "C2", "version": "pruning_0.6", "metric": "auc"}
    assert {(row["attack"], row["against"]) for row in chosen(saved, **both, judged="same family")} == {
        (f"{attack} on original + pruning_0.6", f"{against} on {model}")
        for attack, against in FAMILY.items() for model in ("original", "pruning_0.6")}
    assert {(row["attack"], row["against"]) for row in chosen(saved, **both, judged="every NR attack")} == {
        ("SR2 (RF) on original + pruning_0.6", f"{name} on {model}")
        for name, model in product(NR, ("original", "pruning_0.6"))}
    for group, versions in paper_groups().items():
        members = list(map(str, versions))
        for knows, attack, models in (("with", "SR2 (RF) on original +", ["original", *members]),
                                      ("without", "train_based_2 (RF) on", members)):
            wanted = {"claim": "C3", "version": f"{group}, {knows} the original", "metric": "tpr"}
            assert [row["against"] for row in chosen(saved, **wanted, judged="same family")] == [
                *(f"{attack} {model}" for model in members), f"MR of {group}, original repeated"]
            assert {row["against"] for row in chosen(saved, **wanted, judged="every NR attack")} == {
                f"{name} on {model}" for name, model in product(NR, models)}
    light = chosen(saved, claim="C1", judged="equivalence")
    assert {row["version"] for row in light} == set(claim_pairs.LIGHT) and {row["metric"] for row in light} == {"auc"}
    heavy = chosen(saved, claim="C1", judged="every NR attack", metric="auc")
    assert {row["version"] for row in heavy} == set(claim_pairs.HEAVY) and len(heavy) == 2 * len(NR)
    assert {row["attack"].split(" on ")[0] for row in heavy if not row["counts"]} == {"train_based_1 (LR)"}


def test_differences_are_those_of_the_saved_scores(two_seeds):
    runs, saved, _ = two_seeds
    row = chosen(saved, claim="C2", metric="auc", attack="SR2 (RF) on original + pruning_0.6",
                 against="RMIA on original")[0]
    expected = []
    for run in runs:
        with np.load(run.layout.result(Version("pruning", "0.6"), "SR_scores.npz")) as sr, \
                np.load(run.layout.result(ORIGINAL, "NR_scores.npz")) as nr:
            expected.append(auc(sr["SR2 (RF)"], sr["member"]) - auc(nr["RMIA"], nr["member"]))
    assert row["per_seed"] == pytest.approx(expected, rel=1e-5)
    assert row["difference"] == pytest.approx(np.mean(expected), rel=1e-5) and row["verdict"] == "contradicted"
    assert row["spread"] == pytest.approx(np.std(expected, ddof=1), rel=1e-5)


def test_attacks_that_see_nothing_decide_nothing(make_run, tmp_path):
    some = [ORIGINAL, *(Version(*name.split("_")) for name in ("pruning_0.6", *claim_pairs.HEAVY))]
    saved = run_main(make_run(tmp_path / "run", shift=lambda *key: 0.0, versions=some))
    words = {row["verdict"] for row in saved["comparisons"] if row["judged"] != "equivalence"}
    assert words == {"undecided"}
    assert [saved["verdicts"][claim]["verdict"] for claim in ("C2", "C3")] == ["undecided"] * 2
    assert saved["verdicts"]["C1"]["judged"]["every NR attack"]["auc"] == "undecided"


def test_table_holds_every_comparison_and_the_rules(two_seeds):
    (run, _), saved, _ = two_seeds
    table, folder = claims_table.table_of(claims.judged(run)), run.layout.tables
    assert table.name == "claims" and len(table.frame) == len(saved["comparisons"])
    csv = pd.read_csv(folder / "claims.csv")
    assert list(csv["difference"]) == pytest.approx([row["difference"] for row in saved["comparisons"]])
    page = (folder / "claims.md").read_text()
    for text in (*claims_table.RULES, *(verdict["text"] for verdict in saved["verdicts"].values())):
        assert text in page
    auc_lines = table.blocks["AUC, in points"]
    assert len(auc_lines) == 2 + 3 + 8 * 7 + 4 * 2 * 2 and (folder / "claims.tex").exists()
    lines = auc_lines.set_index(["what", "judged by"])
    line = lines.loc["pruned 60%, SR2 RF", "every NR attack"]
    row = min(chosen(saved, claim="C2", version="pruning_0.6", metric="auc", judged="every NR attack"),
              key=lambda row: row["difference"])
    low, high = row["interval"]
    assert line["difference"] == f"{100 * row['difference']:+.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    assert row["against"].startswith("RMIA") and line["hardest against"] == short(row["against"])
    assert (line["verdict"], line["supported"]) == ("contradicted", f"{2 * len(NR) - 2} of {2 * len(NR)}")


def test_nothing_is_judged_without_claims_and_after_results_have_changed(make_run, tmp_path, capsys):
    run = make_run(tmp_path / "run", versions=[ORIGINAL, Version("pruning", "0.9")], non_members=300)
    assert claims.judged(run) is None
    run_main(run)
    path = run.layout.result(ORIGINAL, "NR.json")
    path.write_text(path.read_text() + " ")
    assert claims.judged(run) is None
    assert "run python -m evaluation.claims --dataset_name digits" in capsys.readouterr().out


@pytest.mark.parametrize("which", [0, 1])
def test_claims_outlive_neither_protocol_nor_answers_of_any_of_their_runs(make_run, made_up, tmp_path, capsys, which):
    few = [ORIGINAL, Version("pruning", "0.9")]
    run_main(*(make_run(tmp_path / "runs" / str(seed), seed, versions=few, non_members=300) for seed in (0, 1)))
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    first, second, changed = (Run(Layout(tmp_path / "elsewhere" / str(seed), "digits", "resnet18"))
                              for seed in (0, 1, which))
    assert claims.judged(Run(first.layout))
    changed.layout.run_dir.rename(tmp_path / "away")
    assert claims.judged(Run(first.layout)) is None
    (tmp_path / "away").rename(changed.layout.run_dir)
    saved = read_json(changed.path)
    write_json(changed.path, {**saved, "run": {**saved["run"], "protocol": "augmented_members"}})
    assert claims.judged(Run(first.layout)) is None
    write_json(changed.path, saved)
    assert claims.judged(first)
    made_up.answers(changed.layout, few[1], changed.split.target, changed.split,
                    np.zeros(changed.split.n, int), 0.0, 2, np.random.default_rng(5), moved=False)
    assert claims.judged(Run(first.layout), Run(second.layout)) is None
    both = f"evaluation.claims .* --run_dir {first.layout.run_dir} {second.layout.run_dir}\n"
    assert re.search(both, capsys.readouterr().out)


def test_missing_pieces_are_left_out_with_their_command(make_run, tmp_path, capsys):
    few = [ORIGINAL, Version("pruning", "0.6"), Version("pruning", "0.9")]
    run = make_run(tmp_path / "run", versions=few, non_members=600)
    run.layout.result(ORIGINAL, "MR.json").unlink()
    run.layout.result(few[1], "SR.json").unlink()
    saved = run_main(run)
    assert {row["version"] for row in chosen(saved, claim="C2")} == {"pruning_0.9"} and not chosen(saved, claim="C3")
    assert {row["metric"] for row in saved["comparisons"]} == {"auc"} and "C3" not in saved["verdicts"]
    # 90% pruned leaks less and 60% pruned as much, but 4 centroids, int8 and 16 centroids are not there.
    assert {way: words["auc"] for way, words in saved["verdicts"]["C1"]["judged"].items()} == {
        "every NR attack": "undecided", "equivalence": "undecided"}
    text = saved["verdicts"]["C1"]["text"]
    assert "undecided (1 of 2, 1 missing; " in text and "undecided (1 of 3, 2 missing; " in text
    assert saved["verdicts"]["C2"]["judged"]["same family"]["auc"] == "undecided"
    assert "undecided (6 of 48, 42 missing; " in saved["verdicts"]["C2"]["text"]
    out = capsys.readouterr().out
    for words in ("MR is left out: ", "run python -m attacks.mr", "SR lacks pruning_0.6", "python CompLeakSR.py",
                  "SAMIA is left out for original, pruned 60%, pruned 90%", "without --no-sensitivity",
                  "TPR at 0.1% FPR is not compared"):
        assert words in out
    run.layout.result(ORIGINAL, "NR.json").unlink()
    with pytest.raises(CompLeakError, match="nothing to compare yet: run python CompLeakNR.py"):
        run_main(run)


@pytest.mark.parametrize(("change", "says"), [
    ({"seed": 0}, "both have seed 0"), ({"rmia_a": 0.3}, "rmia_a of NR on original is 0.3, in .*one it is 0.5"),
    ({"protocol": "rmia_population"}, "protocol of the run is rmia_population, in .*one it is sound"),
    ({"augment": False}, "augment of the run is False"), ({"non_members": 500}, "pictures of the run is 3000")])
def test_runs_that_differ_in_more_than_the_seed_are_refused(make_run, tmp_path, change, says):
    few = [ORIGINAL, Version("pruning", "0.9")]
    one, two = (make_run(tmp_path / name, versions=few, **{"non_members": 300, **settings})
                for name, settings in (("one", {}), ("two", {"seed": 1, **change})))
    with pytest.raises(UsageError, match=says) as error:
        run_main(one, two)
    assert "\n" not in str(error.value) and not one.layout.result(ORIGINAL, "claims.json").exists()


def test_models_of_other_epochs_and_scores_of_other_points_are_refused(make_run, tmp_path, edit_json):
    few = [ORIGINAL, Version("pruning", "0.9")]
    one, two = (make_run(tmp_path / str(seed), seed, versions=few, non_members=300) for seed in (0, 1))
    for world in ("target", "shadow_0"):
        edit_json(two.layout.file(few[1], world, "config.json"), settings={"epochs": 5})
    with pytest.raises(UsageError, match="epochs of the model pruning_0.9 is 5, in .* it is 3"):
        run_main(one, two)
    path = one.layout.result(few[1], "NR_scores.npz")
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **{**arrays, "index": arrays["index"] + 1})
    with pytest.raises(CompLeakError, match="scores other points than the run's other attacks"):
        run_main(one)


def test_an_attack_that_one_run_lacks_is_left_out_of_all(make_run, tmp_path, capsys):
    few = [ORIGINAL, Version("pruning", "0.9")]
    one = make_run(tmp_path / "one", versions=few, non_members=300)
    two = make_run(tmp_path / "two", 1, versions=few[:1], non_members=300)
    saved = run_main(one, make_run(tmp_path / "three", 2, versions=few, non_members=300))
    assert chosen(saved, claim="C2")
    with pytest.raises(CompLeakError, match="nothing to compare"):
        run_main(one, two)
    assert "left out, since not every run has all of its attacks: some of NR pruning_0.9" in capsys.readouterr().out
