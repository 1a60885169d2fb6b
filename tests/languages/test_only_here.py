"""Only the language files contain Italian words and language codes.

The test reads strings in the code and the templates. Docstrings and comments are documentation, and a recipe is an
experiment in one language: they may contain Italian.
"""

import ast
import re
from pathlib import Path

import pytest
import simplemma

import clip_italian
from clip_italian import languages

PACKAGE = Path(clip_italian.__file__).parent
NAME = re.compile(r"clip[-_]italian", re.IGNORECASE)  # the package's own
CODES = {"it", "ita", "italian", "italiano", "italiana"}

# Allowed Italian words, with the reason.
ALLOWED = {
    # Il Post is an Italian newspaper; only these modules read its pages, tables and credits.
    "sources/ilpost.py": {"foto", "immagine", "testo"},
    "sources/credits.py": {"foto", "alla", "dai", "degli", "del", "della", "dal"},
    # Default captions and file names of phones and cameras set to Italian.
    "sources/embedded.py": {"foto", "senza"},
    # Function words of Spanish and Portuguese that are also Italian.
    "clean/language_id.py": {"con", "del", "una", "pelo"},
    # A folder created by a program for a device.
    "pictures/walk.py": {"ipod"},
    # The published data set MSCOCO-IT and its files captions_ita_*.json.
    "sources/mscoco_it.py": {"it"},
    "evaluate/sets/coco.py": {"it", "ita"},
    "cli/collect.py": {"it"},
    "stats/card.py": {"it"},
    "evaluate/report.py": {"it"},
    # Its files too, and the original project's table of labels, imagenet_labels_IT.tsv.
    "evaluate/paper.py": {"it", "ita"},
    "evaluate/labels.py": {"it"},
    "cli/paper.py": {"it"},
    # The paper's text towers, by their names at the Hub: dbmdz/bert-base-italian-xxl-cased.
    "models_torch/single_towers.py": {"italian"},
    "models_torch/flax_checkpoint.py": {"italian"},
    # A country code (ISO 3166) for the location of a machine.
    "config.py": {"ita"},
    "train/cost.py": {"ita"},
    # The help names the language that the project is about.
    "cli/__init__.py": {"italian"},
}


def italian_words():
    """Return Italian function words and numerals, and other words of its language file that are not English."""
    italian = languages.get("it")
    texts = [
        *italian.function_words, *italian.number_words, *italian.prompts, *italian.neutral, italian.drawing_prompt,
        *italian.example_queries, *italian.paper_queries, *vars(italian.sheet).values(), *italian.page.values(),
        *vars(italian.duplicates).values(),
        *(one.label for one in italian.imagenet), italian.name,
    ]  # fmt: skip
    words = {word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text.lower())}
    functional = {word for word in italian.function_words | italian.number_words if len(word) > 2}
    return functional | {word for word in words if not simplemma.is_known(word, lang="en")} | {"gatto", "cane", "foto"}


ITALIAN = italian_words() - {
    "api",
    "gas",
    "score",
    "index",
    "json",
    "ctrl",
    "token",
    "dim",
    "count",
    "percent",
    "per",
    "all",
    "due",
    "col",
}


def strings(path):
    """Yield (line, text) of a file: string literals of code, except docstrings, and each line of other files."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.lineno, node.value


def told(text):
    """Return Italian words and codes in a text; "it" only if it is not the English pronoun."""
    plain = NAME.sub("", text)
    words = set(re.findall(r"[^\W\d_]+", plain.lower()))
    found = words & ((ITALIAN | CODES) - {"it"})
    alone = re.fullmatch(r"it|IT|it[-_]IT", plain.strip())
    quoted = re.search(r"""["'=](it|IT)["']|[-_/](it|IT)\b|\b(it|IT)[_.](core|utf8|html)""", plain)
    return found | ({"it"} if alone or quoted else set())


FILES = sorted(
    path
    for path in PACKAGE.rglob("*")
    if path.suffix in {".py", ".html", ".js", ".css", ".json"} and "languages" not in path.relative_to(PACKAGE).parts
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_italian_outside_the_language_files(path):
    allowed = ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set())
    found = {(line, *sorted(told(text) - allowed)) for line, text in strings(path) if told(text) - allowed}
    assert found == set()


def test_every_exception_is_needed():
    for name, words in ALLOWED.items():
        used = set().union(*(told(text) for _, text in strings(PACKAGE / name)))
        assert words <= used, (name, words - used)


@pytest.mark.parametrize(
    "text",
    [
        "una foto di {}",
        "it",
        "IT",
        "it_core_news_lg",
        "ita_Latn",
        'lang="it"',
        "un gatto che dorme",
        "mscoco-it",
        "cani sulla neve",
    ],
)
def test_the_search_finds_italian(text):
    assert told(text)


@pytest.mark.parametrize(
    "text", ["put it back", "clip-italian train", "CLIP_ITALIAN_CACHE", "Give it.", "all in a row", "due per week"]
)
def test_the_search_knows_english(text):
    assert not told(text)


def test_enough_words_are_searched():
    assert len(ITALIAN) > 800
    assert len(FILES) > 200
