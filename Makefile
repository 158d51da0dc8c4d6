# make demo: the whole loop on a year of real flights.   make test: every test.
# Each sets up what it needs in .venv, from pinned and hashed packages, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation
# Modules compiled once at set-up start in a third of the time; workplaces that forbid .pyc files pay at each start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check pins clean

demo: $(VENV)/.demo
	$(BIN)/perene demo

test: $(VENV)/.development
	$(BIN)/python -m pytest

check: $(VENV)/.development
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit("perene needs Python 3.11, 3.12 or 3.13; this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.11 " ) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements/build.txt
	touch $@

$(VENV)/.demo: $(VENV)/.python requirements/demo.txt pyproject.toml
	$(INSTALL) -r requirements/demo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q src $(VENV)/lib > /dev/null || true
	touch $@

$(VENV)/.development: $(VENV)/.demo requirements/development.txt
	$(INSTALL) -r requirements/development.txt
	touch $@

# Needs uv, and the package index that it is set up with.
pins:
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
		pyproject.toml --extra examples --extra lightgbm --group dev -o requirements/development.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
		-c requirements/development.txt pyproject.toml --extra examples -o requirements/demo.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
		-c requirements/development.txt requirements/build.in -o requirements/build.txt

clean:
	rm -rf $(VENV) perene-demo build src/*.egg-info
