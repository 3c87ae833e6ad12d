# Everything here installs what it needs into .venv first. `make demo` and `make test` need
# nothing but Python 3.11 and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# No test and no demo asks a model hub for anything.
OFFLINE := HF_HUB_OFFLINE=1

# For `make starter`: what to do, and the folder with the corpora.
STAGE ?= all
DATA ?= $(or $(LANGCHAIN_XLM_DATA),../shared/data)

# Where `make bench` writes tables and charts.
BENCH ?= build/speed

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types layers unit docs bench figures integration starter constraints clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1|\2/' | column -t -s '|'

# The stamp is made last, so that an installation that was cut short is done again.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e '.[dev]'
	touch $@

$(VENV)/installed-training: $(VENV)/installed
	$(INSTALL) -e '.[training]'
	touch $@

demo: $(VENV)/installed ## translations, sentiment, a summary and a search, offline
	@$(OFFLINE) $(BIN)/langchain-xlm demo

test: lint types layers unit docs ## everything that must pass before a change lands

lint: $(VENV)/installed ## ruff: style, docstrings, likely mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed ## mypy, strict
	$(BIN)/mypy

layers: $(VENV)/installed ## the layer contract
	$(BIN)/lint-imports

# A process for each core, of one thread: on a small model two threads mostly wait for each other.
unit: $(VENV)/installed ## the tests, offline, with branch coverage of at least 95%
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term --cov-fail-under=95

docs: $(VENV)/installed ## the site, into docs/_build
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build

# langchain-huggingface asks for an older huggingface-hub than transformers 5, and works with it.
$(VENV)/installed-benchmarks: $(VENV)/installed
	$(INSTALL) -e '.[benchmarks]'
	$(INSTALL) --no-deps langchain-huggingface
	touch $@

bench: $(VENV)/installed-benchmarks ## speed and memory on this machine beside other libraries: an hour
	$(OFFLINE) $(BIN)/python -m benchmarks
	$(OFFLINE) $(BIN)/python -m benchmarks.speed encoder --out $(BENCH)
	$(OFFLINE) $(BIN)/python -m benchmarks.generation --out $(BENCH)
	$(OFFLINE) $(BIN)/python -m benchmarks.memory
	$(OFFLINE) $(BIN)/python -m benchmarks.pool

figures: $(VENV)/installed ## the site's figures of the starter, from the sets in LANGCHAIN_XLM_DATA
	$(OFFLINE) $(BIN)/python -m benchmarks.figures $(LANGCHAIN_XLM_DATA)

integration: $(VENV)/installed ## public checkpoints at pinned revisions; needs the network
	$(BIN)/python -m pytest integration_tests --force-enable-socket -p no:cacheprovider -rs

starter: $(VENV)/installed-training ## make the bundled checkpoints anew: STAGE=smoke, all or one stage
	$(OFFLINE) $(BIN)/python -m training $(STAGE) --data $(DATA)

constraints: ## pin what a fresh installation brings today
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet 'torch==2.13.0' -e '.[dev,training]'
	build/constraints/bin/python -m pip freeze --exclude-editable \
		| sed -E 's/\+cpu$$//' > constraints.txt
	rm -rf build/constraints

clean: ## remove what was built, but not .venv
	rm -rf build dist docs/_build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
