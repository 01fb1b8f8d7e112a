"""Which choices of the released protocol the ablation switches on, and under which name."""
from argparse import ArgumentTypeError

import pytest

from attacks.attack import Context
from evaluation import ablation
from evaluation.differences import describe
from models import protocol
from models.run import Run


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
