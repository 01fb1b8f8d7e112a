"""A whole run in miniature, training to tables, in processes of its own that can be killed.

The commands are the real ones; the network is narrow, the forests and attack networks are small. multiprocessing's fork
server imports them once, so that a process costs no start; everything below that takes `args` runs in such a process.
"""
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import tqdm

import CompLeakNR
import CompLeakSR
import train
from attacks import classifiers, groups, mr, mr_network, samia
from clustering import clustering
from common import command, files
from common.paths import Version
from evaluation import tables
from models import stage, training, weights
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from pruning import prune
from quantization import qat

VERSIONS = [Version("pruning", "0.9"), Version("quantization", "int8"), Version("clustering", "4")]
DATA = "--dataset_name digits --device cpu"
TRAINING = f"{DATA} --amp off --query_rows scored --batch_size 20"
PRUNED, INT8, CLUSTERED = (f"--compress --compress_name {v.technique} --compress_degree {v.degree}" for v in VERSIONS)
COMMANDS = (
    (train.main, f"{TRAINING} --image_size 8 --train_size 40 --epochs 6 --lr 0.02"),
    (prune.main, f"{TRAINING} --lr 0.01 --prune_epochs 2 --prune_sparsity 0.9"),
    (CompLeakNR.main, f"{DATA} --original {PRUNED}"),
    (qat.main, f"{TRAINING} --lr 0.01 --quantized_epochs 3 --degree int8"),
    (clustering.main, f"{TRAINING} --lr 0.001 --epochs 2 --bit 2"),
    (CompLeakNR.main, f"{DATA} {INT8}"),
    (CompLeakNR.main, f"{DATA} {CLUSTERED}"),
    (CompLeakSR.main, f"{DATA} --original {PRUNED}"),
    (CompLeakSR.main, f"{DATA} --original {INT8}"),
    (CompLeakSR.main, f"{DATA} --original {CLUSTERED}"),
    (mr.main, DATA),
    (tables.main, DATA),
)
SHORT = COMMANDS[:3]
NOBODY = 65534

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["chain"])


def start(log, body, *args):
    """A process that runs body(args) as a script would run its main, all output going to the file `log`."""
    process = processes.Process(target=_enter, args=(str(log), body, [str(word) for word in args]))
    process.start()
    return process


def outcome(log, body, *args):
    """(exit code, output) of such a process when it has ended."""
    process = start(log, body, *args)
    process.join()
    return process.exitcode, Path(log).read_text()


def one_line(said):
    """The one error line of an output; fails where there is a traceback, no such line, or several."""
    assert "Traceback" not in said, said[-3000:]
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said[-3000:]
    return lines[0]


def _enter(log, body, args):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    shrink()
    try:
        command.run(body, args)
    finally:
        os.seteuid(os.getuid())  # multiprocessing cleans up what it made as root


def shrink(put=setattr):
    """Make everything small, and progress files frequent. put: setattr, or one that can be undone."""
    NETWORKS["resnet18"] = Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy")
    put(classifiers, "TREES", 40)
    put(training, "SAVE_EVERY", 0.05)
    put(samia, "train_samia", partial(samia.train_samia, epochs=5))
    put(mr_network, "train_multi", partial(mr_network.train_multi, epochs=5))
    put(groups, "paper_groups", lambda: {"pruned + int8": VERSIONS[:2], "all": VERSIONS})


def run_commands(run_dir, commands=COMMANDS):
    """One command after the other; what is finished is not repeated."""
    for main, flags in commands:
        main([*flags.split(), "--run_dir", str(run_dir)])


def whole(args):
    """args: run_dir."""
    run_commands(*args)


def short(args):
    """args: run_dir. Training, pruning and NR alone."""
    run_commands(*args, SHORT)


def killed_at_a_file(args):
    """args: run_dir, count, when. Dies (SIGKILL) at its count-th file, before or after the file gets its name."""
    run_dir, count, when = args
    replace, left = os.replace, [int(count)]

    def replace_and_die(*paths):
        left[0] -= 1
        if when == "after":
            replace(*paths)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "before":
            replace(*paths)

    os.replace = replace_and_die
    run_commands(run_dir)


def short_until_read_only(args):
    """args: run_dir, count. Every folder is made read-only before the count-th file; root, whom that would not stop,
    becomes another user then.
    """
    run_dir, count = args
    atomic, left = files.atomic, [int(count)]

    def atomic_or_not(path):
        left[0] -= 1
        if left[0] == 0:
            for folder in (Path(run_dir), *Path(run_dir).rglob("*/")):
                folder.chmod(0o555)
            if os.geteuid() == 0:
                os.seteuid(NOBODY)
        return atomic(path)

    for module in (files, weights, stage):
        module.atomic = atomic_or_not
    run_commands(run_dir, SHORT)


def short_with_a_jumping_clock(args):
    """args: run_dir. The time of day leaps by a year, to and fro, each time somebody looks at it."""
    real, looks = time.time, [0]

    def jumping():
        looks[0] += 1
        return real() + (-1) ** looks[0] * 365 * 86400

    time.time = tqdm.std.time = jumping
    run_commands(*args, SHORT)
    assert looks[0], "nobody looked at the clock: this tested nothing"


def diverging(args):
    """args: run_dir. Training with another learning rate whose loss becomes infinite in the fourth epoch."""
    step, count = training._step, [0]

    def step_and_break(model, *rest):
        count[0] += 1
        totals = step(model, *rest)
        if count[0] == 7:
            next(model.parameters()).data.fill_(float("nan"))
        return totals

    training._step, training.SAVE_EVERY = step_and_break, -1
    main, flags = COMMANDS[0]
    main([*flags.split(), "--lr", "0.03", "--retrain", "--run_dir", *args])


def stage_with_broken_output(args):
    """args: run_dir, number, kind. One command, its standard output a pipe without a reader (closed) or a full disk."""
    run_dir, number, kind = args
    if kind == "closed":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open("/dev/full", os.O_WRONLY)
    os.dup2(write, 1)
    run_commands(run_dir, COMMANDS[int(number) : int(number) + 1])
