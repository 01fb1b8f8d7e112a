"""The workflow's settings: their defaults, and what cannot be run refused in one line before anything starts."""
import re
import shlex
from pathlib import Path

import yaml

from common.errors import UsageError
from data.sets import DATASETS, SMALLEST
from data.splits import POOLS
from models import protocol
from models.compression import TECHNIQUES, paper_versions
from models.networks import NETWORKS

DEFAULTS = Path(__file__).with_name("defaults.yaml")
LEAST = {"shadows": 1, "threads": 0, "gpus": 0, "per_gpu": 1, "worlds_per_job": 0, "train_size": 1, "batch_size": 2,
         "image_size": SMALLEST}
CHOICES = {"device": ("auto", "cpu", "cuda"), "amp": ("auto", "off"), "query_rows": ("auto", "all", "scored"),
           "pools": POOLS, "dataset": tuple(DATASETS), "model": tuple(NETWORKS)}


def defaults():
    """Every setting's default, with an empty section for a technique that has none in the file."""
    known = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    empty = {"epochs": None, "lr": None, "degrees": [], "flags": ""}
    return {**{name: dict(empty) for name in TECHNIQUES if name not in known}, **known}


def check(config, cores):
    """Raises ValueError, one line, for a configuration that cannot be run; cores: this machine's, None on a cluster."""
    try:
        _check_names(config)
        _check_values(config)
        _check_text(config)
        _check_techniques(config)
        _need(len(read_seeds(config)) < 2 or "{seed}" in config["run_dir"], config, "run_dir",
              "several seeds need a folder each, put {seed} into it")
        _need(not config["gpus"] or config["device"] != "cpu", config, "gpus",
              "with device=cpu there is none: choose device=cuda or gpus=0")
        _need(cores is not None or config["threads"], config, "threads",
              "on a cluster say how many CPU threads a job gets, such as --config threads=8")
    except (ValueError, UsageError) as error:
        raise ValueError(str(error).replace("--protocol ", "protocol=", 1).replace("\n", "\\n")) from None


def _need(fits, config, name, else_):
    """ValueError names a setting, its value and what is allowed, unless it fits."""
    if not fits:
        raise ValueError(f"{name}={config[name]}: {else_}")


def _check_names(config):
    known = defaults()
    for name, value in config.items():
        inner = known.get(name)
        fits = not isinstance(inner, dict) or (isinstance(value, dict) and value.keys() <= inner.keys())
        if name not in known or not fits:
            raise ValueError(f"configuration {name}={value}: choose from the settings in workflow/{DEFAULTS.name}")


def _check_values(config):
    """Numbers, words and switches by themselves."""
    for name, least in LEAST.items():
        _need(type(config[name]) is int and config[name] >= least, config, name,
              f"choose a whole number, {least} or more")
    for name, choices in CHOICES.items():
        _need(config[name] in choices, config, name, f"choose {', '.join(choices[:-1])} or {choices[-1]}"
              + ("; gpus=N spreads jobs over N GPUs" if name == "device" else ""))
    for name in ("num_cls", "pool_size"):
        _need(config[name] is None or (type(config[name]) is int and config[name] >= 2), config, name,
              "choose a whole number, 2 or more, or leave it empty")
    _need(config["data_dir"] or not DATASETS[config["dataset"]].needs_dir, config, "dataset",
          "it needs data_dir=FOLDER, the folder of its pictures")
    _need(isinstance(config["protocol"], str), config, "protocol", "choose one word, such as sound or released")
    _need("augmented_members" not in protocol.parse(config["protocol"]) or read_switches(config)["augment"], config,
          "protocol", "members are asked through the training's crops and flips, so choose augment=true")


def _check_text(config):
    """Text that Snakemake or a shell would read as more than text."""
    sections = [(f"{name}: flags", section.get("flags")) for name, section in config.items()
                if isinstance(section, dict)]
    given = [(name, config[name]) for name in ("run_dir", "data_dir", "data_label", "python")] + sections
    if not config["run_dir"]:
        raise ValueError("run_dir is empty: name the folder of the run")
    for name, text in given:
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name}={text}: choose text, in quotes where it looks like a number or a list")
        plain = (text or "").replace("{seed}", "") if name == "run_dir" else text or ""
        if re.search("[{}\n]", plain):
            raise ValueError(f"{name}={text!r}: choose text without braces"
                             + (" but for {seed}" if name == "run_dir" else ""))
        try:
            shlex.split("" if name in ("run_dir", "data_dir", "data_label") else plain)
        except ValueError as error:
            raise ValueError(f"{name}={text}: {str(error).lower()}") from None


def _check_techniques(config):
    """Training settings of each stage; degrees that exist, each once; all of the paper's where MR wants them."""
    for name in ("train", *TECHNIQUES):
        section = config.get(name)
        if section is None or (name != "train" and (section.get("degrees") == [] or not TECHNIQUES[name].epochs_flag)):
            continue
        for key, kind, what in (("epochs", int, "a whole number"), ("lr", float, "a number")):
            try:
                fits = not isinstance(section.get(key), bool) and 0 < kind(str(section.get(key))) < float("inf")
            except ValueError:  # 1e-5 is text to YAML, 1.0e-5 a number: both are one
                fits = False
            if not fits:
                raise ValueError(f"{name}: {key}={section.get(key)}: choose {what} above 0")
    found = {name: degrees(config, name) for name in TECHNIQUES}
    if not any(found.values()):
        raise ValueError(f"no technique has a degree: give one of {', '.join(TECHNIQUES)} degrees, such as "
                         "pruning={degrees: [0.6]}")
    lacking = [str(version) for version in paper_versions()[1:] if version.degree not in found[version.technique]]
    if read_switches(config)["multi"] and lacking and not config["MR"]["flags"]:
        raise ValueError(f"multi=true needs the paper's versions, and the degrees leave out {', '.join(lacking)}: "
                         "choose multi=false or these degrees, or give MR flags, which run it without the notebook")


def degrees(config, technique):
    """A technique's degrees, in their one spelling; UsageError or ValueError for ones that cannot exist, or repeat."""
    given = (config.get(technique) or {}).get("degrees", [])
    if not isinstance(given, list):
        raise ValueError(f"{technique}: degrees={given}: choose a list, such as degrees: [{given}]")
    found = [TECHNIQUES[technique].degree(degree, f"{technique}: degrees") for degree in given]
    if len(set(found)) < len(found):
        raise ValueError(f"{technique}: degrees={given}: one stands there twice")
    return found


def read_switches(config):
    """{setting: bool} of those that are on or off, which --config gives as words; ValueError for any other word."""
    words = {name: str(config[name]).lower() for name, value in defaults().items() if isinstance(value, bool)}
    for name, word in words.items():
        _need(word in ("true", "false"), config, name, "choose true or false")
    return {name: word == "true" for name, word in words.items()}


def read_seeds(config):
    """The seeds [int], which --config gives as words; ValueError where they are no different whole numbers."""
    given = config["seeds"] if isinstance(config["seeds"], list) else [config["seeds"]]
    try:
        seeds = [int(str(seed)) for seed in given]
    except ValueError:
        seeds = []
    _need(0 < len(seeds) == len(set(seeds)), config, "seeds", "choose different whole numbers, such as 'seeds=[0,1,2]'")
    return seeds
