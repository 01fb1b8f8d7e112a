"""CompLeakAudit.py: one command from answers to a sentence, by the README's example; what cannot be had is left out."""
import html
import re
from functools import partial

import numpy as np
import pytest

import CompLeakAudit
from attacks import classifiers, learners, mr_network
from models.queries import ARRAYS

RATE = r"[\d.]+% \[[\d.]+, [\d.]+\]"
STEP = r"(?:adds|costs|makes no difference that shows) \(?[+-]?[\d.]+ \[[+-]?[\d.]+, [+-]?[\d.]+\] points\)?"
BEST = "The attacker's best on the original alone tells members from non-members with an AUC of"
ONE_MODEL = BEST.replace("the original alone", "one model")
ASKED = "How members and non-members were asked is not known here: ask them alike."


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fewer trees, networks and epochs, a page without curves: what is tested here is the same without them."""
    monkeypatch.setattr(classifiers, "TREES", 30)
    monkeypatch.setattr(learners, "NETS", 1)
    monkeypatch.setattr(learners, "train_and_score", partial(learners.train_and_score, epochs=3))
    monkeypatch.setattr(CompLeakAudit.page, "drawn", lambda *_: [])
    monkeypatch.setattr(mr_network, "train_multi", partial(mr_network.train_multi, epochs=5))


@pytest.fixture(scope="module")
def section(root):
    """The README's section on audits."""
    return re.search(r"## Audit your own model\n(.*?)\n## ", (root / "README.md").read_text(encoding="utf-8"), re.S)[1]


def audited(capsys, outputs, run_dir):
    """The lines that an audit prints."""
    CompLeakAudit.main(["--outputs", str(outputs), "--run_dir", str(run_dir), "--device", "cpu"])
    return capsys.readouterr().out.splitlines()


def write(folder, names=("original",), worlds=("target", "shadow_0"), leak=2.0, n=120):
    """Answers of models that know their members by `leak` in the true class's logit."""
    for seed, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number, world in enumerate(worlds):
            labels = np.random.default_rng(number).integers(3, size=n)
            member, rng = np.arange(n) < n // 2, np.random.default_rng([seed, number])
            logits = rng.normal(size=(n, 3)) + np.eye(3)[labels] * (1 + leak * member[:, None])
            np.savez(folder / name / f"{world}.npz", logits=logits, labels=labels, member=member,
                     index=np.arange(n) + 1000 * number)
    return folder


def test_the_readmes_example_runs_word_for_word(section, root, tmp_path, monkeypatch, capsys):
    code, = re.findall(r"```python\n(.*?)```", section, re.S)
    command = re.search("`(python CompLeakAudit.py [^`]*)`", section)[1]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    words = command.split()
    assert words[:2] == ["python", "CompLeakAudit.py"] and "/runs/" in (root / ".gitignore").read_text().split()
    CompLeakAudit.main(words[2:])
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    said = capsys.readouterr().out
    assert "1,000 members and 1,000 non-members are scored" in said and "not resolvable" not in said
    for attack in ("RMIA", "calibrated", "SR2 (RF)", "all 2, with the original"):
        assert f"\n  {attack} " in said, attack
    answer = said.splitlines()[-1]
    found = re.fullmatch(rf"{BEST} ({RATE}); everything published with it {STEP}\. {ASKED}", answer)
    assert found and 55 < float(found[1].split("%")[0]) < 95, answer
    assert "claims: C2 " in said and "python " not in said, "nothing is left to be run"
    folder = tmp_path / "runs" / "audit" / "results" / "own_model"
    page = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert answer.removesuffix(f" {ASKED}") in page and ASKED in page


def test_the_readme_and_the_help_say_what_the_arrays_are(section, capsys):
    with pytest.raises(SystemExit):
        CompLeakAudit.main(["--help"])
    said = capsys.readouterr().out
    assert "train.py" not in said
    for name, (*_, kind, meaning) in ARRAYS.items():
        assert re.search(rf"^  {name} +{re.escape(kind)} +{re.escape(meaning)}$", said, re.M), name
        assert f"| `{name}` | {kind} | {meaning} |" in section or name == "losses"  # computed, and hardly ever wanted


def test_what_is_finished_is_not_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(CompLeakAudit.page, "save", lambda runs: "the page is always written anew")
    outputs = write(tmp_path / "outputs", ("original", "int4"))
    answer = audited(capsys, outputs, tmp_path / "audit")[-1]
    results = [path for name in ("NR", "SR") for path in (tmp_path / "audit").rglob(f"{name}.json")]
    before = [path.stat().st_mtime_ns for path in results]
    assert audited(capsys, outputs, tmp_path / "audit")[-1] == answer
    assert len(before) == 3 and before == [path.stat().st_mtime_ns for path in results]
    write(tmp_path / "more", ("distilled",), n=120)
    (tmp_path / "more" / "distilled").rename(outputs / "distilled")
    said = audited(capsys, outputs, tmp_path / "audit")
    assert before == [path.stat().st_mtime_ns for path in results] and "everything published with it" in said[-1]


def test_models_that_know_nothing_of_their_members_have_nothing_to_find(tmp_path, capsys):
    said = audited(capsys, write(tmp_path / "outputs", leak=0.0), tmp_path / "audit")
    assert re.fullmatch(rf"{ONE_MODEL} {RATE}\. That does not stand out from a coin's 50%\. {ASKED}", said[-1])
    assert said[-2].endswith("MB)") and not [line for line in said if "SR" in line.split()[:1] or "MR" in line]


def test_without_a_shadow_one_attack_that_is_named_beforehand_answers(tmp_path, capsys):
    outputs = write(tmp_path / "outputs", ("original", "int4", "distilled"), ("target",))
    said = audited(capsys, outputs, tmp_path / "audit")
    shown = next(line for line in said if line.strip().startswith("loss_threshold"))
    area, low, high = map(float, re.search(r"AUC +([\d.]+)% \[(.*?), (.*?)\]", shown).groups())
    answer, *rates = re.fullmatch(r"(.*) AUC ([\d.]+)% \[(.*?), (.*?)\]\.", said[-1]).groups()
    assert answer.startswith("The attacker's best is not known: no attack")
    assert answer.endswith("loss_threshold on original:")
    np.testing.assert_allclose(np.array(rates, float), (area, low, high), atol=0.06)
    assert not [line for line in said if re.match("SR|MR|C2|C3|claims", line)]


def test_without_the_original_each_version_is_attacked_alone(tmp_path, capsys):
    said = audited(capsys, write(tmp_path / "outputs", ("int4", "distilled")), tmp_path / "audit")
    assert re.fullmatch(rf"{ONE_MODEL} {RATE}\. {ASKED}", said[-1])
    assert not [line for line in said if re.match("SR|MR|C2|C3|claims", line)]


@pytest.mark.parametrize("words", [[], ["--outputs", "x", "--data_label", " "], ["--outputs", "x", "--compress"]])
def test_a_command_line_that_cannot_be_is_one_line(words, capsys):
    with pytest.raises(SystemExit) as stop:
        CompLeakAudit.main(words)
    assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
