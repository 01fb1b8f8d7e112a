"""The house: every import runs downwards, and no room is too large to read."""
import ast
from pathlib import Path

import pytest

from models.compression import TECHNIQUES

FLOORS = ("common", "data", "models", "attacks", "evaluation")
ABOVE = ("workflow", "benchmarks")  # and the scripts, which import from anywhere below


def floor(name):
    return FLOORS.index(name) if name in FLOORS else len(FLOORS) + (name in ABOVE)


def imports(path):
    """The first word of every project module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module.split(".")[0]


def files(root, *folders):
    return [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]


@pytest.mark.parametrize("name", [*FLOORS, *ABOVE])
def test_no_import_runs_upwards(root, name):
    known = {*FLOORS, *ABOVE, "train", "CompLeakNR", "CompLeakSR", "CompLeakAudit", "pruning", "quantization",
             "clustering"}
    for path in files(root, name):
        for other in set(imports(path)) & known:
            allowed = floor(other) <= floor(name) and (other in FLOORS or other == name or name == "benchmarks")
            assert allowed, f"{path.relative_to(root)} imports {other}, which stands above it"


def test_folders_are_two_levels_deep_at_most(root):
    for path in files(root, *FLOORS, *ABOVE):
        assert len(path.relative_to(root).parts) <= 3, path


@pytest.mark.parametrize(("folders", "most"), [((*FLOORS, *ABOVE, "pruning", "quantization", "clustering"), 250),
                                               (("tests",), 300)])
def test_no_file_is_too_long_to_read(root, folders, most):
    long = {str(path.relative_to(root)): lines for path in files(root, *folders)
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > most}
    assert not long


def test_stage_folders_hold_scripts_alone(root):
    """Run as a file, a script has its own folder first on the path, where a module could hide another."""
    found = {str(path.relative_to(root)) for folder in ("pruning", "quantization", "clustering")
             for path in Path(root / folder).glob("*.py")}
    assert found == {technique.script for technique in TECHNIQUES.values()}
