"""evaluation/tables.py on small made-up runs: every number in a table is one of the JSON files', and none is picked."""
import csv
import re

import numpy as np
import pandas as pd
import pytest

from attacks import nr, results
from attacks.saved import context_of, read_multi
from common.errors import CompLeakError
from common.files import read_json, write_json
from common.metrics import auc
from common.paths import ORIGINAL, Layout, Version
from data.splits import make_split, to_json
from evaluation import tables, writing
from evaluation.evidence import read
from evaluation.names import short
from models.compression import paper_versions
from models.run import Run, Settings

NR = ("SAMIA", "metric_based_1", "metric_based_2", "loss_threshold", "correctness", "train_based_1 (LR)",
      "train_based_1 (RF)", "train_based_2 (LR)", "train_based_2 (RF)", "RMIA", "RMIA (population)")
SR = ("SR1 (LR)", "SR1 (RF)", "SR2 (LR)", "SR2 (RF)")
LABEL = "my_set & 50%"
PAPER = tuple(paper_versions())
PRUNED, CLUSTERED = Version("pruning", "0.9"), Version("clustering", "4")


def digits(rng, resolvable):
    """Metrics with the keys of `evaluate` and values that need every digit."""
    values = {"acc": 0.5 + rng.random() / 3, "auc": 0.5 + rng.random() / 3, "tpr": 0.02 + rng.random() / 100,
              "tpr_1": 0.05 + rng.random() / 100}
    return {**values, **{f"{rate}_interval": [value - rng.random() / 100, value + rng.random() / 100]
                        for rate, value in values.items()},
            "tpr_resolvable": resolvable, "fpr_of_decision": rng.random(), "members": 670,
            "non_members": 1000 if resolvable else 670}


@pytest.fixture
def train(made_up):
    """train(run, version, seed): answers and config.json of one version's models as that seed's training left them."""

    def make(run, version, seed=0):
        rng = np.random.default_rng([seed, *str(version).encode()])
        for world in run.split.worlds:
            made_up.answers(run.layout, version, world, run.split, np.arange(run.split.n) % 2, 0.0, 2, rng)
            config = {"settings": {"epochs": 3}, "weights": f"{version} {world.name}", "bytes": 1_234_567,
                      "ratio": 7.477, "accuracy_in": 0.98765, "accuracy_out": 0.8}
            if version != ORIGINAL:
                config["before"] = {"accuracy_in": 1.0, "accuracy_out": 0.87654, "bytes": 9_000_000}
            write_json(run.layout.file(version, world.name, "config.json"), config)

    return make


@pytest.fixture
def make_run(made_up, train, tmp_path):
    """make(versions, resolvable, multi) → a Run of made-up answers and metrics, in the files that commands write."""

    def make(versions=PAPER, resolvable=True, multi=True):
        run, split, rng = Run(Layout(tmp_path, "digits", "resnet18")), make_split(400, 0), np.random.default_rng(0)
        settings, n = Settings(data_label=LABEL, classes=("0", "1"), train_size=133), len(split.target.evaluation)
        write_json(run.path, {"run": settings.as_json(), **to_json(split)})
        for version in versions:
            train(run, version)

        def result(version, setting, names, groups=None):
            made_up.scores(run, version, setting, {name: (rng.random(n), np.arange(n) < 1) for name in names}, groups)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(results, "evaluate", lambda *_: digits(rng, resolvable))
            for version in versions:
                result(version, "NR", NR)
                if version != ORIGINAL:
                    result(version, "SR", SR)
            pair = [version for version in (PRUNED, CLUSTERED) if version in versions]
            if multi and pair:
                result(ORIGINAL, "MR", ["pair, with the original", "pair, without the original"], {"pair": pair})
        return run

    return make


def built(run):
    return {table.name: table for table in tables.build(read(run))}


def run_main(run):
    tables.main(["--run_dir", str(run.layout.run_dir), "--dataset_name", "digits"])


