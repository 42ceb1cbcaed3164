# make demo   convert the sample matches, train on them, test the best checkpoint
# make test   run the tests
# make lint   check the code with ruff (lint and format)
# make bench  measure what the README claims
#
# Each sets .venv up first, on a machine that has Python 3.11 and make; a second run installs nothing.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

DATASET := dataset_sl5_vsr3_vw64_vh64_asr11025
CHECKPOINTS := checkpoints

.PHONY: demo test lint bench clean
.DEFAULT_GOAL := demo

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -r requirements.txt -r requirements-dev.txt -c constraints.txt
	touch $@

demo: $(INSTALLED)
	$(BIN)/python data_converter.py data/raw 5 3 64 64 11025 0 --overwrite
	$(BIN)/python main.py --data_dir $(DATASET) --ckpt_dir $(CHECKPOINTS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -q

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

bench: $(INSTALLED)
	$(BIN)/python benchmarks/bench_converter.py --codecs
	$(BIN)/python benchmarks/bench_memory.py
	$(BIN)/python benchmarks/bench_label_finder.py

clean:
	rm -rf $(VENV) $(DATASET) $(CHECKPOINTS)
