# Everything runs in .venv, which is made on first use.
#   make quickstart   set up, build a small model from Python's own documentation, try it
#   make test         set up and run the tests
PYTHON ?= python3
BUDGET ?= 5m
OUT ?= quickstart
# PyTorch's usual build for Linux brings several GB of CUDA libraries. Without an NVIDIA card:
#   make quickstart TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: quickstart test test-slow test-readme check format clean

quickstart: .venv/installed
	$(BIN)/linnet quickstart --budget $(BUDGET) --out $(OUT)

test: .venv/tests-installed
	$(BIN)/python -m pytest

test-slow: .venv/tests-installed
	$(BIN)/python -m pytest -m "not gpu"

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
	$(PIP) -e .
	@touch $@

.venv/tests-installed: pyproject.toml | .venv/bin/python
	@echo "installing with what the tests need ..."
	$(PIP) -e ".[test,check]"
	@touch $@ .venv/installed
