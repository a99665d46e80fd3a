# Every target sets up its own virtual environment; Python 3.11 or later and make are all it takes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_DATE := 2026-11-22
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format clean

demo: $(VENV)/.installed
	rm -rf demo
	$(BIN)/docyard sample demo/documents --kind ticket --documents 3000
	$(BIN)/docyard classify --input demo/documents/tickets --document-type ticket --bundle models/bundles/tickets \
	  --warehouse demo/warehouse --run-date $(RUN_DATE)
	@echo
	$(BIN)/docyard show --warehouse demo/warehouse

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Docyard needs Python 3.11 or later, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.py constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: setup.py constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache
