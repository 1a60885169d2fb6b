"""German captions for emoji and stamps.

Emoji names (Unicode CLDR) are noun phrases without article or capitals: "rotes herz", "flagge frankreich",
"8.30 uhr", "künstler(in)".
"""

import re

from clip_italian.languages._de_grammar import capitalise, with_article, written
from clip_italian.languages._tidy import by_pattern, tidy_sentence

# Unique things, and names that need another noun to make sense.
_WHOLE = {
    "sonne": "die Sonne",
    "sonne mit gesicht": "die Sonne mit einem Gesicht",
    "milchstraße": "die Milchstraße",
    "fuji": "der Berg Fuji",
    "tokyo tower": "der Tokyo Tower",
    "freiheitsstatue": "die Freiheitsstatue",
    "weihnachtsmann": "der Weihnachtsmann",
    "weihnachtsfrau": "die Weihnachtsfrau",
    "dna": "ein DNA-Strang",
    "yin und yang": "das Zeichen Yin und Yang",
    "hilal und stern": "eine Mondsichel mit einem Stern",
    "om": "das Zeichen Om",
    "herren": "das Zeichen für Herrentoilette",
    "damen": "das Zeichen für Damentoilette",
    "ausrufe- und fragezeichen": "ein Ausrufezeichen und ein Fragezeichen",
    "minderjährige verboten": "das Schild „Minderjährige verboten“",
    "koch/köchin": "ein Koch oder eine Köchin",
    "bauer/bäuerin": "ein Bauer oder eine Bäuerin",
    "feuerwehrmann/-frau": "ein Feuerwehrmann oder eine Feuerwehrfrau",
    "it-experte/it-expertin": "ein IT-Experte oder eine IT-Expertin",
    "büroangestellte(r)": "eine Büroangestellte oder ein Büroangestellter",
    "büroangestellter": "ein Büroangestellter",
    "elf(e)": "ein Elf oder eine Elfe",
    "mann blond": "ein blonder Mann",
    "frau blond": "eine blonde Frau",
    "bauer schach": "ein Bauer beim Schach",
    "abendstimmung in der stadt": "die Stadt in Abendstimmung",
    "herz (organ)": "ein menschliches Herz",
    "schlafen": "das Zeichen für Schlafen",
    "überwältigt": "ein überwältigtes Gesicht mit Sternen als Augen",
    "schwindlig": "das Zeichen für Schwindel",
    "verkleidet": "ein verkleidetes Gesicht",
    "neblig": "eine neblige Stadt",
    "radioaktiv": "das Warnzeichen für Radioaktivität",
    "100 punkte": "100 Punkte",
    "verboten": "das Verbotszeichen",
    "geteilt durch": "das Zeichen für geteilt durch",
    "sich vor lachen auf dem boden wälzen": "ein Gesicht, das sich vor Lachen auf dem Boden wälzt",
    "auf lippe beißen": "ein Mund, der sich auf die Lippe beißt",
    "zusammengedrückte finger": "eine Hand mit zusammengedrückten Fingern",
    "mann und frau halten hände": "ein Mann und eine Frau, die Händchen halten",
    "flüssigkeit ausgießen": "ein Glas, aus dem Flüssigkeit gegossen wird",
    "reis in schüssel": "Reis in einer Schüssel",
    "titel wiederholen": "das Zeichen für Titel wiederholen",
    "wiedergabe oder pause": "das Zeichen für Wiedergabe oder Pause",
    "ruf-mich-an-handzeichen": "eine Hand mit der Geste „Ruf mich an“",
    "ich-liebe-dich-geste": "eine Hand mit der Geste „Ich liebe dich“",
    "sonne hinter wolke": "die Sonne hinter einer Wolke",
    "sonne hinter großer wolke": "die Sonne hinter einer großen Wolke",
    "sonne hinter kleiner wolke": "die Sonne hinter einer kleinen Wolke",
    "sonne hinter regenwolke": "die Sonne hinter einer Regenwolke",
    "flagge côte d’ivoire": "die Flagge der Elfenbeinküste",
    "pick-up": "ein Pick-up",
    "arzt/ärztin": "ein Arzt oder eine Ärztin",
    "hände die herz bilden": "Hände, die ein Herz bilden",
    "dollarzeichen extrafett": "ein fettes Dollarzeichen",
    "gleichheitszeichen extrafett": "ein fettes Gleichheitszeichen",
    "gesicht das ausatmet": "ein Gesicht, das ausatmet",
    "gesicht das tränen zurückhält": "ein Gesicht, das Tränen zurückhält",
    "papier und bleistift": "Papier und ein Bleistift",
    "messer und gabel": "ein Messer und eine Gabel",
    "mobiltelefon aus": "ein ausgeschaltetes Mobiltelefon",
    "kaaba": "die Kaaba",
    "landung eines flugzeugs": "die Landung eines Flugzeugs",
    "trauriges aber erleichtertes gesicht": "ein trauriges, aber erleichtertes Gesicht",
}
_HOURS = "zwölf eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf eins".split()
_HAIR = {
    "glatze": "mit Glatze",
    "bart": "mit Bart",
    "lockiges haar": "mit lockigem Haar",
    "rotes haar": "mit rotem Haar",
    "weißes haar": "mit weißem Haar",
    "blondes haar": "mit blondem Haar",
}

