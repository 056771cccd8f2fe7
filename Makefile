# The two commands: `make run` and `make test`. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_OPTIONS := --disable-pip-version-check --quiet -c constraints.txt

.PHONY: run test check audit docs bench chaos fuzz results page system clean

run: $(VENV)/.run
	$(BIN)/coreset run jobs/al.yaml

# Two at a time, for most of a test with Ray is waiting; each file, and each folder that shares a run, by one of them.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities of the versions in constraints.txt. Asks PyPI; installs nothing but pip-audit, in an environment of its own.
audit: $(VENV)/audit/bin/pip-audit
	$< --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

$(VENV)/audit/bin/pip-audit:
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --disable-pip-version-check --quiet 'pip-audit>=2.7'

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# docs/reliability.md: COUNT damaged inputs for every reader of a file; a failing one is kept in build/fuzz.
COUNT := 10000
SEED := 0

fuzz: $(VENV)/.test
	$(BIN)/python tests/fuzz --count $(COUNT) --seed $(SEED)

# docs/performance.md, on this machine; best when nothing else runs on it.
bench: $(VENV)/.test
	$(BIN)/python -m pip install $(PIP_OPTIONS) -e '.[bench]'
	$(BIN)/python -m benchmarks

# docs/reliability.md: kills runs at drawn moments and runs them again. Under an hour on two cores.
chaos: $(VENV)/.test
	$(BIN)/python tests/chaos --seed 0 --serial 160 --ray 40

# docs/results.md and its figures. Four to five hours on two cores; PSEUDOPOTENTIALS=DIR adds the energies (docs/energies.md).
CORPORA := al water crfeconi
SWEEPS := $(CORPORA:%=%-sweep)
ENERGY := $(if $(PSEUDOPOTENTIALS),--set energy.pseudopotentials=$(abspath $(PSEUDOPOTENTIALS)))

results: $(VENV)/.test $(VENV)/.docs
	for job in $(SWEEPS); do $(BIN)/coreset sweep jobs/$$job.yaml $(ENERGY) || exit; done
	for corpus in $(CORPORA); do $(BIN)/coreset sweep jobs/$$corpus-studies.yaml --store runs/$$corpus-sweep/artifacts || exit; done
	$(BIN)/coreset sweep jobs/al-noise.yaml
	for job in $(SWEEPS) $(CORPORA:%=%-studies) al-noise; do $(BIN)/coreset report runs/$$job && gzip -9nc runs/$$job/sweep.json > docs/sweeps/$$job.json.gz || exit; done
	$(MAKE) page

# The page and its pictures from the sweeps that stand in docs/sweeps.
page: $(VENV)/.test $(VENV)/.docs
	$(BIN)/python docs/figures.py docs/figures $(wildcard $(SWEEPS:%=docs/sweeps/%.json.gz))
	$(BIN)/python docs/results.py $(wildcard $(SWEEPS:%=docs/sweeps/%.json.gz)) $(patsubst %,--studies %,$(sort $(wildcard docs/sweeps/*-studies.json.gz))) $(patsubst %,--noise %,$(wildcard docs/sweeps/al-noise.json.gz)) > docs/results.md

# What some tests run where it is there, and skip where it is not: a real browser, an engine for energies, a program
# whose densities are read, network namespaces, and Slurm.
system:
	apt-get update --quiet
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends abinit abinit-data chromium chromium-driver iproute2 munge quantum-espresso quantum-espresso-data slurm-wlm

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
