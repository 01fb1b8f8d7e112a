"""The workflow as Snakemake sees it, in a folder of its own, so that no test writes into the project's."""
import os
import subprocess
import sys

import pytest
import yaml

from workflow import plan

KEPT_OUT = {".git", ".venv", ".snakemake", "demo", "runs"}


@pytest.fixture(scope="session")
def project(root, tmp_path_factory):
    """A folder with links to everything in the project's."""
    folder = tmp_path_factory.mktemp("project")
    for entry in root.iterdir():
        if entry.name not in KEPT_OUT:
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="session")
def snakemake(project):
    """snakemake(*words, **settings) → the finished process; settings go to --config."""

    def call(*words, **settings):
        config = ["--config", *(f"{key}={value}" for key, value in settings.items())] if settings else []
        command = [sys.executable, "-m", "snakemake", *map(str, words), *config]
        return subprocess.run(command, cwd=project, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(project)})

    return call


def jobs(done):
    """{rule: number of jobs} of a dry run's table; {} where nothing is left to do."""
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    if "Nothing to be done" in said:
        return {}
    lines = said.split("Job stats:")[1].split("total")[0].split("\n")[3:]
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.strip() and not line.startswith("all ")}


@pytest.fixture(name="jobs")
def _jobs():
    return jobs


def leave(config, run_dir):
    """One file wherever a stage of this configuration would leave some."""
    patterns = plan.models_left(config, None, "all") + plan.results_left(config, "NR")
    tables = [f"tables/{name}" for name in ("models.csv", "C1.csv", "C2.csv", "roc.png", "auc.png")]
    patterns += plan.results_left(config, "MR") + plan.combined_left(config, "claims.json", "report.html", *tables)
    for technique in plan.techniques(config):
        patterns += plan.models_left(config, technique, "all")
        patterns += plan.results_left(config, "NR", technique) + plan.results_left(config, "SR", technique)
    for pattern in patterns:
        path = run_dir / pattern.replace("/*/", "/target/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture(scope="session")
def finished(root, snakemake, tmp_path_factory):
    """The folder of a complete run of workflow/demo.yaml; a program that does nothing stood in for every stage."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    leave(yaml.safe_load((root / "workflow/defaults.yaml").read_text()) | {"dataset": "digits"}, run_dir)
    done = snakemake("--cores", 2, "--configfile", "workflow/demo.yaml", run_dir=run_dir, python="true")
    assert done.returncode == 0, done.stderr[-3000:]
    return run_dir
