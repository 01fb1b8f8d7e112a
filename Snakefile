"""The whole chain as files: data → models → compressed models → NR, SR → MR → figures, tables, claims → report.

A stage's scripts know their finished work by its settings and keep it. So a rule's output is not their files, which
Snakemake would delete before it runs a job again, but a mark that names them (workflow/seal.py).
"""
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from common.files import BUSY, take
from workflow import plan, seal

configfile: "workflow/defaults.yaml"

try:
    CORES = workflow.cores
except WorkflowError:  # on a cluster there is no such number
    CORES = None
try:
    plan.check(config, CORES)
    config.update(plan.read_switches(config))
except ValueError as error:
    raise WorkflowError(str(error))

SEEDS, TECHNIQUES = plan.read_seeds(config), plan.techniques(config)
THREADS = plan.threads(config, CORES)
RUN_DIRS = [plan.run_dir(config, seed) for seed in SEEDS]
TARGET_DIRS = [run_dir + target for run_dir in RUN_DIRS for target in plan.targets(config)]
MARKS = config["run_dir"] + "/.workflow/"
OF_TARGET = config["run_dir"] + "{target}/.workflow/"
FIRST = RUN_DIRS[0] + "/.workflow/"  # the marks of what serves or combines all runs
LOCKS = []  # on the runs' folders, as long as this lives

# How a job runs stands apart from its shell command, whose change would run the job again.
PYTHON = shlex.quote(sys.executable)
OPTIONS = " ".join([
    "" if config["gpus"] or config["threads"] else "--alone",  # else several may run: each writes to a log of its own
    f"--python {shlex.quote(config['python'])}" if config["python"] else "",
    "--cpu" if config["device"] == "cpu" else ""])
GPUS = f"--gpus {config['gpus']} --per_gpu {config['per_gpu']}"
ONE_GPU = 1 if config["device"] == "cuda" else 0

JOB = "exec {PYTHON} -m workflow.job --mark {output:q} {OPTIONS} "
ON_GPU = JOB + "{GPUS} "
COMMAND = "--left {params.left:q} -- {params.command}"
DEVICE = " --device {config[device]}"

wildcard_constraints:
    seed=r"-?\d+",
    target=r"(/as_shadow_\d+)?",
    technique="|".join(TECHNIQUES),
    models="|".join(["original", *TECHNIQUES]),


def seed(wildcards):
    return int(wildcards.get("seed", SEEDS[0]))


def run(wildcards):
    return plan.run_dir(config, seed(wildcards))


def attacked(wildcards):
    return run(wildcards) + wildcards.target


def marks(run_dirs, *names):
    """The marks of these stages in these runs; {part} and {technique} stand for all of them."""
    return [mark for run_dir in run_dirs for name in names for mark in expand(
        f"{run_dir}/.workflow/{name}.json", part=list(plan.parts(config)), technique=TECHNIQUES)]


def results(run_dirs):
    """The marks of every attack in these runs."""
    return marks(run_dirs, "NR.original", "NR.{technique}", "SR.{technique}", *(["MR"] if config["multi"] else []))


if workflow.is_main_process:
    for run_dir in TARGET_DIRS:
        for mark in Path(run_dir, ".workflow").glob("*.json"):
            lost = seal.broken(mark, run_dir)
            if lost:  # the stage is not finished, whatever its mark says
                print(f"{lost} is gone or changed: {mark.stem} runs again", file=sys.stderr)
                mark.unlink()

onstart:
    LOCKS.extend(take(Path(run_dir, ".workflow/lock")) for run_dir in RUN_DIRS)
    if BUSY in LOCKS:
        raise WorkflowError(f"another workflow works in {RUN_DIRS[LOCKS.index(BUSY)]}: wait for it, or stop it")


rule all:
    input:
        # Every stage, not the last ones alone: Snakemake would not miss what came before those.
        marks(RUN_DIRS, "train.{part}", "{technique}.{part}", "figures", "tables"), results(TARGET_DIRS),
        [FIRST + f"{stage}.json" for stage in ("claims", "report") if config[stage]],


rule data:
    output: FIRST + "data.json"
    params: left=[], command=plan.fetch(config)
    threads: THREADS
    shell: JOB + COMMAND


rule train:
    input: [] if config["dataset"] == "digits" else FIRST + "data.json"
    output: MARKS + "train.{part}.json"
    params:
        left=lambda w: plan.models_left(config, None, w.part),
        command=lambda w: plan.train(config, seed(w), w.part),
    threads: THREADS
    resources: gpu=ONE_GPU
    shell: ON_GPU + COMMAND + DEVICE


use rule train as compress with:
    input: lambda w: marks([run(w)], "train.{part}")
    output: MARKS + "{technique}.{part}.json"
    params:
        left=lambda w: plan.models_left(config, w.technique, w.part),
        command=lambda w: plan.compress(config, seed(w), w.technique, w.part),


use rule train as NR with:
    input: lambda w: marks([run(w)], ("train" if w.models == "original" else w.models) + ".{part}")
    output: OF_TARGET + "NR.{models}.json"
    params:
        left=lambda w: plan.results_left(config, "NR", w.models),
        command=lambda w: plan.attack(config, seed(w), "NR", w.models, w.target),


rule SR:
    input: lambda w: marks([run(w)], "train.{part}", w.technique + ".{part}")
    output: OF_TARGET + "SR.{technique}.json"
    params:
        left=lambda w: plan.results_left(config, "SR", w.technique),
        command=lambda w: plan.attack(config, seed(w), "SR", w.technique, w.target),
    priority: -1  # what it prints has NR beside it, if that is there
    threads: THREADS
    shell: JOB + COMMAND + DEVICE


rule MR:
    input: lambda w: marks([attacked(w)], "NR.original", "NR.{technique}", "SR.{technique}")
    output: OF_TARGET + "MR.json"
    params:
        run=attacked,
        left=plan.results_left(config, "MR"),
        command=lambda w: plan.several(config, seed(w), w.target),
    threads: THREADS
    resources: gpu=ONE_GPU
    shell:
        "export COMPLEAK_RUN_DIR={params.run:q} COMPLEAK_DATASET={config[dataset]:q} COMPLEAK_MODEL={config[model]:q}; " \
        + ON_GPU + COMMAND


use rule data as figures with:
    input: lambda w: results([run(w)])
    output: MARKS + "figures.json"
    params:
        left=plan.combined_left(config, "tables/roc.png", "tables/auc.png"),
        command=lambda w: plan.module(config, [seed(w)], "evaluation.figures"),


use rule data as tables with:
    input: lambda w: results([run(w)])
    output: MARKS + "tables.json"
    params:
        left=plan.combined_left(config, "tables/models.csv", "tables/C1.csv", "tables/C2.csv"),
        command=lambda w: plan.module(config, [seed(w)], "evaluation.tables"),


use rule data as claims with:
    input: results(TARGET_DIRS)
    output: FIRST + "claims.json"
    params:
        left=plan.combined_left(config, "claims.json"),
        command=plan.claims(config, SEEDS),


use rule data as report with:
    input: marks(RUN_DIRS, "figures", "tables"), FIRST + "claims.json" if config["claims"] else [],
    output: FIRST + "report.json"
    params:
        left=plan.combined_left(config, "report.html"),
        command=plan.report(config, SEEDS),
