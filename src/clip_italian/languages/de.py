"""German: prompts, words and names. Grammar is in `_de_grammar`, captions for emoji and stamps in `_de_captions`."""

from clip_italian.languages import DuplicateWords, Language, SheetWords, image_classes, page_words
from clip_italian.languages._de_captions import describe_emoji, describe_stamp
from clip_italian.languages._de_grammar import with_article
from clip_italian.languages._de_probes import PROBES

_FUNCTION_WORDS = frozenset(
    """
    der die das den dem des ein eine einen einem einer eines und oder von vom zu zum zur mit bei beim aus für im in ins
    am an ans als wie dass es
    """.split()
)
_NUMBER_WORDS = frozenset(
    """
    zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn
    neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig hundert tausend
    """.split()
)

_MONTHS = tuple(
    """
    Januar Februar März April Mai Juni Juli August September Oktober November Dezember
    """.split()
)
# By their codes in GeoNames.
_REGIONS = {
    "DE.01": "Baden-Württemberg", "DE.02": "Bayern", "DE.03": "Bremen", "DE.04": "Hamburg", "DE.05": "Hessen",
    "DE.06": "Niedersachsen", "DE.07": "Nordrhein-Westfalen", "DE.08": "Rheinland-Pfalz", "DE.09": "Saarland",
    "DE.10": "Schleswig-Holstein", "DE.11": "Brandenburg", "DE.12": "Mecklenburg-Vorpommern", "DE.13": "Sachsen",
    "DE.14": "Sachsen-Anhalt", "DE.15": "Thüringen", "DE.16": "Berlin",
}  # fmt: skip

LANGUAGE = Language(
    code="de",
    name="Deutsch",
    english_name="German",
    prompts=("ein Foto: {}", "ein Bild: {}", "{}"),
    neutral=("ein Foto", "ein Bild"),
    drawing_prompt="eine Zeichnung: {}",
    example_queries=(
        "ein Tier",
        "ein Musikinstrument",
        "ein trauriges Gesicht",
        "ein Vogel",
        "Obst",
        "ein Fahrzeug",
        "eine Blume",
        "eine Person beim Sport",
        "ein Gebäude",
        "etwas zu essen",
        "eine Flagge mit einem Kreuz",
        "ein Werkzeug",
    ),
    paper_queries=(
        "zwei Hunde im Schnee",
        "ein Paar bei Sonnenuntergang",
        "ein Paar in den Bergen",
        "eine kleine Maus",
    ),
    sheet=SheetWords(
        found="{count} Bilder, das beste zuerst",
        none="kein Bild gefunden",
        gone="die Datei ist nicht mehr da",
        copies="noch {count} gleiche Bilder",
        score="Ähnlichkeit {score}",
        probability="Wahrscheinlichkeit {probability:.0%}",
        point=",",
        quoted="„{query}“",
    ),
    duplicates=DuplicateWords(
        title="Kopien und Serien",
        lead="Gruppen von Kopien: {copies}, Serien: {bursts}. Das beste Bild jeder Gruppe steht vorn.",
        none="Keine Kopien und keine Serien gefunden.",
        shown="Diese Seite zeigt {shown} von {count} Gruppen, und zwar die größten; der Befehl nennt alle mit --json.",
        safe="Nichts wird gelöscht: Gewählte Pfade stehen nur in der Liste. Jede Kopie außer der besten ist gewählt.",
        copies="Kopien: {count} Bilder",
        bursts="Serie: {count} Aufnahmen",
        best="das beste",
        pixels="{width} × {height} Pixel",
        missing="die Datei ist nicht mehr da",
        changed="die Datei ist nicht mehr die des Index",
        unreadable="die Datei ist nicht lesbar",
        inside="in einem Archiv",
        paths="Gewählte Pfade, einer pro Zeile",
        copy="Pfade kopieren",
        copied="Kopiert.",
        selected="Zum Kopieren Strg+C drücken.",
    ),
    page=page_words("de_page.json"),
    imagenet=image_classes("de_imagenet.tsv"),
    probes=PROBES,
    function_words=_FUNCTION_WORDS,
    number_words=_NUMBER_WORDS,
    footnote_words=("anm", "anmerkung", "quelle fehlt", "ohne beleg"),
    stemmer="german",
    months=_MONTHS,
    regions=_REGIONS,
    spacy_pipelines=("de_core_news_lg", "de_core_news_md", "de_core_news_sm"),
    capital_nouns=True,
    deepl_code="DE",
    marian_model="Helsinki-NLP/opus-mt-en-de",
    flores_code="deu_Latn",
    with_article=with_article,
    describe_emoji=describe_emoji,
    describe_stamp=describe_stamp,
)
