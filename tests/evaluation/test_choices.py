"""Which choices of the released protocol the ablation switches on, and under which name."""
from argparse import ArgumentTypeError

import pytest

from attacks.attack import Context
from attacks.inputs import read_version
from common.errors import CompLeakError
from common.paths import ORIGINAL, Version
from evaluation import ablation
from evaluation.differences import describe, measure
from models import protocol
from models.run import Run

PAIR = (Version("pruning", "0.6"), Version("clustering", "4"))


def test_choices_joined_by_plus_have_one_name_and_need_no_models():
    assert ablation.known_choice("int8_shadow+augmented_members") == "augmented_members+int8_shadow"
    assert [ablation.known_choice(one) for one in (*ablation.ALONE, "together")] == [*ablation.ALONE, "together"]
    assert protocol.CHOICES["int8_shadow"] in describe("augmented_members+int8_shadow")
    for text in ("augmented_members+best_epoch", "released", "sound", "nothing", ""):
        with pytest.raises(ArgumentTypeError, match="choose from augmented_members, .*, together, or some joined by"):
            ablation.known_choice(text)


def test_they_are_switched_on_at_once_in_a_folder_of_that_name(made_up_run, monkeypatch):
    monkeypatch.setattr(ablation, "ask_anew", lambda *args: asked.append(True))
    monkeypatch.setattr(ablation, "attack", lambda run, *args: run)
    run, together = Run(made_up_run([], n=600)), ("augmented_members+int8_shadow", "in_sample_forests", "together")
    for choice, folder, switched in (
            (together[0], together[0], {"augmented_members", "int8_shadow"}),
            ("together", "together", {"augmented_members", "int8_shadow", "in_sample_forests"}),
            ("in_sample_forests+interpolated_tpr", "in_sample_forests+interpolated_tpr", {"in_sample_forests"})):
        asked = []
        copy = ablation.switch_on(run, choice, ablation.Ablation(together, (), Context(0), None, None, None))
        assert copy.settings.choices == switched and copy.layout.run_dir == run.layout.run_dir / "ablation" / folder
        assert asked == [True] * ("augmented_members" in switched)


def test_the_answers_of_int8_come_along_where_its_shadow_stands_for_every_version(made_up_run, monkeypatch):
    """--versions need not name it; where the run lacks it, the command that is named makes it in the run itself."""
    asked = []
    monkeypatch.setattr(ablation, "ask_anew", lambda run, copy, versions, *args: asked.extend(versions))
    monkeypatch.setattr(ablation, "attack", lambda run, *args: run)
    run, together = Run(made_up_run([*PAIR, protocol.INT8], n=300)), "augmented_members+int8_shadow"
    chosen = ablation.Ablation((together, "int8_shadow"), PAIR, Context(0), None, None, None)
    read_version(ablation.switch_on(run, "int8_shadow", chosen), protocol.INT8)
    ablation.switch_on(run, together, chosen)
    assert asked == [ORIGINAL, *PAIR, protocol.INT8]
    without = Run(made_up_run(PAIR, folder="without", n=300))
    with pytest.raises(CompLeakError, match=f"qat.py .* --run_dir {without.layout.run_dir} --degree int8"):
        ablation.switch_on(without, "int8_shadow", chosen)


def test_what_a_run_lacks_is_left_out_in_one_line_each(scored_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "attack", lambda run, *args: run)
    run, few = (scored_run(tmp_path / name, scored=60, versions=(ORIGINAL, *versions))
                for name, versions in (("run", PAIR), ("few", PAIR[:1])))
    run.layout.result(PAIR[0], "SR.json").unlink()
    measure([(run, run)], "int8_shadow", PAIR, False)
    assert capsys.readouterr().out.splitlines()[:3] == [
        "int8_shadow: NR on original is compared without SAMIA, RMIA (population), which not every run has",
        "int8_shadow: SR on pruning_0.6 is left out, which not every run has",
        "int8_shadow: SR on clustering_4 is compared without SR2 (LR), which not every run has"]
    ablation.compare_retrained("best_epoch", [(run, few)], asked(PAIR))
    assert "best_epoch: clustering_4 is left out, which not every run of --retrained has" in capsys.readouterr().out


def asked(versions):
    """The Ablation of a command line with these versions."""
    return ablation.Ablation((), versions, Context(0), None, None, None)
