# What a newcomer types:  make demo | make demo EXPERIMENT=digits | make test
EXPERIMENT ?= demo
CORES ?= all
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS_VENV := .venv-docs
COVARY := $(BIN)/python -m covary.cli
# Whatever the locale, text is UTF-8.
export PYTHONUTF8 := 1
SNAKEMAKE := $(BIN)/python -m snakemake --cores $(CORES) --workflow-profile workflow/profiles/default

.DEFAULT_GOAL := help
.PHONY: help env demo preview unlock download pretrain test coverage test-slow docs pictures lint format generated lock bench

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Programs of an environment know the folder that it was made in.
env: $(VENV)/.complete  ## Make the environment from the lock
	@made_in=$$(cat $(VENV)/.complete); test -z "$$made_in" || test "$$made_in" = "$(CURDIR)" || \
	    { echo "this checkout was moved from $$made_in; make its environment anew: rm -rf $(VENV) && make env"; exit 1; }

# uv installs fastest; where the machine has none, it goes into the environment itself. All is compiled, for machines
# where Python writes no bytecode. The stamp comes last.
$(VENV)/.complete: envs/requirements.lock envs/uv.lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Covary needs Python 3.11 or newer; choose one with: make env PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	    { echo "python3 -m venv failed; on Debian or Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@command -v uv > /dev/null || test -x $(BIN)/uv || { $(BIN)/python -m ensurepip > /dev/null; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/uv.lock.txt; }
	@echo "Installing the locked environment into $(VENV) (about 7 GB with the CUDA build of PyTorch)"
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	    $$uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r envs/requirements.lock && \
	    $$uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . && \
	    $(BIN)/python -m compileall -q workflow/src
	@echo "$(CURDIR)" > $@

demo: env  ## Run the demo, or config/<name>.yaml with EXPERIMENT=<name>, and print where the report is
	@$(COVARY) run $(EXPERIMENT) --cores $(CORES)

preview: env  ## Show what the images of EXPERIMENT=<name> become, before anything is trained
	@$(COVARY) preview $(EXPERIMENT)

unlock: env  ## Remove the lock of a run that was killed (make demo does so itself)
	@$(COVARY) unlock

download: env  ## Fetch and check RESOURCE=<name> of resources/sources.csv
	@$(SNAKEMAKE) resources/downloads/$(RESOURCE).json

pretrain: env  ## Train the networks in workflow/pretrained again
	@$(SNAKEMAKE) --configfile config/config.yaml config/oct_64px.yaml -- pretrained
	@cp results/oct_64px/pretrained/* workflow/pretrained/

test: env  ## Run the test suite
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

coverage: env  ## Run the test suite and show which lines of the package it does not reach
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --cov=covary --cov-report=term-missing:skip-covered

test-slow: env  ## Run what takes minutes per test: kills at random moments, a real Slurm, networks of full size
	@$(BIN)/python -m pytest -m slow

docs: $(DOCS_VENV)/.complete  ## Build the documentation site and check its links
	@$(DOCS_VENV)/bin/python docs/build.py

# Small and apart from the environment of the package, which the site does not import.
$(DOCS_VENV)/.complete: envs/docs.lock
	@$(PYTHON) -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/docs.lock
	@touch $@

pictures: env  ## Make README's pictures from results/demo, and say what to check in their captions
	@$(BIN)/python docs/pictures.py

lint: env  ## Check style, formatting and types of Python and Snakemake files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/mypy
	@$(BIN)/snakemake --lint

format: env  ## Apply the formatters
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile workflow

generated: env  ## Write the files that are generated from the config model
	@$(BIN)/python -m covary.config.reference

lock: env  ## Resolve the dependencies anew
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	    $$uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 --upgrade \
	        --extra all --extra dev --custom-compile-command "make lock" -o envs/requirements.lock pyproject.toml && \
	    echo uv | $$uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
	        --upgrade --custom-compile-command "make lock" -o envs/uv.lock.txt - && \
	    $$uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 --upgrade \
	        --group docs --custom-compile-command "make lock" -o envs/docs.lock

bench: env  ## Run the benchmarks (see benchmarks/README.md)
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done
