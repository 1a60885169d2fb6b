"""Italian: articles, captions for emoji and stamps, prompts.

Emoji names (Unicode CLDR) are noun phrases without article or capitals: "mela rossa", "bandiera francia", "ore due e
mezza". The functions in this module turn them into captions. Gender and number follow the ending of the first word; the
tables list the exceptions.
"""

import re

from clip_italian.languages import DuplicateWords, Language, SheetWords, image_classes, page_words
from clip_italian.languages._it_articles import indefinite, of_definite
from clip_italian.languages._it_probes import PROBES
from clip_italian.languages._tidy import by_pattern, tidy_sentence

# Words whose gender or number does not follow from the ending (-o, -a, -i, -e).
_MASCULINE = frozenset(
    """
    agente alce altoparlante aquilone ascensore barbiere barile bastone bicchiere bicipite bisonte boccale bue
    cacciavite camice cane cantante cellulare cercapersone ciclone costume cuore cupcake cursore dente detective
    elefante estintore fiore flacone forziere frisbee giocoliere girasole giudice guantone impiegato insegnante
    investigatore lampeggiante leone limone maiale melone monte montone mouse nuotatore ombrellone operatore ospedale
    pallone pancake pane paracadute pavone peperone pesce pettine piccone piede pompiere ponte principe procione
    professore proiettore pugnale pulsante rinoceronte salvagente sapone satellite sauropode scalatore schermidore
    sciatore scorpione sedile segnale selfie serpente sole stivale studente supereroe tamale televisore temporale
    tridente tritone trombone vagone verme waffle zombie trattore mate pedone genio
    ananas bagel bambù biberon boomerang bus cactus camion ciak cocktail computer croissant dvd falafel fax filobus
    gamepad gilet goblin hamburger hotel hot jolly joystick mammut minidisc minimarket pickup pretzel risciò sandwich
    scooter skateboard suv t-rex timer trackball tram troll taxi kiwi bikini sari panda koala lama gorilla pilota
    pirata vampiro pianeta fantasma ninja ideogramma pentagramma
    sturalavandini tasto yo-yo
    """.split()
)
_FEMININE = frozenset(
    """
    ape baguette carne chiave collisione confezione croce decorazione divisione fenice lapide lente mano nave notte
    nuotatrice operatrice investigatrice pochette radice scalatrice stampante stazione tigre toilette torre vite volpe
    città e-mail menorah slot t-shirt modalità auto radio infradito metro foto moto addizione sottrazione luminosità
    """.split()
)
_PLURAL = {
    "bacchette": "delle", "bambole": "delle", "bandiere": "delle", "bolle": "delle", "borse": "delle",
    "catene": "delle", "ciliegie": "delle", "cuffie": "delle", "donne": "delle", "etichette": "delle",
    "frecce": "delle", "gocce": "delle", "graffette": "delle", "impronte": "delle", "lacrime": "delle",
    "manopole": "delle", "maschere": "delle", "montagne": "delle", "note": "delle", "patatine": "delle",
    "persone": "delle", "scarpette": "delle", "spade": "delle", "stelline": "delle", "verdure": "delle",
    "case": "delle", "dita": "delle", "maracas": "delle", "arachidi": "delle", "forbici": "delle",
    "mani": "delle", "protesi": "una", "carte": "delle",
    "binari": "dei", "boccali": "dei", "broccoli": "dei", "calzini": "dei", "coriandoli": "dei", "cuori": "dei",
    "fagioli": "dei", "fiori": "dei", "fulmini": "dei", "fuochi": "dei", "guanti": "dei", "libri": "dei",
    "lottatori": "dei", "lottatrici": "delle", "mattoni": "dei", "mirtilli": "dei", "occhi": "degli",
    "occhiali": "degli", "pantaloncini": "dei", "pattini": "dei", "polmoni": "dei", "quadri": "dei", "sci": "degli",
    "soldi": "dei", "sorgenti": "delle", "spaghetti": "degli", "uomini": "degli", "jeans": "dei", "slip": "degli",
    "popcorn": "dei", "brindisi": "un", "divisori": "dei", "moai": "un",
}  # fmt: skip
# Substances, games and abstract nouns, without article ("neve", "pallacanestro").
_BARE = frozenset(
    """
    neve sale pane carne bubble love lacrosse tennis cricket hockey football bowling badminton ping floppy copyright
    acqua uva pioggia nebbia rabbia fonduta riso burro sonno vento oden onigiri sushi sakè yin wireless kaaba diya
    khanda picche contemplazione pattinaggio cibo liquido due non tecnologia ippica cucinare ridere scuotere
    allattare spara atterraggio decollo
    """.split()
)
# Unique things, and names that need another noun to make sense.
_UNIQUE = {
    "sole": "il sole",
    "babbo natale": "Babbo Natale",
    "mamma natale": "Mamma Natale",
    "santa claus": "Santa Claus",
    "via lattea": "la Via Lattea",
    "monte fuji": "il monte Fuji",
    "torre di tokyo": "la torre di Tokyo",
    "statua della libertà": "la Statua della Libertà",
    "primo quarto di luna": "il primo quarto di luna",
    "ultimo quarto di luna": "l'ultimo quarto di luna",
    "dna": "il DNA",
    "legna": "della legna",
    "america": "il globo terrestre con l'America",
    "europa e africa": "il globo terrestre con l'Europa e l'Africa",
    "asia e australia": "il globo terrestre con l'Asia e l'Australia",
    "alta tensione": "il simbolo dell'alta tensione",
    "molto nuvoloso": "un cielo molto nuvoloso",
    "parzialmente nuvoloso": "un cielo parzialmente nuvoloso",
    "nebbioso": "un cielo nebbioso",
}

