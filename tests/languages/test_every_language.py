"""Properties of every language file that the rest of the package relies on."""

import json
import re
import string
from pathlib import Path

import pytest

from clip_italian import languages, pages
from clip_italian.errors import UsageError

CODES = languages.available()
ENGLISH = json.loads((Path(pages.__file__).parent / "templates" / "serve" / "words.json").read_text(encoding="utf-8"))
HINTS = {"unlike_hint", "labels_hint", "where_hint"}


def placeholders(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_three_languages_are_available():
    assert CODES == ["de", "es", "it"]
    assert languages.DEFAULT in CODES


@pytest.mark.parametrize("code", CODES)
def test_fields_are_not_empty(code):
    language = languages.get(code)
    assert language.code == code
    assert all(prompt.count("{}") == 1 for prompt in (*language.prompts, language.drawing_prompt))
    assert not any("{" in prompt for prompt in language.neutral)
    assert len(set(language.example_queries)) == 12
    assert len(set(language.paper_queries)) == 4
    assert len({one.label for one in language.imagenet}) in (0, 1000)
    assert language.english_name in ("German", "Italian", "Spanish")
    assert all(word == word.lower().strip() and word for word in language.function_words | language.number_words)
    assert len(language.function_words) >= 20
    assert len(language.number_words) >= 20
    assert all(name.startswith(f"{code}_core_news_") for name in language.spacy_pipelines)
    assert len(set(language.months)) == 12
    assert all(region.startswith(f"{code.upper()}.") for region in language.regions) and len(language.regions) >= 16
    assert language.deepl_code == code.upper()
    assert language.marian_model.endswith(f"-en-{code}")
    assert language.flores_code.endswith("_Latn")


@pytest.mark.parametrize("code", CODES)
def test_sheet_words_are_templates(code):
    words = languages.get(code).sheet
    assert "3" in words.found.format(count=3)
    assert "2" in words.copies.format(count=2)
    assert "0,5" in words.score.format(score="0,5")
    assert "50%" in words.probability.format(probability=0.5)
    assert words.none and words.gone
    assert len(words.quoted.format(query="x")) == 3


@pytest.mark.parametrize("code", CODES)
def test_words_of_duplicates_are_translated_and_have_the_fields_of_the_english_ones(code):
    english = vars(languages.DuplicateWords())
    for name, text in vars(languages.get(code).duplicates).items():
        assert text != english[name], name
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", english[name])), name


@pytest.mark.parametrize("code", [code for code in CODES if languages.get(code).page])
def test_page_words_have_the_keys_of_the_english_page(code):
    words = languages.get(code).page
    assert set(words) == set(ENGLISH) | HINTS
    for name, english in ENGLISH.items():
        assert placeholders(words[name]) == placeholders(english) - {"language"}, name
    assert all(words.values())


@pytest.mark.parametrize("code", [code for code in CODES if languages.get(code).probes])
def test_probes_are_distinct(code):
    """Each phrase for a number, colour or position is used for only one of them."""
    probes = languages.get(code).probes
    assert len(probes.things) >= 30
    for field in ("code", "singular"):
        assert len({getattr(thing, field) for thing in probes.things}) == len(probes.things)
    assert {thing.gender for thing in probes.things} <= {"m", "f", "n"}
    assert len(probes.colours) == 10
    assert len(set(probes.people)) == len(probes.people) == 32
    one, other = probes.things[:2]
    for said in (
        [probes.counted(one, number) for number in range(1, 7)],
        [probes.coloured(one, colour) for colour in probes.colours],
        [probes.related(one, place, other) for place in ("left", "right", "above", "below")],
    ):
        ways = [way for each in said for way in each]
        assert len(set(ways)) == len(ways)


def test_an_unknown_language_is_an_error_with_the_known_ones():
    with pytest.raises(UsageError, match="available: de, es, it"):
        languages.get("xx")


def test_the_language_of_the_guide_works():
    """The French file in docs/languages.md."""
    guide = (Path(__file__).parents[2] / "docs" / "languages.md").read_text(encoding="utf-8")
    code = guide.split("```python\n")[1].split("```")[0]
    assert code.count("\n") <= 45
    room = {}
    exec(compile(code, "docs/languages.md", "exec"), room)
    french = room["LANGUAGE"]
    assert french.with_article("fleur rouge") == "une fleur rouge"
    assert french.describe_emoji("chat") == "un chat"
    assert french.describe_stamp("Une pomme rouge.") == "une pomme rouge"
    assert len(set(french.example_queries)) == 12
    assert french.sheet.quoted.format(query="x") == "« x »"
    assert (french.page, french.imagenet, french.probes, french.spacy_pipelines) == ({}, (), None, ())
