# make demo        set everything up, then do the main job (about 8 minutes on 2 cores after downloads)
# make test        set up whatever is missing, then run the tests
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-all lint format audit peers mini clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

demo: setup
	$(BIN)/clip-italian demo

test: setup
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist worksteal

test-all: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The packaged model, anew: make mini PAIRS=photos.jsonl LICENSE=cc-by-nc-4.0 (25 minutes for 800 photos, 2 cores)
mini: setup
	$(BIN)/python benchmarks/build_mini.py "$(PAIRS)" --license "$(LICENSE)" -o runs/mini

# Known weaknesses of everything in constraints.txt; asks PyPI. What it does not know there counts as a failure.
audit:
	test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install --quiet pip-audit; }
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

# A second environment with open_clip and torchvision (5 GB), for side-by-side benchmarks and the tests of open_clip's
# models.
peers: .venv-peers/.installed

.venv-peers/.installed: benchmarks/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --requirement benchmarks/peers.txt
	touch $@

clean:
	rm -rf .venv .venv-audit .venv-peers runs
