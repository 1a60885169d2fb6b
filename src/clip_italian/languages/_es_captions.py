"""Spanish captions for emoji and stamps.

Emoji names (Unicode CLDR) are noun phrases without article: "manzana roja", "bandera francia", "ocho y media",
"8 en punto", "artista mujer".
"""

import re

from clip_italian.languages._es_grammar import with_article
from clip_italian.languages._tidy import by_pattern, tidy_sentence

_SIGNS = frozenset(
    "acuario aries cáncer capricornio géminis leo libra ofiuco piscis sagitario escorpio tauro virgo".split()
)
# Unique things, and names that need another noun to make sense.
_WHOLE = {
    "sol": "el sol",
    "sol con cara": "el sol con una cara",
    "papá noel": "Papá Noel",
    "mamá noel": "Mamá Noel",
    "noel": "Noel",
    "vía láctea": "la Vía Láctea",
    "monte fuji": "el monte Fuji",
    "torre de tokio": "la torre de Tokio",
    "estatua de la libertad": "la Estatua de la Libertad",
    "adn": "una cadena de ADN",
    "kaaba": "la Kaaba",
    "yin yang": "el símbolo del yin y el yang",
    "om": "el símbolo om",
    "alto voltaje": "el símbolo de alto voltaje",
    "riesgo biológico": "el símbolo de riesgo biológico",
    "radiactivo": "el símbolo de radiactivo",
    "m en círculo": "una M en un círculo",
    "salir corriendo": "una nube de polvo de salir corriendo",
    "pintarse las uñas": "una mano que se pinta las uñas",
    "cocinar": "un huevo frito en una sartén",
    "obras": "una valla de obras",
    "niños cruzando": "la señal de niños cruzando",
    "hombre botando un balón": "un hombre que bota un balón",
    "cien puntos": "cien puntos",
    "aparcamiento": "la señal de aparcamiento",
    "playa y sombrilla": "una playa con una sombrilla",
    "sofá y lámpara": "un sofá y una lámpara",
    "beso hombre y hombre": "un beso entre dos hombres",
    "beso mujer y mujer": "un beso entre dos mujeres",
    "beso mujer y hombre": "un beso entre una mujer y un hombre",
    "mujer y hombre de la mano": "una mujer y un hombre de la mano",
    "globo terráqueo mostrando américa": "un globo terráqueo que muestra América",
    "globo terráqueo mostrando asia y australia": "un globo terráqueo que muestra Asia y Australia",
    "globo terráqueo mostrando europa y áfrica": "un globo terráqueo que muestra Europa y África",
    "clips unidos": "unos clips unidos",
    "esquís": "unos esquís",
    "t-rex": "un T-Rex",
    "disco dvd": "un DVD",
    "mapa de japón": "un mapa de Japón",
    "estrella de david": "la estrella de David",
    "calabaza de halloween": "una calabaza de Halloween",
    "bandera del arcoíris": "la bandera del arcoíris",
    "bandera negra": "una bandera negra",
    "bandera blanca": "una bandera blanca",
    "bandera de cuadros": "una bandera de cuadros",
    "bandera pirata": "una bandera pirata",
    "bandera transgénero": "la bandera transgénero",
    "bandera triangular": "una bandera triangular",
}
_HOURS = "doce una dos tres cuatro cinco seis siete ocho nueve diez once doce".split()
_HOUR = "|".join(_HOURS)

# Countries and regions with an article after "bandera de", or with words in lower case.
_OF = {
    "antártida": "de la Antártida",
    "bahamas": "de las Bahamas",
    "bermudas": "de las Bermudas",
    "canarias": "de Canarias",
    "caribe neerlandés": "del Caribe Neerlandés",
    "ciudad del vaticano": "de la Ciudad del Vaticano",
    "comoras": "de las Comoras",
    "congo": "del Congo",
    "côte d’ivoire": "de Costa de Marfil",
    "emiratos árabes unidos": "de los Emiratos Árabes Unidos",
    "estados unidos": "de los Estados Unidos",
    "filipinas": "de Filipinas",
    "india": "de la India",
    "islas menores alejadas de ee. uu.": "de las Islas Menores Alejadas de EE. UU.",
    "islas vírgenes de ee. uu.": "de las Islas Vírgenes de EE. UU.",
    "islas georgia del sur y sandwich del sur": "de las Islas Georgia del Sur y Sandwich del Sur",
    "líbano": "del Líbano",
    "maldivas": "de las Maldivas",
    "naciones unidas": "de las Naciones Unidas",
    "países bajos": "de los Países Bajos",
    "polinesia francesa": "de la Polinesia Francesa",
    "guayana francesa": "de la Guayana Francesa",
    "rae de hong kong (china)": "de Hong Kong",
    "rae de macao (china)": "de Macao",
    "reino unido": "del Reino Unido",
    "sáhara occidental": "del Sáhara Occidental",
    "samoa americana": "de la Samoa Americana",
    "territorio británico del océano índico": "del Territorio Británico del Océano Índico",
    "territorios australes franceses": "de los Territorios Australes Franceses",
    "territorios palestinos": "de los Territorios Palestinos",
    "unión europea": "de la Unión Europea",
    "yemen": "del Yemen",
}
_FIRST_WORDS = {"isla": "de la ", "islas": "de las ", "república": "de la "}
_SMALL = frozenset({"y", "de", "del", "la", "las", "los"})


