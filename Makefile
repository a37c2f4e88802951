# The two commands of the README are `make demo` and `make test`; both set up what they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export DVC_NO_ANALYTICS = 1

.PHONY: help setup demo test check bench clean

help:           ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

setup: $(VENV)/ready   ## make .venv with the pinned packages

$(VENV)/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,s3]'
	touch $@

demo: setup     ## the main job on MNIST: the flow flows/evaluate.py, temporary Prefect server included
	$(BIN)/python -m flows.evaluate --profile demo

test: setup     ## the test suite, in two processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: setup    ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup    ## speed and memory
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/embedding.py

clean:          ## remove outputs (not the environment)
	rm -rf out runs .dvc/cache .dvc/tmp dvc_plots
