"""Links between the pages of the repository are valid on GitHub; MkDocs checks those of the site."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(path for path in ROOT.glob("docs/**/*.md")),
    ROOT / "benchmarks" / "RESULTS.md",
]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
FENCED = re.compile(r"^(`{3,}).*?^\1$", re.DOTALL | re.MULTILINE)


def text_of(path):
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """Return the anchors that GitHub generates for headings: lower case, words joined by "-", and "_"."""
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(text_of(page)):
        place = (page.parent / unquote(target)).resolve() if target else page
        assert place.exists(), f"{page.name}: {target}"
        assert place.is_relative_to(ROOT)
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{page.name}: {target}#{anchor}"
