# make PYTHON=/path/to/python3.12 TARGET   another Python for the first set-up

PYTHON ?= python3
TORCH  ?= 2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench lock clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## train on digits: tokenizer, prior, samples, report in runs/digits
	$(BIN)/vqkit train digits --out runs/digits --overwrite

test: $(READY) ## run the tests, a process a core
	$(BIN)/pytest -q -n auto --dist loadfile

check: $(READY) ## lint, format, types, and the floors of docs/architecture.md
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy vqkit
	$(BIN)/lint-imports
	@deep=$$(find vqkit -mindepth 3 -type f -not -path '*/__pycache__/*'); \
	if [ -n "$$deep" ]; then echo "deeper than two levels, move it up: $$deep" >&2; exit 1; fi

bench: $(READY) ## list the benchmarks; NAME=one runs it, with DATA=source where it wants one
ifdef NAME
	$(BIN)/python benchmarks/$(NAME).py $(if $(DATA),--data "$(DATA)")
else
	@for script in benchmarks/*.py; do \
	  if [ -e "$$script" ]; then \
	    name=$$(basename "$$script" .py); \
	    printf '  make bench NAME=%-16s %s\n' "$$name" "$$(sed -n '1s/^"""//; 1s/"""$$//; 1p' "$$script")"; \
	  else echo "there is no script in benchmarks/ yet"; fi; \
	done
endif

lock: ## pin, in requirements.lock, the newest versions that pyproject.toml allows
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/python" -m pip --disable-pip-version-check --no-input install "torch==$(TORCH)" ".[dev]" && \
	"$$folder/bin/python" -m pip freeze --all --exclude pip --exclude vqkit \
	  | sed -E 's/\+[a-z0-9.]+$$//' | grep -vE '^(nvidia|cuda|triton)' > "$$folder/lock" && \
	{ sed -n '/^#/p' requirements.lock; cat "$$folder/lock"; } > "$$folder/new" && \
	cp "$$folder/new" requirements.lock

clean: ## remove the environment and what the tools left; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'vqkit needs Python 3.11 or newer: install it, or name one with `make PYTHON=/path/to/python3.11 ...`.' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'This Python has no venv: install it (on Debian, `apt install python3-venv`), then run this again.' >&2; exit 1; }
	@echo 'Setting up $(VENV), once; this takes a few minutes.'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --quiet -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@
