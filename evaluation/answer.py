"""The answer of a run: one sentence, one figure's rows and three lines, from claims.json."""
from common.metrics import LOW_FPR
from data.splits import DISJOINT
from evaluation.claim_pairs import CLAIMS
from evaluation.claims_table import asked_of, best_block, lines
from evaluation.comparisons import (
    BEST,
    CHANCE,
    CONTRADICTED,
    EQUIVALENCE,
    EVERY_NR,
    SAME_FAMILY,
    SAME_KNOWLEDGE,
    SUPPORTED,
    UNDECIDED,
)
from evaluation.drawing import Row, draw_answer
from evaluation.names import ROWS, SETTINGS, TUNED, VIEWED, key_of, runs_in_words, short
from evaluation.writing import with_interval
from models import protocol

SIGNS = {SUPPORTED: "✓", CONTRADICTED: "✗", UNDECIDED: "?"}
LINE = "RMIA on the original"
NARROW = {("C1", EVERY_NR): "heavily", ("C1", EQUIVALENCE): "lightly"}
WAYS = {SAME_FAMILY: "than the same attack on fewer", EVERY_NR: "than any on one model",
        SAME_KNOWLEDGE: "with equal knowledge", BEST: "by the attacker's best"}
STEPS = {"published - original": "everything published with it",
         "published - fine-tuned": "compressing rather than only fine-tuning",
         "published - views": "versions rather than more questions to the original"}


def chosen(saved):
    """{setting: ((setting, model or group, attack), narrow words)} of the best that the first run's shadow chose."""
    best = (saved or {}).get("best") or {"chosen": [{}]}
    return {setting: (key_of(setting, one["attack"]), _words(one["attack"]))
            for setting, one in best["chosen"][0].items() if setting in SETTINGS}


def _words(label):
    return short(label.removeprefix("MR of "))


def interval_of(rate):
    """The interval over seeds, which speaks of another training too, or the wider one over targets that share pictures;
    of a single run that over its points."""
    return rate["over_seeds"] or rate["interval"]


def rows(saved):
    """The `drawing.Row` of each setting's best; none without a best."""
    best = (saved or {}).get("best") or {}
    found = []
    for setting, words in ROWS.items():
        if setting in best:
            attacks = dict.fromkeys(_words(one[setting]["attack"]) for one in best["chosen"])
            rate = best[setting]["auc"]
            attack = next(iter(attacks)) if len(attacks) == 1 else "one for each seed"
            found.append(Row(words, attack, rate["mean"], interval_of(rate), rate["per_seed"],
                             setting in (TUNED, VIEWED)))
    return found


def figure(saved, title="The attacker's best"):
    """(Figure of the rows, its words), with a line at RMIA on the original; None without a best or that."""
    line = ((saved or {}).get("best") or {}).get("RMIA")
    if not line:
        return None
    found, alone = rows(saved), line["auc"]["mean"]
    each = ", ".join(f"{row.label} {100 * row.mean:.1f}%" for row in found)
    return (draw_answer(found, (LINE, alone), title, note(saved["runs"])),
            f"AUC of the attacker's best {each}; {LINE} {100 * alone:.1f}%")


def note(runs):
    """What a figure's bars and dots are, of these runs of claims.json."""
    if len(runs) < 2:
        return "bars: 95% interval over these rows"
    if len({run["seed"] for run in runs}) < len(runs):
        return f"bars: 95%, of {len(runs)} targets on the same pictures; dots: targets"
    return f"bars: 95% t interval over {len(runs)} seeds; dots: seeds"


def sentence(saved):
    """The answer in words: the attacker's best on one model, and what more versions add."""
    best = saved["best"]
    if not best:
        return "The attacker's best is not known: no attack has scores on a shadow, which would choose it."
    has = next((name for name in ROWS if name in best), None)
    rate = best[has]["auc"] if has else None
    parts = [f"The attacker's best {ROWS[has]} tells members from non-members with an AUC of {_rate(rate, unit='%')}"
             ] if rate else []
    for step, words in STEPS.items():
        if step in best["differences"]:
            parts.append(f"{words} {_step(best['differences'][step]['auc'])}")
    text = "; ".join(parts) + "."
    if rate and interval_of(rate)[0] <= CHANCE["auc"]:
        text += " That does not stand out from a coin's 50%."
    return text


def asked(saved):
    """How models drew their members and were asked, in words."""
    first = saved["runs"][0]
    text = ("Pools: shared, every model drew its members from the same pictures. "
            if first.get("pools", DISJOINT) != DISJOINT else "")
    if first["protocol"] is None:
        return text + "How members and non-members were asked is not known here: ask them alike."
    if first["protocol"] == protocol.SOUND:
        return text + "Protocol: sound, members and non-members are asked alike."
    return f"{text}Protocol: {asked_of(first)}, choices of the authors' released code that move the numbers."


def _step(rate):
    low, high = interval_of(rate)
    if low <= 0 <= high:
        return f"makes no difference that shows ({_rate(rate, digits=2, sign='+')} points)"
    if low > 0:
        return f"adds {_rate(rate)} points"
    return f"costs {_rate({'mean': -rate['mean'], 'interval': [-high, -low], 'over_seeds': None})} points"


def _rate(rate, digits=1, **how):
    return with_interval(rate["mean"], interval_of(rate), digits=digits, **how)


def claims(saved):
    """A dictionary a claim, for the page: name, words, verdict, sign, its ways of judging and their tables' rows.

    ways: [(statement, verdict by AUC, its sign, verdict by TPR or None)]; narrow: the same in a few words;
    tables: {caption: frame of text}.
    """
    found = []
    tables = {f"AUC, in points; {runs_in_words(saved['runs'])}": lines(saved, "auc"),
              f"TPR at {100 * LOW_FPR:g}% FPR, in points; {runs_in_words(saved['runs'])}": lines(saved, "tpr")}
    for claim, judged in saved["verdicts"].items():
        ways = [(CLAIMS[claim].ways[way], words["auc"], SIGNS[words["auc"]], words.get("tpr"))
                for way, words in judged["judged"].items()]
        mine = {caption: _narrow(frame[frame["claim"] == claim]) for caption, frame in tables.items() if len(frame)}
        found.append({"name": claim, "words": CLAIMS[claim].words, "verdict": judged["verdict"],
                      "sign": SIGNS[judged["verdict"]], "ways": ways,
                      "narrow": in_brief(claim, judged["judged"], SIGNS),
                      "tables": {caption: frame for caption, frame in mine.items() if len(frame)}})
    return found


def in_brief(claim, judged, words):
    """"heavily ✓, lightly ?": how a claim was judged. judged: {way: {"auc": verdict}}; words: {verdict: shown}."""
    found = {way: words[judged[way]["auc"]] if way in judged else "not judged" for way in CLAIMS[claim].ways}
    return ", ".join(f"{NARROW.get((claim, way)) or WAYS[way]} {word}" for way, word in found.items())


def best(saved):
    """{caption: frame of text}: what each seed's shadow chose, its rates, and what attacks find beyond controls."""
    return {f"{caption}; {runs_in_words(saved['runs'])}": frame for caption, frame in best_block(saved).items()}


def _narrow(frame):
    """A claim's lines with what they come to first."""
    frame = frame.assign(verdict=[f"{SIGNS[word]}\N{NO-BREAK SPACE}{word}" for word in frame["verdict"]])
    several = [] if frame["spread"].eq("-").all() else ["per seed", "spread"]
    return frame[["what", "verdict", "difference", "hardest against", "judged by", "supported", "p Holm", *several]]
