"""What a run has saved that holds now, and what it lacks: for tables, figures and all that judges."""
from attacks import mr, nr, sr, train_based
from attacks.attack import Context
from attacks.results import Results
from common.errors import CompLeakError
from common.paths import ORIGINAL, TARGET
from models import hints


def context_of(run):
    """The Context that results of a run are made in, options apart."""
    return Context(run.settings.seed, run.settings.choices)


def read_result(run, setting, version=ORIGINAL):
    """Values of NR.json or SR.json of one version, those attacks that hold; None where there are none."""
    results = Results(run, version, setting)
    if results.saved() is None:
        return None
    expected = {"NR": nr, "SR": sr}[setting].expected
    return results.current(expected(run, version, context_of(run)))


def read_results(run, setting):
    """{Version: values of its NR.json or SR.json}; one line is printed on those that are absent or out of date."""
    wanted = [version for version in run.wanted() if setting == "NR" or version != ORIGINAL and run.allows(setting)]
    found = {}
    for version in wanted:
        try:
            if values := read_result(run, setting, version):
                found[version] = values
        except CompLeakError as error:  # the answers that it would be made from cannot be used
            print(f"{setting} of {version} does not count: {error}")
    # Of NR, SR and MR leave the attacks that MR needs: such a version still has to be attacked.
    alone = {train_based.AGGREGATED, train_based.AGGREGATED_TWICE} if setting == "NR" else set()
    missing = [version for version in wanted if version not in found or found[version]["attacks"].keys() <= alone]
    if run.layout.attacked != TARGET:  # of models that the run lacks its target says so
        missing = [version for version in missing if version in run.versions()]
    if missing:
        print(f"{setting} lacks {', '.join(map(str, missing))}: run {hints.attacks(run.layout, setting, missing)}")
    return found


def read_configs(run):
    """{Version: values of the target's config.json}; one line is printed on the models that are missing."""
    found = run.versions()
    missing = [version for version in run.wanted() if version not in found]
    if missing:
        commands = "; ".join(hints.training(run.layout, version) for version in missing)
        print(f"models that are missing: {', '.join(map(str, missing))}: run {commands}")
    return {version: run.config(version) for version in found}


def read_multi(run):
    """Values of MR.json; CompLeakError names the command where it is absent or out of date."""
    results, compressed = Results(run, ORIGINAL, "MR"), len(run.versions()) - 1
    if compressed < 2:
        raise CompLeakError(f"MR combines two or more compressed versions, and {run.layout.root()} has {compressed}")
    values = results.current(mr.expected(run, context_of(run), mr.saved_groups(results)))
    if values is None:
        raise CompLeakError(f"{results.path} is missing or out of date: run {results.command()}")
    return values


def multi_or_none(run):
    """As `read_multi`; None where that fails, which is said where MR can be had."""
    try:
        return read_multi(run)
    except CompLeakError as error:
        if run.allows("MR"):
            print(f"MR is left out: {error}")
        return None
