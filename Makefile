# Everything runs from this folder with Python 3.11 or newer, make and git; nothing is installed outside .venv.
PYTHON ?= python3
BIN = .venv/bin
DEMO = --dataset_name digits --model_name resnet18 --num_cls 10 --run_dir demo
ROWS = --query_rows scored
PRUNED = --compress --compress_name pruning --compress_degree 0.6 0.7 0.8 0.9
INT8 = --compress --compress_name quantization --compress_degree int8
CLUSTERED = --compress --compress_name clustering --compress_degree 4 8 16

BENCHMARKS = rmia kmeans samia clustered_step training disk growth nr_sr

.PHONY: install demo test test-faults bench

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -r requirements.txt "pytest>=8"
	touch $@

# The whole chain on scikit-learn's 1,797 scanned digits at 12×12 pixels and few epochs; finished stages stay.
demo: install
	$(BIN)/python train.py $(DEMO) $(ROWS) --image_size 12 --no-augment --lr 0.05 --epochs 20
	$(BIN)/python pruning/prune.py $(DEMO) $(ROWS) --prune_epochs 4 --prune_sparsity 0.6 0.7 0.8 0.9
	$(BIN)/python quantization/qat.py $(DEMO) $(ROWS) --quantized_epochs 4 --degree int8
	$(BIN)/python clustering/clustering.py $(DEMO) $(ROWS) --epochs 4 --bit 2 3 4
	$(BIN)/python CompLeakNR.py $(DEMO) --original $(PRUNED)
	$(BIN)/python CompLeakNR.py $(DEMO) $(INT8)
	$(BIN)/python CompLeakNR.py $(DEMO) $(CLUSTERED)
	$(BIN)/python CompLeakSR.py $(DEMO) --original $(PRUNED)
	$(BIN)/python CompLeakSR.py $(DEMO) --original $(INT8)
	$(BIN)/python CompLeakSR.py $(DEMO) --original $(CLUSTERED)
	COMPLEAK_RUN_DIR=demo COMPLEAK_DATASET=digits $(BIN)/jupyter nbconvert --to notebook --execute CompLeakMR.ipynb \
		--output-dir demo --output CompLeakMR.ipynb
	$(BIN)/python -m attacks.figures $(DEMO)
	$(BIN)/python -m attacks.tables $(DEMO)

test: install
	$(BIN)/python -m pytest

# SIGKILL, signals, full disks, damaged files and odd flags against a small run: 15 minutes at most on 2 cores.
test-faults: install
	$(BIN)/python -m pytest tests/faults -o "python_files=faults_*.py" -o pythonpath=tests/faults

# Speed against its goals, on an idle machine: writes benchmarks/results/*.json and the table of them.
bench: install
	$(BIN)/pip install --quiet "kmeans1d>=0.5,<1"
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m benchmarks.table

.PHONY: report test-report

# One HTML page from saved results: make report RUN="--dataset_name cifar10 --run_dir seed_0 seed_1 --data_dir PICTURES"
RUN ?= $(DEMO)
report: install
	$(BIN)/python -m attacks.report $(RUN)

# The page in headless Chromium at desktop and phone width; COMPLEAK_SCREENSHOTS=folder keeps the pictures of it.
test-report: install
	command -v chromium || (apt-get update && apt-get install -y chromium)
	$(BIN)/python -m pytest tests/browser/check_report.py
