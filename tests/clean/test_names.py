"""Names against descriptions: the issue's examples, a labelled list, and both backends."""

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from clip_italian import languages
from clip_italian.clean.names import Casing, casing, tagger, tokens
from clip_italian.errors import UserError

ITALIAN = languages.get("it")
NAMES = ["Dora Riparia", "Anna Maria Mozzoni", "Joey Ramone Place", "Kim Rhodes", "Ralph George Hawtrey"]
LIST = Path(__file__).parent.parent / "data" / "name_captions.tsv"


def labelled():
    with LIST.open(encoding="utf-8", newline="") as file:
        return [(row["label"] == "name", row["caption"]) for row in csv.DictReader(file, delimiter="\t")]


@pytest.fixture
def lexicon():
    return tagger("lexicon", ITALIAN)


@pytest.mark.parametrize("change", [str, str.lower, str.upper, str.title])
def test_names_alone_go_in_any_casing(lexicon, change):
    assert all(share >= 0.8 for share in lexicon([change(name) for name in NAMES]))


@pytest.mark.parametrize(
    "caption",
    ["Piazza del Duomo a Milano vista dall'alto", "Veduta di Roma", "Un Gatto Che Dorme Sul Divano", "due cani",
     "I RAGAZZI GIOCANO A CALCIO", "Papa Francesco saluta la folla", "un uomo con lo skateboard", "L'Aquila di notte"],
)  # fmt: skip
def test_descriptions_stay(lexicon, caption):
    assert lexicon([caption])[0] < 0.8


@pytest.mark.parametrize(
    ("caption", "share"),
    [
        ("Roma 1944", 0.0),  # an initial word that Italian has, and a number
        ("Kim Rhodes 1944", 2 / 3),
        ("Leonardo da Vinci", 1.0),  # the particle belongs to the name
        ("Gabriele D'Annunzio", 1.0),
        ("il cane Fido", 1 / 3),
        ("un gatto, a Milano!", 1 / 4),  # punctuation is no token
        ("", 0.0),
        ("…!?", 0.0),
    ],
)
def test_shares_by_hand(lexicon, caption, share):
    assert lexicon([caption]) == [pytest.approx(share)]


def test_tokens():
    found = tokens("Vista dall’alto: 3 gatti, l'11 maggio")
    assert found == ["Vista", "dall'", "alto", "3", "gatti", "l'", "11", "maggio"]


@pytest.mark.parametrize(
    ("caption", "how"),
    [("un gatto", Casing.LOWER), ("UN GATTO", Casing.CAPS), ("Un Gatto Sul Muro", Casing.TITLE), ("", Casing.LOWER),
     ("Un gatto a Roma", Casing.NORMAL), ("Anna Maria Mozzoni", Casing.NORMAL), ("AC", Casing.NORMAL)],
)  # fmt: skip
def test_casing(caption, how):
    assert casing(caption, ITALIAN.function_words) is how


def test_the_labelled_list(lexicon):
    rows = labelled()
    assert len(rows) >= 200
    assert 0.4 < sum(is_name for is_name, _ in rows) / len(rows) < 0.6
    right = [(share >= 0.8) == is_name for share, (is_name, _) in zip(lexicon([c for _, c in rows]), rows, strict=True)]
    assert sum(right) / len(right) > 0.85
    kept = [ok for ok, (is_name, _) in zip(right, rows, strict=True) if not is_name]
    assert sum(kept) / len(kept) > 0.95, "descriptions are lost"


def test_it_can_be_sent_to_another_process(lexicon):
    assert pickle.loads(pickle.dumps(lexicon))(NAMES) == lexicon(NAMES)


def test_spacy_tags_normal_captions_and_the_lexicon_the_others(tmp_path):
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("it")
    ruler = pipeline.add_pipe("attribute_ruler")
    ruler.add([[{"IS_TITLE": True}]], {"POS": "PROPN"})
    ruler.add([[{"IS_TITLE": False}]], {"POS": "NOUN"})
    pipeline.to_disk(tmp_path / "pipeline")
    tags = tagger("auto", ITALIAN, str(tmp_path / "pipeline"))
    assert tags.name.startswith("spaCy (it_pipeline")
    assert pickle.loads(pickle.dumps(tags))(["Casa a Roma!", "ANNA MARIA MOZZONI", "il gatto", "Roma"]) == [
        pytest.approx(2 / 3), 1.0, 0.0, 1.0,
    ]  # fmt: skip


def test_what_is_not_installed_is_said(monkeypatch):
    pytest.importorskip("spacy")
    with pytest.raises(UserError, match="nessuna_pipeline: no spaCy pipeline by this name"):
        tagger("spacy", ITALIAN, "nessuna_pipeline")
    monkeypatch.setattr("clip_italian.clean.names._is_installed", lambda name: False)
    with pytest.raises(UserError, match="spacy download it_core_news_sm"):
        tagger("spacy", ITALIAN)
    assert tagger("auto", ITALIAN).name.startswith("lexicon (simplemma")


def test_where_nouns_have_capitals_these_tell_no_name():
    shares = tagger("lexicon", languages.get("de"))(
        ["Ein Hund spielt mit einem Ball im Garten", "Zwei Katzen auf dem Sofa", "Blick auf den Hafen", "Joey Ramone"]
    )
    assert [share >= 0.8 for share in shares] == [False, False, False, True]


def test_a_language_may_name_no_pipeline():
    bare = replace(ITALIAN, spacy_pipelines=())
    assert "lexicon" in tagger("auto", bare).name
    with pytest.raises(UserError, match="names no spaCy pipeline"):
        tagger("spacy", bare)
