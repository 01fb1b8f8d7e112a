"""The flags that every command shares, and those of every command that trains models."""
import argparse

from common.command import Parser, positive
from common.paths import OWN
from data.sets import DATASETS
from models.networks import NETWORKS


def parser(description, several_runs=False, datasets=(*DATASETS, OWN.dataset), models=(*NETWORKS, OWN.model)):
    """A parser with the flags that every stage takes; several_runs: args.run_dir is a list of folders.

    datasets and models are the choices; what only reads results takes audited models too.
    """
    p = Parser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--dataset_name", choices=datasets, default="cifar10", help="data set")
    p.add_argument("--model_name", choices=models, default="resnet18", help="network")
    p.add_argument("--num_cls", type=int, default=None, help="number of classes, checked against the data")
    p.add_argument("--batch_size", type=positive(int, least=2), default=128, help="pictures (or attack rows) a step")
    where = "folder below which results/, results_pruning/, … lie"
    if several_runs:
        p.add_argument("--run_dir", nargs="+", default=["."], help=f"{where}; or several, runs of different seeds")
    else:
        p.add_argument("--run_dir", default=".", help=where)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    p.add_argument("--seed", type=int, default=None, help="seed of every random choice (default: the run's, or 0)")
    p.add_argument("--protocol", default=None,
                   help="sound, released (choices of the authors' code, to measure their effect), or single choices "
                        "joined by + (default: the run's, or sound)")
    p.add_argument("--shadow_num", type=int, default=None, help="shadow models (default: the run's, or 1)")
    return p


def training_parser(description, lr, epochs_flag, epochs):
    """The shared flags and those of every command that trains models."""
    p = parser(description, datasets=tuple(DATASETS), models=tuple(NETWORKS))
    p.add_argument("--lr", type=positive(float), default=lr, help="initial learning rate, decayed along a cosine")
    p.add_argument(epochs_flag, dest="epochs", type=positive(int), default=epochs, help="epochs over a model's members")
    p.add_argument("--data_dir", default=None,
                   help="folder of pictures: a copy of cifar10, or imagefolder's class folders (cifar10 without it: "
                        "downloaded to data/datasets/)")
    p.add_argument("--data_label", default=None, help="name of an imagefolder set in tables (default: the folder's)")
    p.add_argument("--amp", choices=("auto", "off"), default="auto",
                   help="bfloat16 autocast in training where the device has it, or float32")
    p.add_argument("--query_rows", choices=("all", "scored"), default="all",
                   help="query every picture of both pools, or only those that attacks are fitted and scored on")
    p.add_argument("--worlds", nargs="+", default=None, metavar="WORLD",
                   help="make only these models, of target, shadow_0, shadow_1, …: processes can share a stage "
                        "(default: all)")
    p.add_argument("--sensitivity", action=argparse.BooleanOptionalAction, default=True,
                   help="measure sensitivities, which SAMIA alone needs and which cost ten queries a scored picture")
    return p
