# Every command of the repository: set-up, demo, tests, checks. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TYPED := pipelines model tokenizers deploy
# pip, TensorFlow and the other packages take this much.
NEEDED_MB := 5000
# pip compiles the packages on one core, which takes a minute and a half; COMPILE does it on all, and our own folders too.
# What nobody imports here is left out. (Some packages hold files that are no Python of this version.)
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --constraint constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests?/|/aiplatform_v1beta1/|/kubernetes/aio/' $(VENV)/lib $(TYPED) || true

# Else pytest rewrites every test, and Python compiles every file of ours, in each process anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-stream docs test test-fast fuzz check typing test-parity test-engines bench bench-adapt bench-doors bench-engines bench-export bench-heads bench-learners bench-long-rows bench-tokenizers bench-models bench-training bench-pipeline bench-recipe bench-size bench-stream bench-time-to-loss

help:
	@echo "make demo    raw text to a working masked LM, in clozekit-demo/ (about five minutes on a quiet machine with two cores)"
	@echo "make demo-stream  text dropped into a folder, a stream that takes it in, a run that follows, in clozekit-stream-demo/ (six minutes)"
	@echo "make test    checks and tests"
	@echo "make test-fast  the quick tests with few of their cases, some of every folder, while you work"
	@echo "make fuzz    what reads files, against damaged ones, for an hour (make test runs a minute of it)"
	@echo "make test-parity       our tokenizers against the reference implementations (installs them first)"
	@echo "make test-engines      Flink, Spark, Prism and Kafka for real (fetches them first, with Maven, pip and Go; skips what can't be had)"
	@echo "make bench-tokenizers  their speeds side by side, into BENCHMARKS.md"
	@echo "make bench-learners    learning vocabularies beside the peers' own learners, into BENCHMARKS.md"
	@echo "make bench-doors       what the command takes to answer, and whole commands on little work; BEFORE=CHECKOUT beside another one's"
	@echo "make bench-models      models and their steps beside KerasHub's, into BENCHMARKS.md"
	@echo "make bench-heads       scores of fine-tuned heads beside transformers', into BENCHMARKS.md"
	@echo "make bench-long-rows   memory and CPU time of a step by the length of its rows, into BENCHMARKS.md"
	@echo "make bench-adapt       continued pretraining beside transformers' run_mlm.py, into BENCHMARKS.md"
	@echo "make bench-time-to-loss  from random weights to a loss beside Trainer and KerasHub (an hour), into BENCHMARKS.md"
	@echo "make bench-recipe      the recipe of a small model and changes of it, at equal CPU time (hours), into BENCHMARKS.md"
	@echo "make bench-training    a training step, whole training and the reader beside their peers, into BENCHMARKS.md"
	@echo "make bench-pipeline    the pipeline beside its peers: CPU time, fill rate, memory, growth (half an hour), into BENCHMARKS.md"
	@echo "make bench-size        a build at 1, 3 and 10 GB: CPU time, memory, disk (an hour, 30 GB of disk: SCRATCH=FOLDER), into BENCHMARKS.md"
	@echo "make bench-engines     shuffled bytes of each stage, and CPU a MB on Flink with 1, 2 and 4 slots"
	@echo "make bench-export      exporting and verifying beside the writers of pyarrow, TensorFlow Datasets and TensorFlow, into BENCHMARKS.md"
	@echo "make bench-stream      windows of a stream beside a build of the same documents, into BENCHMARKS.md"
	@echo "make bench    all of these one after the other, so that every table is of one day (hours); BENCHES=\"tokenizers models\" some of them"
	@echo "make docs    the documentation as a site, in build/site"
	@echo "make check   ruff and mypy alone"
	@echo "make setup   .venv with Clozekit and its pinned dependencies (the others call it)"

setup: $(VENV)/.installed

# Made again when what is installed changes; the stamp comes last, so a set-up that was cut off is done again.
$(VENV)/.installed: setup.py constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "clozekit needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is not there; install it or run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "clozekit needs Python 3.11, 3.12 or 3.13, '$(PYTHON)' is $$($(PYTHON) -V); run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "clozekit needs Python's venv module, '$(PYTHON)' has none; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@free=$$(df -Pm . | awk 'NR==2 {print $$4}'); [ "$$free" -ge $(NEEDED_MB) ] || { echo "clozekit needs $(NEEDED_MB) MB of free disk here, there are $$free MB; free some, or clone to another disk" >&2; exit 2; }
	@echo "installing Clozekit and its pinned dependencies into $(VENV) (two to five minutes)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
