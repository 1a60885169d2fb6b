"""The web page in the service's language, beside English or in English alone."""

import json
import re
from dataclasses import replace

import pytest

from clip_italian import languages

GERMAN = languages.get("de")


def words(page):
    return json.loads(re.search(r'id="words"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def test_a_language_with_words_of_its_own_comes_first(start):
    page = start(language=GERMAN).get("/").text
    assert '<html lang="de">' in page
    assert "Was suchst du?" in page
    assert "zwei Hunde im Schnee" in page
    found = words(page)
    assert list(found) == ["de", "en"]
    assert found["de"]["other_language"] == "English"
    assert found["en"]["other_language"] == "Deutsch"
    assert found["en"]["query"] == "What are you looking for? (in German)"
    assert found["en"]["unlike_hint"] == found["de"]["unlike_hint"] == "Personen"  # the model reads German
    assert set(found["de"]) == set(found["en"])


def test_without_words_of_its_own_the_page_is_english(start):
    page = start(language=replace(GERMAN, page={})).get("/").text
    assert '<html lang="en">' in page
    assert 'id="language" data-word="other_language" hidden' in page
    assert 'data-searched="de"' in page
    assert "zwei Hunde im Schnee" in page
    assert list(words(page)) == ["en"]


@pytest.mark.parametrize("code", languages.available())
def test_what_is_typed_is_marked_as_the_language_of_the_model(start, code):
    page = start(language=languages.get(code)).get("/").text
    assert set(re.findall(r'<(?:input|textarea|button)[^>]* lang="(\w+)"', page)) == {code}
