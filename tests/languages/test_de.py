"""German articles, capitals and captions, against lists written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian import languages
from clip_italian.languages import _de_grammar as grammar
from clip_italian.languages import _de_probes as probes
from clip_italian.languages import de

# The 80 categories of COCO in German, and everyday nouns: written before the rules were tried on them. Fluss, Kamin
# and Gemälde were wrong then.
COCO = """
    eine Person|ein Fahrrad|ein Auto|ein Motorrad|ein Flugzeug|ein Bus|ein Zug|ein Lastwagen|ein Boot|eine Ampel|
    ein Hydrant|ein Stoppschild|eine Parkuhr|eine Bank|ein Vogel|eine Katze|ein Hund|ein Pferd|ein Schaf|eine Kuh|
    ein Elefant|ein Bär|ein Zebra|eine Giraffe|ein Rucksack|ein Regenschirm|eine Handtasche|eine Krawatte|ein Koffer|
    ein Frisbee|ein Ski|ein Snowboard|ein Ball|ein Drachen|ein Baseballschläger|ein Baseballhandschuh|ein Skateboard|
    ein Surfbrett|ein Tennisschläger|eine Flasche|ein Weinglas|eine Tasse|eine Gabel|ein Messer|ein Löffel|
    eine Schüssel|eine Banane|ein Apfel|ein Sandwich|eine Orange|Brokkoli|eine Karotte|ein Hotdog|eine Pizza|ein Donut|
    ein Kuchen|ein Stuhl|ein Sofa|eine Topfpflanze|ein Bett|ein Esstisch|eine Toilette|ein Fernseher|ein Laptop|
    eine Maus|eine Fernbedienung|eine Tastatur|ein Handy|eine Mikrowelle|ein Ofen|ein Toaster|ein Waschbecken|
    ein Kühlschrank|ein Buch|eine Uhr|eine Vase|eine Schere|ein Teddybär|ein Föhn|eine Zahnbürste
"""
EVERYDAY = """
    eine Treppe|ein Wasserfall|ein Leuchtturm|eine Kathedrale|ein Teich|eine Wiese|ein Fluss|ein See|ein Wald|
    eine Mühle|ein Bahnsteig|eine Kreuzung|ein Markt|ein Stadion|ein Restaurant|eine Küche|ein Badezimmer|
    ein Schlafzimmer|ein Regal|eine Lampe|ein Vorhang|ein Teppich|ein Kissen|eine Matratze|ein Kamin|ein Eichhörnchen|
    ein Reh|ein Wolf|ein Luchs|ein Adler|eine Möwe|ein Storch|ein Specht|eine Eidechse|ein Frosch|ein Salamander|
    eine Libelle|eine Wespe|eine Raupe|ein Krebs|eine Qualle|ein Seestern|ein Kürbis|eine Gurke|ein Salat|eine Bohne|
    ein Pilz|eine Erbse|eine Traube|ein Pfirsich|eine Kirsche|ein Ei|ein Brötchen|eine Suppe|ein Eintopf|ein Getränk|
    ein Kaffee|eine Kanne|ein Glas|ein Korb|ein Eimer|eine Säge|ein Hammer|ein Nagel|eine Schraube|ein Schlüssel|
    ein Schloss|eine Kette|ein Seil|ein Zaun|ein Tor|eine Mauer|ein Dach|ein Schornstein|ein Balkon|ein Garten|
    ein Brunnen|ein Denkmal|eine Statue|ein Gemälde|ein Foto|eine Zeitung|ein Brief|ein Umschlag|eine Briefmarke|
    ein Stempel|ein Kalender|ein Radio|ein Mikrofon|eine Gitarre|ein Klavier|eine Trommel|eine Flöte|ein Kind|
    ein Mädchen|ein Junge|eine Frau|ein Mann|ein Baby|ein Arzt|ein Soldat|ein Bauer|ein Fischer|ein Sänger|
    eine Tänzerin|ein Clown|ein Reiter|ein Radfahrer|ein Läufer|ein Zelt|ein Helm|ein Hemd|ein Kleid|ein Rock|
    eine Hose|ein Mantel|eine Jacke|ein Handschuh|ein Schal|eine Mütze|ein Gürtel|ein Ring
