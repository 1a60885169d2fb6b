"""The package's version is the same everywhere."""

import re
from pathlib import Path

import pytest

from clip_italian import __version__
from clip_italian.cli import app

ROOT = Path(__file__).parents[1]


def test_citation_and_changelog_agree():
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    version, day = released[0]
    assert version == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", day)


def test_the_command_prints_it(capsys):

    with pytest.raises(SystemExit) as stop:
        app(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"clip-italian {__version__}\n"
