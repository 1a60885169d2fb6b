"""README.md and README.it.md have the same commands, code, figures and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```\w*\n(.*?)^```$|((?:^ {4}[^\n]*\n|^\n(?= {4}))+)", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"\s{2,}# .*")  # each in its language


def code(text):
    """Return the lines of all code blocks, without comments."""
    blocks = ("".join(match) for match in BLOCK.findall(text))
    return [[COMMENT.sub("", line).strip() for line in block.splitlines() if line.strip()] for block in blocks]


def tables(text):
    """Return the rows of tables without their first column, which is text."""
    return [line.split("|")[2:] for line in text.splitlines() if re.match(r"\|[^|]*\|.*\d", line)]


def numbers(text):
    return sorted(re.findall(r"\d+(?:\.\d+)?", BLOCK.sub("", text)))


def links(text):
    return re.findall(r"\]\(([^)]+)\)", text)[1:]  # the first one leads to the other language


def inline_code(text):
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


@pytest.mark.parametrize("part", [code, tables, numbers, links, inline_code], ids=lambda part: part.__name__)
def test_both_have_the_same(part):
    english, italian = (part((ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "README.it.md"))
    assert len(english) > 3
    assert italian == english


def test_each_leads_to_the_other():
    assert "](README.it.md)" in (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert "](README.md)" in (ROOT / "README.it.md").read_text(encoding="utf-8").split("\n## ")[0]
