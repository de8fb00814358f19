# The commands of README.md and CONTRIBUTING.md. `make demo` and `make test` build .venv first when it is stale.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

# Python 3.11 is what constraints.txt was resolved with: take it wherever it is, a newer one only without it.
# (A name on PATH may be a version manager's stub that cannot start: each candidate is run.)
PYTHON ?= $(shell \
	for wanted in '== (3, 11)' '>= (3, 11)'; do \
		for python in python3.11 python3 /usr/bin/python3.11 python3.12 python3.13 python3.14; do \
			if "$$python" -c "import sys, ensurepip, venv; sys.exit(not sys.version_info[:2] $$wanted)" >/dev/null 2>&1; \
			then echo "$$python"; exit; fi; \
		done; \
	done)

# Two workers, each with one thread: the integer simulator and torch would otherwise fight for the cores.
TEST_WORKERS ?= 2
# Mutated files of each of the four formats.
FUZZ_RUNS ?= 2500

.PHONY: help setup demo examples test lint format bench fuzz docs clean

help:
	@echo "make setup   build $(VENV) (Python 3.11 or newer, everything, Lava included)"
	@echo "make demo    train, convert, verify and report on a small network: build/demo"
	@echo "make examples every task of examples/ on the data of ADAFIRE_DATA, small (ARGS=--full for all of it)"
	@echo "make test    the test suite (ARGS='-k name' is passed on to pytest)"
	@echo "make lint    ruff check, ruff format --check, mypy --strict"
	@echo "make format  rewrite the sources with ruff"
	@echo "make bench   measure against the ANN and peers: benchmarks/results/"
	@echo "make fuzz    mutate files of each format, FUZZ_RUNS each: clear errors only"
	@echo "make docs    the documentation site: site/"
	@echo "make clean   remove what the above made, $(VENV) included"

setup: $(STAMP)

# The stamp is removed first and written last: an interrupted setup stays stale and is taken up again.
# torch goes in alone, with its dependencies, because they differ between its CPU and CUDA builds; the rest is a
# complete resolved set, so pip has nothing to resolve (constraints.txt says why it must not).
$(STAMP): pyproject.toml constraints.txt Makefile
	@if [ -z "$(PYTHON)" ]; then \
		echo "make setup: no Python >= 3.11 with venv and ensurepip on PATH." >&2; \
		echo "Install one (Debian/Ubuntu: python3.11 and python3.11-venv), or name it: make setup PYTHON=/path/to/python3.11" >&2; \
		exit 2; \
	fi
	@rm -f $(STAMP)
	@if ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		echo "setup: new environment, from $(PYTHON) (`$(PYTHON) --version`)"; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo "setup: torch"
	@$(BIN)/python -m pip install -q -c constraints.txt torch
	@echo "setup: the other packages of constraints.txt"
	@$(BIN)/python -m pip install -q -c constraints.txt setuptools wheel
	@$(BIN)/python -m pip install -q --no-deps --ignore-requires-python -r constraints.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import h5py, nir, norse, numpy, torch; \
		from importlib.metadata import version; \
		version("lava-nc"), version("lava-dl"); \
		print(f"setup: done (torch {torch.__version__}, numpy {numpy.__version__}, norse {norse.__version__})")'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/adafire demo -o build/demo

examples: $(STAMP)
	@for example in events points part_segmentation segmentation detection speech imagenet; do \
		echo "examples/$$example.py"; \
		$(BIN)/python examples/$$example.py $(ARGS); \
	done

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

fuzz: $(STAMP)
	@for kind in h5 nir net npz; do \
		mkdir -p build/fuzz/$$kind; \
		OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz/fuzz_$$kind.py -runs=$(FUZZ_RUNS) -artifact_prefix=build/fuzz/ \
			build/fuzz/$$kind tests/fuzz/corpus/$$kind 2>build/fuzz/$$kind.log || { tail -n 40 build/fuzz/$$kind.log >&2; exit 1; }; \
	done

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info __pycache__ .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find toolchain hw_targets sim tests examples benchmarks docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
