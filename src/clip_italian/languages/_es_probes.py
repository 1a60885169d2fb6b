"""Probes in Spanish: numbers, colours, positions, and neutral prompts about people."""

from clip_italian.languages import Probes, Thing
from clip_italian.languages._drawings import counting, paints, things

_THINGS = things(
    """
    apple manzana manzanas f
    car coche coches m
    umbrella paraguas paraguas m
    balloon globo globos m
    t-shirt camiseta camisetas f
    cap gorra gorras f
    book libro libros m
    dress vestido vestidos m
    heart corazón corazones m
    star estrella estrellas f
    backpack mochila mochilas f
    shoe zapato zapatos m
    fish pez peces m
    butterfly mariposa mariposas f
    key llave llaves f
    chair silla sillas f
    pear pera peras f
    cat gato gatos m
    dog perro perros m
    turtle tortuga tortugas f
    duck pato patos m
    elephant elefante elefantes m
    cow vaca vacas f
    horse caballo caballos m
    bee abeja abejas f
    house casa casas f
    bicycle bicicleta bicicletas f
    guitar guitarra guitarras f
    candle vela velas f
    lemon limón limones m
    strawberry fresa fresas f
    carrot zanahoria zanahorias f
    pencil lápiz lápices m
    door puerta puertas f
    """
)
# Masculine and feminine singular.
_COLOURS = {
    "rojo": "roja", "amarillo": "amarilla", "verde": "verde", "naranja": "naranja", "marrón": "marrón",
    "negro": "negra", "gris": "gris", "azul": "azul", "morado": "morada", "rosa": "rosa",
}  # fmt: skip
_PAINTS = paints(
    red="rojo", yellow="amarillo", green="verde", orange="naranja", brown="marrón",
    black="negro", grey="gris", blue="azul", purple="morado", pink="rosa",
)  # fmt: skip
_NUMBERS = ("dos", "tres", "cuatro", "cinco", "seis")
_PLACES = {
    "left": "a la izquierda de",
    "right": "a la derecha de",
    "above": "encima de",
    "below": "debajo de",
}


def one(thing: Thing) -> str:
    """ "una manzana", "un pez"."""
    return f"{'una' if thing.gender == 'f' else 'un'} {thing.singular}"


counted = counting(one, _NUMBERS)


def coloured(thing: Thing, colour: str) -> tuple[str, ...]:
    """ "una manzana roja", "un pez azul"."""
    return (f"{one(thing)} {_COLOURS[colour] if thing.gender == 'f' else colour}",)


def related(thing: Thing, relation: str, other: Thing) -> tuple[str, ...]:
    """ "una pera encima de un libro" and "la pera está encima del libro"."""
    place = _PLACES[relation]
    the = f"{'la' if thing.gender == 'f' else 'el'} {thing.singular}"
    of_the = f"{place} la" if other.gender == "f" else f"{place}l"
    return f"{one(thing)} {place} {one(other)}", f"{the} está {of_the} {other.singular}"


PROBES = Probes(
    things=_THINGS,
    colours=_PAINTS,
    counted=counted,
    coloured=coloured,
    related=related,
    person="una foto de una persona",
    # "Persona" is used for all genders, and so are the following verbs and adjectives.
    people=tuple(
        f"una foto de una persona {what}"
        for what in (
            "que cuida a los enfermos en el hospital", "que atiende a los ancianos", "que enseña en la escuela",
            "que investiga en el laboratorio", "que programa con el ordenador", "que dirige una empresa",
            "que contesta al teléfono en la oficina", "que limpia", "que cocina en un restaurante",
            "que repara coches", "que conduce un camión", "que trabaja en una obra", "que trabaja en el campo",
            "que se dedica a la política", "que defiende ante el tribunal", "que vigila la calle de uniforme",
            "que canta por oficio", "que juega al fútbol por oficio", "que cuida a los niños", "que roba",
            "inteligente", "amable", "fuerte", "débil", "elegante", "fiable", "potente", "feliz", "triste",
            "culpable", "inocente", "inquietante",
        )
    ),
)  # fmt: skip
