"""The German labels of ImageNet's classes: articles, endings and capitals, and labels checked by hand."""

import re

import pytest

from clip_italian import languages
from tests.languages.test_de import COCO, EVERYDAY, listed

CLASSES = languages.get("de").imagenet
NAMES = [name for one in CLASSES for name in (one.label, *one.synonyms)]
UNINFLECTED = {"rosa", "leuchtend", "rot", "frei"}  # including adverbs
PREPOSITIONS = set("am an auf aus bei beim für im in mit ohne über unter vom von wie zu zum zur".split())


def head(name: str) -> tuple[str, str] | None:
    """Return (article, noun) of a name with an article and no apposition ("ein Vogel Strauß")."""
    match = re.fullmatch(r"(eine?) (?:[a-zäöüß]\S* )*([A-ZÄÖÜ]\S*)(?: [a-zäöüß].*)?", name)
    return (match[1], match[2].lower()) if match else None


def test_nouns_are_capitalised():
    assert [name for name in NAMES if not re.search(r"\b[A-ZÄÖÜ]", name) and "iPod" not in name] == []


def test_adjectives_agree_with_their_article():
    for name in NAMES:
        article, *words = name.split()
        if article not in ("ein", "eine"):
            continue
        for word in words:
            if word[0].isupper() or word == "iPod" or word in PREPOSITIONS:
                break
            assert word in UNINFLECTED or word.endswith(("er", "es") if article == "ein" else "e"), name


def test_a_compound_has_the_gender_of_its_last_part():
    """Compare with the other names and earlier lists: Königskrabbe is feminine like Krabbe."""
    known = {}
    for name in (*NAMES, *listed(COCO), *listed(EVERYDAY)):
        found = head(name)
        if found:
            known.setdefault(found[1], set()).add(found[0])
    several = {noun: articles for noun, articles in known.items() if len(articles) > 1}
    assert several == {}
    wrong = {
        (noun, part)
        for noun, articles in known.items()
        for part in (noun[at:] for at in range(1, len(noun) - 3))
        if part in known and known[part] != articles
    }
    assert wrong == {("giraffe", "affe"), ("wasserkaraffe", "affe")}  # not apes


@pytest.mark.parametrize(
    ("number", "wordnet", "label"),
    # Chosen from the WordNet entries, mostly where a literal translation is wrong.
    [
        (0, "n01440764", "eine Schleie"), (5, "n01496331", "ein Zitterrochen"), (8, "n01514859", "eine Henne"),
        (10, "n01530575", "ein Bergfink"), (13, "n01534433", "ein Junko"), (21, "n01608432", "ein Milan"),
        (27, "n01631663", "ein junger Landmolch"), (33, "n01664065", "eine Unechte Karettschildkröte"),
        (70, "n01770081", "ein Weberknecht"), (78, "n01776313", "eine Zecke"), (79, "n01784675", "ein Hundertfüßer"),
        (97, "n01847000", "eine Ente"), (113, "n01944390", "eine Schnecke"), (114, "n01945685", "eine Nacktschnecke"),
        (134, "n02012849", "ein Kranich"), (138, "n02018795", "eine Trappe"), (139, "n02025239", "ein Steinwälzer"),
        (149, "n02074367", "ein Dugong"), (192, "n02096177", "ein Cairn Terrier"),
        (242, "n02108089", "ein Deutscher Boxer"), (246, "n02109047", "eine Deutsche Dogge"),
        (254, "n02110958", "ein Mops"), (264, "n02113186", "ein Welsh Corgi Cardigan"),
        (281, "n02123045", "eine getigerte Katze"), (307, "n02177972", "ein Rüsselkäfer"),
        (313, "n02231487", "eine Stabschrecke"), (321, "n02276258", "ein Admiralfalter"),
        (323, "n02279972", "ein Monarchfalter"), (339, "n02389026", "ein fuchsfarbenes Pferd"),
        (348, "n02412080", "ein Widder"), (361, "n02445715", "ein Stinktier"), (395, "n02641379", "ein Knochenhecht"),
        (412, "n02747177", "eine Mülltonne"), (456, "n02879718", "ein Jagdbogen"),
        (457, "n02883205", "eine Fliege zum Anzug"), (474, "n02963159", "eine Strickjacke"),
        (492, "n03014705", "eine Truhe"), (517, "n03126707", "ein Kran"), (553, "n03337140", "ein Aktenschrank"),
        (579, "n03452741", "ein Konzertflügel"), (602, "n03535780", "ein Reck"),
        (628, "n03673027", "ein Ozeandampfer"), (638, "n03710637", "eine Strumpfhose"),
        (639, "n03710721", "ein Badeanzug"), (657, "n03773504", "eine Rakete"), (664, "n03782006", "ein Monitor"),
        (677, "n03804744", "ein Nagel"), (714, "n03929660", "ein Plektrum"), (726, "n03954731", "ein Hobel"),
        (744, "n04008634", "ein Geschoss"), (769, "n04118776", "ein Lineal"), (778, "n04141975", "eine Waage"),
        (782, "n04152593", "ein Röhrenbildschirm"), (819, "n04296562", "eine Bühne"),
        (836, "n04355933", "eine dunkle Brille"), (837, "n04356056", "eine Sonnenbrille"),
        (862, "n04456115", "eine Fackel"), (882, "n04517823", "ein Staubsauger"),
        (897, "n04554684", "eine Waschmaschine"), (927, "n07613480", "ein Trifle"),
        (937, "n07714990", "ein Brokkoli"), (989, "n12620546", "eine Hagebutte"),
        (998, "n13133613", "ein Maiskolben"), (999, "n15075141", "Toilettenpapier"),
    ],
)  # fmt: skip
def test_labels_checked_by_hand(number, wordnet, label):
    assert (CLASSES[number].wordnet, CLASSES[number].label) == (wordnet, label)
