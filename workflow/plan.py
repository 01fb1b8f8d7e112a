"""A configuration's stages as command lines of the scripts, and the files that each leaves. It starts nothing."""
import shlex
from pathlib import Path

from common.paths import ORIGINAL, Layout, Version
from data.splits import DISJOINT
from models import protocol
from models.compression import TECHNIQUES
from models.crops import AUGMENTED, FILE
from workflow.settings import DEFAULTS, check, degrees, read_seeds, read_switches

__all__ = ["DEFAULTS", "check", "read_seeds", "read_switches"]  # the Snakefile and workflow.cost know this module alone


def threads(config, cores):
    """CPU threads of one job: as configured, or the cores shared out among the GPU slots, or all of them."""
    slots = max(1, config["gpus"] * config["per_gpu"])
    return config["threads"] or max(1, cores // slots)


def run_dir(config, seed):
    """The run folder of one seed."""
    return config["run_dir"].replace("{seed}", str(seed))


def targets(config):
    """The folders below a run's in which someone else is attacked, "" for the run's own."""
    return ["", *(f"/as_shadow_{i}" for i in range(config["shadows"]) if config["every_target"])]


def parts(config):
    """{name of a part: its worlds, or None for all}: who is trained together in one job."""
    size, shadows = config["worlds_per_job"], config["shadows"]
    if not size:
        return {"all": None}
    worlds = ["target", *(f"shadow_{i}" for i in range(shadows))]
    chunks = [worlds[i : i + size] for i in range(0, len(worlds), size)]
    return {chunk[0] if len(chunk) == 1 else f"{chunk[0]}-{chunk[-1]}": chunk for chunk in chunks}


def techniques(config):
    """The compression techniques that have a degree."""
    return [technique for technique in TECHNIQUES if degrees(config, technique)]


def fetch(config):
    """The command that puts the data set into its cache."""
    words = ["-m", "workflow.fetch", "--dataset_name", config["dataset"], "--image_size", config["image_size"]]
    return _join(words + _given(config, "data_dir"))


def _given(config, *names):
    """The command-line flags of those of these settings that have a value."""
    return [word for name in names if config[name] for word in (f"--{name}", config[name])]


def train(config, seed, part):
    """train.py's command."""
    own = config["train"]
    words = ["train.py", *_models(config, seed, part), "--seed", seed, "--shadow_num", config["shadows"],
             "--train_size", config["train_size"], "--image_size", config["image_size"],
             "--protocol", config["protocol"], *(["--pools", config["pools"]] if config["pools"] != DISJOINT else []),
             *_given(config, "pool_size"), "--augment" if config["augment"] else "--no-augment",
             "--lr", own["lr"], "--epochs", own["epochs"]]
    return _join(words, own)


def compress(config, seed, technique, part):
    """The command of one compression technique, all its degrees at once."""
    own, entry = config[technique], TECHNIQUES[technique]
    given = [entry.flag_value(degree) for degree in degrees(config, technique)]
    training = ["--lr", own["lr"], entry.epochs_flag, own["epochs"]] if entry.epochs_flag else []
    words = [entry.script, *_models(config, seed, part), *training, entry.degree_flag, *given]
    return _join(words, own)


def attack(config, seed, setting, models, target=""):
    """The command of CompLeakNR.py or CompLeakSR.py on the original or on one technique's models; target: a folder of
    `targets`."""
    words = [f"CompLeak{setting}.py", *_shared(config, [seed], [target]), "--batch_size", config["batch_size"]]
    if setting == "SR" or models == "original":
        words.append("--original")
    if models != "original":
        words += ["--compress", "--compress_name", models, "--compress_degree", *degrees(config, models)]
    return _join(words, config[setting])


def several(config, seed, target=""):
    """MR's command: the notebook is executed and left in the run's folder; with flags it is attacks.mr by itself."""
    if config["MR"]["flags"]:
        return _join(["-m", "attacks.mr", *_shared(config, [seed], [target])], config["MR"])
    return shlex.join(["-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "CompLeakMR.ipynb",
                       "--output-dir", run_dir(config, seed) + target, "--output", "CompLeakMR.ipynb"])


def module(config, seeds, name):
    """The command of a module that reads finished runs: evaluation.figures, evaluation.tables, …"""
    return _join(["-m", name, *_shared(config, seeds)])


def claims(config, seeds):
    """The command of the claims, over all seeds and targets."""
    return _join(["-m", "evaluation.claims", *_shared(config, seeds, targets(config))])


def report(config, seeds):
    """The command of the report on them, which shows pictures where they are at hand."""
    return _join(["-m", "evaluation.report", *_shared(config, seeds, targets(config)), *_given(config, "data_dir")])


def models_left(config, technique, part):
    """Patterns, below the run's folder, of what a training stage leaves; technique None is the original."""
    roots, augmented = _roots(config, technique), AUGMENTED in protocol.parse(config["protocol"])
    weights = TECHNIQUES[technique].file if technique else "weights.pt"
    files = ["config.json", weights, "queries.npz", *(["sensitivity.npz"] if config["sensitivity"] else []),
             *([FILE] if augmented else [])]
    left = [f"{root}/{world}/{file}" for root in roots for world in parts(config)[part] or ["*"] for file in files]
    return left if technique else [f"{roots[0]}/split.json", *left]


def results_left(config, setting, models="original"):
    """Patterns, below the run's folder, of what NR, SR or MR leaves."""
    left = [f"{root}/{setting}{ending}" for root in _roots(config, None if models == "original" else models)
            for ending in (".json", "_scores.npz")]
    return left + (["CompLeakMR.ipynb"] if setting == "MR" and not config["MR"]["flags"] else [])


def combined_left(config, *names):
    """Where the files lie that are made once a run (tables, figures, claims, report), below the run's folder."""
    return [f"{_roots(config, None)[0]}/{name}" for name in names]


def _roots(config, technique):
    """The folders, below the run's, of one technique's versions, or of the original (None)."""
    versions = [Version(technique, degree) for degree in degrees(config, technique)] if technique else [ORIGINAL]
    return [Layout(Path(), config["dataset"], config["model"]).root(version) for version in versions]


def _shared(config, seeds, folders=("",)):
    """The flags of every command, the run folders of these seeds among them, or the folders below them."""
    words = ["--dataset_name", config["dataset"], "--model_name", config["model"], *_given(config, "num_cls")]
    return [*words, "--run_dir", *(run_dir(config, seed) + folder for seed in seeds for folder in folders)]


def _models(config, seed, part):
    words = [*_shared(config, [seed]), "--batch_size", config["batch_size"], "--amp", config["amp"],
             "--query_rows", config["query_rows"], *_given(config, "data_dir", "data_label")]
    if not config["sensitivity"]:
        words.append("--no-sensitivity")
    if config["retrain"]:
        words.append("--retrain")
    worlds = parts(config)[part]
    return words + (["--worlds", *worlds] if worlds else [])


def _join(words, own=None):
    return " ".join([shlex.join(map(str, words)), *([own["flags"]] if own and own.get("flags") else [])])
