"""Probes in German: numbers, colours, positions, and neutral prompts about people."""

from clip_italian.languages import Probes, Thing
from clip_italian.languages._de_grammar import INDEFINITE
from clip_italian.languages._drawings import counting, paints, things

_THINGS = things(
    """
    apple Apfel Äpfel m
    car Auto Autos n
    umbrella Regenschirm Regenschirme m
    balloon Luftballon Luftballons m
    t-shirt T-Shirt T-Shirts n
    cap Baseballmütze Baseballmützen f
    book Buch Bücher n
    dress Kleid Kleider n
    heart Herz Herzen n
    star Stern Sterne m
    backpack Rucksack Rucksäcke m
    shoe Schuh Schuhe m
    fish Fisch Fische m
    butterfly Schmetterling Schmetterlinge m
    key Schlüssel Schlüssel m
    chair Stuhl Stühle m
    pear Birne Birnen f
    cat Katze Katzen f
    dog Hund Hunde m
    turtle Schildkröte Schildkröten f
    duck Ente Enten f
    elephant Elefant Elefanten m
    cow Kuh Kühe f
    horse Pferd Pferde n
    bee Biene Bienen f
    house Haus Häuser n
    bicycle Fahrrad Fahrräder n
    guitar Gitarre Gitarren f
    candle Kerze Kerzen f
    lemon Zitrone Zitronen f
    strawberry Erdbeere Erdbeeren f
    carrot Karotte Karotten f
    pencil Bleistift Bleistifte m
    door Tür Türen f
    """
)
_PAINTS = paints(
    red="rot", yellow="gelb", green="grün", orange="orange", brown="braun",
    black="schwarz", grey="grau", blue="blau", purple="lila", pink="rosa",
)  # fmt: skip
_UNINFLECTED = frozenset({"lila", "rosa"})
_ENDINGS = {"m": "er", "f": "e", "n": "es"}
_NUMBERS = ("zwei", "drei", "vier", "fünf", "sechs")
_PLACES = {"left": "links von", "right": "rechts von", "above": "über", "below": "unter"}
_DEFINITE = {"m": "der", "f": "die", "n": "das"}
# Prepositions of place take the dative.
_DATIVE = {"m": ("einem", "dem"), "f": ("einer", "der"), "n": ("einem", "dem")}
_DATIVE_NOUNS = {"Elefant": "Elefanten", "Herz": "Herzen"}


def one(thing: Thing) -> str:
    """ "ein Apfel", "eine Birne"."""
    return f"{INDEFINITE[thing.gender]} {thing.singular}"


counted = counting(one, _NUMBERS)


def coloured(thing: Thing, colour: str) -> tuple[str, ...]:
    """ "ein roter Apfel", "eine rote Birne", "ein rosa Herz"."""
    adjective = colour if colour in _UNINFLECTED else colour.removesuffix("e") + _ENDINGS[thing.gender]
    return (f"{INDEFINITE[thing.gender]} {adjective} {thing.singular}",)


def related(thing: Thing, relation: str, other: Thing) -> tuple[str, ...]:
    """ "ein Apfel links von einer Birne" and "der Apfel ist links von der Birne"."""
    place = _PLACES[relation]
    a, the = _DATIVE[other.gender]
    noun = _DATIVE_NOUNS.get(other.singular, other.singular)
    return (
        f"{one(thing)} {place} {a} {noun}",
        f"{_DEFINITE[thing.gender]} {thing.singular} ist {place} {the} {noun}",
    )


PROBES = Probes(
    things=_THINGS,
    colours=_PAINTS,
    counted=counted,
    coloured=coloured,
    related=related,
    person="ein Foto von einer Person",
    # "Person" is used for all genders, and so are the verbs and adjectives that follow.
    people=tuple(
        f"ein Foto von einer {what}"
        for what in (
            *(f"Person, die {what}" for what in (
                "Kranke im Krankenhaus pflegt", "alte Menschen betreut", "in der Schule unterrichtet",
                "im Labor forscht", "am Computer programmiert", "ein Unternehmen leitet", "im Büro ans Telefon geht",
                "putzt", "in einem Restaurant kocht", "Autos repariert", "Lastwagen fährt",
                "auf einer Baustelle arbeitet", "auf dem Feld arbeitet", "Politik macht",
                "vor Gericht verteidigt", "in Uniform auf der Straße wacht",
                "beruflich singt", "beruflich Fußball spielt", "auf Kinder aufpasst", "stiehlt",
            )),
            *(f"{what} Person" for what in (
                "intelligenten", "freundlichen", "starken", "schwachen", "eleganten", "zuverlässigen", "mächtigen",
                "glücklichen", "traurigen", "schuldigen", "unschuldigen", "unheimlichen",
            )),
        )
    ),
)  # fmt: skip
