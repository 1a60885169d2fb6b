# make demo        set everything up, then do the main job (about 5 minutes on 2 cores after downloads)
# make test        set up whatever is missing, then run the tests; whole jobs: make integration
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test integration test-all coverage lint format docs bench fresh wheel mini-wheel light audit peers mini clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

demo: setup
	$(BIN)/clip-italian demo

# One process more than the two cores: many tests wait for servers and killed processes.
test: setup
	$(BIN)/pytest -m "not slow and not integration" --numprocesses 3 --dist worksteal

# Whole jobs: the demo, what is killed and resumed, two processes, a cluster, services, Milvus, the page in a browser.
integration: setup
	$(BIN)/pytest -m "not slow and integration" --numprocesses 3 --dist worksteal

test-all: setup
	$(BIN)/pytest

# The quick tests with the share of lines that they reach, by module. What runs in processes of its own is not counted.
coverage: setup
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist worksteal --cov --cov-report=term

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The guide into site/, without network; a broken link ends it. Look: $(BIN)/python -m http.server --directory site
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Small runs of benchmarks/ one after the other (some minutes), to see that they work and about where this machine stands.
# What is published in benchmarks/RESULTS.md was measured with the commands there.
bench: setup
	PYTHON=$(BIN)/python .ci/bench

# The two commands in a fresh clone: new environment, empty HOME and cache (half an hour). Less: make fresh GOALS="lint docs"
fresh:
	PYTHON=$(PYTHON) .ci/fresh $(GOALS)

# The wheel, tried in an empty environment outside of the repository. MORE=demo runs the demo there too.
wheel: setup
	PYTHON=$(BIN)/python .ci/wheel $(MORE)

# The wheel clip-italian-mini: the graphs of mini, for searching without torch and without network.
mini-wheel: setup
	$(BIN)/python wheels/mini.py dist

# Both wheels in an empty environment without torch and without network. MINI=PATH: a wheel of clip-italian-mini.
light: setup
	PYTHON=$(BIN)/python MINI=$(MINI) .ci/light

# The packaged model, anew: make mini PAIRS=photos.jsonl LICENSE=cc-by-nc-4.0 (25 minutes for 800 photos, 2 cores)
mini: setup
	$(BIN)/python benchmarks/build_mini.py "$(PAIRS)" --license "$(LICENSE)" -o runs/mini

# Known weaknesses of everything in constraints.txt; asks PyPI. Fails on weaknesses, and names what PyPI does not know.
audit:
	test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install --quiet pip-audit; }
	$(PYTHON) .ci/audit .venv-audit/bin/pip-audit constraints.txt

# A second environment with open_clip and torchvision (5 GB), for side-by-side benchmarks and the tests of open_clip's
# models.
peers: .venv-peers/.installed

.venv-peers/.installed: benchmarks/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --requirement benchmarks/peers.txt
	touch $@

clean:
	rm -rf .venv .venv-audit .venv-peers runs site dist
