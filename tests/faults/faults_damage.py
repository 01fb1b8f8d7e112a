"""200 files, cut short or overwritten with garbage anywhere: each is refused, made again, or answers as before."""
import random
import shutil
from functools import partial

import chain
import numpy as np
import pytest

from attacks.inputs import read_version
from attacks.results import Results
from attacks.saved import read_configs, read_multi, read_result
from common.errors import CompLeakError
from common.paths import ORIGINAL, Layout
from data import cache, sets
from models import making
from models.run import Run
from models.weights import Progress, digest_of, load_model, read_weights

CASES = 200
PRUNED = chain.VERSIONS[0]


@pytest.fixture(scope="module")
def scene(undisturbed, cifar_like, tmp_path_factory):
    """(layout, pictures): a copy of the undisturbed run with a progress file, and picture folders with their cache."""
    folder = tmp_path_factory.mktemp("scene")
    shutil.copytree(undisturbed, folder / "run")
    for part in ("train/cat", "train/dog"):
        shutil.copytree(cifar_like / part, folder / "pictures" / part)
    layout = Layout(folder / "run", "digits", "resnet18")
    saved = read_weights(layout.file(ORIGINAL, "target", "weights.pt"))
    Progress(layout.file(ORIGINAL, "target", "progress.pt"), {"a": 1}).save({"epoch": 1, "model": saved["tensors"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", folder / "datasets")
        chain.shrink(patch.setattr)
        sets.load("imagefolder", folder / "pictures", image_size=8)
        yield layout, folder / "pictures"


def readers(layout, pictures):
    """{file: what the program makes of it}: plain values that can be compared."""
    target = layout.file(ORIGINAL, "target", "")
    pruned = layout.file(PRUNED, "shadow_0", "")

    def weights(path):
        saved = read_weights(path)
        return digest_of(saved["tensors"]), saved["settings"], digest_of(load_model(saved).state_dict())

    def answers(version):
        run = Run(layout)
        return [(m.index, m.labels, m.member, m.logits, m.losses, m.sensitivity, m.moved, m.weights, m.queries.meta,
                 m.queries.identity, run.settings.as_json()) for m in read_version(run, version).models]

    def result(setting, version):
        return read_result(Run(layout), setting, version)

    def scores(setting, version, names):
        return Results(Run(layout), version, setting).scored(names)

    def progress():
        state = Progress(target / "progress.pt", {"a": 1}).load()
        return state and (state["epoch"], digest_of(state["model"]))

    def log():
        before = (target / "log.jsonl").read_bytes()
        making._keep_lines(target / "log.jsonl", 1)
        (target / "log.jsonl").write_bytes(before)

    def cached():
        data = sets.load("imagefolder", pictures, image_size=8)
        return data.digest, data.labels, data.classes, np.array(data.images)

    files = {path: partial(weights, path) for path in (target / "weights.pt", pruned / "weights.pt")}
    files |= {target / "progress.pt": progress, target / "log.jsonl": log}
    files |= {path: lambda: answers(ORIGINAL) for path in (target / "queries.npz", target / "sensitivity.npz")}
    files |= {path: lambda: answers(PRUNED) for path in (pruned / "queries.npz", layout.result(ORIGINAL, "split.json"))}
    files |= {target / "config.json": lambda: read_configs(Run(layout)),
              layout.result(ORIGINAL, "MR.json"): lambda: read_multi(Run(layout))}
    for version, setting in ((ORIGINAL, "NR"), (PRUNED, "SR"), (ORIGINAL, "MR")):
        names = list(Results(Run(layout), version, setting).saved()["attacks"])
        files[layout.result(version, f"{setting}_scores.npz")] = partial(scores, setting, version, names)
        if setting != "MR":
            files[layout.result(version, f"{setting}.json")] = partial(result, setting, version)
    files |= {path: cached for path in sorted(cache.FOLDER.glob("imagefolder*"))}
    files |= {path: cached for path in sorted(pictures.rglob("*.jpg"))[:1]}
    return files


def damaged(raw, rng):
    """These bytes cut short, or with 1 to 64 of them overwritten, or one bit turned."""
    at, kind = rng.randrange(len(raw)), rng.choice(["cut", "garbage", "bit"])
    if kind == "cut":
        return raw[:at]
    if kind == "bit":
        return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]
    garbage = rng.randbytes(rng.randint(1, 64))
    return raw[:at] + garbage + raw[at + len(garbage) :]


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_refused_or_made_again_or_harmless(scene, tally, capsys):
    rng, files, wrong = random.Random(1), readers(*scene), []
    expected = {path: read() for path, read in files.items()}
    names = list(files)
    for case in range(CASES):
        path = names[case % len(names)]
        raw = path.read_bytes()
        path.write_bytes(damaged(raw, rng))
        changed = path.read_bytes() != raw
        capsys.readouterr()
        try:
            found = files[path]()
        except CompLeakError as error:
            assert "\n" not in str(error), error
            kind = "refused"
        else:
            said = capsys.readouterr().out
            kind = "rebuilt" if "afresh" in said or "again" in said else "harmless"
            if path.suffix == ".jpg" and found[0] != expected[path][0]:
                kind = "refused"  # other pictures: every stage compares this digest with the split's
            elif not (kind == "rebuilt" and found is None) and not same_values(found, expected[path]):
                wrong.append((path.name, case))
        path.write_bytes(raw)
        tally["corrupted"] += changed
        tally[kind] += changed
    tally["wrong"] += len(wrong)
    assert not wrong
    assert tally["corrupted"] > 0.98 * CASES and tally["refused"] > CASES / 3


def same_values(one, other):
    """Whether two values, arrays in lists and dictionaries included, are equal."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_values(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_values, one, other))
    return one == other
