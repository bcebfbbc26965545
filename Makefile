# `make help` lists what there is. Needs python3 (3.11 or later) with venv, and git; everything else is installed below .venv and the cache.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
BIN := .venv/bin

# The installation is as fresh as the lock file and the project's own definition: their hash names its stamp.
STAMP := .venv/installed-$(shell cat requirements-dev.lock pyproject.toml | sha256sum | cut -c1-16)
BENCH_STAMP := .venv/installed-bench-$(shell cat requirements-bench.lock pyproject.toml | sha256sum | cut -c1-16)

.PHONY: help setup demo test test-e2e crash-matrix fuzz check fmt schemas lock bench-hops clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv, exactly as the lock file has it

$(STAMP):
	@$(PYTHON) tools/install.py requirements-dev.lock $@

demo: $(STAMP) ## Run the whole system on this machine and check every figure (DEMO=forever: until Ctrl-C; DEMO_TRADES, DEMO_FOLLOWERS, DEMO_FAULT)
	@$(BIN)/slipstream demo

test: $(STAMP) ## Unit, contract and integration tests, on a real Kafka, PostgreSQL and chain
	$(BIN)/pytest tests/architecture tests/unit tests/contract tests/integration

test-e2e: $(STAMP) ## The slower suite: whole stories through all services
	$(BIN)/pytest tests/e2e

crash-matrix: $(STAMP) ## Kill every service at every named boundary and look at the money (an hour or two; CELLS=executor narrows it; SHORT=1; SIDE_BY_SIDE=2; RESULTS=file plays on)
	$(BIN)/python -m tests.crash_matrix

fuzz: $(STAMP) ## Try every parser and handler with wrong input, and say with how many (FUZZ_INPUTS of each target)
	FUZZ_INPUTS=$${FUZZ_INPUTS:-8000} $(BIN)/pytest tests/unit/fuzz

check: $(STAMP) ## Lint, format, types, import contracts, house rules and unit tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/architecture tests/unit

fmt: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schemas: $(STAMP) ## Write the messages' JSON schemas anew
	$(BIN)/python -m tools.schemas

lock: ## Resolve the lock files anew (needs uv)
	tools/lock.sh

bench-hops: $(STAMP) $(BENCH_STAMP) ## Measure hops and the whole path beside other ways to do them
	$(BIN)/python -m tools.bench.hops

$(BENCH_STAMP): $(STAMP)
	@$(PYTHON) tools/install.py requirements-bench.lock $@

clean: ## Remove the installation, what runs left behind, and caches of tools
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
