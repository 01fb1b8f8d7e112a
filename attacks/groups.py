"""Which versions MR joins: the paper's groups, those that a run's versions fill, and as large ones of its controls."""
from common.errors import CompLeakError
from common.paths import ORIGINAL
from models import hints
from models.compression import TECHNIQUES, is_control, paper_versions
from models.protocol import INT8

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def paper_groups():
    """{name: [Version]} of the paper: the pruned four, the clustered three, the pruned with int8, all eight."""
    versions = paper_versions()[1:]
    found = {}
    for technique in TECHNIQUES.values():
        members = [version for version in versions if version.technique == technique.name]
        if len(members) > 1:  # quantisation has one degree
            found[f"{technique.adjective} {NUMBERS[len(members)]}"] = members
    pruned = [version for version in versions if version.technique == "pruning"]
    return {**found, "pruned + int8": [*pruned, INT8], f"all {NUMBERS[len(versions)]}": versions}


def groups_of(versions):
    """{name: [Version]} of some compressed versions: the paper's groups that they fill, and all of them together."""
    found = {name: members for name, members in paper_groups().items() if set(members) <= set(versions)}
    if len(versions) > 1 and not any(set(members) == set(versions) for members in found.values()):
        found[f"all {len(versions)}"] = list(versions)
    return found


def control_groups(groups, versions):
    """{name: [Version]} of the controls among some versions: as many as each group has, and all of them."""
    controls = [version for version in versions if is_control(version)]
    sizes = sorted({len(controls), *map(len, groups.values())})
    return {f"fine-tuned {NUMBERS[size] if size < len(NUMBERS) else size}": controls[:size]
            for size in sizes if 1 <= size <= len(controls)}


def run_groups(run):
    """The groups that the versions of a run fill, and those of its controls; CompLeakError where there are not two.

    Says which of the paper's groups it lacks.
    """
    versions = [version for version in run.versions() if version != ORIGINAL]
    present = [version for version in versions if not is_control(version)]
    if len(present) < 2:
        makes = "" if run.layout.is_own else f": run {hints.training(run.layout, paper_versions()[1])}"
        raise CompLeakError(f"MR combines two or more compressed models, and {run.layout.root()} knows {len(present)}"
                            f"{makes}")
    lacking = [] if run.layout.is_own else [version for version in paper_versions()[1:] if version not in present]
    if lacking:
        names = [name for name, members in paper_groups().items() if set(members) & set(lacking)]
        print(f"without {', '.join(names)}: {', '.join(map(str, lacking))} not trained, run "
              f"{'; '.join(hints.training(run.layout, version) for version in lacking)}")
    groups = groups_of(present)
    return {**groups, **control_groups(groups, versions)}
