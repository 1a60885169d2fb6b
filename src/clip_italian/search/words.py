"""Words of pictures: names, captions, titles, keywords, places, dates and cameras, in an inverted index.

A segment keeps them in `words.arrow`, memory-mapped: one record batch with the columns `word`, ascending, and `rows`,
the positions of the rows that have the word. Words are compared in lower case, without accents, and stemmed.
"""

import re
import threading
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import pyarrow as pa

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.files.mapped import open_arrow
from clip_italian.files.names import without_accents
from clip_italian.languages import Language
from clip_italian.pictures.coordinates import Point
from clip_italian.search.places import Namer, gazetteer

WORDS_FILE = "words.arrow"
COLUMNS = (
    "id", "path", "source", "caption", "title", "description", "keywords", "location", "camera", "taken", "latitude",
    "longitude",
)  # fmt: skip

_WORD = re.compile(r"[^\W_]+")
# Between the words of VacanzeSardegna2019.
_JOINT = re.compile(r"(?<=[a-zß-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
# Names that cameras and programs give: a prefix with a number, and hexadecimal digests.
_CAMERA_NAME = re.compile(
    r"(?<![^\W_])(?:img|dscn?|dscf|imgp|pict?|pxl|mvimg|wp|cimg|sam|gopr|gx|dji|mg|vid|dcp|sdc|image|photo|wa|p(?=\d{7}))"
    r"[-_]?\d{3,7}(?!\d)|(?<![^\W_])(?=[a-f]*\d)[0-9a-f]{8,}(?![^\W_])",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_./ ]?(0[1-9]|1[0-2])[-_./ ]?(0[1-9]|[12]\d|3[01])(?:[-_ T]?\d{6})?(?!\d)"
    r"|(?<!\d)((?:19|20)\d\d)[-/](0[1-9]|1[0-2])(?!\d)"
    r"|(?<![\d./-])(0?[1-9]|[12]\d|3[01])([-_./])(0?[1-9]|1[0-2])\7((?:19|20)\d\d)(?!\d)"  # 15/8/2019
    r"|(?<!\d)(?<!\d[-_./])(0?[1-9]|1[0-2])[-.]((?:19|20)\d\d)(?![-_./]?\d)"  # 08-2019
)
# In a name 8/2019 would be two folders, and 2019.08 a picture's number.
_DATE_IN_QUERY = re.compile(
    _DATE.pattern + r"|(?<!\d)(?<!\d[-_./])(0?[1-9]|1[0-2])/((?:19|20)\d\d)(?![-_./]?\d)"
    r"|(?<![\d./-])((?:19|20)\d\d)[-_./](0?[1-9]|1[0-2])(?![-_./]?\d)"
)
# Their groups: year, month, day.
_PARTS = ((1, 2, 3), (4, 5, None), (9, 8, 6), (11, 10, None), (13, 12, None), (14, 15, None))
_LONGEST_NUMBER = 4  # digits; longer numbers count pictures or seconds
_SHOWN = 60  # characters of a query in a message
RANKS = 61  # of reciprocal ranks: the usual 60, for ranks from 0
# Chosen by benchmarks/words_ranking.py: a row with so large a share of the words counts so many times this share, and a
# word that no row has weighs like one that every tenth row has. A search for looks has mostly words that no row has.
_ENOUGH, _LEAD = 0.4, 5
_UNKNOWN = 0.1


