"""The commands that messages name: made here alone, from what a run knows, and quoted for a shell."""
import shlex
from contextlib import contextmanager

from common.errors import CompLeakError, FileError
from common.files import read_json
from common.paths import ORIGINAL
from data.names import text_to_path
from models.compression import TECHNIQUES


def flags(layout):
    """The words that name a run on a command line."""
    where = [] if str(layout.run_dir) == "." else ["--run_dir", str(layout.run_dir)]
    return ["--dataset_name", layout.dataset, "--model_name", layout.model, *where]


def audit(layout):
    """The command that does everything there is on models made elsewhere."""
    return "python " + shlex.join(["CompLeakAudit.py", "--outputs", "FOLDER", *flags(layout)[4:]])


def training(layout, version=ORIGINAL):
    """The command that trains one version's models, or reads their answers where they were made elsewhere."""
    if layout.is_own:
        return audit(layout)
    layout = layout.home
    technique = TECHNIQUES.get(version.technique)
    words = [technique.script if technique else "train.py", *flags(layout)]
    if technique:
        words += [technique.degree_flag, technique.flag_value(version.degree)]
    return "python " + shlex.join([*words, *_as_before(layout, version, technique)])


def _as_before(layout, version, technique):
    """The pictures, epochs, learning rate and batch size that the run is known to have used."""
    run = known(layout.result(ORIGINAL, "split.json")).get("run", {})
    made = known(layout.file(version, "target", "config.json")).get("settings", {})
    words = ["--data_dir", text_to_path(run["data_dir"])] if isinstance(run, dict) and run.get("data_dir") else []
    for flag, name in ((technique.epochs_flag if technique else "--epochs", "epochs"), ("--lr", "lr"),
                       ("--batch_size", "batch_size")):
        if made.get(name) is not None:
            words += [flag, str(made[name])]
    return words


def known(path):
    """The values of a JSON file as far as they are known: none where it is missing or damaged."""
    try:
        return read_json(path)
    except (CompLeakError, OSError):
        return {}


def attacks(layout, setting, versions):
    """The commands that make NR.json or SR.json of these versions, one a technique, joined by '; '."""
    if layout.is_own:
        return audit(layout)
    shared = [f"CompLeak{setting}.py", *flags(layout)]
    commands = [[*shared, "--original"]] if ORIGINAL in versions else []
    pair = ["--original"] if setting == "SR" else []
    for technique in dict.fromkeys(version.technique for version in versions if version != ORIGINAL):
        degrees = [version.degree for version in versions if version.technique == technique]
        commands.append([*shared, *pair, "--compress", "--compress_name", technique, "--compress_degree", *degrees])
    return "; ".join("python " + shlex.join(words) for words in commands)


def module(layout, name, *others):
    """The command of a module that reads a run, or also others of the same network: attacks.mr, evaluation.claims, …"""
    if layout.is_own:
        return audit(layout)
    folders = ["--run_dir", *(str(one.run_dir) for one in (layout, *others))]
    return "python " + shlex.join(["-m", name, *(flags(layout)[:4] + folders if others else flags(layout))])


@contextmanager
def mending(command):
    """Names a command in the message of a file that cannot be used; command: text, or a function that gives it."""
    try:
        yield
    except FileError as error:
        error.command = error.command or (command if isinstance(command, str) else command())
        raise
