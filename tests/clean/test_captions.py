"""Checks of single captions against captions judged by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian import languages
from clip_italian.clean import captions

FOOTNOTES = languages.get("it").footnote_words


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Un gatto[27] che dorme [nota 3]", "Un gatto che dorme"),
        ("La torre [senza fonte]", "La torre"),
        ("<b>Un</b> cane&nbsp;&amp; un gatto<br/>", "Un cane & un gatto"),
        ("a < b e b > c", "a < b e b > c"),
        ("due\tcani\r\n\x00sulla \u200bneve\ufeff", "due cani sulla neve"),
        ("perche\u0301", "perché"),
        ("&lt;i&gt;Vista&lt;/i&gt; dal mare", "Vista dal mare"),
        ("un'opera [esposta] a Roma", "un'opera [esposta] a Roma"),
    ],
)
def test_normalise(before, after):
    assert captions.normalise(before, FOOTNOTES) == after


@given(st.text(st.sampled_from("ab &<>[]27;/ltgamp\u0301\u200b\x00\t"), max_size=60) | st.text(max_size=60))
def test_normalise_has_nothing_left_to_do(caption):
    once = captions.normalise(caption)
    assert captions.normalise(once) == once
    assert once.isprintable()
    assert "  " not in once


def test_length():
    check = captions.length(2, 4)
    assert check("Roma") == ("too-short", "1 words")
    assert check("Roma, vista!") is None
    assert check("l'albero della vita") is None
    assert check("uno due tre quattro cinque") == ("too-long", "5 words")


def test_letters():
    check = captions.letters(0.5)
    assert check("12 34 — 5a") == ("few-letters", "0.14")  # 1 letter of 7 visible characters
    assert check("nel 1944") == ("few-letters", "0.43")  # 3 of 7
    assert check("Roma nel 1944") is None


@pytest.mark.parametrize(
    ("check", "caption", "reason"),
    [
        (captions.no_url, "vedi https://it.wikipedia.org per altro", "url"),
        (captions.no_url, "foto da www.comune.it", "url"),
        (captions.no_url, "scrivi a mario.rossi@posta.it", "url"),
        (captions.no_url, "una foto. Vista di Roma", None),
        (captions.no_file_name, "File:Duomo di Milano.jpg", "file-name"),
        (captions.no_file_name, "DSC_0123", "file-name"),
        (captions.no_file_name, "IMG20210503", "file-name"),
        (captions.no_file_name, "un file pdf sullo schermo", None),
        (captions.no_markup, "[[Roma]] di notte", "markup"),
        (captions.no_markup, "{{nota}} un cane", "markup"),
        (captions.no_markup, "un cane <a href=", "markup"),
        (captions.no_markup, "l'albero dell'orto", None),
        (captions.no_damage, "la citt\ufffd di notte", "wrong-encoding"),
        (captions.no_damage, "la città di notte", None),
        (captions.no_damage, "NÃO", None),
        (captions.no_damage, "â€œCiaoâ€", "wrong-encoding"),
        (captions.no_damage, "la cittÃ", "wrong-encoding"),
    ],
)
def test_leftovers(check, caption, reason):
    failure = check(caption)
    assert (failure and failure[0]) == reason


def test_footnotes_of_another_language_stay():
    assert captions.normalise("Der Turm [Anm. 3]", languages.get("de").footnote_words) == "Der Turm"
    assert captions.normalise("Der Turm [Anm. 3] [2]") == "Der Turm [Anm. 3]"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("PerchÃ© no, il caffÃ¨ Ã¨ pronto", "Perché no, il caffè è pronto"),
        ("Lâ€™isola dâ€™Elba â€“ la cittÃ\xa0 di notte", "L’isola d’Elba – la città di notte"),
        ("la cittÃ di notte", "la città di notte"),
        ("CITTÃ€ di Castello", "CITTÀ di Castello"),
        ("un caff&Atilde;&uml; in piazza", "un caffè in piazza"),
        ("“Il gatto” – l’isola d’Elba… È così", "“Il gatto” – l’isola d’Elba… È così"),
        ("Âge d'or, El Niño, Åland, NÃO", "Âge d'or, El Niño, Åland, NÃO"),
    ],
)
def test_utf_8_read_as_another_encoding_is_repaired(caption, expected):
    assert captions.normalise(caption) == expected
    assert captions.normalise(expected) == expected
    assert captions.no_damage(expected) is None