class Reader:
    """Splits texts of one language into the words that are compared. Threads may share it."""

    def __init__(self, language: Language) -> None:
        import Stemmer

        self._stem: Callable[[str], str] = Stemmer.Stemmer(language.stemmer).stemWord if language.stemmer else str
        self._lock = threading.Lock()  # the stemmer keeps the word that it works on
        self._known: dict[str, str] = {}
        silent = [*language.function_words, *(word for text in language.neutral for word in text.split())]
        self._silent = {word for text in silent for word in _plain(text)}
        self._known.update(dict.fromkeys(self._silent, ""))
        self._months = [self.words(name) for name in language.months]
        self._folders: dict[str, list[str]] = {}

    def words(self, text: str) -> list[str]:
        """The words of a text, without function words, single letters and long numbers."""
        return [stem for word in _plain(text) if (stem := self._stemmed(word))]

    def name_words(self, path: str) -> list[str]:
        """The words of a path: of its folders, and of its file without suffix. Dates in it are words of their own."""
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            if len(self._folders) >= 100_000:
                self._folders.clear()
            self._folders[folder] = self._name_words(folder)
        return self._folders[folder] + self._name_words(PurePosixPath(name).stem)

    def query_words(self, text: str) -> list[str]:
        """The words of a query, each once; dates in it are words of their own, as in names."""
        dated = self._dated(text, _DATE_IN_QUERY)
        return list(dict.fromkeys(dated + self.words(_DATE_IN_QUERY.sub(" ", text))))

    def why_none(self, text: str) -> str:
        """The reason why `query_words` of a text that is not blank are none, and which words there are."""
        plain = set(_plain(text))
        reasons = ["words that every caption has"] if plain & self._silent else []
        if plain - self._silent:
            reasons.append(f"single letters and numbers of more than {_LONGEST_NUMBER} digits")
        what = f"{' and '.join(reasons)} do not count" if plain else "no letter and no digit in it"
        return f"{' '.join(text.split())[:_SHOWN]}: {what}; give names, things, places, keywords or dates"

    def date_words(self, year: int, month: int, day: int | None = None) -> list[str]:
        """The year, the name of the month, and the day."""
        months = self._months[month - 1] if self._months else []
        return [str(year), *months, *([str(day)] if day is not None else [])]

    def row_words(self, row: dict[str, Any]) -> set[str]:
        """All words of a row with the columns `COLUMNS`."""
        found = set(self.name_words(row["path"]))
        if row["id"] != row["path"]:
            found.update(self.name_words(row["id"]))
        for name in ("source", "caption", "title", "description", "location", "camera"):
            if text := row[name]:
                found.update(self.words(text))
        for keyword in row["keywords"] or ():
            found.update(self.words(keyword))
        taken: datetime | None = row["taken"]
        if taken is not None:
            found.update(self.date_words(taken.year, taken.month, taken.day))
        return found

    def _name_words(self, name: str) -> list[str]:
        return self._dated(name, _DATE) + self.words(_CAMERA_NAME.sub(" ", _DATE.sub(" ", name)))

    def _dated(self, text: str, date: re.Pattern[str]) -> list[str]:
        found: list[str] = []
        for match in date.finditer(text):
            year, month, day = next(one for one in _PARTS if match[one[0]])
            found += self.date_words(int(match[year]), int(match[month]), int(match[day]) if day else None)
        return found

    def _stemmed(self, word: str) -> str:
        stem = self._known.get(word)
        if stem is None:
            if len(self._known) >= 1_000_000:
                self._known = {known: "" for known, kept in self._known.items() if not kept}
            if word.isdecimal():
                stem = str(int(word)) if len(word) <= _LONGEST_NUMBER else ""
            elif len(word) > 1:
                with self._lock:
                    stem = self._stem(word)
            else:
                stem = ""
            self._known[word] = stem
        return stem


