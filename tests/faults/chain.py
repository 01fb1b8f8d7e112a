"""A whole run in miniature, from training to tables, as one process: python tests/faults/chain.py RUN_DIR [KILL].

The commands are the real ones; only the network is narrow and the forests are small. KILL, "7 before" or "7 after",
makes the process kill itself (SIGKILL) at its 7th file, just before or just after the file is put in place.
"""
import os
import signal
import sys

import CompLeakNR
import CompLeakSR
import train
from attacks import classifiers, multi, tables
from clustering import clustering
from models import cli, training
from models.resnet import MODELS, ResNet
from pruning import prune
from quantization import qat

DATA = "--dataset_name digits --device cpu"
TRAINING = f"{DATA} --amp off --query_rows scored --batch_size 20"
PRUNED, INT8 = "--compress_name pruning --compress_degree 0.6 0.7 0.8 0.9", "--compress_name quantization --compress_degree int8"
CLUSTERED = "--compress_name clustering --compress_degree 4 8 16"
COMMANDS = (
    (train.main, f"{TRAINING} --image_size 8 --train_size 40 --epochs 8 --lr 0.02"),
    (prune.main, f"{TRAINING} --lr 0.01 --prune_epochs 2 --prune_sparsity 0.6 0.7 0.8 0.9"),
    (qat.main, f"{TRAINING} --lr 0.01 --quantized_epochs 3 --degree int8"),
    (clustering.main, f"{TRAINING} --lr 0.001 --epochs 2 --bit 2 3 4"),
    (CompLeakNR.main, f"{DATA} --original --compress {PRUNED}"),
    (CompLeakNR.main, f"{DATA} --compress {INT8}"),
    (CompLeakNR.main, f"{DATA} --compress {CLUSTERED}"),
    (CompLeakSR.main, f"{DATA} --original --compress {PRUNED}"),
    (CompLeakSR.main, f"{DATA} --original --compress {INT8}"),
    (CompLeakSR.main, f"{DATA} --original --compress {CLUSTERED}"),
    (multi.main, DATA),
    (tables.main, DATA),
)


def shrink():
    """Make everything small, and progress files frequent."""
    MODELS["resnet18"] = lambda classes: ResNet(classes, widths=(4, 8, 8, 16))
    classifiers.TREES = 10
    training.SAVE_EVERY = 0.05


def chain(run_dir, commands=COMMANDS):
    """Every command, one after the other; what is finished is not repeated."""
    for main, flags in commands:
        main([*flags.split(), "--run_dir", str(run_dir)])


def kill_at(count, when):
    """Have this process killed at its count-th file, before or after the file gets its name."""
    replace, left = os.replace, [int(count)]

    def replace_and_die(*args):
        left[0] -= 1
        if when == "after":
            replace(*args)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "before":
            replace(*args)

    os.replace = replace_and_die


if __name__ == "__main__":
    shrink()
    if len(sys.argv) > 2:
        kill_at(*sys.argv[2].split())
    cli.run(chain, sys.argv[1])
