"""Languages of captions written for this test; the two libraries behind one function."""

import pickle

import pytest

from clip_italian.clean.language_id import UNKNOWN, identifier

CAPTIONS = {
    "it": ["un gatto nero dorme sul divano accanto alla finestra", "due bambini giocano a palla nel cortile"],
    "en": ["a black cat sleeps on the sofa near the window", "two children play football in the school yard"],
    "es": ["un gato negro duerme en el sofá junto a la ventana", "dos niños juegan a la pelota en el patio"],
    "fr": ["un chat noir dort sur le canapé du salon", "deux enfants jouent au ballon dans la cour de l'école"],
    "pt": ["um gato preto dorme no sofá perto da janela", "duas crianças jogam futebol no pátio da escola"],
    "de": ["eine schwarze Katze schläft auf dem Sofa am Fenster", "zwei Kinder spielen Fußball auf dem Schulhof"],
}  # fmt: skip


@pytest.mark.parametrize("backend", ["py3langid", "langdetect"])
def test_languages_of_captions(backend):
    if backend == "langdetect":
        pytest.importorskip("langdetect")
    guess = identifier(backend)
    for language, captions in CAPTIONS.items():
        found = guess(captions)
        assert [g.language for g in found] == [language] * len(captions)
        assert all(0.3 < g.probability <= 1 for g in found)
    assert guess(["", "   "]) == guess([" "]) * 2
    assert guess([""])[0].language == UNKNOWN
    assert [g.language for g in guess(["123 456"])] != ["it"]


def test_the_same_answer_at_every_call_and_in_other_processes():
    pytest.importorskip("langdetect")
    guess = pickle.loads(pickle.dumps(identifier("langdetect")))
    doubtful = ["statua di bronzo", "casa blanca", "villa romana"]
    assert guess(doubtful) == guess(doubtful) == identifier("langdetect")(doubtful)
