"""Labels of ImageNet's classes in every language that has them: complete, unique, clean, and in that language."""

import re
from collections import Counter

import pytest
import simplemma

from clip_italian import languages

CODES = [code for code in languages.available() if languages.get(code).imagenet]
ARTICLES = {
    "de": r"(ein|eine) ",
    "es": r"(un|una|unos|unas) ",
    "it": r"(un'|dell'|(un|uno|una|dei|degli|delle|del|dello|della) )",
}

# Words of a table of English words (simplemma's) and not of its table of the language, used there all the same: names
# of breeds, products and dishes, and words of the language that its table lacks.
BORROWED = {
    "de": """
    alaskan basset bloodhound border bull cairn chin chow coated cocker coho constrictor cooker corgi curly eggnog
    english granny highland hotpot hound kerry lakeland langur malamute mantis maraca mastiff mink norfolk norwich
    orang pomeranian rhodesian scottish sheepdog siberian silky snare tibetan tin treeing trifle trimaran up welsh
    wheaten whippet wolfhound yorkie
    """,
    "es": """
    alaska american australian bagel baguette bay beagle bloodhound blue bobtail border borzoi buggy bull cairn
    cardigan cavalier cheeseburger chin chow coated coho corgi curly dhole dog english flat ford foxhound gecko golden
    gordon granny grizzly halloween highland hot hound husky ipod irish jacuzzi karting kerry king lakeland laptop
    lhasa malamute mamba mantis minivan mouse mp nautilus netbook norfolk norwich notebook ping pong pot pretzel puck
    pug retriever rhodesian rickshaw rottweiler rough sarong schnauzer scottish siberian silky smith spaniel springer
    sussex thomson tibetan toy treeing trifle walker wallaby water weimar welsh west wheaten whippet white windsor wok
    wombat yorkie yorkshire
    """,
    "it": """
    alaskan american australian basset bay beagle bernese bloodhound blue bobtail border borzoi boston boxer breton
    bull bulldog cairn charles chihuahua chin chow coated cocker collie corgi curly dog english flat fox foxhound
    golden gordon highland hound husky ibex irish kerry king labrador lakeland lhasa malamute mops norfolk norwich
    retriever rhodesian rottweiler rough schnauzer scottish setter siberian silky spaniel springer sussex terrier
    tibetan toy treeing walker water weimar welsh west wheaten whippet white wolfhound yorkie yorkshire

    alaska all anemone angora armadillo auto avocado axolotl bagel baguette ball banjo bar barracuda baseball basket
    bighorn bike bikini biro bob body bolo broccoli bulbul burrito butternut cabriolet california camper cardigan cart
    cheeseburger cinema cobra cocktail coho compact consommé constrictor cooker cowboy coyote croquet dell dingo disc
    disk dispenser display dolmen drum due echidna eggnog fon football ford gas geyser go golf gong gorilla granny
    grizzly guacamole halloween hamburger hard hockey home hot iguana internet jackfruit jeans jeep jour joystick
    junco kart kimono kit koala langur laptop laser limousine machine mamba maraca maracas marimba menhir menu minibus
    minivan mississippi modem monitor mountain mouse mug nautilus nematode notebook ocarina ocelli orangutan pan panda
    pick ping polaroid poncho pong pot pretzel puma punching puzzle reflex revolver rock router rugby sarong sax
    schooner scooter shaker shirt shuttle slot slow smith sombrero space spider spray station steel sub tam tandem taxi
    tennis theatre thomson tie tortilla totem tram trench trifle trilobite tv up waffle wagon wallaby web whisky
    windsor wok wombat zebra zeppelin zigzag
    """,
}


def named(code: str) -> list[tuple[int, str]]:
    """Return (class, name) of all labels and synonyms."""
    classes = enumerate(languages.get(code).imagenet)
    return [(number, name) for number, one in classes for name in (one.label, *one.synonyms)]


@pytest.mark.parametrize("code", CODES)
def test_a_thousand_classes_in_wordnets_order(code):
    classes = languages.get(code).imagenet
    assert len(classes) == 1000
    numbers = [one.wordnet for one in classes]
    assert all(re.fullmatch(r"n\d{8}", number) for number in numbers)
    assert numbers == sorted(set(numbers))
    assert numbers == [one.wordnet for one in languages.get(languages.DEFAULT).imagenet]
    assert all(1 <= len(one.synonyms) <= 3 for one in classes)


@pytest.mark.parametrize("code", CODES)
def test_names_are_unique(code):
    """Names of two classes must differ in more than the article, or a picture would have two correct labels."""
    names = named(code)
    assert [name for name, count in Counter(name.casefold() for _, name in names).items() if count > 1] == []
    classes: dict[str, set[int]] = {}
    for number, name in names:
        classes.setdefault(re.sub(f"^{ARTICLES[code]}", "", name).casefold(), set()).add(number)
    assert {bare: numbers for bare, numbers in classes.items() if len(numbers) > 1} == {}


@pytest.mark.parametrize("code", CODES)
def test_names_are_clean(code):
    for number, name in named(code):
        assert name == " ".join(name.split()), number
        assert not re.search(r"[;,/()_\"“”’]", name), (number, name)


@pytest.mark.parametrize("code", CODES)
def test_no_english_remains(code):
    allowed = set(BORROWED[code].split())
    words = {word.lower() for _, name in named(code) for word in re.findall(r"[^\W\d_]{2,}", name)}
    english = {word for word in words if told(word, "en") and not told(word, code)}
    assert english <= allowed, english - allowed
    assert allowed <= words, f"no longer used: {allowed - words}"


def told(word: str, code: str) -> bool:
    """Return True if simplemma knows the word, also capitalised for German nouns."""
    return simplemma.is_known(word, lang=code) or (code == "de" and simplemma.is_known(word.capitalize(), lang=code))
