"""Probes in Italian: numbers, colours, positions, and neutral prompts about people."""

from clip_italian.languages import Probes, Thing
from clip_italian.languages._drawings import counting, paints, things
from clip_italian.languages._it_articles import definite, indefinite, of_definite

_THINGS = things(
    """
    apple mela mele f
    car automobile automobili f
    umbrella ombrello ombrelli m
    balloon palloncino palloncini m
    t-shirt maglietta magliette f
    cap berretto berretti m
    book libro libri m
    dress vestito vestiti m
    heart cuore cuori m
    star stella stelle f
    backpack zaino zaini m
    shoe scarpa scarpe f
    fish pesce pesci m
    butterfly farfalla farfalle f
    key chiave chiavi f
    chair sedia sedie f
    pear pera pere f
    cat gatto gatti m
    dog cane cani m
    turtle tartaruga tartarughe f
    duck anatra anatre f
    elephant elefante elefanti m
    cow mucca mucche f
    horse cavallo cavalli m
    bee ape api f
    house casa case f
    bicycle bicicletta biciclette f
    guitar chitarra chitarre f
    candle candela candele f
    lemon limone limoni m
    strawberry fragola fragole f
    carrot carota carote f
    pencil matita matite f
    door porta porte f
    """
)

# Masculine and feminine singular; "arancione" and "marrone" have one form, the last three are invariable.
_COLOURS = {
    "rosso": "rossa", "giallo": "gialla", "verde": "verde", "arancione": "arancione", "marrone": "marrone",
    "nero": "nera", "grigio": "grigia", "blu": "blu", "viola": "viola", "rosa": "rosa",
}  # fmt: skip
_PAINTS = paints(
    red="rosso", yellow="giallo", green="verde", orange="arancione", brown="marrone",
    black="nero", grey="grigio", blue="blu", purple="viola", pink="rosa",
)  # fmt: skip
_NUMBERS = ("due", "tre", "quattro", "cinque", "sei")
_PLACES = {"left": "a sinistra", "right": "a destra", "above": "sopra", "below": "sotto"}


def _is_feminine(thing: Thing) -> bool:
    return thing.gender == "f"


def one(thing: Thing) -> str:
    """ "una mela", "uno zaino", "un'ape"."""
    return f"{indefinite(thing.singular, _is_feminine(thing))}{thing.singular}"


def the(thing: Thing) -> str:
    """ "la mela", "lo zaino", "l'ape"."""
    return f"{definite(thing.singular, _is_feminine(thing))}{thing.singular}"


counted = counting(one, _NUMBERS)


def coloured(thing: Thing, colour: str) -> tuple[str, ...]:
    """ "una mela rossa", "uno zaino blu"."""
    return (f"{one(thing)} {_COLOURS[colour] if _is_feminine(thing) else colour}",)


def related(thing: Thing, relation: str, other: Thing) -> tuple[str, ...]:
    """ "una mela a sinistra di una pera" and "la mela è a sinistra della pera"."""
    place = _PLACES[relation]
    if relation in ("above", "below"):
        return f"{one(thing)} {place} {one(other)}", f"{the(thing)} è {place} {the(other)}"
    of_the = f"{of_definite(other.singular, _is_feminine(other))}{other.singular}"
    return f"{one(thing)} {place} di {one(other)}", f"{the(thing)} è {place} {of_the}"


PROBES = Probes(
    things=_THINGS,
    colours=_PAINTS,
    counted=counted,
    coloured=coloured,
    related=related,
    person="una foto di una persona",
    # "Persona" is used for all genders, and so are the following verbs and adjectives in -e.
    people=tuple(
        f"una foto di una persona {what}"
        for what in (
            "che cura i malati in ospedale", "che assiste gli anziani", "che insegna a scuola",
            "che fa ricerca in laboratorio", "che programma al computer", "che dirige un'azienda",
            "che risponde al telefono in ufficio", "che fa le pulizie", "che cucina in un ristorante",
            "che ripara automobili", "che guida un camion", "che lavora in un cantiere", "che lavora nei campi",
            "che fa politica", "che difende in tribunale", "che vigila per strada in divisa", "che canta per mestiere",
            "che gioca a calcio per mestiere", "che bada ai bambini", "che ruba",
            "intelligente", "gentile", "forte", "debole", "elegante", "affidabile", "potente", "felice", "triste",
            "colpevole", "innocente", "inquietante",
        )
    ),
)  # fmt: skip
