"""CompLeakMR.ipynb, cell by cell in this process: what it opens and closes with, which groups it has, how it fails."""
import json
from functools import partial
from types import SimpleNamespace

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from attacks import classifiers, learned, learners, mr_network, nr, sr
from attacks.attack import Context
from common.paths import ORIGINAL, Layout, Version
from models.run import Run

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
TUNED = [Version("pruning", "1e-07"), Version("pruning", "2e-07")]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", 10)
    monkeypatch.setattr(mr_network, "train_multi", partial(mr_network.train_multi, epochs=1))
    monkeypatch.setattr(learned, "learn", partial(learners.learn, kinds=["logistic"]))


@pytest.fixture
def execute(root, monkeypatch, tmp_path):
    """execute(Layout) → [what each code cell said, displayed and gave], until one fails."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = json.loads((root / "CompLeakMR.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]

    def run(layout):
        for name, value in (("RUN_DIR", layout.run_dir), ("DATASET", layout.dataset), ("MODEL", layout.model)):
            monkeypatch.setenv(f"COMPLEAK_{name}", str(value))
        shell, shown = InteractiveShell.instance(), []
        try:
            for cell in cells:
                with capture_output() as found:
                    done = shell.run_cell(cell.replace("%matplotlib inline\n", ""))
                said = found.stdout + found.stderr
                shown.append(SimpleNamespace(said=said, displayed=found.outputs, result=done.result))
                if not done.success:
                    break
        finally:
            InteractiveShell.clear_instance()
        return shown

    return run


@pytest.fixture
def run_of_another_kind(made_up_run, made_up):
    """The Layout of a run with two compressed versions and two controls, of an image folder and another network."""
    folder = made_up_run([PRUNED, CLUSTERED, *TUNED], leak=1.0, n=400).run_dir
    for path in list(folder.glob("results*/digits_resnet18*")):
        path.rename(path.with_name(path.name.replace("digits_resnet18", "imagefolder_vgg16")))
    layout = Layout(folder, "imagefolder", "vgg16")
    for version in Run(layout).versions():
        made_up.config(layout.file(version, "target", "config.json"), version, f"{version} target")
        layout.file(version, "shadow_0", "config.json").unlink()
    return layout


def test_it_opens_with_the_answer_and_closes_with_the_whole_table_of_the_versions_that_are_there(
        run_of_another_kind, execute):
    layout = run_of_another_kind
    context = Context(Run(layout).settings.seed)
    for version in Run(layout).versions():
        nr.attack_version(Run(layout), version, context, ["RMIA", "train_based_2 (RF)"])
        if version != ORIGINAL:
            sr.attack_version(Run(layout), version, context, ["SR2 (RF)", "confidence"])
    shown = execute(layout)
    assert len(shown) == 19, shown[-1].said
    assert [one.result for one in shown[:3]] == [None] * 3
    answer = shown[3].result.data
    assert answer.startswith("**Best on the original alone ") and "with several" in answer
    closing, table = shown[18].displayed[-1].data["text/markdown"], shown[18].result
    assert answer.rstrip("*.") in closing and "controls" in closing
    for words in ("all 2", "fine-tuned two", "MR with the original", "MR original repeated"):
        assert words in table._repr_html_()
    frames = [one.result for one in shown if isinstance(one.result, pd.DataFrame)]
    assert len(frames) > 8 and max(map(len, frames)) > 20
    assert not [frame for frame in frames if "..." in frame._repr_html_() or "..." in repr(frame)]


def test_a_stage_that_is_missing_is_one_line_that_names_its_command(run_of_another_kind, execute, tmp_path):
    of_sr = "SR.json is missing: run python CompLeakSR.py --dataset_name imagefolder --model_name vgg16"
    nothing = Layout(tmp_path / "none", "cifar10", "resnet18")
    no_split = "split.json is missing: run python train.py"
    for layout, cell, says in ((run_of_another_kind, 3, of_sr), (nothing, 2, no_split)):
        shown = execute(layout)
        assert len(shown) == cell
        told = [line for line in shown[-1].said.splitlines() if "error" in line.lower()]
        assert len(told) == 1 and told[0].startswith("error: ") and says in told[0]
        assert "Traceback" not in shown[-1].said
