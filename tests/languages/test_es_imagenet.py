"""The Spanish labels of ImageNet's classes: articles and endings, and labels checked by hand."""

import re

import pytest

from clip_italian import languages

CLASSES = languages.get("es").imagenet
NAMES = [name for one in CLASSES for name in (one.label, *one.synonyms)]
STRESSED = {"ala", "arpa", "asta", "ave", "águila", "hacha"}  # feminine, but with "un" before the stressed a
ENDINGS = {"un": "o", "una": "a", "unos": "os", "unas": "as"}
# Adjectives of the table, without their ending.
ADJECTIVES = set(
    """
    acuátic african alpin amarill american anch antigu anfibi atigrad australian automátic blanc blindad calv
    carroñer cornud cruzad deportiv diamantin doméstic dorad eléctric enan encendid europe húngar indi larg llen
    magnétic marin mecedor median medidor mexican motead negr nocturn oscur pard pequeñ plan rayad roj rojiz salad
    tejan tibetan tirad trillador vaquer zancud ártic egipci
    """.split()
)

# One thing, though in -as, -es, -os.
ONE_IN_S = set(
    """
    abrecartas abrelatas albatros correlimos cuentakilómetros destapacaños escurreplatos lavamanos lavaplatos
    lavarropas lavavajillas microondas montacargas paracaídas paraguas pasamanos pasamontañas pintalabios
    portaaviones portacontenedores portaviones quitanieves res rompecabezas rompeolas sacacorchos sacapuntas
    saltahojas saltamontes salvachispas tragaperras trilobites vuelvepiedras
    """.split()
)


def test_adjectives_agree_with_their_article():
    for name in NAMES:
        article, *words = name.split()
        if article not in ENDINGS or len(words) < 2:
            continue
        noun, adjective, *_ = words
        ending = "a" if noun in STRESSED else ENDINGS[article]
        stem, found = re.fullmatch(r"(.*?)((?:[oa]s?)?)", adjective).groups()
        if stem in ADJECTIVES and found:
            assert found == ending, name


def test_a_noun_has_one_gender():
    genders = {}
    for name in NAMES:
        article, *words = name.split()
        if article in ("un", "una"):
            genders.setdefault(words[0], set()).add(article)
    assert {noun for noun, articles in genders.items() if len(articles) > 1} == set()
    assert all(genders[noun] == {"un"} for noun in STRESSED)


def test_articles_agree_in_number():
    for name in NAMES:
        article, *words = name.split()
        if article in ("unos", "unas"):
            assert words[0].endswith("s"), name
        elif article in ("un", "una") and re.search(r"[aeo]s$", words[0]):
            assert words[0] in ONE_IN_S, name


@pytest.mark.parametrize(
    ("number", "wordnet", "label"),
    # Chosen from the WordNet entries, mostly where a literal translation is wrong.
    [
        (0, "n01440764", "una tenca"), (5, "n01496331", "un pez torpedo"), (8, "n01514859", "una gallina"),
        (10, "n01530575", "un pinzón real"), (13, "n01534433", "un pájaro junco"), (21, "n01608432", "un milano"),
        (22, "n01614925", "un águila calva"), (27, "n01631663", "un tritón terrestre joven"),
        (33, "n01664065", "una tortuga boba"), (70, "n01770081", "un opilión"), (78, "n01776313", "una garrapata"),
        (79, "n01784675", "un ciempiés"), (97, "n01847000", "un pato"), (113, "n01944390", "un caracol"),
        (114, "n01945685", "una babosa"), (134, "n02012849", "una grulla"), (138, "n02018795", "una avutarda"),
        (139, "n02025239", "un vuelvepiedras"), (149, "n02074367", "un dugongo"),
        (192, "n02096177", "un cairn terrier"), (242, "n02108089", "un perro bóxer"),
        (246, "n02109047", "un gran danés"), (254, "n02110958", "un carlino"),
        (264, "n02113186", "un corgi galés de Cardigan"), (281, "n02123045", "un gato atigrado"),
        (307, "n02177972", "un gorgojo"), (313, "n02231487", "un insecto palo"),
        (321, "n02276258", "una mariposa almirante rojo"), (323, "n02279972", "una mariposa monarca"),
        (339, "n02389026", "un caballo alazán"), (348, "n02412080", "un carnero"), (361, "n02445715", "una mofeta"),
        (395, "n02641379", "un pez caimán"), (412, "n02747177", "un cubo de basura"),
        (417, "n02782093", "un globo aerostático"), (456, "n02879718", "un arco de caza"),
        (457, "n02883205", "una pajarita"), (474, "n02963159", "una rebeca"), (492, "n03014705", "un arcón"),
        (517, "n03126707", "una grúa"), (536, "n03216828", "una dársena"), (553, "n03337140", "un archivador"),
        (579, "n03452741", "un piano de cola"), (602, "n03535780", "una barra fija"),
        (628, "n03673027", "un transatlántico"), (638, "n03710637", "unas mallas"), (639, "n03710721", "un bañador"),
        (657, "n03773504", "un misil"), (664, "n03782006", "un monitor"), (677, "n03804744", "un clavo"),
        (714, "n03929660", "una púa de guitarra"), (726, "n03954731", "un cepillo de carpintero"),
        (744, "n04008634", "un proyectil"), (769, "n04118776", "una regla"), (778, "n04141975", "una balanza"),
        (782, "n04152593", "una pantalla de tubo"), (819, "n04296562", "un escenario"),
        (836, "n04355933", "unas gafas oscuras"), (837, "n04356056", "unas gafas de sol"),
        (862, "n04456115", "una antorcha"), (882, "n04517823", "una aspiradora"), (897, "n04554684", "una lavadora"),
        (927, "n07613480", "un trifle"), (937, "n07714990", "un brócoli"), (989, "n12620546", "un escaramujo"),
        (998, "n13133613", "una mazorca de maíz"), (999, "n15075141", "papel higiénico"),
    ],
)  # fmt: skip
def test_labels_checked_by_hand(number, wordnet, label):
    assert (CLASSES[number].wordnet, CLASSES[number].label) == (wordnet, label)
