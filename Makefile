# Everything runs from this folder with Python 3.11 or newer, make and git; nothing is installed outside .venv.
# FLAGS goes to Snakemake: make reproduce FLAGS="--config 'seeds=[0,1,2]'"
PYTHON ?= python3
BIN = .venv/bin
FLAGS ?=
SNAKEMAKE = $(BIN)/snakemake --workflow-profile workflow/profiles/local

.PHONY: install demo reproduce reproduce-dry test test-slurm

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -r requirements.txt -e ".[test,workflow]"
	touch $@

# The whole chain on scikit-learn's 1,797 scanned digits at 12×12 pixels and few epochs; finished stages stay.
demo: install
	$(SNAKEMAKE) --configfile workflow/demo.yaml $(FLAGS)
	$(BIN)/python -m attacks.tables --dataset_name digits --run_dir demo

# The appendix's settings; what is left of it.
reproduce: install
	$(SNAKEMAKE) --configfile workflow/cifar10.yaml $(FLAGS)

reproduce-dry: install
	$(SNAKEMAKE) --dry-run --quiet rules --configfile workflow/cifar10.yaml $(FLAGS)

test: install
	$(BIN)/python -m pytest

# As root in a container or virtual machine with Debian's slurm-wlm and munge: the workflow on a Slurm of its own.
test-slurm: install
	$(BIN)/pip install -e ".[slurm]"
	tests/slurm/run.sh