# Countries and regions that are not neuter or take an article, in the genitive, as after "die Flagge".
_GENITIVES = {
    **{name: f"der {name.title()}" for name in (
        "antarktis", "bahamas", "schweiz", "slowakei", "türkei", "ukraine", "mongolei",
        "niederlande", "malediven", "philippinen", "seychellen", "salomonen", "komoren", "färöer",
        "bouvetinsel", "weihnachtsinsel", "clipperton-insel", "norfolkinsel", "kaimaninseln", "kokosinseln",
        "cookinseln", "falklandinseln", "marshallinseln", "pitcairninseln", "ålandinseln",
    )},
    **{name: f"des {name.capitalize()}" for name in ("irak", "iran", "jemen", "kosovo", "libanon", "sudan", "tschad")},
    "dominikanische republik": "der Dominikanischen Republik",
    "zentralafrikanische republik": "der Zentralafrikanischen Republik",
    "republik moldau": "der Republik Moldau",
    "südsudan": "des Südsudan",
    "vereinigte staaten": "der Vereinigten Staaten",
    "vereinigte arabische emirate": "der Vereinigten Arabischen Emirate",
    "vereinigtes königreich": "des Vereinigten Königreichs",
    "vereinte nationen": "der Vereinten Nationen",
    "europäische union": "der Europäischen Union",
    "britisches territorium im indischen ozean": "des Britischen Territoriums im Indischen Ozean",
    "britische jungferninseln": "der Britischen Jungferninseln",
    "amerikanische jungferninseln": "der Amerikanischen Jungferninseln",
    "amerikanische überseeinseln": "der Amerikanischen Überseeinseln",
    "kanarische inseln": "der Kanarischen Inseln",
    "karibische niederlande": "der Karibischen Niederlande",
    "nördliche marianen": "der Nördlichen Marianen",
    "palästinensische autonomiegebiete": "der Palästinensischen Autonomiegebiete",
    "französische süd- und antarktisgebiete": "der Französischen Süd- und Antarktisgebiete",
    "turks- und caicosinseln": "der Turks- und Caicosinseln",
    "sonderverwaltungsregion hongkong": "der Sonderverwaltungsregion Hongkong",
    "sonderverwaltungsregion macau": "der Sonderverwaltungsregion Macau",
    "vatikanstadt": "der Vatikanstadt",
    "isle of man": "der Isle of Man",
    "südgeorgien und die südlichen sandwichinseln": "von Südgeorgien und den Südlichen Sandwichinseln",
    "st. vincent und die grenadinen": "von St. Vincent und den Grenadinen",
    "heard und mcdonaldinseln": "von Heard und den McDonaldinseln",
}  # fmt: skip
_SMALL_IN_NAMES = frozenset({"und", "da"})


def describe_emoji(name: str) -> str:
    """Return a caption for a CLDR name: "8.30 uhr" → "eine Uhr, die halb neun zeigt"."""
    name = name.strip()
    if name in _WHOLE:
        return _WHOLE[name]
    if name.startswith("flagge ") and not name.endswith("flagge"):
        return f"die Flagge {_of_country(name.removeprefix('flagge '))}"
    return by_pattern(name, _PATTERNS) or with_article(name)


def _of_country(country: str) -> str:
    known = _GENITIVES.get(country)
    if known:
        return known
    words = (word if word in _SMALL_IN_NAMES else capitalise(word) for word in country.split())
    return f"von {' '.join(words)}"


def _clock(hour: str, minutes: str) -> str:
    number = int(hour) % 12
    return f"eine Uhr, die {f'halb {_HOURS[number + 1]}' if minutes == '30' else _o_clock(number)} zeigt"


def _o_clock(number: int) -> str:
    return f"{'ein' if number == 1 else _HOURS[number]} Uhr"


def _either(male: str) -> str:
    """ "künstler" → "ein Künstler oder eine Künstlerin"."""
    first, *rest = male.split()
    return " ".join([f"ein {capitalise(first)} oder eine {capitalise(first)}in", *rest])


def _family(members: str) -> str:
    # "1" becomes "ein"; nouns are capitalised.
    words = [
        capitalise(_COUNTS.get(word, word)) if word[0].isalpha() else _COUNTS.get(word, word)
        for word in members.split()
    ]
    if words[0] in _COUNTS.values() and len(words) > 2:
        return f"eine Familie: {' '.join(words[:2])} und {' '.join(words[2:])}"
    names = [word for word in words if word != "Und"]
    if len(names) < 2:
        return f"eine Familie: {' '.join(words)}"
    return f"eine Familie: {', '.join(names[:-1])} und {names[-1]}"


