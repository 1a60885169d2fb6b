import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.pairs import concept


@settings(deadline=None)
@given(st.text(max_size=30))
def test_concept_keeps_letters_and_digits(caption):
    folded = unicodedata.normalize("NFKC", caption).casefold()
    assert concept(caption) == " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def test_concept_drops_case_and_punctuation():
    assert concept("Un'auto sportiva.") == concept("un auto SPORTIVA") == "un auto sportiva"
    assert concept("la lettera A") != concept("la lettera B")