"""


def listed(text):
    return [phrase.strip() for phrase in text.split("|")]


@pytest.mark.parametrize("phrase", [*listed(COCO), *listed(EVERYDAY)])
def test_articles(phrase):
    noun = phrase.split()[-1]
    assert de.with_article(noun) == phrase
    assert de.with_article(noun.lower()) == phrase  # without capitals, as in CLDR and folder names


@pytest.mark.parametrize(
    ("bare", "phrase"),
    [
        ("rotes herz", "ein rotes Herz"),
        ("roter apfel", "ein roter Apfel"),
        ("rote blume", "eine rote Blume"),
        ("lila herz", "ein lila Herz"),
        ("große blaue raute", "eine große blaue Raute"),
        ("nach links weisender zeigefinger", "ein nach links weisender Zeigefinger"),
        ("vor angst schreiendes gesicht", "ein vor Angst schreiendes Gesicht"),
        ("gesicht mit lachenden augen", "ein Gesicht mit lachenden Augen"),
        ("händchen haltende männer", "Händchen haltende Männer"),
        ("augen", "Augen"),
        ("gekreuzte schwerter", "gekreuzte Schwerter"),
        ("zwei herzen", "zwei Herzen"),
        ("popcorn", "Popcorn"),
        ("taube", "eine Taube"),
        ("siamesische Katze", "eine siamesische Katze"),
        ("ein Hund", "ein Hund"),
        ("die Sonne", "die Sonne"),
    ],
)
def test_phrases(bare, phrase):
    assert de.with_article(bare) == phrase


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("flagge deutschland", "die Flagge von Deutschland"),
        ("flagge schweiz", "die Flagge der Schweiz"),
        ("flagge irak", "die Flagge des Irak"),
        ("flagge niederlande", "die Flagge der Niederlande"),
        ("flagge vereinigte staaten", "die Flagge der Vereinigten Staaten"),
        ("flagge papua-neuguinea", "die Flagge von Papua-Neuguinea"),
        ("8.30 uhr", "eine Uhr, die halb neun zeigt"),
        ("12.30 uhr", "eine Uhr, die halb eins zeigt"),
        ("1.00 uhr", "eine Uhr, die ein Uhr zeigt"),
        ("12.00 uhr", "eine Uhr, die zwölf Uhr zeigt"),
        ("künstler(in)", "ein Künstler oder eine Künstlerin"),
        ("fußgänger(in) nach rechts", "ein Fußgänger oder eine Fußgängerin nach rechts"),
        ("büroangestellte(r)", "eine Büroangestellte oder ein Büroangestellter"),
        ("löwe (sternzeichen)", "das Sternzeichen Löwe"),
        ("familie mann frau und junge", "eine Familie: Mann, Frau und Junge"),
        ("familie 1 erwachsene(r) 2 kinder", "eine Familie: ein Erwachsener und zwei Kinder"),
        ("mann lockiges haar", "ein Mann mit lockigem Haar"),
        ("frau, die eine kopfmassage bekommt", "eine Frau, die eine Kopfmassage bekommt"),
        ("großbuchstaben ab in rotem quadrat", "die Großbuchstaben AB in rotem Quadrat"),
        ("wort cool in blauem quadrat", "das Wort „COOL“ in blauem Quadrat"),
        ("taste 5", "die Taste 5"),
        ("fahrräder verboten", "das Schild „Fahrräder verboten“"),
        ("sonne", "die Sonne"),
        ("regenbogenflagge", "eine Regenbogenflagge"),
    ],
)
def test_emoji_captions(name, caption):
    assert de.describe_emoji(name) == caption


@pytest.mark.parametrize(
    ("sentence", "caption"),
    [
        ("Ein roter Apfel.", "ein roter Apfel"),
        ("Eine Katze", "eine Katze"),
        ("Der Buchstabe Ä.", "der Buchstabe Ä"),
        ("Zwei Blumen.", "zwei Blumen"),
        ("Rote Plastikblume.", "Rote Plastikblume"),
        ("Ein Wassermelone.", "eine Wassermelone"),
        ("- weil es sehr schade um den Kopf wäre …", None),
        (
            "Bauer. Kann nur vorwärts gehen, außer beim Schlagen. Kann beim ersten Zug zwei Felder ziehen, dann nur.",
            None,
        ),
        ("", None),
    ],
)
def test_stamp_captions(sentence, caption):
    assert de.describe_stamp(sentence) == caption


@pytest.mark.parametrize(
    ("noun", "gender"),
    [
        ("Zeitung", "f"), ("Freiheit", "f"), ("Mädchen", "n"), ("Instrument", "n"), ("Schmetterling", "m"),
        ("Hochgeschwindigkeitszug", "m"), ("Zahnrad", "n"), ("Fahrradkette", "f"), ("U-Bahn", "f"), ("Ei", "n"),
        ("Bäckerei", "f"), ("Spiegelei", "n"), ("Stier", "m"), ("Stinktier", "n"), ("Tor", "n"), ("Traktor", "m"),
    ],
)  # fmt: skip
def test_gender_of_the_last_part(noun, gender):
    assert grammar.gender(noun) == gender


WORDS = st.sampled_from(
    "apfel birne haus rotes große kleiner mit und von augen taube 3 nach links gesicht lachendes t-shirt quux".split()
)


@given(st.lists(WORDS, min_size=1, max_size=6).map(" ".join))
def test_an_article_is_added_once_and_no_word_is_lost(phrase):
    said = de.with_article(phrase)
    assert said.lower().removeprefix("eine ").removeprefix("ein ") == phrase
    assert de.with_article(said) == said


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_is_accepted(text):
    assert de.with_article(text)
    assert de.describe_emoji(text)
    caption = de.describe_stamp(text)
    assert caption is None or (caption == caption.strip() and len(caption) <= 90)


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("familie 0", "eine Familie: 0"), ("familie und", "eine Familie: Und"), ("familie 1", "eine Familie: ein"),
        ("familie 5", "eine Familie: 5"),
    ],
)  # fmt: skip
def test_families_of_any_number(name, caption):
    assert de.describe_emoji(name) == caption


PROBES = languages.get("de").probes
THINGS = {thing.singular: thing for thing in PROBES.things}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (probes.counted(THINGS["Apfel"], 1), ("ein Apfel",)),
        (probes.counted(THINGS["Birne"], 1), ("eine Birne",)),
        (probes.counted(THINGS["Apfel"], 3), ("drei Äpfel",)),
        (probes.coloured(THINGS["Apfel"], "rot"), ("ein roter Apfel",)),
        (probes.coloured(THINGS["Kerze"], "orange"), ("eine orange Kerze",)),
        (probes.coloured(THINGS["Herz"], "orange"), ("ein oranges Herz",)),
        (probes.coloured(THINGS["Herz"], "lila"), ("ein lila Herz",)),
        (
            probes.related(THINGS["Apfel"], "left", THINGS["Birne"]),
            ("ein Apfel links von einer Birne", "der Apfel ist links von der Birne"),
        ),
        (
            probes.related(THINGS["Katze"], "above", THINGS["Elefant"]),
            ("eine Katze über einem Elefanten", "die Katze ist über dem Elefanten"),
        ),
    ],
)
def test_probes(said, wanted):
    assert said == wanted


def test_genders_of_the_probes_are_those_of_the_rules():
    assert {thing.singular: thing.gender for thing in PROBES.things} == {
        thing.singular: grammar.gender(thing.singular) for thing in PROBES.things
    }
