# The two commands of the README are `make demo` and `make test`; both set up what they need.
# Bytecode is kept, whatever the shell says: without it, every process compiles the package again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export DVC_NO_ANALYTICS = 1
export PYTHONDONTWRITEBYTECODE =
export SSCL_DATA ?= $(wildcard $(CURDIR)/../shared/data)

.PHONY: help setup demo test fast check docs format pipeline bench clean

help:           ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

setup: $(VENV)/ready   ## make .venv with the pinned packages

$(VENV)/ready: constraints.txt pyproject.toml .ci/setup
	@PYTHON=$(PYTHON) .ci/setup
	@touch $@

demo: setup     ## the main job on MNIST: the flow flows/evaluate.py, temporary Prefect server included
	@echo "MNIST, 60,000 images, through the whole pipeline; a few minutes on two cores"
	@$(BIN)/python -m flows.evaluate --profile demo

test: setup     ## the test suite; four processes of one thread keep two cores busy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

fast: setup     ## the unit tests: no pipeline, no server, no process of their own
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" --hypothesis-profile fast

check: setup    ## format, lint, types, prose
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/proselint check --config proselint.json *.md docs/*.md

format: setup   ## reformat, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup     ## the documentation as a site, in out/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pipeline: setup ## write dvc.yaml from the table of stages
	$(BIN)/python -m tasks.dvcfile

bench: setup    ## speed and memory
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/embedding.py

clean:          ## remove outputs (not the environment)
	@bound=$$(find out encoder/out runs -path '*/.sscl/stages/*.json' -exec grep -l '"irrevocable": true' {} + 2>/dev/null); \
	  test -z "$$bound" || { echo "the secret of a release is under the root of $$bound: move that root away first"; exit 1; }
	rm -rf out encoder/out runs .dvc/cache .dvc/tmp dvc_plots