def _plain(text: str) -> Iterator[str]:
    """The words of a text in lower case and without accents."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return iter(_WORD.findall(without_accents(_JOINT.sub(" ", text).casefold())))


@lru_cache(maxsize=8)
def reader(language: str) -> Reader:
    """The reader of a language, by its code."""
    return Reader(languages.get(language))


class RowWords:
    """All words of rows in one language, with those of the places at their coordinates (extra `places`)."""

    def __init__(self, language: str) -> None:
        self._reader = reader(language)
        self._language = language

    def __call__(self, row: dict[str, Any]) -> set[str]:
        """The words of a row with the columns `COLUMNS`."""
        return self._reader.row_words(row) | self._place_words(row)

    def _place_words(self, row: dict[str, Any]) -> set[str]:
        if row["latitude"] is None or self._namer is None:
            return set()
        names = self._namer.names(Point(row["latitude"], row["longitude"]))
        return {word for name in names for word in self._reader.words(name)}

    @cached_property
    def _namer(self) -> Namer | None:
        towns = gazetteer()
        return Namer(towns, self._language) if towns else None


class WordsWriter:
    """Writes the words of a segment's rows. Not atomic: pass a staged folder."""

    def __init__(self, folder: Path, language: str) -> None:
        self._path = folder / WORDS_FILE
        self._words_of = RowWords(language)
        self._codes: dict[str, int] = {}
        self._words, self._rows = array("I"), array("I")
        self._count = 0

    def write(self, table: pa.Table) -> None:
        """Add rows with the columns `COLUMNS`."""
        codes = self._codes
        for row in table.select(COLUMNS).to_pylist():
            for word in self._words_of(row):
                self._words.append(codes.setdefault(word, len(codes)))
                self._rows.append(self._count)
            self._count += 1

    def close(self) -> None:
        """Write the file."""
        words, rows = np.array(self._words, np.uint32), np.array(self._rows, np.uint32)
        names = sorted(self._codes, key=str.encode)
        ranks = np.empty(len(names), np.uint32)
        ranks[[self._codes[name] for name in names]] = np.arange(len(names))
        ranked = ranks[words] if len(names) else words
        order = np.argsort(ranked, kind="stable")
        offsets = np.zeros(len(names) + 1, np.int64)
        offsets[1:] = np.cumsum(np.bincount(ranked, minlength=len(names)))
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(rows[order]))
        batch = pa.record_batch([pa.array(names, pa.string()), lists], names=["word", "rows"])
        with pa.ipc.new_file(str(self._path), batch.schema) as file:
            file.write_batch(batch)


class Words:
    """The opened words of a segment. Threads may share it."""

    def __init__(self, words: pa.StringArray, offsets: np.ndarray, rows: np.ndarray) -> None:
        self._words = words
        self._offsets = offsets
        self._rows = rows

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Map a file, reading next to nothing. Raises UserError where it is damaged."""
        try:
            batch = open_arrow(path).get_batch(0)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: its words are damaged ({error}); run clip-italian index compact") from error
        lists = batch.column("rows")
        # Their buffers, since to_numpy() loads pandas where it is installed, which takes 0.2 s.
        offsets = np.frombuffer(lists.offsets.buffers()[1], np.int64)
        return cls(batch.column("word"), offsets, np.frombuffer(lists.values.buffers()[1], np.uint32))

    def rows(self, word: str) -> np.ndarray:
        """Positions (m,) uint32 of the rows that have a word, ascending."""
        wanted = word.encode()
        low, high = 0, len(self._words)
        while low < high:
            middle = (low + high) // 2
            if self._words[middle].as_py().encode() < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(self._words) or self._words[low].as_py() != word:
            return self._rows[:0]
        return self._rows[self._offsets[low] : self._offsets[low + 1]]


def weights(counts: Sequence[int], rows: int) -> np.ndarray:
    """Weights (n,) that sum to 1, of words that `counts` of all `rows` have: rare words weigh more (BM25's idf)."""
    found = np.minimum(np.asarray(counts, np.float64), rows)
    found[found == 0] = _UNKNOWN * rows
    idf = np.log1p((rows - found + 0.5) / (found + 0.5))
    return np.asarray(idf / idf.sum() if len(found) else idf)


def shares(words: Words, wanted: Sequence[str], weight: np.ndarray, rows: int) -> np.ndarray:
    """The share (rows,) float32 of the weight of all wanted words that each row of a segment has.

    This is BM25 without the length of a text and without the number of times that a word is in it: both say little
    about names and keywords, and rows that have the same words are then ordered by their looks.
    """
    found = np.zeros(rows, np.float32)
    for word, one in zip(wanted, weight, strict=True):
        found[words.rows(word)] += np.float32(one)
    return found


def fused(by_look: Sequence[int], by_words: Sequence[tuple[int, float]]) -> list[int]:
    """Two rankings of rows as one, by reciprocal rank: row numbers, best first.

    `by_words` has each row's share of the wanted words. A row with a good part of them counts five times
    its share, so that such rows lead; the others count as the cube of their share, and move up only where they look
    right as well.
    """
    scores: dict[int, float] = {}
    for rank, row in enumerate(by_look):
        scores[row] = 1 / (RANKS + rank)
    for rank, (row, share) in enumerate(by_words):
        scores[row] = scores.get(row, 0) + (_LEAD * share if share >= _ENOUGH else share**3) / (RANKS + rank)
    return sorted(scores, key=lambda row: -scores[row])
