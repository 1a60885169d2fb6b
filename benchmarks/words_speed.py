"""Words of many rows: time to write, size, and time of a search, beside SQLite's FTS5.

    python benchmarks/words_speed.py --rows 100000 1000000 --room /tmp/words

Rows are those of a collection of photos: folders of places and years, names that cameras give, keywords in every fifth
row, dates. Both get the same words, which are normalised before; FTS5 keeps no copy of the texts (content=''). Searches
have one to three words, rare and frequent, and give the best 100 rows. Times of writing are those of the processor, of
searches the best of five. Prints Markdown.
"""

import argparse
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from clip_italian.search.schema import ROWS
from clip_italian.search.words import COLUMNS, WORDS_FILE, Words, WordsWriter, reader, shares, weights

PLACES = ["Sardegna", "Roma", "Parigi", "Dolomiti", "Puglia", "Londra", "Casa", "Napoli", "Torino", "Bologna"]
PEOPLE = [f"Persona{number}" for number in range(300)]
QUERIES = [
    "Sardegna 2019", "2019", "agosto 2019 persona 17", "Roma", "canon", "persona 250", "Dolomiti gennaio", "nulla",
]  # fmt: skip
BLOCK = 8_192
BEST = 100


def table(first: int, count: int) -> pa.Table:
    """Rows with the columns that words are read from."""
    drawn = np.random.default_rng(first)
    rows = []
    for number in range(first, first + count):
        year, place = 2000 + int(drawn.integers(26)), PLACES[int(drawn.integers(len(PLACES)))]
        path = f"Immagini/{place} {year}/giorno {int(drawn.integers(30))}/IMG_{number % 10_000:04d}.jpg"
        keywords = [PEOPLE[int(drawn.integers(300))], "famiglia"] if number % 5 == 0 else []
        taken = datetime(year, 1, 1) + timedelta(days=int(drawn.integers(365)))
        camera = "Canon EOS 80D"
        rows.append(
            {"id": path, "path": path, "source": "Immagini", "keywords": keywords, "camera": camera, "taken": taken}
        )
    return pa.Table.from_pylist(rows, pa.schema([ROWS.field(name) for name in COLUMNS]))


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """Milliseconds of the fastest run."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1_000 * min(times)


def measure(count: int, room: Path) -> None:
    """Write the words of `count` rows both ways, and search them."""
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    own = reader("it")
    tables = [table(start, min(BLOCK, count - start)) for start in range(0, count, BLOCK)]
    start = time.process_time()
    writer = WordsWriter(room, "it")
    for one in tables:
        writer.write(one)
    writer.close()
    written = time.process_time() - start
    texts = [" ".join(own.row_words(row)) for one in tables for row in one.to_pylist()]
    base = sqlite3.connect(room / "words.sqlite")
    start = time.process_time()
    base.execute("CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='ascii')")
    base.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts))
    base.execute("INSERT INTO words(words) VALUES ('optimize')")
    base.commit()
    theirs = time.process_time() - start
    sizes = [(room / name).stat().st_size / count for name in (WORDS_FILE, "words.sqlite")]
    opened = Words.open(room / WORDS_FILE)
    print(f"\n| {count:,} rows | words.arrow | FTS5 |\n|---|---|---|")
    print(f"| read and written (FTS5: written), s | {written:.1f} | {theirs:.1f} |")
    print(f"| bytes a row | {sizes[0]:.0f} | {sizes[1]:.0f} |")
    for query in QUERIES:
        wanted = own.query_words(query)
        match = " OR ".join(f'"{word}"' for word in wanted)

        def ours(wanted: list[str] = wanted) -> np.ndarray:
            weight = weights([len(opened.rows(word)) for word in wanted], count)
            return np.argpartition(-shares(opened, wanted, weight, count), BEST)[:BEST]

        def sql(match: str = match) -> list[tuple[int]]:
            found = base.execute(f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT {BEST}", (match,))
            return found.fetchall()

        rows = max(len(opened.rows(word)) for word in wanted)
        print(f"| “{query}” (up to {rows:,} rows), ms | {best_of(ours):.2f} | {best_of(sql):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--room", type=Path, required=True)
    arguments = parser.parse_args()
    for count in arguments.rows:
        measure(count, arguments.room)


if __name__ == "__main__":
    main()
