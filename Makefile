# `make help` lists the targets. Needs python3 (3.11 or later) with venv, and git; everything else
# is installed into .venv and the cache.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
BIN := .venv/bin

# Named by the hash of the lock file and pyproject.toml: when one changes, everything is installed
# again.
hash = $(shell cat $(1) pyproject.toml | sha256sum | cut -c1-16)
STAMP := .venv/installed-$(call hash,requirements-dev.lock)
BENCH_STAMP := .venv/installed-bench-$(call hash,requirements-bench.lock)

.PHONY: help setup demo test test-e2e crash-matrix fuzz check lint fmt schemas docs lock bench-hops bench-lab bench-soak bench-isolation bench-history bench-plots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv, exactly as the lock file has it

$(STAMP):
	@$(PYTHON) tools/install.py requirements-dev.lock $@

# DEMO=forever: until Ctrl-C; DEMO_TRADES, DEMO_FOLLOWERS, DEMO_FAULT: see `slipstream demo --help`
demo: $(STAMP) ## Run the whole system on this machine and check every figure
	@$(BIN)/slipstream demo

# WORKERS: how many processes share the tests, each with a Kafka, a PostgreSQL and a chain
test: $(STAMP) ## Unit, contract and integration tests, on a real Kafka, PostgreSQL and chain
	$(BIN)/pytest -n $${WORKERS:-2} tests/integration tests/contract tests/unit tests/architecture

# WORKERS: as above; each also runs whole systems, of 2 GB of memory, that wait for much of the time
test-e2e: $(STAMP) ## The slower end-to-end tests, through all services
	$(BIN)/pytest -n $${WORKERS:-2} tests/e2e

# CELLS=executor: only its cells; SHORT=1; SIDE_BY_SIDE=2; RESULTS=file: continue an earlier run
crash-matrix: $(STAMP) ## Kill every service at every boundary and check the money (1 to 2 h)
	$(BIN)/python -m tests.crash_matrix

# FUZZ_INPUTS: how many inputs for each parser and handler; a twentieth as many scripts of copying
fuzz: $(STAMP) ## Try parsers and handlers with wrong inputs, and copying with random scripts
	FUZZ_INPUTS=$${FUZZ_INPUTS:-8000} $(BIN)/pytest tests/unit/fuzz tests/integration/properties

check: lint ## Lint, format, types, import contracts, house rules and unit tests
	$(BIN)/pytest tests/architecture tests/unit

lint: $(STAMP) ## Lint, format, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schemas: $(STAMP) ## Write the JSON schemas of the messages
	$(BIN)/python -m tools.schemas

docs: $(STAMP) ## Write docs/metrics.md and docs/settings.md from the code
	$(BIN)/python -m tools.docs

lock: ## Resolve the lock files again (needs uv)
	tools/lock.sh

# LOADS=light,1000,burst-1000,wallets-5000,history; HOPS="--only pipeline": see `--help`;
# HOPS=--quick: some seconds each, to see that it runs
bench-hops: $(STAMP) $(BENCH_STAMP) ## Measure one hop and the whole path against the goals (1 h)
	$(BIN)/python -m tools.bench.hops $(if $(LOADS),--loads $(LOADS)) $(HOPS)

# VARIANTS="base: a:DATABASE_CONNECTIONS=12"; WORKTREES="old=../old"; LOADS=500x20; ROUNDS=3; LAB=--quick
bench-lab: $(STAMP) $(BENCH_STAMP) ## Compare variants or commits of the pipeline in turn
	$(BIN)/python -m tools.bench.lab $(LAB) $(if $(LOADS),--loads $(LOADS)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(foreach each,$(WORKTREES),--worktree $(each)) \
	  $(or $(VARIANTS),base:)

# MINUTES=30; RATE=300; SOAK=--quick
bench-soak: $(STAMP) $(BENCH_STAMP) ## Copy for half an hour and say what grew
	$(BIN)/python -m tools.bench.soak $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(RATE),--rate $(RATE)) $(SOAK)

# ISOLATION=--quick: a few seconds, to see that it runs
bench-isolation: $(STAMP) ## Measure what one follower's trouble costs the others (5 minutes)
	$(BIN)/python -m tools.bench.isolation $(ISOLATION)

# HISTORY="--rows 2000000 10000000": so many old rows, one after another; --quick
bench-history: $(STAMP) $(BENCH_STAMP) ## Measure what millions of old copies cost a new one
	$(BIN)/python -m tools.bench.history $(HISTORY)

bench-plots: $(STAMP) $(BENCH_STAMP) ## Draw the plots again from what is in var/bench
	$(BIN)/python -m tools.bench.plots

$(BENCH_STAMP): $(STAMP)
	@$(PYTHON) tools/install.py requirements-bench.lock $@

clean: ## Remove the installation, the files of runs and the caches of tools
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