_COUNTS = {"1": "ein", "2": "zwei", "erwachsene(r)": "Erwachsener"}


def _letters(what: str, letters: str, place: str) -> str:
    return f"{'die' if what.endswith('n') else 'der'} {capitalise(what)} {letters.upper()} in {written(place)}"


_DOES = {
    "baby die flasche gibt": "{} einem Baby die Flasche gibt",
    "eine kopfmassage bekommt": "{} eine Kopfmassage bekommt",
}


def _acting(who: str, what: str) -> str:
    return f"{with_article(who)}, {_DOES[what].format('der' if who == 'mann' else 'die')}"


_PATTERNS = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (r"(\d+)\.(00|30) uhr", _clock),
        (r"(\w[\w-]*)\(in\)((?: .*)?)", lambda male, rest: _either(male) + rest),
        (r"(.*) \(sternzeichen\)", lambda sign: f"das Sternzeichen {capitalise(sign)}"),
        (r"familie (.+)", _family),
        (r"(großbuchstaben?|buchstabe) (\w+) in (.*)", _letters),
        (r"wort (\S+) in (.*)", lambda said, place: f"das Wort „{said.upper()}“ in {written(place)}"),
        (r"schriftzug (\S+) (im|in) (.*)",
         lambda said, into, place: f"der Schriftzug „{said.upper()}“ {into} {written(place)}"),
        (r"schriftzeichen (?:für )?(.*)", lambda what: f"das japanische Schriftzeichen für „{written(what)}“"),
        (r"symbol (?:für )?(.*)", lambda what: f"das Symbol für {written(what)}"),
        (r"eingabesymbol (.*)", lambda what: f"das Eingabesymbol für {written(what)}"),
        (r"taste (dimmen|[\d#*]+)", lambda key: f"die Taste {key}"),
        (r"(mann|frau|person) ((?:lockiges |rotes |weißes |blondes )haar|glatze|bart)",
         lambda who, hair: f"{with_article(who)} {_HAIR[hair]}"),
        (r"(mann|frau|person),? (?:der|die) (baby die flasche gibt|eine kopfmassage bekommt)", _acting),
        (r"(liebespaar|sich küssendes paar) (\w+), (\w+)",
         lambda pair, one, two: f"{with_article(pair)}: {capitalise(one)} und {capitalise(two)}"),
        (r"(.+) verboten", lambda what: f"das Schild „{written(what)} verboten“"),
        (r"(rauchverbot|kein trinkwasser)", lambda what: f"das Schild „{written(what)}“"),
        (r"(aufnehmen|auswerfen|wiederholen|zurückspulen)", lambda what: f"das Zeichen für {what.capitalize()}"),
        (r"(wiedergabe|pause|stopp|warnung|unendlichkeit|copyright|hochspannung|biogefährdung|gepäckausgabe"
         r"|gepäckaufbewahrung|zollkontrolle|passkontrolle|vibrationsmodus|zufallsmodus|wlan|geldwechsel|camping|ärger)",
         lambda what: f"das Zeichen für {written(what)}"),
        (r"(minus|plus)", lambda sign: f"das Zeichen {sign.capitalize()}"),
    )
)  # fmt: skip

_BEGINS_SMALL = frozenset(
    """der die das ein eine einige zwei drei vier fünf sechs sieben acht neun zehn unser unsere noch kleiner größer
    gleich nicht geteilt""".split()
)


def describe_stamp(sentence: str) -> str | None:
    """Turn the sentence of a stamp into a caption: "Ein roter Apfel." → "ein roter Apfel"; None if it is not one."""
    caption = tidy_sentence(sentence, _BEGINS_SMALL.__contains__)
    return None if caption is None else _CORRECTIONS.get(caption, caption)


# Wrong articles in the stamps, with their corrections.
_CORRECTIONS = {
    "ein Ingwerwurzel": "eine Ingwerwurzel",
    "ein Wassermelone": "eine Wassermelone",
    "ein weiße Hose": "eine weiße Hose",
    "eine Geburtstagskuchen": "ein Geburtstagskuchen",
    "eine bunter Spielzeug-Abschleppwagen": "ein bunter Spielzeug-Abschleppwagen",
    "eine bunter Spielzeug-Betonmischer": "ein bunter Spielzeug-Betonmischer",
    "eine bunter Spielzeug-Schleppdampfer": "ein bunter Spielzeug-Schleppdampfer",
    "eine grüner Filzhut": "ein grüner Filzhut",
    "eine Spinne, die mit eine Fliege tanzt": "eine Spinne, die mit einer Fliege tanzt",
    "ein Model der Erde": "ein Modell der Erde",
    "der Eifelturm in Paris": "der Eiffelturm in Paris",
}
