"""What the probes draw and say in Italian: numbers, colours, places, and neutral prompts about people."""

from clip_italian.languages import Probes, Thing
from clip_italian.languages._it_articles import definite, indefinite, of_definite

# Each drawing shows one of it (OpenMoji's sock shows two). These can be recognised in any colour.
_PAINTABLE = (
    Thing("1F34E", "mela", "mele", True, ("#ea5a47", "#d22f27")),
    Thing("1F697", "automobile", "automobili", True, ("#ea5a47",)),
    Thing("2602", "ombrello", "ombrelli", False, ("#B399C8", "#8967AA")),
    Thing("1F388", "palloncino", "palloncini", False, ("#EA5A47", "#D22F27")),
    Thing("1F455", "maglietta", "magliette", True, ("#61b2e4", "#92d3f5")),
    Thing("1F9E2", "berretto", "berretti", False, ("#b1cc33", "#5c9e31", "#186648")),
    Thing("1F4D5", "libro", "libri", False, ("#d22f27",)),
    Thing("1F457", "vestito", "vestiti", False, ("#61B2E4",)),
    Thing("2764", "cuore", "cuori", False, ("#d22f27",)),
    Thing("2B50", "stella", "stelle", True, ("#FCEA2B",)),
    Thing("1F392", "zaino", "zaini", False, ("#EA5A47", "#D22F27")),
    Thing("1F460", "scarpa", "scarpe", True, ("#d22f27",)),
    Thing("1F41F", "pesce", "pesci", False, ("#92d3f5", "#61b2e4")),
    Thing("1F98B", "farfalla", "farfalle", True, ("#92D3F5",)),
    Thing("1F511", "chiave", "chiavi", True, ("#F4AA41", "#E27022")),
    Thing("1FA91", "sedia", "sedie", True, ("#fcea2b", "#f1b31c")),
)
_OTHERS = (
    Thing("1F350", "pera", "pere", True),
    Thing("1F408", "gatto", "gatti", False),
    Thing("1F415", "cane", "cani", False),
    Thing("1F422", "tartaruga", "tartarughe", True),
    Thing("1F986", "anatra", "anatre", True),
    Thing("1F418", "elefante", "elefanti", False),
    Thing("1F404", "mucca", "mucche", True),
    Thing("1F40E", "cavallo", "cavalli", False),
    Thing("1F41D", "ape", "api", True),
    Thing("1F3E0", "casa", "case", True),
    Thing("1F6B2", "bicicletta", "biciclette", True),
    Thing("1F3B8", "chitarra", "chitarre", True),
    Thing("1F56F", "candela", "candele", True),
    Thing("1F34B", "limone", "limoni", False),
    Thing("1F353", "fragola", "fragole", True),
    Thing("1F955", "carota", "carote", True),
    Thing("270F", "matita", "matite", True),
    Thing("1F6AA", "porta", "porte", True),
)

# Masculine and feminine of one thing; "arancione" and "marrone" have one form, the last three never change.
_COLOURS = {
    "rosso": "rossa", "giallo": "gialla", "verde": "verde", "arancione": "arancione", "marrone": "marrone",
    "nero": "nera", "grigio": "grigia", "blu": "blu", "viola": "viola", "rosa": "rosa",
}  # fmt: skip
_PAINTS = {
    "rosso": "#d22f27", "giallo": "#fcea2b", "verde": "#5c9e31", "arancione": "#f28c1e", "marrone": "#7a4a28",
    "nero": "#222222", "grigio": "#9b9b9a", "blu": "#1e50c8", "viola": "#8040b0", "rosa": "#ffa7c0",
}  # fmt: skip
_NUMBERS = ("due", "tre", "quattro", "cinque", "sei")
_PLACES = {"left": "a sinistra", "right": "a destra", "above": "sopra", "below": "sotto"}


def one(thing: Thing) -> str:
    """ "una mela", "uno zaino", "un'ape"."""
    return f"{indefinite(thing.singular, thing.feminine)}{thing.singular}"


def the(thing: Thing) -> str:
    """ "la mela", "lo zaino", "l'ape"."""
    return f"{definite(thing.singular, thing.feminine)}{thing.singular}"


def counted(thing: Thing, number: int) -> tuple[str, ...]:
    """ "una mela", "tre mele"."""
    return (one(thing) if number == 1 else f"{_NUMBERS[number - 2]} {thing.plural}",)


def coloured(thing: Thing, colour: str) -> tuple[str, ...]:
    """ "una mela rossa", "uno zaino blu"."""
    return (f"{one(thing)} {_COLOURS[colour] if thing.feminine else colour}",)


def related(thing: Thing, relation: str, other: Thing) -> tuple[str, ...]:
    """ "una mela a sinistra di una pera" and "la mela è a sinistra della pera"."""
    place = _PLACES[relation]
    if relation in ("above", "below"):
        return f"{one(thing)} {place} {one(other)}", f"{the(thing)} è {place} {the(other)}"
    of_the = f"{of_definite(other.singular, other.feminine)}{other.singular}"
    return f"{one(thing)} {place} di {one(other)}", f"{the(thing)} è {place} {of_the}"


PROBES = Probes(
    things=_PAINTABLE + _OTHERS,
    colours=_PAINTS,
    counted=counted,
    coloured=coloured,
    related=related,
    person="una foto di una persona",
    # "Persona" is said of everybody, and what follows has one form for all: verbs, and adjectives in -e.
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
