"""The flags that every command shares, those of every command that trains models, and what they ask for."""
import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from common.command import Parser, positive
from common.paths import OWN, Layout
from data.names import shown
from data.sets import DATASETS
from models import protocol
from models.networks import NETWORKS
from models.run import GIVEN


def parser(description, several_runs=False, trains=False):
    """A parser with the flags that every stage takes; several_runs: args.run_dir is a list of folders.

    trains: whether it trains models; what only reads results takes audited models too.
    """
    own = ([], []) if trains else ([OWN.dataset], [OWN.model])
    p = Parser(description=description)
    p.add_argument("--dataset_name", choices=(*DATASETS, *own[0]), default="cifar10", help="data set")
    p.add_argument("--model_name", choices=(*NETWORKS, *own[1]), default="resnet18", help="network")
    p.add_argument("--num_cls", type=int, default=None, help="classes, checked against the data (default: unchecked)")
    p.add_argument("--batch_size", type=positive(int, least=2), default=128, help="pictures (or attack rows) a step")
    where = "folder below which results/, results_pruning/, … lie"
    here, said = os.environ.get("COMPLEAK_RUN_DIR") or ".", "(default: what COMPLEAK_RUN_DIR names, or here)"
    if several_runs:
        p.add_argument("--run_dir", nargs="+", default=[here],
                       help=f"{where}; or several, of different seeds or targets {said}")
    else:
        also = "" if trains else "; below it as_shadow_0 is the same run with shadow_0 attacked"
        p.add_argument("--run_dir", default=here, help=f"{where}{also} {said}")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    p.add_argument("--seed", type=int, default=None, help="seed of every random choice (default: the run's, or 0)")
    p.add_argument("--protocol", default=None,
                   help="sound, released (choices of the authors' code, to measure their effect), or single choices "
                        "joined by + (default: the run's, or sound)")
    p.add_argument("--shadow_num", type=int, default=None, help="shadow models (default: the run's, or 1)")
    return p


def training_parser(description, lr, epochs_flag, epochs):
    """The shared flags and those of every command that makes models; one without an epochs_flag trains nothing."""
    p = parser(description, trains=True)
    if epochs_flag:
        p.add_argument("--lr", type=positive(float), default=lr, help="initial learning rate, decayed along a cosine")
        p.add_argument(epochs_flag, dest="epochs", type=positive(int), default=epochs,
                       help="epochs over a model's members")
    else:
        p.set_defaults(lr=None, epochs=0)
    p.add_argument("--data_dir", default=None,
                   help="folder of pictures: a copy of the data set, or imagefolder's class folders (cifar10, cifar100 "
                        "without it: downloaded to data/datasets/)")
    p.add_argument("--cache_dir", default=None, help="folder of downloads and decoded pictures (data/datasets/)")
    p.add_argument("--data_label", type=shown, default=None,
                   help="name of an imagefolder set in tables (default: the folder's)")
    p.add_argument("--amp", choices=("auto", "off"), default="auto",
                   help="bfloat16 autocast in training where the device has it, or float32; the run's first training "
                        "decides for all")
    p.add_argument("--query_rows", choices=("auto", "all", "scored"), default="auto",
                   help="query every picture of both pools, or only those that attacks are fitted and scored on; auto: "
                        "all, unless fewer than half of them are scored")
    p.add_argument("--worlds", nargs="+", default=None, metavar="WORLD",
                   help="make only these models, of target, shadow_0, shadow_1, …: processes can share a stage "
                        "(default: all)")
    p.add_argument("--sensitivity", action=argparse.BooleanOptionalAction, default=True,
                   help="measure sensitivities, which SAMIA alone needs and which cost ten queries a scored picture")
    p.add_argument("--retrain", action="store_true",
                   help="make models again that are finished with other settings; without it such a command is refused")
    return p


def layout_of(args, run_dir=None):
    """The Layout that the shared flags name, in run_dir where --run_dir names several."""
    return Layout(Path(run_dir or args.run_dir), args.dataset_name, args.model_name)


def given_settings(args):
    """The run's settings that the command line names: {name: value}."""
    given = {name: getattr(args, name, None) for name in GIVEN}
    if given["protocol"] is not None:
        given["protocol"] = protocol.name(given["protocol"])
    return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Request:
    """What a training command asks for; given: the run's settings that it names (`given_settings`)."""

    layout: Layout
    given: dict
    num_cls: int | None
    epochs: int
    lr: float
    batch_size: int
    amp: str
    device: str
    data_dir: str | None
    data_label: str | None
    cache_dir: str | None
    query_rows: str
    sensitivity: bool
    worlds: tuple | None
    retrain: bool
    views: int = 0


def training_request(args):
    """The Request of a training command's arguments."""
    own = {name: value for name, value in vars(args).items() if name in Request.__dataclass_fields__}
    return Request(layout_of(args), given_settings(args), **own)
