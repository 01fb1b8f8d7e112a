"""The evaluator's page: every claim with its file, filled from the committed numbers and never older than they are."""
from common.files import write_json
from workflow import evaluator


def test_the_committed_page_is_what_the_committed_numbers_give(root):
    assert (root / evaluator.PAGE).read_text(encoding="utf-8") == evaluator.page(root / evaluator.REFERENCE), \
        "run python -m workflow.evaluator"


def test_what_is_missing_is_not_reached_yet_and_the_authors_number_stands_alone(tmp_path):
    rows = evaluator.lines(None)
    assert [row[0] for row in rows] == ["C1"] * 9 + ["C2"] * 8 + ["C3"] * 4 + ["C1", "C2", "C3"] + ["-"] * 6
    assert all(evaluator.NOT_REACHED in row for row in rows)
    theirs = [row for row in rows if row[6] != "-"]
    assert [(row[1], row[6]) for row in theirs] == [("MR on pruned + int8, with the original",
                                                     "ACC 69.8, AUC 77.7, TPR 4.47")]
    assert rows[1][3] == "`results_pruning/cifar10_resnet18_0.6/NR.json`"


def test_numbers_fill_their_own_cells(tmp_path):
    rates = {"acc": 0.6, "auc": 0.61234, "auc_interval": [0.6, 0.62], "tpr": 0.004, "tpr_interval": [0.001, 0.007]}
    made = {rate: {"mean": 0.612, "interval": [0.601, 0.62], "per_seed": [0.612], "over_seeds": None}
            for rate in ("auc", "tpr")}
    write_json(tmp_path / "expected.json", {
        "rates": {"NR pruning_0.6": {"RMIA": rates}}, "best": {
            "original": made, "differences": {"published - original": made}},
        "claims": {"C2": {"verdict": "undecided", "judged": {"same family": {"auc": "supported"}}}},
        "cost": {"commands": [{"command": "python CompLeakNR.py --original", "minutes": 1.25},
                              {"command": "python CompLeakNR.py --compress", "minutes": 2}], "memory_gb": 1.5}})
    filled = [line for line in evaluator.page(tmp_path).splitlines() if "61.23 [60.00, 62.00]" in line]
    assert len(filled) == 1 and "RMIA on pruned 60%" in filled[0] and "0.40 [0.10, 0.70]" in filled[0]
    text = evaluator.page(tmp_path)
    assert "3.2 min, 1.5 GB" in filled[0] and "the attacker's best, published - original" in text
    assert "**undecided**: than the same attack on fewer supported, than any on one model not judged" in text
    assert "+61.20 [60.10, 62.00]" in text
