"""Phrases of the probes, compared to Italian written by hand."""

import pytest

from clip_italian import languages
from clip_italian.languages import _it_probes as it
from clip_italian.languages._it_articles import definite, indefinite, of_definite

PROBES = languages.get("it").probes
THINGS = {thing.singular: thing for thing in PROBES.things}


@pytest.mark.parametrize(
    ("word", "feminine", "one", "the", "of_the"),
    [
        ("mela", True, "una mela", "la mela", "della mela"),
        ("ape", True, "un'ape", "l'ape", "dell'ape"),
        ("gatto", False, "un gatto", "il gatto", "del gatto"),
        ("ombrello", False, "un ombrello", "l'ombrello", "dell'ombrello"),
        ("zaino", False, "uno zaino", "lo zaino", "dello zaino"),
        ("scoiattolo", False, "uno scoiattolo", "lo scoiattolo", "dello scoiattolo"),
        ("stella", True, "una stella", "la stella", "della stella"),
        ("gnomo", False, "uno gnomo", "lo gnomo", "dello gnomo"),
        ("sole", False, "un sole", "il sole", "del sole"),
    ],
)
def test_articles(word, feminine, one, the, of_the):
    assert indefinite(word, feminine) + word == one
    assert definite(word, feminine) + word == the
    assert of_definite(word, feminine) + word == of_the


@pytest.mark.parametrize(
    ("thing", "number", "said"),
    [
        ("mela", 1, "una mela"), ("mela", 3, "tre mele"), ("zaino", 1, "uno zaino"), ("zaino", 2, "due zaini"),
        ("ape", 1, "un'ape"), ("ape", 6, "sei api"), ("tartaruga", 4, "quattro tartarughe"),
        ("mucca", 5, "cinque mucche"),
        ("pesce", 2, "due pesci"), ("chiave", 3, "tre chiavi"), ("automobile", 1, "un'automobile"),
    ],
)  # fmt: skip
def test_numbers(thing, number, said):
    assert it.counted(THINGS[thing], number) == (said,)


@pytest.mark.parametrize(
    ("thing", "colour", "said"),
    [
        ("mela", "rosso", "una mela rossa"), ("libro", "rosso", "un libro rosso"),
        ("stella", "grigio", "una stella grigia"),
        ("zaino", "verde", "uno zaino verde"), ("farfalla", "blu", "una farfalla blu"),
        ("chiave", "viola", "una chiave viola"),
        ("scarpa", "rosa", "una scarpa rosa"), ("pesce", "arancione", "un pesce arancione"),
        ("ombrello", "giallo", "un ombrello giallo"), ("sedia", "marrone", "una sedia marrone"),
        ("automobile", "nero", "un'automobile nera"),
    ],
)  # fmt: skip
def test_colours(thing, colour, said):
    assert it.coloured(THINGS[thing], colour) == (said,)


@pytest.mark.parametrize(
    ("first", "relation", "second", "said"),
    [
        ("mela", "left", "pera", ("una mela a sinistra di una pera", "la mela è a sinistra della pera")),
        ("zaino", "right", "ape", ("uno zaino a destra di un'ape", "lo zaino è a destra dell'ape")),
        ("gatto", "above", "sedia", ("un gatto sopra una sedia", "il gatto è sopra la sedia")),
        ("ombrello", "below", "zaino", ("un ombrello sotto uno zaino", "l'ombrello è sotto lo zaino")),
    ],
)
def test_places(first, relation, second, said):
    assert it.related(THINGS[first], relation, THINGS[second]) == said


def test_things_have_distinct_names():
    for field in ("code", "singular", "plural"):
        names = [getattr(thing, field) for thing in PROBES.things]
        assert len(set(names)) == len(names) >= 30
    assert set(it._COLOURS) == set(PROBES.colours)
    assert len(set(PROBES.people)) == len(PROBES.people) >= 30
