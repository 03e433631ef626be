# Everything starts here: `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types imports bench lock wheel clean

help:           ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Touchstone needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The stamps are files in the environment: a changed lock installs again, an unchanged one does not.
$(VENV)/.runtime: $(BIN)/python requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.runtime   ## the whole story, offline: a real market, then one with a planted edge
	$(BIN)/touchstone demo

test: $(VENV)/.dev       ## all tests
	$(BIN)/python -m pytest -n 2

check: lint types imports test   ## what CI runs: lint, types, import contracts, tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

bench: $(VENV)/.dev      ## time the engine beside its peers; writes benchmarks/results.json and docs/performance.md
	benchmarks/peers.sh
	$(BIN)/python benchmarks/run.py

lock:           ## renew both lock files (needs uv on the PATH)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header pyproject.toml --group build -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

wheel: $(VENV)/.dev      ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:          ## remove the environment and what was built; the workspace .touchstone/ stays
	rm -rf $(VENV) dist build
