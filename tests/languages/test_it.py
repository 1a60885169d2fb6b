import pytest

from clip_italian.languages import it


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [
        ("mela rossa", "una mela rossa"),
        ("albero", "un albero"),
        ("ape", "un'ape"),
        ("isola deserta", "un'isola deserta"),
        ("squalo", "uno squalo"),
        ("zaino", "uno zaino"),
        ("scoiattolo", "uno scoiattolo"),
        ("sole", "un sole"),
        ("yo-yo", "uno yo-yo"),
        ("hotel", "un hotel"),
        ("chiave", "una chiave"),
        ("cane", "un cane"),
        ("mano a pigna", "una mano a pigna"),
        ("patatine", "delle patatine"),
        ("occhiali da sole", "degli occhiali da sole"),
        ("guanti", "dei guanti"),
        ("neve", "neve"),
        ("un gatto", "un gatto"),
        ("L'ape", "L'ape"),
        ("un’isola", "un’isola"),
        ("gli occhiali", "gli occhiali"),
        ("lampada", "una lampada"),
        ("delfino", "un delfino"),
    ],
)
def test_articles(noun, phrase):
    assert it.with_article(noun) == phrase


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("bandiera italia", "la bandiera dell'Italia"),
        ("bandiera francia", "la bandiera della Francia"),
        ("bandiera giappone", "la bandiera del Giappone"),
        ("bandiera stati uniti", "la bandiera degli Stati Uniti"),
        ("bandiera paesi bassi", "la bandiera dei Paesi Bassi"),
        ("bandiera isole fær øer", "la bandiera delle Isole Fær Øer"),
        ("bandiera sri lanka", "la bandiera dello Sri Lanka"),
        ("bandiera cuba", "la bandiera di Cuba"),
        ("bandiera san marino", "la bandiera di San Marino"),
        ("bandiera honduras", "la bandiera dell'Honduras"),
        ("bandiera guinea-bissau", "la bandiera della Guinea-Bissau"),
        ("bandiera bosnia ed erzegovina", "la bandiera della Bosnia ed Erzegovina"),
        ("bandiera dei pirati", "la bandiera dei pirati"),
        ("ore due e mezza", "un orologio che segna le due e mezza"),
        ("ore una", "un orologio che segna l'una"),
        ("tasto 0", "il tasto 0"),
        ("donna calvo", "una donna con la testa calva"),
        ("sole", "il sole"),
        ("due cuori", "due cuori"),
    ],
)
def test_emoji_captions(name, caption):
    assert it.describe_emoji(name) == caption


@pytest.mark.parametrize(
    ("sentence", "caption"),
    [
        ("Una mela rossa.", "una mela rossa"),
        ("Un'auto sportiva.", "un'auto sportiva"),
        ("L'Italia.", "l'Italia"),
        ("Ibisco", "Ibisco"),
        ("– Perché il cervello è troppo prezioso…", None),
        ("", None),
    ],
)
def test_stamp_captions(sentence, caption):
    assert it.describe_stamp(sentence) == caption
