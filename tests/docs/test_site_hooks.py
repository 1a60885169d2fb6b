"""The site's hooks for links and for files outside docs/."""

import importlib.util
import json
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("site_hooks", Path(__file__).parents[2] / "docs" / "site_hooks.py")
site_hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site_hooks)


@pytest.mark.parametrize(
    ("origin", "page", "written", "wanted"),
    [
        ("docs/data.md", "data.md", "../benchmarks/RESULTS.md#ranking", "performance.md#ranking"),
        ("docs/data.md", "data.md", "../README.md", "index.md"),
        (
            "docs/data.md",
            "data.md",
            "../src/clip_italian/pictures/leaks.py",
            "source/src/clip_italian/pictures/leaks.py.md",
        ),
        ("docs/data.md", "data.md", "training.md#losses", "training.md#losses"),
        ("docs/api/pairs.md", "api/pairs.md", "../data.md", "../data.md"),
        ("docs/api/pairs.md", "api/pairs.md", "../../CHANGELOG.md", "../changelog.md"),
        ("benchmarks/RESULTS.md", "performance.md", "../docs/LOG.md", "LOG.md"),
        ("docs/data.md", "data.md", "../gone.py", "../gone.py"),
        ("docs/data.md", "data.md", "https://example.org/a#b", "https://example.org/a#b"),
        ("docs/data.md", "data.md", "#here", "#here"),
    ],
)
def test_links_are_turned(origin, page, written, wanted):
    assert site_hooks.rewritten(f"see [it]({written}).", origin, page) == f"see [it]({wanted})."


def test_code_is_left_alone():
    code = "```python\ntable[0](../README.md)\n```\n"
    assert site_hooks.rewritten(code, "docs/data.md", "data.md") == code


def test_a_linked_folder_gets_a_list_and_pages():
    pages = dict(site_hooks.source_pages("src/clip_italian/recipes"))
    assert "[mini.toml](recipes/mini.toml.md)" in pages["source/src/clip_italian/recipes.md"]
    assert "````toml" in pages["source/src/clip_italian/recipes/mini.toml.md"]


def test_a_notebook_becomes_texts_and_code(tmp_path):
    cells = [{"cell_type": "markdown", "source": ["# A\n", "b"]}, {"cell_type": "code", "source": ["1 + 1"]}]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert site_hooks.as_markdown(path) == "# A\nb\n\n```python\n1 + 1\n```"