# The pip that came with Python may be of another year, and slower.
	@$(PIP) --upgrade pip && $(PIP) --editable '.[dev]' || { echo "the packages could not be installed; pip's message above says why (no network to the package index? no disk?)" >&2; exit 2; }
	@$(COMPILE)
	@touch $@

demo: setup
	@$(BIN)/clozekit demo

demo-stream: setup
	@$(BIN)/clozekit demo --stream

# The references are written anew from the code; anything that MkDocs warns of fails.
docs: setup
	$(BIN)/python docs/generate_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "open build/site/index.html"

# Processes that take a file at a time, what a module shares is made once; in the order of tests/conftest.py. Twice the
# two cores of the usual machine, because tests wait for disks and for their own processes; each may take 3 GB. The ten slowest are printed.
TEST_PROCESSES ?= 4
PYTEST = $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations 10

test: check
	$(PYTEST) --ignore tests/parity --ignore tests/engines

# No processes, pipelines or whole runs (tests/conftest.py): for a change that is being made. `make test` is the whole check.
# They wait for nothing.
test-fast: TEST_PROCESSES = 3
test-fast: setup
	CLOZEKIT_FAST=1 $(PYTEST) --ignore tests/parity --ignore tests/engines

# All fuzzes together for an hour, instead of the few cases that `make test` runs. FUZZ_SECONDS=600: for ten minutes.
FUZZ_SECONDS ?= 3600
fuzz: setup
	CLOZEKIT_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest --numprocesses 2 tests/fuzz

# The reference implementations; the demo and the tests never need them.
$(VENV)/.parity: $(VENV)/.installed
	@echo "installing the reference implementations (the extra 'parity')"
	@$(PIP) --editable '.[dev,parity]' || { echo "the reference implementations could not be installed; pip's message above says why" >&2; exit 2; }
	@$(COMPILE)
	@touch $@

# CLOZEKIT_PARITY=full compares whole corpora; by default 3 MB of each.
test-parity: TEST_PROCESSES = 3
test-parity: $(VENV)/.parity
	$(PYTEST) tests/parity

# One process: an engine has many of its own. The parts go into CLOZEKIT_ENGINES_CACHE, ~/.cache/clozekit-engines by default.
test-engines: setup
	$(BIN)/python -m pytest --durations 10 tests/engines

# Corpora to measure on: CORPORA="a.jsonl.gz b.txt" BERT_VOCABULARY=vocab.txt
CORPORA ?= $(wildcard ../shared/data/cpp_docs.jsonl.gz ../shared/data/wikitext2_valid.txt)
BERT_VOCABULARY ?= $(wildcard ../shared/data/bert_uncased_vocab.txt)
# One that fails does not keep the others from being measured; what each prints is kept.
BENCHES ?= doors tokenizers learners export stream heads adapt long-rows models training time-to-loss recipe pipeline size engines
bench:
	@mkdir -p build/bench; failed=""; \
	for each in $(BENCHES); do \
		echo "$$(date +%T) bench-$$each, into build/bench/$$each.log"; \
		$(MAKE) --no-print-directory bench-$$each >build/bench/$$each.log 2>&1 || failed="$$failed $$each"; \
	done; \
	[ -z "$$failed" ] || { echo "could not be measured:$$failed; build/bench/NAME.log says why" >&2; exit 1; }

bench-tokenizers: $(VENV)/.parity
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-tokenizers CORPORA=\"docs.jsonl.gz wiki.txt\" BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/tokenizers_benchmark.py $(addprefix --corpus ,$(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY) --into BENCHMARKS.md

