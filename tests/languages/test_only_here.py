"""No module but the language files knows Italian: neither its words nor its codes.

Looked at are the strings of the code and the templates. Docstrings and comments are documentation, and a recipe is an
experiment in one language that says which: both may be in Italian.
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

# What is Italian by its nature, and why.
ALLOWED = {
    # Il Post is an Italian newspaper: its pages, tables and credits are read here and nowhere else.
    "sources/ilpost.py": {"foto", "immagine", "testo"},
    "sources/credits.py": {"foto", "alla", "dai", "degli", "del", "della", "dal"},
    # What phones and cameras of Italians write where a caption belongs, and call their files.
    "sources/embedded.py": {"foto", "senza"},
    # Function words of Spanish and Portuguese that Italian has, too.
    "clean/language_id.py": {"con", "del", "una", "pelo"},
    # A folder that a device's program makes.
    "pictures/walk.py": {"ipod"},
    # The published data set MSCOCO-IT and its files captions_ita_*.json.
    "sources/mscoco_it.py": {"it"},
    "evaluate/sets/coco.py": {"it", "ita"},
    "cli/collect.py": {"it"},
    "stats/card.py": {"it"},
    "evaluate/report.py": {"it"},
    # The paper's text towers, by their names at the Hub: dbmdz/bert-base-italian-xxl-cased.
    "models_torch/single_towers.py": {"italian"},
    "models_torch/flax_checkpoint.py": {"italian"},
    # A country (ISO 3166), where a machine stands.
    "config.py": {"ita"},
    "train/cost.py": {"ita"},
    # The help names the language that the project is about.
    "cli/__init__.py": {"italian"},
}


def italian_words():
    """Function words and numbers of Italian, and the other words of its language file that are no English ones."""
    italian = languages.get("it")
    texts = [
        *italian.function_words, *italian.number_words, *italian.prompts, *italian.neutral, italian.drawing_prompt,
        *italian.example_queries, *italian.paper_queries, *vars(italian.sheet).values(), *italian.page.values(),
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
    """(line, text) of a file: of code all string literals but docstrings, of templates and the like each line."""
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
    """Italian words and codes in a text: "it" only where it is no English pronoun, alone or joined to something."""
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


def test_nothing_is_allowed_in_vain():
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


def test_there_is_enough_to_search_for():
    assert len(ITALIAN) > 800
    assert len(FILES) > 200
