"""What the fault tests share: an undisturbed run, the comparison with it, and one line of counts at the end."""
import json
import time
from collections import Counter

import chain
import pytest

from common.files import read_json

TALLY = pytest.StashKey[Counter]()


def pytest_configure(config):
    config.stash[TALLY] = Counter()


def pytest_terminal_summary(terminalreporter, config):
    n = config.stash[TALLY]
    terminalreporter.write_line(
        f"faults: {n['kills']} kills survived ({n['chains']} runs compared); {n['corrupted']} files corrupted: "
        f"{n['refused']} refused, {n['rebuilt']} rebuilt, {n['harmless']} harmless; {n['full disk']} full disks, "
        f"{n['read-only']} read-only folders, {n['signals']} signals; {n['outputs']} stages with a broken output, "
        f"{n['archives']} damaged archives, {n['names']} names of any bytes, {n['settings']} workflow settings; "
        f"{n['arguments']} command lines: {n['ended well']} ended well, the others in one line; "
        f"wrong results: {n['wrong']}")


@pytest.fixture
def tally(request):
    """Counts for the line at the end."""
    return request.config.stash[TALLY]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The folder of a whole run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    code, said = chain.outcome(folder / "log", chain.whole, folder / "run")
    assert code == 0, said
    (folder / "seconds").write_text(str(time.monotonic() - began))
    return folder / "run"


@pytest.fixture
def usual_seconds(undisturbed):
    """How long that run took."""
    return float((undisturbed.parent / "seconds").read_text())


@pytest.fixture
def same(undisturbed, tally):
    """same(run_dir, whole=True): fails unless a run has the undisturbed run's files, with the same content."""

    def check(run_dir, whole=True):
        found, expected = contents(run_dir), contents(undisturbed)
        if not whole:
            expected = {name: value for name, value in expected.items() if name in found}
        more = found.keys() - expected.keys()
        assert found and not more, sorted(more)
        differing = [name for name in expected if found.get(name) != expected[name]]
        tally["wrong"] += len(differing)
        tally["chains"] += 1
        assert not differing, differing

    return check


def contents(run_dir):
    """{file: content} of a run, times aside; without what a kill may leave beside split.json and the tables."""
    found = {}
    for path in sorted(run_dir.rglob("*")):
        if path.is_file() and not (path.name.startswith(".") and path.parent.name in ("tables", "digits_resnet18")):
            found[str(path.relative_to(run_dir))] = content(path)
    return found


def content(path):
    if path.suffix == ".json":
        return {name: value for name, value in read_json(path).items() if name != "seconds"}
    if path.suffix == ".jsonl":
        return [{**json.loads(line), "seconds": 0} for line in path.read_text().splitlines()]
    return path.read_bytes()
