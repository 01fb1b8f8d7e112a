"""What a run has saved, what it lacks, and the commands that make it: for tables, figures and the stages after."""
from attacks.results import FORMAT, load_scores
from common.errors import CompLeakError
from common.files import read_json
from common.paths import DEGREES, ORIGINAL


def read_results(layout, setting):
    """{Version: values of its NR.json or SR.json}; one line is printed on those that are absent or out of date."""
    wanted = [v for v in layout.wanted if setting == "NR" or v != ORIGINAL]
    found = {v: read_current(layout, v, f"{setting}.json", attack_commands(layout, setting, [v])) for v in wanted}
    missing = [v for v in wanted if found[v] is None]
    if missing:
        print(f"{setting} lacks {', '.join(map(str, missing))}: run {attack_commands(layout, setting, missing)}")
    return {version: result for version, result in found.items() if result is not None}


def read_configs(layout):
    """{Version: values of the target's config.json}; one line is printed on the models that are missing."""
    found = layout.versions()
    missing = [version for version in layout.wanted if version not in found]
    if missing:
        commands = "; ".join(layout.command(version) for version in missing)
        print(f"models that are missing: {', '.join(map(str, missing))}: run {commands}")
    return {version: read_json(layout.file(version, "target", "config.json"), "its command again") for version in found}


def read_multi(layout):
    """Values of MR.json; CompLeakError names the command where it is absent or out of date."""
    made_by = f"python -m attacks.mr {layout.flags}"
    result = read_current(layout, ORIGINAL, "MR.json", made_by)
    if result is None:
        raise CompLeakError(f"{layout.result(ORIGINAL, 'MR.json')} is missing or out of date: run {made_by}")
    return result


def read_current(layout, version, name, made_by):
    """Values of a result file of one version, or None where it is absent or was made from other models."""
    path = layout.result(version, name)
    if not path.exists():
        return None
    result = read_json(path, made_by)
    return result if result.get("format") == FORMAT and is_current(layout, result["inputs"]) else None


def attack_scores(layout, version, setting, result, names, also):
    """{name: array} of the named attacks and of `also` ("index", "member"), from the scores file of a result.

    result: values of the NR.json, SR.json or MR.json; CompLeakError where the two were not made together.
    """
    path = layout.result(version, f"{setting}_scores.npz")
    made_by = f"the command that made {setting}.json beside it, after deleting that file"
    arrays, inputs = load_scores(path, [*also, *names], made_by)
    if inputs != result["inputs"]:
        raise CompLeakError(f"{path} was not made together with {setting}.json: run {made_by}")
    return arrays


def is_current(layout, inputs):
    """Whether the models that a result was made from are those that lie in the run's folders now."""
    weights = inputs["weights"] if inputs["setting"] == "MR" else {inputs["version"]: inputs["weights"]}
    models = [(model, i, name) for model, names in weights.items() for i, name in enumerate(names)]
    models += [("original", 0, sr["original"]) for sr in [inputs, *inputs.get("sr", {}).values()] if "original" in sr]
    trained = {str(version): version for version in layout.versions()}
    for model, i, name in models:
        if model in trained:
            path = layout.file(trained[model], "target" if i == 0 else f"shadow_{i - 1}", "config.json")
            if path.exists() and read_json(path, "its command again")["weights"] != name:
                return False
    return True


def attack_commands(layout, setting, versions):
    """The commands that make NR.json or SR.json of these versions, one a technique, joined by '; '."""
    shared = f"python CompLeak{setting}.py {layout.flags}"
    commands = [f"{shared} --original"] if ORIGINAL in versions else []
    pair = " --original" if setting == "SR" else ""
    for technique in DEGREES:
        degrees = " ".join(version.degree for version in versions if version.technique == technique)
        if degrees:
            commands.append(f"{shared}{pair} --compress --compress_name {technique} --compress_degree {degrees}")
    return "; ".join(commands)