bench-learners: $(VENV)/.parity
	@[ -n "$(CORPORA)" ] || { echo "nothing to measure on; run: make bench-learners CORPORA=docs.jsonl.gz" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/learners_benchmark.py --corpus $(firstword $(CORPORA)) --into BENCHMARKS.md

bench-doors: setup
	$(BIN)/python tests/benchmarks/doors_benchmark.py $(if $(BEFORE),--before $(BEFORE))

bench-models: $(VENV)/.parity
	$(BIN)/python tests/benchmarks/models_benchmark.py --into BENCHMARKS.md

# A plain text of the corpora, a paragraph a line.
PLAIN_TEXT = $(firstword $(filter-out %.jsonl %.jsonl.gz,$(CORPORA)))
bench-heads: $(VENV)/.parity
	@[ -n "$(PLAIN_TEXT)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-heads CORPORA=wiki.txt BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/heads_benchmark.py --text $(PLAIN_TEXT) --bert-vocabulary $(BERT_VOCABULARY) --into BENCHMARKS.md

bench-adapt: $(VENV)/.parity
	@[ -n "$(CORPORA)" ] || { echo "nothing to measure on; run: make bench-adapt CORPORA=docs.jsonl.gz" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/adapt_benchmark.py --corpus $(firstword $(CORPORA)) --into BENCHMARKS.md

bench-recipe: $(VENV)/.parity
	@[ -n "$(CORPORA)" ] || { echo "nothing to measure on; run: make bench-recipe CORPORA=docs.jsonl.gz" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/recipe_benchmark.py --corpus $(firstword $(CORPORA)) --into BENCHMARKS.md

bench-time-to-loss: $(VENV)/.parity
	@[ -n "$(CORPORA)" ] || { echo "nothing to measure on; run: make bench-time-to-loss CORPORA=docs.jsonl.gz" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/time_to_loss_benchmark.py --corpus $(firstword $(CORPORA)) --into BENCHMARKS.md --chart docs/time-to-loss.svg

bench-long-rows: setup
	$(BIN)/python tests/benchmarks/long_rows_benchmark.py

bench-engines: setup
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-engines CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/engines_benchmark.py --corpus $(firstword $(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY)
	$(BIN)/python tests/benchmarks/listing_benchmark.py
	$(BIN)/python tests/benchmarks/commit_benchmark.py

bench-export: setup
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-export CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/export_benchmark.py --corpus $(firstword $(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY) --into BENCHMARKS.md

bench-stream: setup
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-stream CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/stream_benchmark.py --corpus $(firstword $(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY) --into BENCHMARKS.md

# Parts of a benchmark, all by default: ONLY="steps reader". In BENCHMARKS.md the others stay as they were.
ONLY ?=
bench-training: $(VENV)/.parity
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-training CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/training_benchmark.py --corpus $(firstword $(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY) $(addprefix --only ,$(ONLY)) --into BENCHMARKS.md

# What the pipeline is compared with. BERT_REPOSITORY=../bert, a checkout of google-research/bert, adds BERT's own script.
$(VENV)/.bench: $(VENV)/.installed
	@echo "installing what the pipeline is compared with (the extra 'bench')"
	@$(PIP) --editable '.[dev,bench]' || { echo "the peers could not be installed; pip's message above says why" >&2; exit 2; }
	@$(COMPILE)
	@touch $@

# ONLY: of compare, clean, fill, growth and memory.
BERT_REPOSITORY ?=
bench-pipeline: $(VENV)/.bench
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-pipeline CORPORA=\"docs.jsonl.gz wiki.txt\" BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/pipeline_benchmark.py $(addprefix --corpus ,$(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY) $(addprefix --bert-repository ,$(BERT_REPOSITORY)) $(if $(ONLY),--only $(ONLY)) --into BENCHMARKS.md

SCRATCH ?=
bench-size: setup
	@[ -n "$(CORPORA)" ] && [ -n "$(BERT_VOCABULARY)" ] || { echo "nothing to measure on; run: make bench-size CORPORA=docs.jsonl.gz BERT_VOCABULARY=vocab.txt" >&2; exit 2; }
	$(BIN)/python tests/benchmarks/size_benchmark.py --corpus $(firstword $(CORPORA)) --bert-vocabulary $(BERT_VOCABULARY) $(addprefix --scratch ,$(SCRATCH)) --into BENCHMARKS.md --chart docs/build-size.svg

check: setup typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addprefix -p clozekit.,$(TYPED))

# mypy does not follow the mapping of setup.py: it gets the namespace as links.
typing:
	@mkdir -p build/typing/clozekit
	@for folder in $(TYPED); do ln -sfn ../../../$$folder build/typing/clozekit/$$folder; done
