# Everything a fresh machine needs is Python 3.11+ and make: each target sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-long test-tools bench docs lint clean chaos

# A catalog of real files on an embedded server, and what fasthash makes of it.
demo: $(READY)
	@$(BIN)/fasthash demo

# Every test that this machine can run; several at once, for most of them wait.
test: $(READY)
	$(BIN)/python -m pytest -q -n 6 --dist loadgroup

# Installs what some tests are skipped without.
# That takes apt, root and a network; elsewhere it says what is missing. It never fails.
test-tools:
	@sh tools/test_tools.sh

# Large catalogs, repetitions, and long outages.
test-long: $(READY)
	$(BIN)/python -m pytest -q -m long

# A short form of benchmarks/README.md.
# Root may also measure a cold cache.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/run_all.py --short

# The generated part of docs/ and examples/.
docs: $(READY)
	$(BIN)/python tools/make_docs.py

# ruff, mypy and the contracts of the layers.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml setup.py fasthash/_native.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fasthash needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Removes what the other targets made.
clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

SEED ?= 1
FAULTS ?= 200

# Kills everything at random: make chaos SEED=1 FAULTS=200
chaos: $(READY)
	$(BIN)/python tests/chaos.py --seed $(SEED) --faults $(FAULTS)

# This list.
help:
	@awk '/^#/ { if (!said) said = substr($$0, 3) } \
	  /^[a-z-]+:/ { if (said) { sub(/:.*/, ""); printf "make %-11s %s\n", $$0, said } } \
	  !/^#/ { said = "" }' Makefile
