# The same commands on a laptop and in CI. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Hundreds of processes are started; none of them is to compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(or $(shell command -v python3.11),python3)
# All but the clients of warehouses: heavy, and no test needs them.
EXTRAS := dev,examples,redis,postgres,traces,alerts,cluster,avro,kafka,kinesis,pubsub,delta

# Every path is relative, so the checkout may lie anywhere; Ray wants a path without spaces.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.raypipe-setup
TYPED := $(wildcard raypipe jobs serve_apps examples benchmarks)

# The stamp holds the folder it was made in: a moved or copied .venv still points at its old place.
ifneq ($(file <$(STAMP)),$(CURDIR))
$(STAMP): FORCE
endif
# Only a PYTHON that was asked for replaces the one a working .venv already has.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(shell $(PYTHON) -V 2>&1),$(shell $(PY) -V 2>&1))
RENEW := yes
$(STAMP): FORCE
endif
endif

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub(/%/, "NAME", $$1); printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(STAMP) ## Make .venv with every pinned dependency; does nothing when it is current

$(STAMP): pyproject.toml constraints.txt Makefile
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(f"raypipe needs Python 3.11, 3.12 or 3.13; $(PYTHON) is {v[0]}.{v[1]}: make setup PYTHON=/path/to/python3.11" if not (3, 11) <= v < (3, 14) else 0)'
	@case "$$PWD" in *[[:space:]]*) echo "Ray cannot start workers from a folder with a space in its path: move $$PWD" >&2; exit 2 ;; esac
	@if [ "$(RENEW)" ] || ! $(PY) -c '' 2>/dev/null || ! grep -qF "$$PWD/$(VENV)" $(VENV)/bin/activate; then \
	  echo "Making $(VENV) with $$("$(PYTHON)" -V)"; "$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@echo "Installing the pinned dependencies: a few minutes the first time"
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  $(PY) -m pip install --quiet --editable ".[$(EXTRAS)]" 2>&1 | { grep -v '^WARNING: Location .* is ignored' || true; }
	@printf '%s' "$$PWD" > $@

.PHONY: FORCE
FORCE:

.PHONY: format
format: setup ## Rewrite the code in the house format
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix-only --exit-zero .

.PHONY: check
check: setup ## Check format, lint, types and imports
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy $(TYPED)
	$(VENV)/bin/lint-imports --no-logo

.PHONY: test
test: setup ## Run every test, print the coverage
	@# Two at a time, one to a core: what needs a cluster, and the rest. The first tells what it did when both are done.
	@# Coverage is that of the rest, in its own process: to trace every worker of a cluster would take longer than all else.
	@# What says how long a thing may take comes first, while nothing else runs.
	@$(PY) -m pytest -q -m alone -p no:cacheprovider $$(grep -lrE 'mark\.alone' tests --include='test_*.py')
	@export PYTHONPATH="$$PWD"; mkdir -p .pytest_cache; log=.pytest_cache/ray.log; \
	$(PY) -m pytest -m 'ray and not long and not alone' -p no:cacheprovider --durations=10 \
	  $$(grep -lrE 'ray_local|mark\.ray' tests --include='test_*.py') >$$log 2>&1 & ray=$$!; \
	trap 'kill $$ray 2>/dev/null' INT TERM; \
	$(PY) -m slipcover --source raypipe --skip-covered -m pytest -m 'not ray and not long and not alone' --durations=25 && rest=0 || rest=$$?; \
	wait $$ray && code=$$rest || code=$$?; \
	cat $$log; exit $$code

.PHONY: demo
demo: setup ## Run the flights example from raw files to a served model, and ask it a few questions
	@$(PY) -m examples.flights.demo

BENCHES := $(filter-out report,$(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))) $(patsubst benchmarks/%/__main__.py,%,$(wildcard benchmarks/*/__main__.py))

bench-%: setup ## Run one benchmark of benchmarks/, shorter with QUICK=1
	@case " $(BENCHES) " in *" $* "*) ;; *) echo "There is no benchmark $*; there are: $(BENCHES)" >&2; exit 2 ;; esac
	@$(PY) -m benchmarks.$*

.PHONY: replay
replay: setup ## Live through half a year of flights under several retraining policies; shorter with QUICK=1
	@$(PY) -m benchmarks.replay

.PHONY: chaos
chaos: setup ## Lose nodes, heads, networks and servers under work, and count what was lost or doubled; ONLY=NAME for some
	@$(PY) -m tests.chaos

.PHONY: long
long: setup ## Run the long forms of tests that `make test` runs in short
	@$(PY) -m pytest -m long --durations=25

.PHONY: clean
clean: ## Remove what the tools made, except .venv and .raypipe
	@rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 -r rm -rf
