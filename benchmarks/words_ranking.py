"""Words beside vectors: what they cost queries for looks, and what they find.

    python benchmarks/words_ranking.py ../shared/flickr8k-it/captions.jsonl --model mini --room /tmp/words

Photos with captions are laid out three times, in one index whose vectors stay:

plain     the photos as they are named, captions as queries: words must not change anything
albums    photos drawn into folders with names of events, places and years, some with keywords and a place in an XMP
          sidecar, all with the date of the album. Queries name an album, a person, a month, or one of these with a
          thing to be seen ("un cane a Natale 2018"); right are the photos of it, and whose captions have the thing
traps     folders are named after things to be seen, drawn at random, so that every name misleads: captions as queries
          show how much it hurts

Figures are MRR@10 of captions (the caption's own photo is right), and for albums the share of right photos among the
first ten (of as many as there are). Ways: vectors alone, words alone, and both by different weights of words.
Prints Markdown.
"""

import argparse
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from clip_italian import console
from clip_italian.models.load import load
from clip_italian.search import index as indexes
from clip_italian.search import update, words
from clip_italian.search.index import Index

K = 10
ALBUMS = [
    ("Sardegna 2019", "2019-08-12", ["Anna"], "Stintino, Sardegna, Italia"),
    ("Natale 2018", "2018-12-25", ["nonna"], None),
    ("Compleanno di Anna", "2020-05-03", ["Anna", "festa"], None), ("Montagna con Luca", "2021-07-20", ["Luca"], None),
    ("2022-03 Roma", "2022-03-14", [], "Roma, Lazio, Italia"), ("GitaScolastica2017", "2017-04-28", [], None),
    ("Matrimonio Giulia e Marco", "2019-09-21", ["Giulia", "Marco"], "Firenze, Toscana, Italia"),
    ("Puglia estate 2021", "2021-08-05", ["Luca"], "Polignano a Mare, Puglia, Italia"),
    ("Parigi", "2018-10-02", ["Giulia"], "Parigi, Île-de-France, Francia"),
    ("Battesimo Tommaso", "2023-06-11", ["nonna"], None),
    ("Capodanno 2020", "2020-01-01", [], None),
    ("Sagra di Ariccia", "2022-09-04", ["festa"], "Ariccia, Lazio, Italia"),
    ("Dolomiti inverno 2023", "2023-01-15", ["Marco"], "Cortina d'Ampezzo, Veneto, Italia"),
    ("Casa nuova", "2021-11-30", [], None),
    ("Londra con Sara", "2019-03-09", ["Sara"], "Londra, Inghilterra, Regno Unito"),
    ("Carnevale di Viareggio", "2020-02-23", [], "Viareggio, Toscana, Italia"),
]  # fmt: skip
NAMES = [
    "Sardegna 2019", "Natale", "compleanno di Anna", "Roma", "gita scolastica", "matrimonio", "Puglia", "Parigi",
    "battesimo", "Capodanno 2020", "sagra", "Dolomiti", "Londra", "carnevale", "Toscana", "Luca", "nonna",
    "agosto 2019", "dicembre 2018", "Anna 2019", "Giulia", "2021",
]  # fmt: skip
THINGS = {
    "un cane": r"\bcan[ei]\b|cagn|cucciol", "un bambino": r"\bbambin[oia]|\bbimb", "la neve": r"\bnev",
    "l'acqua": r"\bacqua", "una palla": r"\bpall", "una bicicletta": r"\bbici|ciclist",
    "una donna": r"\bdonn|\bragazza", "l'erba": r"\berb|\bprato",
}  # fmt: skip
TRAPS = "Cani Spiaggia Neve Bambini Montagna Biciclette Mare Calcio Erba Piscina Donne Strada".split()
WAYS: dict[str, Callable[[float], float]] = {
    "plain reciprocal rank": lambda share: 1.0,
    "share": lambda share: share,
    "share², all count double": lambda share: 2.0 if share > 0.999 else share**2,
    "share³, from 0.4 on double": lambda share: 2.0 if share >= 0.4 else share**3,
    "share³, from 0.4 on five times the share": lambda share: 5 * share if share >= 0.4 else share**3,
    "all count double, else nothing": lambda share: 2.0 if share > 0.999 else 0.0,
    "all count once, else nothing": lambda share: 1.0 if share > 0.999 else 0.0,
}

Truth = list[tuple[str, set[str]]]  # queries, each with the names of the right photos


def lay_out(photos: Sequence[Path], folder: Path, album: Callable[[Path], str]) -> dict[str, str]:
    """Link photos into the folders of their albums; return the album of each photo's name."""
    shutil.rmtree(folder, ignore_errors=True)
    found = {}
    for photo in photos:
        found[photo.name] = album(photo)
        (folder / found[photo.name]).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, folder / found[photo.name] / photo.name)
    return found


def sidecar(picture: Path, keywords: Sequence[str], place: str | None) -> None:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    parts = dict(zip(("City", "State", "Country"), place.split(", "), strict=True)) if place else {}
    named = " ".join(f'photoshop:{name}="{part}"' for name, part in parts.items())
    picture.with_name(f"{picture.name}.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        f" {named}><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>",
        encoding="utf-8",
    )