def saved_attacks(run, version, setting):
    """{attack: metrics} of one result file."""
    return read_json(run.layout.result(version, f"{setting}.json"))["attacks"]


def brief(metrics):
    """An AUC as an overview shows it: per cent, and half the width of its interval."""
    low, high = metrics["auc_interval"]
    return f"{100 * metrics['auc']:.1f} ±{100 * (high - low) / 2:.1f}"


def test_csv_keeps_every_value_of_the_json_files(make_run):
    run = make_run()
    run_main(run)
    with open(run.layout.tables / "C1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(PAPER) * len(NR)
    for row in rows:
        version = next(version for version in PAPER if str(version) == row["model"])
        metrics = saved_attacks(run, version, "NR")[row["attack"]]
        for rate in ("acc", "auc", "tpr", "tpr_1"):
            found = [float(row[key]) for key in (rate, f"{rate}_low", f"{rate}_high")]
            assert found == [metrics[rate], *metrics[f"{rate}_interval"]]
        for key in ("fpr_of_decision", "tpr_resolvable", "members", "non_members"):
            assert row[key] == str(metrics[key])
        assert row["shadows"] == "1"


def test_markdown_shows_per_cent_with_intervals(make_run):
    run = make_run([ORIGINAL, PRUNED])
    path = run.layout.result(ORIGINAL, "NR.json")
    saved = read_json(path)
    saved["attacks"]["RMIA"] |= {"acc": 0.61234, "acc_interval": [0.6, 0.62346], "tpr": 0.0447,
                                 "tpr_interval": [0.03, 0.05], "auc": 0.7, "auc_interval": [0.695, 0.705],
                                 "tpr_1": 0.1, "tpr_1_interval": [0.08, 0.12]}
    write_json(path, saved)
    run_main(run)
    page = (run.layout.tables / "C1.md").read_text()
    row = "| original | 61.23 [60.00, 62.35] | 70.00 [69.50, 70.50] | 4.47 [3.00, 5.00] | 10.00 [8.00, 12.00] |"
    assert row in page.split("## RMIA\n")[1].split("## ")[0]
    first = page.split("## ACC (%)\n")[1].split("## ")[0].strip().splitlines()
    heads, cells = ([cell.strip() for cell in line.split("|")] for line in (first[0], first[-2]))
    assert heads[1:3] == ["attack", "original"] and cells[heads.index("original")] == "61.2 ±1.2"


def test_table_of_the_models(make_run):
    table = built(make_run())["models"]
    text = table.blocks["Models"].set_index("model")
    assert list(text.index) == [short(str(version)) for version in PAPER]
    assert list(text.loc["16 centroids"]) == ["16 centroids a layer, 4 bits a weight", "98.77", "80.00", "100.00",
                                               "87.65", "1.23", "7.48"]
    assert list(text.loc["original"])[3:5] == ["-", "-"] and text.loc["original", "times smaller"] == "-"
    assert table.frame["accuracy_in"].eq(0.98765).all() and table.frame["bytes"].eq(1_234_567).all()


def test_sr_stands_beside_every_nr_attack_on_both_models(make_run):
    run = make_run()
    frame = built(run)["C2"].frame
    assert len(frame) == 8 * (2 * len(NR) + len(SR))
    part = frame[frame["version"] == "pruning_0.9"]
    for setting, version, name, attacks in (("NR original", ORIGINAL, "NR", NR), ("NR compressed", PRUNED, "NR", NR),
                                            ("SR", PRUNED, "SR", SR)):
        rows, saved = part[part["setting"] == setting], saved_attacks(run, version, name)
        assert tuple(rows["attack"]) == attacks
        assert list(rows["auc"]) == [saved[attack]["auc"] for attack in attacks]


def test_overview_of_sr_has_each_model_once(make_run):
    run = make_run([ORIGINAL, PRUNED])
    text = built(run)["C2"].blocks["AUC (%)"].set_index("attack")
    assert list(text.columns) == ["original", "pruned 90%"]
    original, pruned = (saved_attacks(run, version, "NR") for version in (ORIGINAL, PRUNED))
    assert text.loc["RMIA", "original"] == brief(original["RMIA"])
    assert text.loc["RMIA", "pruned 90%"] == brief(pruned["RMIA"])
    assert list(text.loc["SR2 RF"]) == ["-", brief(saved_attacks(run, PRUNED, "SR")["SR2 (RF)"])]


def test_mr_stands_beside_sr2_of_its_group_and_rmia(make_run):
    run = make_run()
    frame = built(run)["C3"].frame
    assert list(zip(frame["setting"], frame["attack"], strict=True)) == [
        ("MR with the original", "MR"), ("MR without the original", "MR"), ("SR pruning_0.9", "SR2 (LR)"),
        ("SR pruning_0.9", "SR2 (RF)"), ("SR clustering_4", "SR2 (LR)"), ("SR clustering_4", "SR2 (RF)"),
        ("NR original", "RMIA")]
    multi = saved_attacks(run, ORIGINAL, "MR")
    assert list(frame["auc"])[:2] == [metrics["auc"] for metrics in multi.values()]
    shown = tables.readable(frame)
    assert list(shown.columns) == ["group", "setting", "attack", *tables.RATES.values()]
    assert shown["AUC (%)"][0].startswith(f"{100 * frame['auc'][0]:.2f} [")


def test_no_row_or_order_depends_on_the_results(make_run, tmp_path):
    run = make_run()
    labels = {name: table.frame.loc[:, :"attack"] for name, table in built(run).items() if name != "models"}
    for path in tmp_path.rglob("?R.json"):
        saved = read_json(path)
        swapped = [dict(metrics) for metrics in saved["attacks"].values()][::-1]
        for own, other in zip(saved["attacks"].values(), swapped, strict=True):
            own |= {**other, "inputs": own["inputs"], "digest": own["digest"]}
        write_json(path, saved)
    after = built(run)
    for name in ("C1", "C2", "C3"):
        pd.testing.assert_frame_equal(labels[name], after[name].frame.loc[:, :"attack"])


def test_tpr_that_cannot_be_resolved_is_not_shown(make_run):
    run = make_run([ORIGINAL, PRUNED, CLUSTERED], resolvable=False)
    run_main(run)
    made = built(run)
    for name in ("C1", "C2", "C3"):
        assert "not resolvable with fewer than 1,000 non-members" in made[name].caption
        assert tables.RATES["tpr"] not in made[name].blocks
        texts = [text for text in made[name].blocks.values() if tables.RATES["tpr"] in text]
        assert texts and all(text[tables.RATES["tpr"]].eq("not resolvable").all() for text in texts)
        assert "not resolvable |" in (run.layout.tables / f"{name}.md").read_text()


@pytest.mark.parametrize("name", ["models", "C1", "C2", "C3"])
def test_latex_is_well_formed(make_run, name):
    page = writing.latex(built(make_run([ORIGINAL, PRUNED, CLUSTERED]))[name])
    assert r"my\_set \& 50\%" in page and LABEL not in page
    for environment in ("table", "tabular", "adjustbox"):
        assert page.count(rf"\begin{{{environment}}}") == page.count(rf"\end{{{environment}}}") > 0
    bare = re.sub(r"\\[&%$#_{}]", "", page.split("\n", 1)[1])
    assert bare.count("{") == bare.count("}") and not re.search(r"[%$#_]", bare)
    for block in bare.split(r"\begin{tabular}")[1:]:
        rows = [line for line in block.split(r"\bottomrule")[0].splitlines() if line.endswith(r"\\")]
        columns = len(re.match(r"\{(l+)\}", block)[1])
        assert len(rows) > 1 and all(row.count("&") == columns - 1 for row in rows)


def test_missing_versions_are_named_with_their_commands(make_run, tmp_path, capsys):
    run = make_run([ORIGINAL, PRUNED, CLUSTERED], multi=False)
    made, flags = built(run), f"--dataset_name digits --model_name resnet18 --run_dir {tmp_path}"
    lines = capsys.readouterr().out.splitlines()
    assert list(made) == ["models", "C1", "C2"] and len(lines) == 4
    assert set(made["C1"].frame["model"]) == {"original", "pruning_0.9", "clustering_4"}
    assert "clustering_16" in lines[3] and "python clustering/clustering.py" in lines[3] and "--bit 4" in lines[3]
    for line, setting, pair in ((lines[0], "NR", ""), (lines[1], "SR", " --original")):
        assert line.startswith(f"{setting} lacks pruning_0.6, pruning_0.7, pruning_0.8, quantization_int8, ")
        assert (f"python CompLeak{setting}.py {flags}{pair} --compress --compress_name pruning "
                "--compress_degree 0.6 0.7 0.8;") in line
    assert lines[2].startswith("MR is left out") and lines[2].endswith(f"run python -m attacks.mr {flags}")
    with pytest.raises(CompLeakError, match="python -m attacks.mr"):
        read_multi(run)


@pytest.fixture(params=["trained and asked again", "trained again"])
def change(request, train, edit_json):
    """change(run, version): other answers, or a config.json that tells of other weights than those that answered."""
    if "asked" in request.param:
        return lambda run, version: train(run, version, seed=1)
    return lambda run, version: edit_json(run.layout.file(version, "target", "config.json"), weights="others")


def test_results_of_other_weights_are_left_out(make_run, change, capsys):
    run = make_run([ORIGINAL, PRUNED, CLUSTERED])
    change(run, PRUNED)
    made = built(Run(run.layout))
    assert set(made["C1"].frame["model"]) == {"original", "clustering_4"}
    assert set(made["C2"].frame["version"]) == {"clustering_4"}
    assert "C3" not in made and "NR lacks pruning_0.6, pruning_0.7, pruning_0.8, pruning_0.9" in capsys.readouterr().out


def test_pairs_with_another_original_are_left_out(make_run, change):
    run = make_run([ORIGINAL, PRUNED], multi=False)
    change(run, ORIGINAL)
    made = built(Run(run.layout))
    assert "C2" not in made and set(made["C1"].frame["model"]) == {"pruning_0.9"}


def test_main_prints_the_claims_and_where_they_come_from(make_run, capsys):
    run = make_run()
    run_main(run)
    out = capsys.readouterr().out
    names = {f"{name}.{ending}" for name in ("models", "C1", "C2", "C3") for ending in ("md", "csv", "tex")}
    assert {path.name for path in run.layout.tables.iterdir()} == names
    split = make_split(400, 0)
    for fact in (LABEL, "134 rows of the target, 67 of them members", "133 members", "seed 0", split.digest,
                 "1 shadow model(s)", "RMIA with a = 0.5"):
        assert fact in " ".join(out.split())
        assert fact in (run.layout.tables / "C1.md").read_text()
    shown = out[out.index("C1  ") :].splitlines()[:-1]
    assert len(shown) > 60 and max(map(len, shown)) <= writing.WIDTH


def test_reads_what_the_attack_scripts_write(make_run):
    run = make_run([ORIGINAL], multi=False)
    run.layout.result(ORIGINAL, "NR.json").unlink()
    attacked, _ = nr.attack_version(run, ORIGINAL, context_of(run), ["RMIA"])
    _, member, scored = results.Results(run, ORIGINAL, "NR").scored(["RMIA"])
    frame, expected = built(run)["C1"].frame, auc(scored["RMIA"].scores, member)
    assert list(frame["attack"]) == ["RMIA"] and not frame["tpr_resolvable"].any()
    assert list(frame["auc"]) == [attacked["attacks"]["RMIA"]["auc"]] == [expected]
