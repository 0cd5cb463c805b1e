# carseq: `make demo` shows it at work, `make test` checks it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# nproc heeds OMP_NUM_THREADS, which is not meant for it.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu)
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
# Tests at a time: two more than there are cores, since tests wait for programs, browsers and a cluster; four at most,
# and no more than one for each 3 GB of memory.
MEMORY := $(shell awk '/MemAvailable/ {print int($$2 / 3e6)}' /proc/meminfo 2>/dev/null || echo 4)
WORKERS ?= $(shell n=$$(($(CORES) + 2)); m=$(or $(MEMORY),4); n=$$((n > 4 ? 4 : n)); n=$$((n > m ? m : n)); echo $$((n < 1 ? 1 : n)))
export PATH := $(BIN):$(PATH)
# Threads are given by Snakemake; numerical libraries must not add their own.
export OMP_NUM_THREADS ?= 1
# Memory in pages of 2 MB where Linux has them for the asking (glibc 2.35 and later): fewer requests, fewer misses.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
# Python keeps what it has compiled, whatever the shell says: without that each process compiles all its libraries anew,
# which takes 3 to 6 s of a core, and a run starts some hundred processes. An empty value is none.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup kallisto demo test truth torture slurmtest gridtest bench torture-inputs audit lint lock types unit format docs clean browser slurm compiled

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

setup: $(VENV)/.installed $(BIN)/.star ## make .venv/ and install STAR

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "carseq: installing the Python environment into .venv/ (some minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	    || { echo "carseq needs Python 3.11 to 3.13; name one: make demo PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { echo "no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@$(BIN)/python envs/install.py
	@touch $@

$(BIN)/.star: envs/install-star.sh $(VENV)/.installed
	@envs/install-star.sh $(VENV)
	@touch $@

demo: setup ## simulate a study with CAR T cells in urine, run the workflow, print the verdict
	@carseq demo demo $(if $(filter file,$(origin CORES)),,--cores $(CORES))

# Linters and types beside the tests and what prepares them, on what these leave idle; the installers wait for the
# network. GNU make 4 keeps the lines of each together. (As $(BESIDE), for `make -n` runs each line with MAKE in it.)
BESIDE := $(MAKE) --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
test: setup ## lint, types and all tests
	@$(BESIDE) -j 2 lint types & failed=; \
	{ $(BESIDE) -j $(CORES) browser slurm kallisto compiled \
	    && pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder; } || failed="tests"; \
	wait $$! || failed="$${failed:+$$failed and }lint or types (see above)"; \
	[ -z "$$failed" ] || { echo "carseq: failed: $$failed"; exit 1; }

truth: setup ## rates that are stated, held against the truth of many simulated studies (a minute or two)
	@pytest -m truth -n $(WORKERS)

torture: setup ## every job under faults, into docs/torture.md, and the parsers under damaged files
	@python tests/faults/torture.py --to docs/torture.md
	@python tests/faults/fuzz.py --seconds 600

slurmtest: setup ## the workflow on a real Slurm of one node, with and without accounting (root, Debian)
	@envs/install-slurm.sh accounting
	@CARSEQ_CLUSTERS=1 pytest -m slurm

gridtest: setup ## a workflow on a real Grid Engine of one node (root, Debian)
	@envs/install-grid.sh
	@CARSEQ_CLUSTERS=1 pytest -m grid

# kb-python asks for other versions than carseq: it has an environment of its own.
bench/kb/bin/kb: $(VENV)/.installed
	@$(PYTHON) -m venv bench/kb && bench/kb/bin/pip install --quiet --disable-pip-version-check kb-python==0.30.2

bench: setup bench/kb/bin/kb ## speed and human scale into benchmarks/RESULTS.md, an hour (salmon and igzip are used if there)
	@python benchmarks/speed.py --to bench --kb bench/kb/bin/kb
	@python benchmarks/human_scale.py --sizes 10 30 --to bench

torture-inputs: setup ## some 300 bad inputs and what carseq check says of each (a minute or two)
	@python tests/helpers/bad_inputs.py

lint: setup ## ruff, codespell, import-linter, snakefmt, snakemake --lint, biome (needs npm)
	@ruff check . && ruff format --check . && codespell
	@lint-imports --no-cache
	@snakefmt --check Snakefile workflow
	@snakemake --lint --configfile tests/data/lint/config.yaml
	@npx --yes @biomejs/biome@2.6.8 check --error-on-warnings

lock: setup ## renew envs/requirements.lock (hashes of constraints.txt) and envs/lowest.txt
	@uv pip compile pyproject.toml --all-extras -c constraints.txt --generate-hashes --upgrade --no-annotate --quiet \
	    --python-version 3.11.7 --custom-compile-command "make lock" --output-file envs/requirements.lock
	@uv pip compile pyproject.toml --resolution lowest-direct --upgrade --no-annotate --quiet \
	    --python-version 3.11.7 --custom-compile-command "make lock" --output-file envs/lowest.txt

audit: setup ## known holes in the packages of envs/requirements.lock, where the package index answers
	@python envs/audit.py

types: setup ## mypy
	@mypy

unit: setup ## the fast tests
	@pytest -m "not workflow and not browser and not slurm and not truth"

# What the workers of pytest and the first jobs would each compile for itself, a minute of a core.
compiled: setup
	@python tests/helpers/compiled.py

browser: setup
	@envs/install-browser.sh

# apt-get installs one thing at a time.
slurm: setup | browser
	@envs/install-slurm.sh

# Where the package index holds none for this system, the tests that need it are left out, and say so.
kallisto: $(BIN)/.kallisto

$(BIN)/.kallisto: envs/install-kallisto.sh $(VENV)/.installed
	@envs/install-kallisto.sh $(VENV) && touch $@ || true

format: setup ## format all code
	@ruff check --fix . ; ruff format . ; snakefmt Snakefile workflow

docs: setup ## write config/ anew from the models and build the documentation in site/
	@python -m carseq.config_docs config
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet && echo "carseq: site/index.html"

clean: ## remove the environment and the demo
	rm -rf $(VENV) demo