def albums(photos: Sequence[Path], folder: Path) -> dict[str, set[str]]:
    """Lay photos out in albums; return the words that people would remember of each, in lower case."""
    drawn = random.Random(7)
    of = lay_out(photos, folder, lambda photo: drawn.choice(ALBUMS)[0])
    facts = {name: (day, keywords, place) for name, day, keywords, place in ALBUMS}
    months = words.reader("it")
    remembered = {}
    for name, album in of.items():
        day, keywords, place = facts[album]
        picture, moment = folder / album / name, datetime.fromisoformat(f"{day}T12:00:00")
        os.utime(picture, (moment.timestamp(), moment.timestamp()))
        sidecar(picture, keywords, place)
        known = f"{album} {' '.join(keywords)} {place or ''}"
        remembered[name] = {*months.words(known), *months.date_words(moment.year, moment.month, moment.day)}
    return remembered


def queries_of(remembered: dict[str, set[str]], captions: dict[str, list[str]]) -> dict[str, Truth]:
    """Queries for albums, and for things in albums."""
    reader = words.reader("it")
    alone: Truth = []
    both: Truth = []
    for name in NAMES:
        wanted = set(reader.query_words(name))
        right = {photo for photo, has in remembered.items() if wanted <= has}
        if right:
            alone.append((name, right))
        for thing, pattern in THINGS.items():
            seen = {photo for photo in right if sum(bool(re.search(pattern, one)) for one in captions[photo]) >= 2}
            if len(seen) >= 2:
                both.append((f"{thing}, {name}", seen))
    return {"an album, a person, a month": alone, "a thing in one of these": both}


def found(index: Index, vectors: Sequence[np.ndarray | None], queries: Sequence[str], named: bool) -> list[list[str]]:
    """Names of the first ten photos of each query, of words alone where the vectors are None."""
    return [
        [Path(hit.file).name for hit in index.search(vector, K, words=query if named else "")]
        for query, vector in zip(queries, vectors, strict=True)
    ]


def reciprocal(hits: list[list[str]], truth: Truth) -> float:
    ranks = [
        next((1 / rank for rank, name in enumerate(some, 1) if name in right), 0.0)
        for some, (_, right) in zip(hits, truth, strict=True)
    ]
    return float(np.mean(ranks))


def precision(hits: list[list[str]], truth: Truth) -> float:
    shares = [
        sum(name in right for name in some) / min(K, len(right)) for some, (_, right) in zip(hits, truth, strict=True)
    ]
    return float(np.mean(shares))


def figures(
    index: Index, vectors: Sequence[np.ndarray], truth: Truth, measure: Callable[[list[list[str]], Truth], float]
) -> dict[str, float]:
    """The figure of each way for some queries."""
    texts, real = [text for text, _ in truth], words.fused
    values = {"vectors alone": measure(found(index, vectors, texts, False), truth)}
    values["words alone"] = measure(found(index, [None] * len(texts), texts, True), truth)
    for way, weight in WAYS.items():
        indexes.fused = partial(fused, weight=weight)  # type: ignore[attr-defined]
        values[way] = measure(found(index, vectors, texts, True), truth)
    indexes.fused = real  # type: ignore[attr-defined]
    return values | {"as the package does": measure(found(index, vectors, texts, True), truth)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--room", type=Path, required=True, help="Folder for copies of the photos and the index.")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.captions.read_text(encoding="utf-8").splitlines()]
    captions = {Path(row["image_path"]).name: row["captions"] for row in rows}
    photos = [arguments.captions.parent / row["image_path"] for row in rows]
    encoder = load(arguments.model)
    model = update.Model(encoder, arguments.model)
    looks: Truth = [(caption, {name}) for name, some in captions.items() for caption in some]
    drawn = random.Random(3)
    sets: dict[str, tuple[Path, dict[str, Truth], Callable[[list[list[str]], Truth], float]]] = {}
    room = arguments.room
    lay_out(photos, room / "plain", lambda photo: ".")
    sets["plain"] = (room / "plain", {"captions, names as they are: MRR@10": looks}, reciprocal)
    remembered = albums(photos, room / "albums")
    sets["albums"] = (
        room / "albums",
        {f"{kind}: right of 10": truth for kind, truth in queries_of(remembered, captions).items()},
        precision,
    )
    sets["captions"] = (room / "albums", {"captions, in albums: MRR@10": looks}, reciprocal)
    lay_out(photos, room / "traps", lambda photo: drawn.choice(TRAPS))
    sets["traps"] = (room / "traps", {"captions, misleading folders: MRR@10": looks}, reciprocal)
    table: dict[str, list[float]] = {}
    columns: list[str] = []
    for folder, kinds, measure in sets.values():
        update.build(room / "idx", [folder], model)
        index = Index.open(room / "idx")
        for kind, truth in kinds.items():
            columns.append(f"{kind} ({len(truth)} queries)")
            vectors = list(encoder.encode_text([text for text, _ in truth]))
            for way, value in figures(index, vectors, truth, measure).items():
                table.setdefault(way, []).append(value)
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for way, values in table.items():
        print(f"| {way} | {' | '.join(f'{value:.4f}' for value in values)} |")
    console.notice(
        "one index; captions of photos that the model was trained on are seen too well, as everywhere with mini"
    )


def fused(looks: Sequence[int], named: Sequence[tuple[int, float]], weight: Callable[[float], float]) -> list[int]:
    """`words.fused` with another weight of a row that has a share of the words."""
    scores = {row: 1 / (words.RANKS + rank) for rank, row in enumerate(looks)}
    for rank, (row, share) in enumerate(named):
        scores[row] = scores.get(row, 0) + weight(share) / (words.RANKS + rank)
    return sorted(scores, key=lambda row: -scores[row])


if __name__ == "__main__":
    main()
