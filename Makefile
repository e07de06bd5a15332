# Everything is installed into .venv from the hash-pinned lock files, once: a stamp is renewed only
# when what it depends on changes.
VENV := .venv
PYTEST := $(VENV)/bin/python -m pytest
BENCHES := $(patsubst tests/benchmarks/bench_%.py,%,$(wildcard tests/benchmarks/bench_*.py))
CLOISTER_HOME ?= .cloister
export CLOISTER_HOME

.DEFAULT_GOAL := help
.PHONY: help install extras run demo test test-all peers check bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

$(VENV)/.installed: requirements.lock pyproject.toml deploy/install.sh
	@deploy/install.sh run
	@touch $@

$(VENV)/.installed-dev: tests/requirements.lock $(VENV)/.installed
	@deploy/install.sh dev
	@touch $@

install: $(VENV)/.installed ## install what the gateway needs

extras: $(VENV)/.installed ## install what is optional: Parquet, PKCS#11, transit, time stamps
	@deploy/install.sh extras

run: $(VENV)/.installed ## install, provision and serve on 127.0.0.1:8080
	@test -f "$(CLOISTER_HOME)/settings.toml" || $(VENV)/bin/gateway init
	@exec $(VENV)/bin/gateway serve

demo: $(VENV)/.installed ## a clinician's and a lawyer's prompt through a fresh gateway
	@$(VENV)/bin/python deploy/demo.py

test: $(VENV)/.installed-dev ## install and run the fast tests
	@$(PYTEST) -m "not slow"

peers: $(VENV)/.installed-dev ## build the servers that tests and benchmarks meet (once, minutes)
	@tests/peers.sh

test-all: $(VENV)/.installed-dev ## the slow tests too
	@$(PYTEST)

check: $(VENV)/.installed-dev ## lint, format, types, import contracts
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

# All of them run even when one misses a bar; the exit code still tells.
bench: $(VENV)/.installed-dev ## every benchmark; `make bench-NAME` runs one
	@failed=; for name in $(BENCHES); do $(MAKE) --no-print-directory bench-$$name || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "bars missed or benchmark failed:$$failed"; exit 1; }

bench-%: tests/benchmarks/bench_%.py $(VENV)/.installed-dev
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m tests.benchmarks.bench_$*

lock: $(VENV)/.installed-dev ## regenerate the lock files (UPGRADE=1 takes newer versions)
	@deploy/lock.sh

clean: ## remove the virtual environment (never the home)
	rm -rf $(VENV)
