# make demo   convert the sample matches, test each with a network trained on others, cut the highlights of one
# make test   run the tests
# make lint   check the code with ruff (lint and format)
# make notebooks  run the notebooks, and write them with their outputs to docs/
# make bench  measure what the README claims; one measurement alone: make bench_loader, for example
# make mutants  put single errors into the code and count those that the tests notice (an hour)
# make pictures  draw the README's pictures of the demo's match (after make demo; needs Chromium)
#
# Each sets .venv up first, on a machine that has Python 3.11 and make; a second run installs nothing.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

DATASET := dataset_sl5_vsr3_vw64_vh64_asr11025
CHECKPOINTS := checkpoints_demo
HIGHLIGHTS := highlights
UNSEEN_MATCH := data/raw/arena_02.mp4

COLAB := /tmp/videosummarizer_colab# its path is printed in docs/: nobody's own
RUN_NOTEBOOK := $(BIN)/python -m nbconvert --to html --execute --output-dir docs \
    --HTMLExporter.preprocessors=nbconvert.preprocessors.CoalesceStreamsPreprocessor

BENCHMARKS := bench_converter bench_memory bench_loader bench_training bench_quality bench_labels bench_label_finder bench_extractor bench_page

.PHONY: demo test lint notebooks bench $(BENCHMARKS) mutants pictures clean
.DEFAULT_GOAL := demo

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -r requirements.txt -r requirements-dev.txt -c constraints.txt
	touch $@

demo: $(INSTALLED)
	$(BIN)/python data_converter.py data/raw 5 3 64 64 11025 0 --overwrite
	$(BIN)/python main.py --data_dir $(DATASET) --ckpt_dir $(CHECKPOINTS) --folds 3 --overwrite
	$(BIN)/python highlight_extractor.py $(UNSEEN_MATCH) --output_dir $(HIGHLIGHTS) --overwrite --clips \
	    --ckpt "$$(ls -t $(CHECKPOINTS)/*.hdf5 | head -n 1)"
	$(BIN)/python highlight_extractor.py $(UNSEEN_MATCH) --output_dir $(HIGHLIGHTS)/phone --overwrite \
	    --sections $(HIGHLIGHTS) --aspect 9:16 --fit blur --reel_height 640 --transition 0.5 --captions

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

notebooks: $(INSTALLED)
	$(RUN_NOTEBOOK) run_trainer.ipynb
	rm -rf $(COLAB)
	mkdir -p $(COLAB)/drive/MyDrive/YasuoNet
	cp -r *.py requirements.txt videosummarizer data $(COLAB)/drive/MyDrive/YasuoNet
	$(BIN)/python -m zipfile -c $(COLAB)/drive/MyDrive/YasuoNet/$(DATASET).zip $(DATASET)
	DRIVE_DIR=$(COLAB)/drive MACHINE_DIR=$(COLAB)/machine $(RUN_NOTEBOOK) colab_run_trainer.ipynb

bench: $(INSTALLED)
	$(MAKE) --keep-going $(BENCHMARKS)

bench_converter: $(INSTALLED)
	$(BIN)/python benchmarks/bench_converter.py --codecs

bench_quality bench_labels: $(INSTALLED)
	$(BIN)/python data_converter.py data/raw 5 3 64 64 11025 0 benchmarks/cache/dataset
	$(BIN)/python benchmarks/$@.py --data_dir benchmarks/cache/dataset

bench_memory bench_loader bench_training bench_label_finder bench_extractor bench_page: $(INSTALLED)
	$(BIN)/python benchmarks/$@.py

mutants: $(INSTALLED)
	$(BIN)/python benchmarks/mutants.py

pictures: $(INSTALLED)
	$(BIN)/python benchmarks/make_pictures.py $(CHECKPOINTS) $(HIGHLIGHTS)/$(notdir $(basename $(UNSEEN_MATCH)))

clean:
	rm -rf $(VENV) $(DATASET) $(CHECKPOINTS) $(HIGHLIGHTS)
