"""Exceptions to the rules in `_de_grammar`."""


def _by_gender(**words: str) -> dict[str, str]:
    return {word: gender for gender, listed in words.items() for word in listed.split()}


# Genders that differ from the rules, by the end of the word: "rad" also matches Fahrrad; "^" is the start of a word.
GENDERS = _by_gender(
    m="""
    affe hase löwe ochse bulle drache käse falke rabe junge kunde bote buchstabe name experte sauropode zombie
    cupcake klee tee kaffee schnee see kuchen drachen knochen rochen stein delfin pinguin schrein wein schein
    papagei ring pudding aum schwanz tanz kranz skorpion schutzschild reis wal hai vulkan spiegel umschlag bart hut
    rock arm finger zahn fuß mund kopf bauch schirm topf herr bär elch kran tisch stuhl stift steward bison vampir
    superheld mensch bildschirm rollstuhl apparat gorilla koala panda pilot bikini sari yak wombat taco burrito
    kimono flamingo dodo otter hammer kaktus bus globus zirkus oktopus hibiskus cent dollar euro planet komet
    satellit teppich boden laden garten kasten wagen knoten haken besen balken ofen brunnen streifen regen bogen
    orden hafen faden felsen abfall abflug aufzug zug föhn toaster computer laptop controller roller gürtel apfel
    vogel pickel tempel knoblauch daumen ausweis keks fächer haarkamm kamm felsbrocken wassermann pirat prinz bagel
    pinsel ^stier schütze kamin schimpanse tamarin jasmin rubin fluss spaten
    """,
    f="""
    person frau maus tür kuh gans nuss insel waffel hochzeit zeit tafel schüssel nadel kartoffel schaufel zwiebel
    ampel axt hand faust bank bahn mutter feder trommel ^angel uhr mail pizza kamera rikscha kaaba khanda menora
    matroschka piñata muschel jeans sichel peperoni paprika ananas auster clutch cd dvd dna wache box kugel hamsa
    gabel schachtel kiwi stadt burg post nacht luft schwester tochter schulter mauer feier kammer nummer klingel
    brezel wurzel nudel fackel regel amsel drossel distel kachel bibel orgel formel sauna giraffe waffe karaffe
    ^leiter strickleiter armbanduhr milch wurst wand braut haut frucht brust arbeit antwort form bar vase elster
    assel mandel avocado figur kapsel klammer minidisc tastatur couch toilette fee idee mango orange schere schnur
    gitarre zahnbürste krawatte last gazelle stechpalme olive hose bluse oma firma palette
    """,
    n="""
    auge ende gemälde gemüse gebäude gelände gefäß knie herz haus gesicht buch bild quadrat kreuz auto rad boot
    schiff taxi radio telefon mikrofon megafon saxofon grammofon mikroskop teleskop stethoskop meter fenster messer
    zimmer feuer ungeheuer wasser leder pflaster lager theater opfer muster kloster ufer polster gitter monster
    ruder futter hemd kleid kind baby pferd schaf huhn schwein kamel dromedar zebra krokodil känguru horn mammut
    tier rentier zelt schloss schild brot holz laub blatt gras glas werk bett sofa geschenk symbol wort loch nest
    ohr hirn haar bein band geld gold silber eis salz dach bad hotel ticket paket skateboard snowboard brett banjo
    akkordeon klavier jo kanu karo pik mobil paar foto reh iglu kino getränk gericht stück croissant sandwich
    baguette bonbon stadion land feld gleis gramm diagramm programm gespenst pad shirt segel signal lineal lied
    licht rennen fest viertel knäuel amulett netz fass puzzleteil tuch seil spiel monokel wesen handy cello fagott
    gewehr schwert fort lamm gnu zebu wrack maß spiegelei osterei ^ei ^tor fußballtor eingangstor selfie fondue
    frisbee kissen becken wappen kopfnicken kopfschütteln küken zeichen sieb denkmal heft kabel möbel siegel rätsel
    abteil tal öl fahrzeug obst gerüst metall papier kostüm parfüm grab bündel ^tau floß ^top model emblem müsli
    gewicht gehäuse sushi ^om mittel besteck echo ziel wassereis speiseeis
    """,
)  # fmt: skip
# Plurals that simplemma's lemmas do not reveal, and singulars that they make look like plurals.
PLURALS = frozenset(
    """
    socken augen fische herzen ketten personen puppen quellen ballettschuhe tatzenabdrücke maracas reisbällchen
    darts shorts essstäbchen blätter wohnhäuser blasen frites pommes karteibahnen flaggen toiletten spaghetti
    reiscracker männer flammen bohnen hände musiknoten kräuter
    """.split()
)
SINGULARS = frozenset(
    "hyazinthe mandarine grille schütze mate schwester fluss spaten narzisse schmiede dinosaurier".split()
)  # fmt: skip
# Substances, games and abstract nouns, without article.
BARE = frozenset(
    """
    bacon badminton bowling camping lacrosse football baseball basketball softball volleyball rugby kricket
    eishockey feldhockey tischtennis tennis hockey popcorn sushi salz butter brokkoli copyright ingwer knoblauch
    brot reis holz laub nebel neblig feuer feuerwerk trinkwasser wasser milch funkeln darts curling schlafen stillen
    stopp warnung wlan wind eiscreme dna takeaway gepäck yin bento fondue oden falafel blattgemüse wurzelgemüse
    konfetti wiedergabe pause pommes rauchverbot reiten lachen obst gemüse schnee regen sand gras geld musik zutritt
    plus minus käse fleisch hilal fuji unendlichkeit hochspannung biogefährdung aufnehmen auswerfen wiederholen
    zurückspulen abfall kein om flüssigkeit geldwechsel zusammenstoß ärger schwindlig geteilt bubble abendstimmung
    minderjährige gepäckausgabe gepäckaufbewahrung zollkontrolle passkontrolle vibrationsmodus zufallsmodus
    """.split()
)
# Nouns that look like adjectives, and adjectives that simplemma also knows as nouns.
NOUNS_LIKE_ADJECTIVES = frozenset("taube rose bubble sake orange dame haare".split())
ADJECTIVES = frozenset(
    """
    geballte geöffnete angezündete gekreuzte zusammengelegte zusammengerollte pinke welke trauriges letztes oranges
    gehörlose gehörloser älterer ältere geschlossenes nächster zusammengedrückte liegende gehobene bunte bunter
    alte alter japanische hoher
    """.split()
)
# Words in lower case that are not inflected adjectives: function words, places, colours, verbs, numbers.
SMALL = frozenset(
    """
    ab aber als am an auf aus bei beim bis das dem den der des die durch ein eine einem einen einer eines für gegen
    hinter im in ins kein keine mit nach neben nicht noch oder ohne seit sehr sich sind süffisant teilweise um und
    unter verlegen verwegen vom von vor wenig wie zu zum zur zwischen über links rechts oben unten vorne hinten hoch
    runter zurück abwärts aufwärts herum lila rosa pink beige blond frei gratis leicht manuell sprechend verboten
    reserviert geteilt verkleidet überwältigt schwindlig neblig radioaktiv up on ausatmet bekommt gibt halten ist
    steht überqueren zurückhält ausgießen beißen wälzen lachen ich dich mich es sie er zwei drei vier fünf sechs
    sieben acht neun zehn
    """.split()
)