# Countries without article after "bandiera di", then plural ones.
_NO_ARTICLE = frozenset(
    """
    andorra anguilla antigua aruba barbados bermuda capo ceuta cipro clipperton cuba curaçao diego dominica el gibuti
    gibilterra grenada guam guernsey haiti israele jersey kiribati macao malta mauritius mayotte
    monaco montserrat nauru niue oman palau panama portorico saint saint-barthélemy saint-pierre san sant’elena sark
    singapore sint svalbard são taiwan timor tokelau tonga trinidad tristan tuvalu vanuatu wallis samoa sark figi
    madagascar
    """.split()
)
_PLURAL_COUNTRIES = {
    "bahamas": "delle", "maldive": "delle", "filippine": "delle", "seychelles": "delle", "comore": "delle",
    "isole": "delle", "nazioni": "delle", "terre": "delle", "samoa americane": "delle", "paesi": "dei",
    "caraibi": "dei", "territori": "dei", "emirati": "degli", "stati": "degli",
}  # fmt: skip
_MASCULINE_COUNTRIES = frozenset(
    "botswana burkina canada ghana guatemala kenya nicaragua ruanda sahara sri sudafrica venezuela".split()
)
_FEMININE_COUNTRIES = frozenset({"città", "guinea-bissau", "riunione"})
_FLAGS = {
    "nera": "una bandiera nera",
    "bianca": "una bandiera bianca",
    "a scacchi": "una bandiera a scacchi",
    "in buca": "una bandiera nella buca del golf",
    "dei pirati": "la bandiera dei pirati",
    "arcobaleno": "la bandiera arcobaleno",
    "transgender": "la bandiera transgender",
    "ras di hong kong": "la bandiera di Hong Kong",
    "ras di macao": "la bandiera di Macao",
    "congo-kinshasa": "la bandiera del Congo-Kinshasa",
    "congo-brazzaville": "la bandiera del Congo-Brazzaville",
    "el salvador": "la bandiera di El Salvador",
    "sant’elena": "la bandiera di Sant'Elena",
    "costa d’avorio": "la bandiera della Costa d'Avorio",
    "territorio britannico dell’oceano indiano": "la bandiera del Territorio britannico dell'Oceano Indiano",
    "isola di man": "la bandiera dell'Isola di Man",
    "isola di clipperton": "la bandiera dell'Isola di Clipperton",
}
_LOWERCASE = frozenset({"e", "ed", "di", "del", "degli", "da"})


