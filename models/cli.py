"""What every command shares: flags, the choice of device, and errors as one line."""
import argparse
import signal
import sys

import torch
from tqdm import tqdm

from data.images import NAMES
from models.checkpoint import OWN
from models.errors import CompLeakError, UsageError
from models.resnet import MODELS


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, exit code 2."""

    def error(self, message):
        self.exit(2, f"error: {message} (see --help)\n")


def positive(kind, least=0):
    """An argument type: a finite int or float above zero, and at least `least`."""

    def read(text):
        value = kind(text)
        if not 0 < value < float("inf") or value < least:
            raise argparse.ArgumentTypeError(f"{text}: choose " + (f"{least} or more" if least else "a number above 0"))
        return value

    read.__name__ = kind.__name__
    return read


def parser(description, several_runs=False, datasets=(*NAMES, OWN.dataset), models=(*MODELS, OWN.model)):
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
    p = parser(description, datasets=NAMES, models=tuple(MODELS))
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


def choose_device(name):
    """torch.device for auto | cpu | cuda | cuda:N; UsageError where there is no such device."""
    # Numbers below 1e-38 take a processor ten times as long: a pruned, hardly trained model is full of them. Threads
    # that PyTorch starts later inherit the setting, so it stands here, before the first tensor.
    torch.set_flush_denormal(True)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name}: PyTorch finds no GPU on this machine; use --device cpu")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s), numbered from 0")
    return torch.device(name)


def use_bfloat16(amp, device, image_size):
    """Whether training runs under bfloat16 autocast: where asked for and the hardware has it.

    Not on pictures of 8 pixels: a 3×3 convolution of a single pixel, which the last stage then is, now and then gets a
    gradient with uninitialised numbers in it in bfloat16 (torch 2.15 on a CPU).
    """
    if amp == "off" or image_size <= 8:
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def run(main, argv=None):
    """Run a command's main; known errors become one line on stderr and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(argv)
        code = 0
    except CompLeakError as error:
        code = _say(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cut the message short
            signal.signal(number, signal.SIG_IGN)
        code = _say("\nstopped; the same command goes on from here", 130)
    except MemoryError as error:
        code = _say(f"error: not enough memory ({error}): choose a smaller --image_size or --batch_size", 1)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        code = _say(f"error: {error.filename or 'a file'}: {error.strerror}: check the folder's permissions and free "
                    "space, or choose another --run_dir", 1)
    sys.exit(code)


def _say(line, code):
    """Print a last line on stderr, below progress bars that were cut short; gives the exit code back."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    print(line, file=sys.stderr)
    return code


def _stop(signum, frame):
    raise KeyboardInterrupt
