# One virtual environment, .venv, serves every target. It is made on first use and brought up to date
# whenever pyproject.toml or constraints.txt change; otherwise it costs nothing.
# PYTHON counts only when the environment is made: `make clean` before changing it.

PYTHON ?= $(shell for p in python3.11 python3; do $$p -c "" 2>/dev/null && { echo $$p; break; }; done)
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python -m
# A moved checkout needs a new environment, changed requirements only an update.
HERE := $(shell pwd | cksum | cut -d " " -f 1)
NEEDS := $(shell cat pyproject.toml constraints.txt | cksum | cut -d " " -f 1)
MADE := $(VENV)/.made-$(HERE)
READY := $(VENV)/.ready-$(NEEDS)

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-slow bench bench-memory clean

help: ## List the targets
	@awk -F ":.*## " '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## Make the virtual environment in .venv, or bring it up to date

demo: $(READY) ## Run the tour and write report/report.html
	@$(VENV)/bin/hopfield tour --out report
	@echo "The report: $(CURDIR)/report/report.html"

check: $(READY) ## Lint, formatting, types, and the direction of imports
	@echo "ruff check" && $(RUN) ruff check
	@echo "ruff format --check" && $(RUN) ruff format --check
	@echo "mypy" && $(RUN) mypy
	@echo "lint-imports" && $(VENV)/bin/lint-imports --no-logo

# A file of tests stays in one process, so that what its tests share is made once.
test: check ## check, then the tests (ARGS="..." goes to pytest)
	@$(RUN) pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

test-slow: $(READY) ## Only the slow tests
	@$(RUN) pytest -m "slow and not gpu" $(ARGS)

bench: $(READY) ## Run the benchmarks (ARGS="..." goes to them)
	@$(RUN) benchmarks $(ARGS)

bench-memory: $(READY) ## Only the benchmarks of many patterns (ARGS="headline disk ..." for some of them)
	@$(RUN) benchmarks.memory $(ARGS)

clean: ## Remove the virtual environment, the report and everything else that was generated
	rm -rf $(VENV) build dist report .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(MADE):
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("hopfield needs Python 3.11 or newer, and \
	$(PYTHON) is %d.%d. Name a newer one: make PYTHON=/path/to/python" % v[:2])'
	@echo "Making a virtual environment in $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	@touch $@

$(READY): $(MADE)
	@echo "Installing hopfield and what its demo and tests need into $(VENV) (about a minute the first time)"
	@rm -f $(VENV)/.ready-*
	@$(RUN) pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@
