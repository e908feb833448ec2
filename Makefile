# Every command of the repository: set-up, demo, tests, checks. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip, TensorFlow and the other packages take this much.
NEEDED_MB := 5000
TYPED := pipelines model tokenizers deploy

.PHONY: help setup demo test check typing

help:
	@echo "make demo    raw text to a working masked LM, in clozekit-demo/ (5 minutes on 2 cores, after the set-up)"
	@echo "make test    checks and tests"
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
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' || { echo "the packages could not be installed; pip's message above says why (no network to the package index? no disk?)" >&2; exit 2; }
	@touch $@

demo: setup
	@$(BIN)/clozekit demo

test: check
	$(BIN)/python -m pytest

check: setup typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addprefix -p clozekit.,$(TYPED))

# mypy does not follow the mapping of setup.py: it gets the namespace as links.
typing:
	@mkdir -p build/typing/clozekit
	@for folder in $(TYPED); do ln -sfn ../../../$$folder build/typing/clozekit/$$folder; done
