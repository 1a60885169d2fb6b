"""Spanish: prompts, words and names. Grammar is in `_es_grammar`, captions for emoji and stamps in `_es_captions`."""

from clip_italian.languages import DuplicateWords, Language, SheetWords, image_classes, page_words
from clip_italian.languages._es_captions import describe_emoji, describe_stamp
from clip_italian.languages._es_grammar import with_article
from clip_italian.languages._es_probes import PROBES

_FUNCTION_WORDS = frozenset(
    """
    el la los las lo un una unos unas y e o u a al de del en con por para que su sus se
    """.split()
)
_NUMBER_WORDS = frozenset(
    """
    dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho
    diecinueve veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien ciento mil
    """.split()
)

_MONTHS = tuple(
    """
    enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
    """.split()
)
# By their codes in GeoNames.
_REGIONS = {
    "ES.07": "Islas Baleares", "ES.27": "La Rioja", "ES.29": "Madrid", "ES.31": "Murcia", "ES.32": "Navarra",
    "ES.34": "Asturias", "ES.39": "Cantabria", "ES.51": "Andalucía", "ES.52": "Aragón", "ES.53": "Canarias",
    "ES.54": "Castilla-La Mancha", "ES.55": "Castilla y León", "ES.56": "Cataluña", "ES.57": "Extremadura",
    "ES.58": "Galicia", "ES.59": "País Vasco", "ES.60": "Comunidad Valenciana", "ES.CE": "Ceuta", "ES.ML": "Melilla",
}  # fmt: skip

LANGUAGE = Language(
    code="es",
    name="español",
    english_name="Spanish",
    prompts=("una foto de {}", "una imagen de {}", "{}"),
    neutral=("una foto", "una imagen"),
    drawing_prompt="un dibujo de {}",
    example_queries=(
        "un animal",
        "un instrumento musical",
        "una cara triste",
        "un pájaro",
        "fruta",
        "un vehículo",
        "una flor",
        "una persona que hace deporte",
        "un edificio",
        "algo de comer",
        "una bandera con una cruz",
        "una herramienta",
    ),
    paper_queries=("dos perros en la nieve", "una pareja al atardecer", "una pareja en la montaña", "un ratoncito"),
    sheet=SheetWords(
        found="{count} imágenes, la mejor primero",
        none="ninguna imagen encontrada",
        gone="el archivo ya no está",
        copies="otras {count} copias",
        score="semejanza {score}",
        probability="probabilidad {probability:.0%}",
        point=",",
        quoted="«{query}»",
    ),
    duplicates=DuplicateWords(
        title="Copias y ráfagas",
        lead="Grupos de copias: {copies}, ráfagas: {bursts}. La mejor de cada grupo va primero.",
        none="No hay copias ni ráfagas.",
        shown="Aquí hay {shown} de {count} grupos, los que más ocupan; --json los da todos.",
        safe="No se borra nada: las rutas elegidas se listan abajo. Está elegida cada copia menos la mejor.",
        copies="Copias: {count} imágenes",
        bursts="Ráfaga: {count} tomas",
        best="la mejor",
        pixels="{width} × {height} píxeles",
        missing="el archivo ya no está",
        changed="el archivo ha cambiado desde que se indexó",
        unreadable="el archivo no se puede leer",
        inside="dentro de un archivo tar",
        paths="Rutas elegidas, una por línea",
        copy="Copiar las rutas",
        copied="Copiadas.",
        selected="Pulsa Ctrl+C para copiar.",
    ),
    page=page_words("es_page.json"),
    imagenet=image_classes("es_imagenet.tsv"),
    probes=PROBES,
    function_words=_FUNCTION_WORDS,
    number_words=_NUMBER_WORDS,
    footnote_words=("nota", "cita requerida", "sin fuente"),
    stemmer="spanish",
    months=_MONTHS,
    regions=_REGIONS,
    spacy_pipelines=("es_core_news_lg", "es_core_news_md", "es_core_news_sm"),
    deepl_code="ES",
    marian_model="Helsinki-NLP/opus-mt-en-es",
    flores_code="spa_Latn",
    with_article=with_article,
    describe_emoji=describe_emoji,
    describe_stamp=describe_stamp,
)