def describe_emoji(name: str) -> str:
    """Return a caption for a CLDR name: "ocho y media" → "un reloj que marca las ocho y media"."""
    name = name.strip()
    if name in _WHOLE:
        return _WHOLE[name]
    if name in _SIGNS:
        return f"el signo de {name.capitalize()}"
    if name.startswith("bandera "):
        return f"la bandera {_of_country(name.removeprefix('bandera '))}"
    return by_pattern(name, _PATTERNS) or with_article(name)


def _of_country(country: str) -> str:
    words = country.split()
    name = " ".join(word if word in _SMALL else _capitalise(word) for word in words)
    if words[0] == "el":  # El Salvador
        return f"de {name}"
    return _OF.get(country) or f"{_FIRST_WORDS.get(words[0], 'de ')}{name}"


def _capitalise(word: str) -> str:
    return re.sub(r"(^|[-(])(\w)", lambda match: match[1] + match[2].upper(), word)


def _clock(hour: str, minutes: str) -> str:
    return f"un reloj que marca {'la' if hour == 'una' else 'las'} {hour} {minutes}"


def _family(members: str) -> str:
    names = [name for name in members.split() if name != "y"]
    return f"una familia: {', '.join(names[:-1])} y {names[-1]}"


def _person_who(what: str, who: str) -> str:
    return f"{with_article(who)} {what}"


_PATTERNS = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (rf"({_HOUR}) (y media)", _clock),
        (r"(\d+) (en punto)", lambda hour, rest: _clock(_HOURS[int(hour)], rest)),
        (r"familia (.+)", _family),
        (r"pareja enamorada (.+)", lambda who: f"una pareja enamorada: {who}"),
        (r"grupo sanguíneo (?:tipo )?(\w+)", lambda group: f"el grupo sanguíneo {group.upper()}"),
        (r"botón (cool|free|new|ng|ok|up!|vs)", lambda said: f"el botón «{said.upper()}»"),
        (r"flecha (back|end|on!|soon|top)", lambda said: f"una flecha con la palabra «{said.upper()}»"),
        (r"teclas (.+)", lambda key: f"la tecla {key}"),
        (r"(?:ideograma|símbolo) japonés para (.+)", lambda what: f"el ideograma japonés para «{what}»"),
        (r"((?:señal|marca|vía|puesta) .+)", lambda what: f"la {what}"),
        (r"((?:símbolo|signo) .+)", lambda what: f"el {what}"),
        (r"((?:prohibido|bicicletas prohibidas|dirección prohibida).*)", lambda what: f"la señal de «{what}»"),
        (r"(borrar|detener|expulsar|grabar|pausa|repetir|repetir una vez|reproducir|reproducir o pausa|retroceso"
         r"|retroceso rápido|avance rápido|división|multiplicación|más|menos|infinito|información|advertencia|copyright"
         r"|reproducción aleatoria|modo vibración|recogida de equipajes|wifi|prohibido|consigna|aduana)",
         lambda what: f"el símbolo de {what}"),
        (r"(hombre|mujer|persona|persona adulta) (pelo .+)", lambda who, hair: f"{with_article(who)} con el {hair}"),
        (r"(hombre|mujer) barba", lambda who: f"{with_article(who)} con barba"),
        (r"(.+)(?<! de) (hombre|mujer)", _person_who),
    )
)  # fmt: skip
_BEGINS_SMALL = frozenset(
    """un una unos unas el la los las dos tres cuatro cinco seis siete ocho nueve diez algunas algunos otra otro
    mayor menor distinto dividido igual nuestra nuestro esta este""".split()
)


def describe_stamp(sentence: str) -> str | None:
    """Turn the sentence of a stamp into a caption: "Una manzana roja." → "una manzana roja"; None if it is not one.

    Enclosing exclamation marks, as in "¡Un globo!", are removed; others are kept.
    """
    text = sentence.strip()
    if text.startswith("¡") and text.endswith("!"):
        text = text.strip("¡!")
    return None if text.startswith("¿") else tidy_sentence(text, _BEGINS_SMALL.__contains__)
