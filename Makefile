# Everything runs from this folder with Python 3.11 or newer, make and git; nothing is installed outside .venv.
# FLAGS goes to Snakemake: make reproduce FLAGS="--config 'seeds=[0,1,2]'"
PYTHON ?= python3
BIN = .venv/bin
FLAGS ?=
SNAKEMAKE = $(BIN)/snakemake --workflow-profile workflow/profiles/local

BENCHMARKS = rmia kmeans samia clustered_step training disk growth nr_sr loaded startup memory learned

.PHONY: install demo smoke eight reproduce reproduce-dry reference report test test-faults test-slurm test-report bench

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -r requirements.txt -e ".[test,workflow,deploy]"
	touch $@

# The whole chain on scikit-learn's 1,797 scanned digits at 12×12 pixels and few epochs; finished stages stay.
demo: install
	$(SNAKEMAKE) --configfile workflow/demo.yaml $(FLAGS)
	$(BIN)/python -m evaluation.tables --dataset_name digits --run_dir demo

# Real pictures, 500 members learnt by heart, one pruned model: make smoke FLAGS="--config data_dir=PICTURES" uses a copy.
smoke: install
	$(SNAKEMAKE) --configfile workflow/smoke.yaml $(FLAGS)
	for seed in runs/smoke/seed_*; do $(BIN)/python -m evaluation.tables --dataset_name cifar10 --run_dir $$seed; done

# The appendix's settings; what is left of it.
reproduce: install
	$(SNAKEMAKE) --configfile workflow/cifar10.yaml $(FLAGS)

reproduce-dry: install
	$(SNAKEMAKE) --dry-run --quiet rules --configfile workflow/cifar10.yaml $(FLAGS)

# Nine models of half width, each the target once: some hours of 2 cores. FLAGS="--config data_dir=PICTURES" uses a copy.
eight: install
	$(SNAKEMAKE) --configfile workflow/eight.yaml $(FLAGS)

# A process a core, each with whole files of tests, the longest file first.
test: install
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# SIGKILL, signals, full disks, damaged files and odd flags against a small run: 15 minutes at most on 2 cores.
test-faults: install
	$(BIN)/python -m pytest tests/faults -o "python_files=faults_*.py" -o pythonpath=tests/faults

# Speed against its goals, on an idle machine: writes benchmarks/results/*.json and the table of them.
bench: install
	$(BIN)/pip install --quiet "kmeans1d>=0.5,<1"
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m benchmarks.table

# One HTML page from saved results: make report RUN="--dataset_name cifar10 --run_dir seed_0 seed_1 --data_dir PICTURES"
RUN ?= --dataset_name digits --run_dir demo
report: install
	$(BIN)/python -m evaluation.report $(RUN)

# The page in headless Chromium at desktop and phone width; COMPLEAK_SCREENSHOTS=folder keeps the pictures of it.
test-report: install
	command -v chromium || (apt-get update && apt-get install -y chromium)
	$(BIN)/python -m pytest tests/browser/check_report.py

# As root in a container or virtual machine with Debian's slurm-wlm and munge: the workflow on a Slurm of its own.
test-slurm: install
	$(BIN)/pip install -e ".[slurm]"
	tests/slurm/run.sh

# The tables from committed answers, without pictures, weights or training: laid out in reference/, attacked by the
# appendix's commands, compared with the committed numbers. FLAGS=--samia adds SAMIA.
# python -m workflow.answers packs the answers of a run's finished models, after each of them.
REFERENCE ?= results/reference/cifar10-jpeg-20000
reference: install
	$(BIN)/python -m workflow.reference --reference $(REFERENCE) --run_dir reference $(FLAGS)
