"""Run one stage's command for the workflow: on a GPU of its own if there are several, then mark what it left."""
import argparse
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from common.files import read_json, write_json
from common.streams import lasting
from workflow import seal, slots

PR_SET_PDEATHSIG = 1
LAST_LINES = 20


def die_with_parent():
    """Have Linux send this process SIGTERM when its parent ends, so that a killed Snakemake leaves no stage running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def execute(command, environment, keep=(), log=None):
    """Exit code of a command. keep: descriptors that it holds too; log: a file for its output, None for ours."""
    with (open(log, "wb") if log else nullcontext()) as file:
        child = subprocess.Popen(command, env=environment, pass_fds=keep, stdout=file, stderr=file,
                                 preexec_fn=die_with_parent)
        # Ctrl-C reaches the stage by itself, which says its word and stops; we wait for that.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        code = child.wait()
    if code and log:
        tail = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        print("\n".join([f"{log} ends:", *tail]), file=sys.stderr)
    return code if code >= 0 else 128 - code


def note_seconds(mark, seconds):
    """Beside the mark, how long the stage took; kept where it left what it had left before, having done nothing."""
    path, left = mark.with_suffix(".seconds"), mark.read_text(encoding="utf-8")
    if not path.exists() or read_json(path).get("left") != left:
        write_json(path, {"seconds": round(seconds, 1), "left": left})


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    p.add_argument("--mark", type=Path, required=True, help="RUN/.workflow/STAGE.json, to record what it left in RUN")
    p.add_argument("--left", nargs="*", default=[], help="patterns below the run's folder of the files it leaves")
    p.add_argument("--alone", action="store_true", help="show the stage's output (default: a .log beside the mark)")
    p.add_argument("--cpu", action="store_true", help="hide every GPU from it")
    p.add_argument("--gpus", type=int, default=0, help="GPUs to choose one from (default: all are left visible)")
    p.add_argument("--per_gpu", type=int, default=1, help="jobs that may share one GPU")
    p.add_argument("--python", default=shlex.quote(sys.executable), help="what starts the command, as one string")
    p.add_argument("command", nargs="+", help="after --: the stage's command, without python")
    args = p.parse_args(argv)
    die_with_parent()
    command = [*shlex.split(args.python), *args.command]
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if args.cpu else {})}
    waiting = nullcontext((None, None))
    if args.gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        waiting = slots.held(slots.gpu_slots(args.gpus, args.per_gpu, visible), slots.folder())
    log = None if args.alone else args.mark.with_suffix(".log")
    args.mark.parent.mkdir(parents=True, exist_ok=True)
    print(f"$ {shlex.join(command)}" + (f" > {log}" if log else ""), flush=True)
    with waiting as (gpu, lock):
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        began = time.monotonic()
        code = execute(command, environment, [] if lock is None else [lock], log)
    if code == 0:
        seal.write(args.mark, args.mark.parents[1], args.left)
        note_seconds(args.mark, time.monotonic() - began)
    sys.exit(code)


if __name__ == "__main__":
    with lasting():
        main()