def with_article(phrase: str) -> str:
    """Add the indefinite article to a noun phrase: "mela rossa" → "una mela rossa".

    Plurals get the partitive ("delle patatine fritte"). Substances, games, other parts of speech, and phrases that
    begin with an article or a number get no article.
    """
    first = phrase.split()[0].lower().replace("’", "'")
    if first in _BARE | _LEADING_ARTICLES | _NUMBER_WORDS or first.startswith(("un'", "l'")):
        return phrase
    if first in _PLURAL:
        return f"{_PLURAL[first]} {phrase}"
    return f"{indefinite(first, _is_feminine(first))}{phrase}"


def _is_feminine(word: str) -> bool:
    if word in _MASCULINE:
        return False
    return word in _FEMININE or word.endswith(("a", "tà", "trice", "zione"))


def describe_emoji(name: str) -> str:
    """Return a caption for a CLDR name: "ore due" → "un orologio che segna le due"."""
    name = name.strip()
    if caption := by_pattern(name, _EMOJI_PATTERNS):
        return caption
    if name.startswith("bandiera "):
        return _describe_flag(name.removeprefix("bandiera "))
    if name in _UNIQUE:
        return _UNIQUE[name]
    return with_article(name)


_EMOJI_PATTERNS = tuple(
    (re.compile(pattern), template.format)
    for pattern, template in (
        (r"ore una(.*)", "un orologio che segna l'una{}"),
        (r"ore (.*)", "un orologio che segna le {}"),
        (r"(tasto|pulsante) (.*)", "il {} {}"),
        (r"segno zodiacale (?:dell’|dell'|del |della |dei )?(.*)", "il segno zodiacale {}"),
        (r"(segnale|simbolo|marchio) (.*)", "il {} {}"),
        (r"gruppo sanguigno (.*)", "il gruppo sanguigno {}"),
        (r"(e|non|100|100 punti|due|on|om)", "l'emoji di «{}»"),
        (r"uomo calv.", "un uomo con la testa calva"),
        (r"(donna|persona) calv.", "una {} con la testa calva"),
        (r"mezzaluna e stella", "una mezzaluna con una stella"),
        (r"doppia (.*)", "una doppia {}"),
    )
)


def _describe_flag(country: str) -> str:
    if country in _FLAGS:
        return _FLAGS[country]
    first = country.split()[0]
    name = " ".join(w if w in _LOWERCASE else _capitalise(w) for w in country.split())
    return f"la bandiera {_of_country(country, first)}{name}"


def _of_country(country: str, first: str) -> str:
    """Return "di" contracted with the article of the country, with the space or apostrophe after it."""
    plural = _PLURAL_COUNTRIES.get(country) or _PLURAL_COUNTRIES.get(first)
    if plural:
        return f"{plural} "
    if first in _NO_ARTICLE:
        return "di "
    feminine = first in _FEMININE_COUNTRIES or (first.endswith("a") and first not in _MASCULINE_COUNTRIES)
    return of_definite(first, feminine)


def _capitalise(word: str) -> str:
    return re.sub(r"(^|[-(])(\w)", lambda m: m[1] + m[2].upper(), word)


def describe_stamp(sentence: str) -> str | None:
    """Turn the sentence of a stamp into a caption: "Una mela rossa." → "una mela rossa".

    Returns None for sentences that do not describe the picture, such as rules of a game.
    """
    return tidy_sentence(sentence, lambda first: first in _ARTICLES or first.startswith(("un'", "l'")))


_LEADING_ARTICLES = frozenset("un uno una il lo la i gli le dei degli delle del dello della".split())
_ARTICLES = _LEADING_ARTICLES | frozenset("due tre alcuni alcune".split())

