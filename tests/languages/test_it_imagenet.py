"""The Italian labels of ImageNet's classes: articles, and labels checked by hand."""

import re

import pytest

from clip_italian import languages

CLASSES = languages.get("it").imagenet
NAMES = [(number, name) for number, one in enumerate(CLASSES) for name in (one.label, *one.synonyms)]


def articles(noun: str) -> set[str]:
    """Return the possible articles before a word, for any gender; independent of the package."""
    word = noun.lower()
    if re.match(r"i[aeou]|y[aeou]", word):  # iena, iurta; yorkshire
        return {"uno", "una", "degli", "delle", "della"}
    if word[0] in "aeiouàèéìòù":
        return {"un", "un'", "degli", "delle", "dell'"}
    if re.match(r"s[bcdfghklmnpqrtvz]|z|gn|ps|pn|pt|x", word) or word.startswith(("sci", "sce")):
        return {"uno", "una", "degli", "delle", "dello", "della"}
    return {"un", "una", "dei", "delle", "del", "della"}


def test_articles_agree_with_the_sound_that_follows():
    for number, name in NAMES:
        match = re.fullmatch(r"(?:(un'|dell')|(un|uno|una|dei|degli|delle|del|dello|della) )(\S.*)", name)
        assert match, (number, name)
        assert (match[1] or match[2]) in articles(match[3]), (number, name)


@pytest.mark.parametrize(
    ("number", "wordnet", "label"),
    # Chosen from the WordNet entries, mostly where a literal translation is wrong.
    [
        (0, "n01440764", "una tinca"), (5, "n01496331", "una torpedine"), (8, "n01514859", "una gallina"),
        (10, "n01530575", "una peppola"), (13, "n01534433", "un uccello junco"), (21, "n01608432", "un nibbio"),
        (27, "n01631663", "un giovane tritone terrestre"), (33, "n01664065", "una tartaruga caretta"),
        (70, "n01770081", "un opilione"), (78, "n01776313", "una zecca"), (79, "n01784675", "un centopiedi"),
        (97, "n01847000", "un'anatra"), (113, "n01944390", "una chiocciola"),
        (114, "n01945685", "una lumaca senza guscio"),
        (134, "n02012849", "una gru dalle lunghe zampe"), (138, "n02018795", "un'otarda"),
        (139, "n02025239", "un voltapietre"), (192, "n02096177", "un cairn terrier"),
        (242, "n02108089", "un cane boxer"),
        (246, "n02109047", "un alano"), (264, "n02113186", "un welsh corgi cardigan"),
        (281, "n02123045", "un gatto soriano"),
        (313, "n02231487", "un insetto stecco"), (323, "n02279972", "una farfalla monarca"),
        (339, "n02389026", "un cavallo sauro"), (348, "n02412080", "un montone"), (361, "n02445715", "una moffetta"),
        (395, "n02641379", "un luccio alligatore"), (412, "n02747177", "un bidone della spazzatura"),
        (456, "n02879718", "un arco da caccia"), (457, "n02883205", "un farfallino"),
        (474, "n02963159", "un cardigan"),
        (492, "n03014705", "una cassapanca"), (517, "n03126707", "una gru da cantiere"),
        (553, "n03337140", "uno schedario"),
        (602, "n03535780", "una sbarra da ginnastica"), (628, "n03673027", "un transatlantico"),
        (638, "n03710637", "una calzamaglia"), (639, "n03710721", "un costume da bagno intero"),
        (657, "n03773504", "un missile"), (664, "n03782006", "un monitor"), (677, "n03804744", "un chiodo"),
        (714, "n03929660", "un plettro"), (726, "n03954731", "una pialla"), (744, "n04008634", "un proiettile"),
        (769, "n04118776", "un righello"), (778, "n04141975", "una bilancia"),
        (782, "n04152593", "uno schermo a tubo catodico"), (819, "n04296562", "un palcoscenico"),
        (836, "n04355933", "degli occhiali scuri"), (837, "n04356056", "degli occhiali da sole"),
        (862, "n04456115", "una torcia"), (882, "n04517823", "un aspirapolvere"), (897, "n04554684", "una lavatrice"),
        (927, "n07613480", "una zuppa inglese"), (937, "n07714990", "dei broccoli"),
        (989, "n12620546", "una bacca di rosa canina"),
        (998, "n13133613", "una pannocchia"), (999, "n15075141", "della carta igienica"),
    ],
)  # fmt: skip
def test_labels_checked_by_hand(number, wordnet, label):
    assert (CLASSES[number].wordnet, CLASSES[number].label) == (wordnet, label)
