"""The report's first screen: one sentence, one figure and three claims, from claims.json, and what moved."""
import copy

import pandas as pd
import pytest

from common.files import read_json, write_json
from common.metrics import auc
from common.paths import ORIGINAL, Version
from evaluation import answer, best, claims, differences, report, report_parts
from evaluation.claim_pairs import CLAIMS
from evaluation.comparisons import BEST
from evaluation.evidence import origins, read_some
from evaluation.names import ROWS, SETTINGS
from models.run import Run

SOME = (ORIGINAL, Version("pruning", "0.9"), Version("clustering", "4"))


@pytest.fixture(scope="module")
def judged(tmp_path_factory, scored_run):
    """([Run a seed], values of claims.json) of two made-up runs."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [scored_run(folder / str(seed), seed=seed, versions=SOME) for seed in (4, 7)]
    claims.main(["--dataset_name", "digits", "--run_dir", *(str(run.layout.run_dir) for run in runs)])
    return runs, claims.judged(runs[0])


def rate(mean, low, high, seeds=None):
    return {"auc": {"mean": mean, "interval": [low, high], "per_seed": [mean], "over_seeds": seeds}}


def made_up(saved, protocol, nr, second, third):
    saved = copy.deepcopy(saved)
    saved["runs"][0]["protocol"] = protocol
    saved["best"] |= {"original": nr, "differences": {"published - original": second, "published - fine-tuned": third}}
    return saved


def test_the_sentence_says_what_versions_add_and_how_they_were_asked(judged):
    saved = judged[1]
    text = answer.sentence(made_up(saved, "sound", rate(0.65, 0.6, 0.7), rate(0.02, 0.01, 0.03), rate(0, -0.01, 0.01)))
    assert "the original alone tells members from non-members with an AUC of 65.0% [60.0, 70.0]" in text
    assert "everything published with it adds 2.0 [1.0, 3.0] points" in text
    assert "only fine-tuning makes no difference that shows (+0.00 [-1.00, 1.00] points)" in text
    assert "stand out" not in text
    chance, second = rate(0.51, 0.501, 0.52, [0.49, 0.53]), rate(-0.02, -0.03, -0.01)
    worse = answer.sentence(made_up(saved, "released", chance, second, second))
    for words in ("costs 2.0 [1.0, 3.0] points", "does not stand out from a coin's 50%"):
        assert words in worse
    run = saved["runs"][0]
    for changed, words in (({"protocol": "sound"}, "Protocol: sound"), ({"protocol": "released"}, "released code"),
                           ({"protocol": None}, "not known here"), ({"pools": "shared"}, "Pools: shared")):
        assert words in answer.asked({"runs": [{**run, **changed}]})


def test_the_bests_are_found_again_by_their_names(judged):
    runs, saved = judged
    for setting, (key, _) in answer.chosen(saved).items():
        assert best.label(key) == saved["best"]["chosen"][0][setting]["attack"] and key[0] == setting
    has = ["original", *SETTINGS]
    assert [row.label for row in answer.rows(saved)] == [ROWS[name] for name in has]
    for row, setting in zip(answer.rows(saved), has, strict=True):
        assert (row.mean, row.interval) == tuple(saved["best"][setting]["auc"][key] for key in ("mean", "over_seeds"))
        assert len(row.per_seed) == len(runs)
    assert answer.rows(None) == [] == answer.rows({"best": {}}) and answer.chosen(None) == {}
    alone = [auc(read_some(run).scores["NR", "original", "RMIA"], read_some(run).member) for run in runs]
    assert saved["best"]["RMIA"]["auc"]["per_seed"] == pytest.approx(alone, abs=1e-6)
    assert f"RMIA on the original {100 * sum(alone) / 2:.1f}%" in answer.figure(saved)[1]
    assert answer.figure({"best": {}}) is answer.figure(None) is None
    assert "2 targets" in answer.note([{"seed": 4}] * 2) and "2 seeds" in answer.note(saved["runs"])


def test_each_claim_is_a_line_with_a_sign_and_its_parts_are_folded(judged):
    runs, saved = judged
    text = report.page(runs)
    first = text[: text.index("<nav")]
    assert answer.sentence(saved).split(";")[0].replace("'", "&#39;") in first and first.count("<figure>") == 1
    for claim, found in saved["verdicts"].items():
        sign = answer.SIGNS[found["verdict"]]
        assert f'<span class="word">{sign} {found["verdict"]}</span> <b>{claim}</b> {CLAIMS[claim].words}' in first
    (c1, c2, *_), judged_c1 = answer.claims(saved), saved["verdicts"]["C1"]["judged"]
    assert c1["narrow"] == f"heavily {answer.SIGNS[judged_c1['every NR attack']['auc']]}, lightly not judged"
    assert "lightly compressed ones (60% pruned, int8, 16 centroids) leak as much, AUC ±0.01: undecided (0 of 3)" in (
        saved["verdicts"]["C1"]["text"])
    assert "attacker&#39;s best" in first and c2["narrow"].endswith(
        f"by the attacker's best {answer.SIGNS[saved['verdicts']['C2']['judged'][BEST]['auc']]}")
    assert "best: what was chosen" in first and len(answer.best(saved)) == 1
    assert first.count('<details class="claim') == len(saved["verdicts"]) and "<details open" not in text
    frames = [frame for one in answer.claims(saved) for frame in one["tables"].values()]
    assert frames and all(list(frame.columns[:2]) == ["what", "verdict"] for frame in frames)


def test_without_claims_the_first_screen_says_what_to_run(tmp_path, scored_run):
    text = report.page([scored_run(tmp_path, versions=SOME[:2])])
    assert "not judged yet: run python -m evaluation.claims" in text


def test_of_the_protocol_what_moved_is_shown_and_the_rest_is_one_folded_line_a_choice(judged, edit_json):
    run = judged[0][0]
    still = {"sound": 0.6, "changed": 0.6, "difference": 0.0, "interval": [0.0, 0.0], "per_seed": [0.0]}
    moved = {**still, "changed": 0.7, "difference": 0.1, "interval": [0.05, 0.15], "per_seed": [0.1]}
    rows = [{"choice": choice, "setting": "SR", "model": "pruning_0.9", "attack": attack, "seeds": [4],
             "acc": still, "auc": auc, "tpr": still}
            for choice, attack, auc in (("int8_shadow", "SR2 (LR)", still), ("augmented_members", "SR2 (RF)", moved),
                                        ("augmented_members", "SR2 (LR)", still))]
    write_json(run.layout.result(ORIGINAL, "ablation.json"), {
        "format": differences.FORMAT, "runs": origins([run]), "data": "made up", "rows": rows})
    (caption, frame, folded), (_, rest, away) = report_parts.ablation(run)["tables"]
    assert caption.startswith("augmented_members") and not folded and away
    assert frame["attack"].tolist() == ["SR2 RF, original + pruned 90%"]
    assert list(frame.columns) == ["attack", "AUC (%)", "TPR at 0.1% FPR (%)", "ACC (%)"]
    assert frame["AUC (%)"].iloc[0] == "60.00 → 70.00 (+10.00 [+5.00, +15.00])"
    pd.testing.assert_frame_equal(rest, pd.DataFrame(
        [["int8_shadow", "1", "SR2 LR, original + pruned 90%"], ["augmented_members", "1",
         "SR2 LR, original + pruned 90%"]], columns=rest.columns))
    assert "What the protocol is worth" in report.page([run])
    saved = read_json(run.path)
    edit_json(run.path, run={**saved["run"], "protocol": "int8_shadow"})
    assert report_parts.ablation(Run(run.layout)) is None
    write_json(run.path, saved)