_FUNCTION_WORDS = frozenset(
    """
    il lo la l i gli le un uno una e ed o a ad al allo alla all ai agli alle di d del dello della dell dei degli delle
    da dal dallo dalla dall dai dagli dalle in nel nello nella nell nei negli nelle con col per che
    su sul sullo sulla sull sui sugli sulle tra fra
    """.split()
)

_NUMBER_WORDS = frozenset(
    """
    due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici diciassette
    diciotto diciannove venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento mille
    """.split()
)

_MONTHS = tuple(
    """
    gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
    """.split()
)
# By their codes in GeoNames.
_REGIONS = {
    "IT.01": "Abruzzo", "IT.02": "Basilicata", "IT.03": "Calabria", "IT.04": "Campania", "IT.05": "Emilia-Romagna",
    "IT.06": "Friuli-Venezia Giulia", "IT.07": "Lazio", "IT.08": "Liguria", "IT.09": "Lombardia", "IT.10": "Marche",
    "IT.11": "Molise", "IT.12": "Piemonte", "IT.13": "Puglia", "IT.14": "Sardegna", "IT.15": "Sicilia",
    "IT.16": "Toscana", "IT.17": "Trentino-Alto Adige", "IT.18": "Umbria", "IT.19": "Valle d'Aosta",
    "IT.20": "Veneto",
}  # fmt: skip

LANGUAGE = Language(
    code="it",
    name="italiano",
    english_name="Italian",
    prompts=("una foto di {}", "un'immagine di {}", "{}"),
    neutral=("una foto", "un'immagine"),
    drawing_prompt="un disegno di {}",
    example_queries=(
        "un animale",
        "uno strumento musicale",
        "una faccina triste",
        "un uccello",
        "della frutta",
        "un veicolo",
        "un fiore",
        "una persona che fa sport",
        "un edificio",
        "qualcosa da mangiare",
        "una bandiera con una croce",
        "un attrezzo da lavoro",
    ),
    paper_queries=("due cani sulla neve", "una coppia al tramonto", "una coppia in montagna", "un topolino"),
    sheet=SheetWords(
        found="{count} immagini, la migliore per prima",
        none="nessuna immagine trovata",
        gone="il file non c'è più",
        copies="altre {count} copie",
        score="somiglianza {score}",
        probability="probabilità {probability:.0%}",
        point=",",
        quoted="«{query}»",
    ),
    duplicates=DuplicateWords(
        title="Copie e raffiche",
        lead="Gruppi di copie: {copies}, raffiche: {bursts}. In ogni gruppo la migliore viene per prima.",
        none="Nessuna copia e nessuna raffica.",
        shown="Qui sono {shown} gruppi su {count}, quelli che occupano più spazio; --json li elenca tutti.",
        safe="Non viene cancellato nulla: i percorsi scelti sono in fondo. È scelta ogni copia tranne la migliore.",
        copies="Copie: {count} immagini",
        bursts="Raffica: {count} scatti",
        best="la migliore",
        pixels="{width} × {height} pixel",
        missing="il file non c'è più",
        changed="il file è cambiato da quando è nell'indice",
        unreadable="il file non si può leggere",
        inside="dentro un archivio",
        paths="Percorsi scelti, uno per riga",
        copy="Copia i percorsi",
        copied="Copiati.",
        selected="Premi Ctrl+C per copiare.",
    ),
    page=page_words("it_page.json"),
    imagenet=image_classes("it_imagenet.tsv"),
    probes=PROBES,
    function_words=_FUNCTION_WORDS,
    number_words=_NUMBER_WORDS,
    footnote_words=("nota", "senza fonte"),
    stemmer="italian",
    months=_MONTHS,
    regions=_REGIONS,
    spacy_pipelines=("it_core_news_lg", "it_core_news_md", "it_core_news_sm"),
    deepl_code="IT",
    marian_model="Helsinki-NLP/opus-mt-en-it",
    flores_code="ita_Latn",
    with_article=with_article,
    describe_emoji=describe_emoji,
    describe_stamp=describe_stamp,
)
