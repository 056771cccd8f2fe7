# The two commands: `make run` and `make test`. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_OPTIONS := --disable-pip-version-check --quiet -c constraints.txt

.PHONY: run test check docs curve results clean

run: $(VENV)/.run
	$(BIN)/coreset run jobs/al.yaml

test: $(VENV)/.test
	$(BIN)/python -m pytest

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# The picture of the README: `make run` at five pruning rates, sharing what does not depend on the rate. About half an hour.
RATES := 0.5 0.8 0.95 0.99
curve: run $(VENV)/.test
	for rate in $(RATES); do \
	  $(BIN)/coreset run jobs/al.yaml --set select.prune=$$rate --out runs/al-$$rate --store runs/al/artifacts || exit; done
	$(BIN)/python docs/pruning_curve.py docs/pruning-curve-al.svg runs/al $(RATES:%=runs/al-%)

# docs/results.md: the three jobs and the curve. About an hour on two cores.
results: curve
	for job in water crfeconi; do $(BIN)/coreset run jobs/$$job.yaml || exit; done
	$(BIN)/python docs/results.py runs/al runs/water runs/crfeconi > docs/results.md

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("coreset needs Python 3.11 or newer, found " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

# torch comes first, by its exact version: any range may pull a build for GPUs, several gigabytes large.
$(VENV)/.torch: $(VENV)/bin/python constraints.txt
	$(BIN)/python -m pip install $(PIP_OPTIONS) $$(grep '^torch==' constraints.txt)
	touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install $(PIP_OPTIONS) -e .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install $(PIP_OPTIONS) -e '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/python -m pip install $(PIP_OPTIONS) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site build *.egg-info
