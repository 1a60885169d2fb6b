"""Spanish articles, by the ending of the noun and tables of exceptions."""

_FEMININE_ENDS = ("a", "ción", "sión", "gión", "dad", "tad", "tud", "umbre", "triz")
_MASCULINE = frozenset(
    """
    mapa planeta día sofá koala gorila panda pijama tranvía pentagrama diagrama problema emblema fantasma programa
    clima pirata guardia policía artista astronauta golfista oficinista futbolista ciclista surfista deportista
    pianista poeta yoga lama puma ñandú yoyó mamá papá idioma tema sistema telegrama monograma ideograma fotograma
    holograma crucigrama aroma dilema poema karateka atleta gimnasta esquema drama síntoma magma tequila mate chef
    guía alienígena ninja busca menú terapeuta
    """.split()
)
_FEMININE = frozenset(
    """
    mano foto moto radio flor luz cruz nariz nuez llave nave nube noche torre calle carne fuente gente leche
    serpiente pared red sal miel piel cárcel señal imagen sartén mujer catedral postal clase base frase fase tarde
    sangre muerte suerte parte mente hoz voz raíz perdiz lombriz hélice cobra tos sien res sed vid salud crisis
    serie especie superficie baguete fondue clave col coliflor legumbre costumbre labor paz espiral capital
    autopista pista vista lista revista entrevista arista avispa fe hambre actriz emperatriz codorniz cicatriz
    matriz lente nieve liebre ave chinche esfinge menorá tribu mamá mantis pirámide dinamo libido web
    """.split()
)
# Feminine nouns with "un" in the singular, because they begin with a stressed a.
_STRESSED = frozenset(
    """
    agua águila ala alma ancla ave arma aula arpa hacha hada ánfora área alga asa arca hambre ama ansia habla haba
    """.split()
)
# Singulars that end in s.
_SINGULAR = frozenset(
    """
    paraguas salvavidas marcapáginas pintalabios portapapeles paracaídas sacacorchos abrelatas lavavajillas cactus
    virus autobús bus minibús trolebús bíceps arcoíris iris atlas oasis lunes martes miércoles jueves viernes
    cascanueces rascacielos tocadiscos parabrisas espantapájaros pararrayos guardaespaldas cortaúñas quitanieves
    limpiabotas trabalenguas cumpleaños montacargas caries tos res mes gas dios busca ciempiés matamoscas
    portaviones chasis lapis compás francés inglés ciprés estrés lavaplatos rompecabezas paréntesis análisis dosis
    crisis tesis saltamontes mantis microondas
    """.split()
)
_PLURAL = frozenset("esquís sofás bebés menús cafés tés pies clips".split())
# Substances, games, verbs and abstract nouns, without article.
_BARE = frozenset(
    """
    adn arroz bádminton beicon béisbol bolos borrar bruma cocinar comida copyright críquet camping detener expulsar
    falafel fuego grabar hierba hockey lacrosse lactancia madera mantequilla más menos niebla obras pan pausa
    prohibido repetir reproducir ropa sake sal salir sushi tenis wifi yin agua leche nieve césped fútbol baloncesto
    voleibol rugby golf brócoli oro plata dinero equipaje recogida verdura pintarse queso carne papá mamá noel
    retroceso avance división multiplicación modo infinito información radiactivo prohibida palomitas música lluvia
    arena
    """.split()
)
_LEADING = frozenset(
    """
    el la los las lo un una unos unas mi tu su nuestro nuestra dos tres cuatro cinco seis siete ocho nueve diez once
    doce cien al del de en a algunos algunas varios varias
    """.split()
)
_BEFORE_NOUNS = frozenset("gran grandes doble triple".split())


def is_feminine(word: str) -> bool:
    """Return True if a noun, singular or plural, is feminine."""
    for one in (word, _singular(word)):
        if one in _MASCULINE:
            return False
        if one in _FEMININE or one in _STRESSED:
            return True
    return _singular(word).endswith(_FEMININE_ENDS) and not word.endswith(("ista", "istas"))


def is_plural(word: str) -> bool:
    """Return True for plurals: nouns in s after an unaccented vowel, except words such as "paraguas"."""
    return (
        word not in _SINGULAR and len(word) > 3 and (word.endswith(("as", "es", "is", "os", "us")) or word in _PLURAL)
    )


def _singular(word: str) -> str:
    if not is_plural(word):
        return word
    bare = word[:-1]
    for plural, singular in (("ces", "z"), ("ciones", "ción"), ("siones", "sión"), ("dades", "dad"), ("tudes", "tud")):
        if word.endswith(plural):
            return word.removesuffix(plural) + singular
    return word[:-2] if word.endswith("es") and word[:-2] in _FEMININE else bare


def with_article(phrase: str) -> str:
    """Add the indefinite article to a noun phrase: "manzana roja" → "una manzana roja".

    Plurals get "unos" or "unas". Substances, games, other parts of speech, and phrases that begin with an article or a
    number get no article.
    """
    words = phrase.lower().split()
    first = words[0].strip(",.;:")
    if not first or first in _BARE | _LEADING or first[0].isdigit():
        return phrase
    noun = words[1] if first in _BEFORE_NOUNS and len(words) > 1 else first
    noun = noun.split("-")[0]
    if is_plural(noun):
        return f"{'unas' if is_feminine(noun) else 'unos'} {phrase}"
    if noun in _STRESSED and noun == first:
        return f"un {phrase}"
    return f"{'una' if is_feminine(noun) else 'un'} {phrase}"
