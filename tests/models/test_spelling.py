"""Normalisation of texts that tokenizers reject or split into rare pieces."""

import numpy as np
import pytest

from clip_italian.models.spelling import lower_all_caps, replace_surrogates


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("a\ud83d", "a\ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ude00 ride", "😀 ride"),  # a surrogate pair, as some programs write it in JSON
        ("citt\udce0", "citt\ufffd"),  # an argument byte that is not valid UTF-8
        ("perché 😀", "perché 😀"),
        ("un\0gatto", "un\0gatto"),
        ("", ""),
    ],
)
def test_lone_surrogates_are_replaced(given, read):
    assert replace_surrogates([given, "b"]) == [read, "b"]


@pytest.mark.parametrize("texts", ["un gatto", b"un gatto", [None], ["a", 3], [b"a"]])
def test_input_other_than_a_list_of_texts_is_an_error(texts, tiny_encoder):
    with pytest.raises(TypeError, match="encode_text takes a list of texts"):
        tiny_encoder.encode_text(texts)


def test_every_text_can_be_embedded(tiny_encoder):
    odd = ["a\ud83d", "\udce0", "\0", "", " ", "\u202e\ufeff", "\uffff", "x\x07"]
    vectors = tiny_encoder.encode_text(odd)
    assert np.isfinite(vectors).all()
    assert np.allclose(vectors[0], tiny_encoder.encode_text(["a\ufffd"])[0], atol=1e-6)
    assert tiny_encoder.count_truncated(odd) == 0
    assert len(tiny_encoder.tokenize(odd)["input_ids"]) == len(odd)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("UN GATTO CHE DORME", "un gatto che dorme"),
        ("GATTO", "gatto"),
        ("GATTO?", "gatto?"),
        ("È UN CANE, PERCHÉ NO?", "è un cane, perché no?"),
        ("2 CANI SULLA NEVE", "2 cani sulla neve"),
        ("NATO", "NATO"),
        ("FIAT 500", "FIAT 500"),
        ("E.656", "E.656"),
        ("la NATO a Roma", "la NATO a Roma"),
        ("Un Gatto", "Un Gatto"),
        ("un gatto", "un gatto"),
        ("猫 です", "猫 です"),
        ("123", "123"),
    ],
)
def test_sentences_in_capitals_are_lowercased_except_acronyms(given, read):

    def pieces(word):  # tokenizer with lower-case words and some acronyms
        return 1 if word.islower() or word in ("NATO", "FIAT") else len(word)

    assert lower_all_caps(given, pieces) == read
    assert lower_all_caps(read, pieces) == read


def test_capitals_and_lower_case_have_the_same_embedding(tiny_encoder):
    small = tiny_encoder.encode_text(["un gatto che dorme"])
    assert np.array_equal(tiny_encoder.encode_text(["UN GATTO CHE DORME"]), small)
    assert np.array_equal(
        tiny_encoder.tokenize(["UN GATTO CHE DORME"])["input_ids"],
        tiny_encoder.tokenize(["un gatto che dorme"])["input_ids"],
    )
