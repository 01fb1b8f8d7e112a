"""evaluation/report.py on made-up runs: the page's structure, its numbers, and that nothing from a file is markup."""
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from attacks.results import Results
from common.errors import UsageError
from common.files import save_arrays, write_json
from common.paths import ORIGINAL, Layout, Version
from data import cache, sets
from evaluation import exposed, report, report_parts
from evaluation.evidence import read
from models.compression import paper_versions
from models.run import Run

SOME = (ORIGINAL, Version("pruning", "0.9"), Version("clustering", "4"))
LABEL = "<script>alert('x')</script> & \"set\""
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Tags in order, texts of headings, tables as rows of texts, and whether every tag is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.tables, self.headings, self.text = [], [], [], [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td", "caption"):
            (self.tables[-1][-1] if tag != "caption" else self.tables[-1]).append("")
        if tag in ("h1", "h2"):
            self.headings.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data
        elif self.open and self.open[-1] == "caption":
            self.tables[-1][-1] += data
        elif self.open and self.open[-1] in ("h1", "h2"):
            self.headings[-1] += data

    def table(self, caption):
        """The rows below this caption, head first."""
        return next(rows[1:] for rows in self.tables if rows[0] == caption)


def written(runs):
    report.main(["--dataset_name", "digits", "--run_dir", *(str(run.layout.run_dir) for run in runs)])
    return Page(runs[0].layout.result(ORIGINAL, "report.html").read_text())


def nr(run, version=ORIGINAL):
    """{attack: metrics} of a version's NR.json."""
    return json.loads(run.layout.result(version, "NR.json").read_text())["attacks"]


@pytest.fixture(scope="module")
def one(tmp_path_factory, scored_run):
    """(Run, page) of one run on real digits, under a hostile name."""
    run = scored_run(tmp_path_factory.mktemp("one"), label=LABEL, data=sets.load("digits", image_size=8),
                     versions=SOME)
    return run, written([run])


def test_page_is_self_contained_and_nothing_from_files_is_markup(one):
    page = one[1]
    assert "script" not in page.tags and LABEL in page.headings[0] and LABEL in page.text
    for tag, attributes in page.attributes:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#")), attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "img" or attributes["alt"]
    assert ("html", {"lang": "en"}) in page.attributes and page.tags.count("title") == page.tags.count("h1") == 1
    anchors = {attributes["id"] for tag, attributes in page.attributes if tag == "section"}
    links = {attributes["href"][1:] for tag, attributes in page.attributes if tag == "a"}
    assert links == anchors >= {"run", "models", "c1", "c2", "c3", "roc", "auc", "scores", "exposed", "deviations"}


def test_tables_hold_the_numbers_of_the_result_files(one):
    run, page = one
    head, *rows = page.table("AUC (%)")
    assert head == ["attack", "original", "pruned 90%", "4 centroids"]
    assert [row[0] for row in rows] == ["metric1", "metric2", "train2 RF", "RMIA"]
    for place, version in enumerate(SOME, 1):
        for row, metrics in zip(rows, nr(run, version).values(), strict=True):
            assert row[place].startswith(f"{100 * metrics['auc']:.1f} ±")


EXPOSED = "The members most exposed: non-members that score as high, per cent"


def test_the_most_exposed_members_come_with_picture_class_and_shares(one):
    run, page = one
    head, *rows = page.table(EXPOSED)
    assert head == ["member", "original", "pruned 90%", "4 centroids"] and len(rows) == 12
    data = sets.load("digits", image_size=8)
    index, member, found = Results(run, ORIGINAL, "NR").scored(["RMIA"])
    scores = found["RMIA"].scores
    share = 100 * (scores[~member] >= max(scores[member])).mean()
    assert share < 1 and rows[0][1] == f"{share:.2f}"
    members = set(index[member].tolist())
    for row in rows:
        number, label = row[0].strip().split(", ")
        assert int(number) in members and label == str(data.labels[int(number)])
    pictures = [attributes for tag, attributes in page.attributes if tag == "img" and "image/png" in attributes["src"]]
    assert [picture["alt"].split()[1] for picture in pictures] == [row[0].strip().split()[0] for row in rows]
    assert exposed.MEANING in page.text and "highest RMIA score on the original" in page.text


def test_members_are_named_as_tied_and_not_shown_by_an_attack_at_chance(tmp_path, scored_run, made_up):
    run = scored_run(tmp_path, versions=SOME[:2])
    index, member, scored = Results(run, ORIGINAL, "NR").scored(nr(run))

    def attacked(**changed):
        run.layout.result(ORIGINAL, "NR.json").unlink()
        found = {name: (changed.get(name, one.scores), one.decisions) for name, one in scored.items()}
        made_up.scores(run, ORIGINAL, "NR", found)
        return exposed.shown(read(run), None)

    tied = np.where(member & (np.cumsum(member) <= 40), 1e6, scored["RMIA"].scores)
    assert "40 members tie at the lowest score shown, of which the first 12 by index" in attacked(RMIA=tied)["notes"][1]
    blind = np.random.default_rng(0).permutation(len(index)).astype(float)
    second = attacked(RMIA=blind)
    assert "highest metric2 score" in second["notes"][1] and len(second["cards"]["rows"]) == 12
    nobody = attacked(RMIA=blind, metric_based_2=blind)
    assert "cards" not in nobody and "no attack of RMIA and metric_based_2 is told from chance" in nobody["notes"][0]


def test_without_the_data_there_are_indices_classes_and_one_line(tmp_path, scored_run):
    run = scored_run(tmp_path, versions=SOME)
    page, answers = written([run]), run.queries(ORIGINAL, "target")
    rows = [row[0].strip().split(", ") for row in page.table(EXPOSED)[1:]]
    assert len(rows) == 12 and "picture" not in page.text
    at = answers.rows(np.array([int(index) for index, _ in rows]))
    assert [label for _, label in rows] == [str(label) for label in answers.labels[at]]
    assert f"Pictures are not shown: digits is not the data that {run.path} was made from: name the same" in page.text


def test_nothing_is_downloaded_for_the_report(tmp_path, scored_run, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "empty")
    root = scored_run(tmp_path, versions=SOME[:1]).layout.root()
    root.rename(root.with_name("cifar10_resnet18"))
    data, why = exposed.pictures(Run(Layout(tmp_path, "cifar10", "resnet18")), None)
    assert data is None and "CIFAR-10 is not in data/datasets/" in why


def test_deviations_say_what_was_less_than_the_appendix(one):
    text = one[1].text
    for sentence in ("Each model has 598 members; the design has 20,000.", "Seeds: 1. Shadow models: 1.",
                     "original: 3 epochs at learning rate 0.01; the appendix has 100 at 0.1.",
                     "4 centroids: 3 epochs at learning rate 0.01; the appendix has 30 at 0.00001.",
                     "SAMIA is left out for original, pruned 90%, 4 centroids", "allows 0 false positive(s) among 300"):
        assert sentence in text


def test_several_seeds_show_mean_spread_and_points(tmp_path, scored_run):
    runs = [scored_run(tmp_path / str(seed), seed=seed, versions=SOME) for seed in (4, 7)]
    page = written(runs)
    head, *rows = page.table("AUC (%)")
    assert head == ["attack", "mean", "t interval", "spread", "seed 4", "seed 7"]
    values = [100 * nr(run)["RMIA"]["auc"] for run in runs]
    assert page.headings[0].endswith("seeds 4, 7") and page.headings[1] == "Over seeds 4, 7"
    row = next(row for row in rows if row[0] == "RMIA, original")
    spread = abs(values[0] - values[1]) / 2**0.5
    mean, half = sum(values) / 2, 12.7062 * spread / 2**0.5  # Student's t at one degree of freedom
    assert row[1:] == [f"{mean:.2f}", f"[{mean - half:.2f}, {mean + half:.2f}]",
                       *(f"{number:.2f}" for number in (spread, *values))]
    row = next(row for row in page.table("TPR at 1% FPR (%)")[1:] if row[0] == "RMIA, original")
    assert row[4:] == [f"{100 * nr(run)['RMIA']['tpr_1']:.2f}" for run in runs]
    assert not runs[1].layout.result(ORIGINAL, "report.html").exists()


def test_the_seeds_show_samia_where_a_run_has_it(tmp_path, scored_run, made_up):
    run = scored_run(tmp_path, versions=SOME)
    assert "SAMIA, original" not in report_parts.main_rows(read(run))
    _, _, scored = Results(run, ORIGINAL, "NR").scored(nr(run))
    for world in run.split.worlds:
        index, meta = np.sort(world.evaluation), run.queries(ORIGINAL, world.name).meta
        save_arrays(run.layout.file(ORIGINAL, world.name, "sensitivity.npz"), meta, index=index,
                    sensitivity=np.zeros((len(index), 10), np.float32))
    run = Run(run.layout)
    scored = {"SAMIA": scored["RMIA"], **scored}
    made_up.scores(run, ORIGINAL, "NR", {name: (one.scores, one.decisions) for name, one in scored.items()})
    rows = report_parts.main_rows(read(run))
    assert rows["SAMIA, original"] == nr(run)["SAMIA"] and "SAMIA, pruned 90%" not in rows
    assert rows["SAMIA, original"]["auc"] == rows["RMIA, original"]["auc"]


def test_runs_that_differ_in_more_than_the_seed_are_refused(tmp_path, scored_run, edit_json):
    runs = [scored_run(tmp_path / str(seed), seed=seed, versions=SOME[:2]) for seed in (0, 1)]
    with pytest.raises(UsageError, match="seed 0"):
        written([runs[0], runs[0]])
    edit_json(runs[1].path, run={**json.loads(runs[1].path.read_text())["run"], "augment": False})
    with pytest.raises(UsageError, match="augment"):
        written(runs)


def test_a_run_that_has_only_been_trained_has_a_report(tmp_path, scored_run):
    run = scored_run(tmp_path, versions=SOME)
    for path in tmp_path.rglob("?R*"):
        path.unlink()
    page = written([run])
    assert "Deviations and limits" in page.headings and not [name for name in page.headings if name.startswith("C1")]


def test_all_versions_stay_below_a_megabyte(tmp_path, scored_run):
    run = scored_run(tmp_path, scored=2000, versions=tuple(paper_versions()))
    written([run])
    assert run.layout.result(ORIGINAL, "report.html").stat().st_size < 900_000


def test_audited_models_say_where_they_come_from(tmp_path, scored_run):
    root = scored_run(tmp_path, versions=SOME[:1]).layout.root()
    root.rename(root.with_name("own_model"))
    write_json(tmp_path / "results" / "own_model" / "target" / "config.json", {
        "settings": {"technique": None, "degree": None, "epochs": None}, "weights": "original target", "bytes": None,
        "ratio": None, "accuracy_in": 0.9, "accuracy_out": 0.8})
    report.main(["--dataset_name", "own", "--model_name", "model", "--run_dir", str(tmp_path)])
    text = Page((tmp_path / "results" / "own_model" / "report.html").read_text()).text
    assert "The models were made elsewhere" in text and "not recorded" in text
    assert "Picture size" not in text and "Protocol" not in text


def test_a_target_at_chance_is_said(scored_run, tmp_path, edit_json):
    run = scored_run(tmp_path, versions=(ORIGINAL, Version("pruning", "0.9")))
    assert "at chance" not in report.page([run])
    edit_json(run.layout.file(ORIGINAL, "target", "config.json"), accuracy_in=0.1)
    assert "original: target at chance: nothing to find (accuracy 10.00% on members)." in report.page([Run(run.layout)])
