# Everything a fresh machine needs is Python 3.11+ and make: each target sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-long test-tools bench docs lint clean
demo: $(READY)
	@$(BIN)/fasthash demo

# Several at once: most of them wait for something.
test: $(READY)
	$(BIN)/python -m pytest -q -n 6 --dist loadgroup

# What tests are skipped for otherwise: installed where that takes nothing but apt, root and a
# network; elsewhere it says what is missing. It never fails.
test-tools:
	@sh tools/test_tools.sh

# A million rows, a hundred thousand edits beside a run, half a minute without a database.
test-long: $(READY)
	$(BIN)/python -m pytest -q -m long

# What benchmarks/README.md shows, in a short form; root may also measure a cold cache.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/run_all.py --short

# The manual page, docs/commands.md, docs/configuration.md and the example, from the program itself.
docs: $(READY)
	$(BIN)/python tools/make_docs.py

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

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Kills everything at random: make chaos SEED=1 FAULTS=200
.PHONY: chaos
SEED ?= 1
FAULTS ?= 200
chaos: $(READY)
	$(BIN)/python tests/chaos.py --seed $(SEED) --faults $(FAULTS)
