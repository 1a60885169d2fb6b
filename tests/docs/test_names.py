"""Modules, files and symbols of this project in the docs exist."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.it.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = ROOT / "src" / "clip_italian"
# Files of this project that a page names: with their folder, below the package, the tests or the repository.
FILE = re.compile(r"`([\w./-]+/[\w.-]+\.py)`|\]\([^)#\s]*?/((?:src|tests|benchmarks)/[\w./-]+\.py)\)")
DOTTED = re.compile(r"(?<![\w/.-])clip_italian((?:\.[A-Za-z_]\w*)+)")
# `package.module` and `package.module.symbol` in code spans, where the package is one of ours.
SPAN = re.compile(
    r"`((?:" + "|".join(path.name for path in SOURCE.iterdir() if path.is_dir()) + r")(?:\.\w+)+)(?:\(\))?`"
)
ENDINGS = (".py", ".toml", ".json", ".jsonl")
NO_CODE = {"clip_italian.json", "data.toml", "export.json"}  # names of files
# What a page tells the reader to write.
TO_BE_WRITTEN = re.compile(r"fr\.py|remote_encoder|sources[./]flickr|test_stutter|test_collect_flickr|my_")


def resolves(name: str) -> bool:
    """Return True if a dotted name in the package is a module or an attribute of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        try:
            if find_spec(module) is None:
                continue
        except ModuleNotFoundError:
            continue
        found = import_module(module)
        for part in parts[cut:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


def exists(file: str) -> bool:
    """Return True for an existing path relative to the repository, the package or the tests."""
    return any((room / file).is_file() for room in (ROOT, SOURCE, ROOT / "src", ROOT / "tests"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":  # earlier versions name what was there then
        return
    files = {one or other for one, other in FILE.findall(text)}
    lost = sorted(file for file in files if not exists(file) and not TO_BE_WRITTEN.search(file))
    dotted = {f"clip_italian{rest}" for rest in DOTTED.findall(text)} - NO_CODE
    dotted |= {
        f"clip_italian.{name}" for name in SPAN.findall(text) if not name.endswith((".py", ".toml", ".json", ".jsonl"))
    }
    lost += sorted(name for name in dotted if not resolves(name) and not TO_BE_WRITTEN.search(name))
    assert lost == []


def test_the_check_finds_what_is_lost():
    assert resolves("clip_italian.errors.UserError") and resolves("clip_italian.config")
    assert not resolves("clip_italian.errors.UserMistake") and not resolves("clip_italian.mistakes")
    assert exists("cli/search.py") and not exists("cli/seek.py")
