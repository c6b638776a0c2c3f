# Everything runs in .venv, made on first use from pyproject.toml and constraints.txt. Needs Python >= 3.11 and make.
#
#   make demo    assimilate simulated observations for 10 days on the CPU: scores, a zarr store and a picture in out/
#   make cluster assimilate four months on a cluster of two processes, kill one of them, and stream to out/cluster.zarr
#   make test    the test suite, with coverage
#   make lint    ruff and the import contracts
#   make types   mypy
#   make docs    the documentation, in docs/_build/html
#   make packages  build wheel and source distribution in dist/, and test them in environments of their own
#   make lowest  a part of the tests with the lowest versions that pyproject.toml promises
#   make lock    resolve the newest dependencies anew and write constraints.txt
#   make clean   remove everything that make made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The release of torch that `make lock` pins, and the torchvision that belongs to it: azula declares torchvision, and
# although nothing imports it, pip would otherwise look for one that drags torch to another release.
TORCH := 2.13.0
TORCHVISION := 0.28.0

# Where several processes share the cores, each has one thread. Elsewhere members are drawn on all cores side by side.
JOBS ?= 2
test cluster: export OMP_NUM_THREADS ?= 1

# What meets other libraries: labels, units, files, dask, zarr, torch, plots.
LOWEST := tests/test_accessor.py tests/test_model.py tests/test_regrid.py tests/labels tests/observations tests/scores \
	tests/plot tests/pipeline tests/zoo tests/cli

.DEFAULT_GOAL := help
.PHONY: help demo cluster test lint types docs packages lowest lock clean

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each extra of pyproject.toml that a target needs.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[$*]'
	@touch $@

demo: $(VENV)/.plot
	$(BIN)/python examples/demo.py

cluster: $(VENV)/.plot
	$(BIN)/python examples/cluster.py --kill

test: $(VENV)/.test
	$(BIN)/python -m slipcover --source xslams --skip-covered -m pytest -n $(JOBS) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

packages:
	bash .ci/packages $(PYTHON)

# Needs the lowest Python that is promised; later ones have no wheels of the lowest versions.
lowest:
	rm -rf $(VENV)-lowest
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python .ci/lowest.py plot > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(VENV)-lowest/constraints.txt --editable '.[test]'
	$(VENV)-lowest/bin/python -m pip check
	$(VENV)-lowest/bin/python -m pytest -q -W default $(LOWEST)

lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check \
		torch==$(TORCH) torchvision==$(TORCHVISION) --editable '.[dev,docs]'
	@{ echo "# Versions that the tests and the documentation were run with. Written by 'make lock'; do not edit."; \
	   $(VENV)-lock/bin/python -m pip --disable-pip-version-check list --format=freeze --exclude-editable \
		--exclude pip --exclude setuptools --exclude wheel | sed 's/+[a-z0-9.]*$$//' | grep -v -i -E '^(nvidia|cuda|triton)'; \
	 } > constraints.txt
	rm -rf $(VENV)-lock
	@echo "wrote constraints.txt: $$(grep -c == constraints.txt) packages"

clean:
	rm -rf $(VENV) $(VENV)-lock $(VENV)-lowest .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		build dist docs/_build docs/auto docs/api/generated out
	find xslams tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
