"""Cache of translations in one SQLite file that several runs may share.

The key is the text and the engine's identity, which includes languages and options. Each batch is committed and synced
to disk when it is stored: paid translations survive a kill.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.cache import cache_dir
from clip_italian.translate.engine import Identity, in_groups

_TABLES = """
CREATE TABLE IF NOT EXISTS engines (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS translations (
    engine INTEGER NOT NULL, text TEXT NOT NULL, translation TEXT, PRIMARY KEY (engine, text)
) WITHOUT ROWID;
CREATE TEMP TABLE missing (place INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, characters INTEGER NOT NULL);
"""
_BUSY_SECONDS = 60
_PAGE = 500


def default_path() -> Path:
    """Path of the user's cache."""
    return cache_dir() / "translations.sqlite"


class Cache:
    """One engine's translations, and a list (on disk, for this run only) of the texts without one.

    Open it with `opened`. Thread-safe.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self._lock = threading.RLock()
        self._base = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        self._base.executescript(_TABLES)
        described = json.dumps(dict(identity), sort_keys=True)
        self._base.execute("INSERT OR IGNORE INTO engines (identity) VALUES (?)", (described,))
        (self.engine,) = self._base.execute("SELECT id FROM engines WHERE identity = ?", (described,)).fetchone()

    def get(self, texts: Iterable[str]) -> dict[str, str | None]:
        """The translations in the cache; None for a text that is too long for the engine."""
        found: dict[str, str | None] = {}
        for some in in_groups(texts, _PAGE):
            marks = ",".join("?" * len(some))
            query = f"SELECT text, translation FROM translations WHERE engine = ? AND text IN ({marks})"
            with self._lock:
                found.update(self._base.execute(query, (self.engine, *some)))
        return found

    def store(self, translations: Mapping[str, str | None]) -> None:
        """Store translations; when it returns they are on disk."""
        rows = [(self.engine, text, translation) for text, translation in translations.items()]
        with self._transaction():
            self._base.executemany("INSERT OR REPLACE INTO translations VALUES (?, ?, ?)", rows)

    def note_missing(self, texts: Mapping[str, int]) -> None:
        """Add texts without a translation to the list of missing ones, each once, with their number of characters."""
        rows = [{"engine": self.engine, "text": text, "characters": count} for text, count in texts.items()]
        with self._transaction():
            self._base.executemany(
                "INSERT OR IGNORE INTO missing (text, characters) SELECT :text, :characters WHERE NOT EXISTS"
                " (SELECT 1 FROM translations WHERE engine = :engine AND text = :text)",
                rows,
            )

    def count_missing(self) -> tuple[int, int]:
        """Number of texts on the list, and of their characters."""
        return self._count("SELECT count(*), total(characters) FROM missing")

    def count_done(self) -> tuple[int, int]:
        """Number of texts on the list that are translated by now, and of their characters."""
        return self._count(
            "SELECT count(*), total(m.characters) FROM missing AS m"
            f" JOIN translations AS t ON t.engine = {self.engine} AND t.text = m.text"
        )

    def missing(self) -> Iterator[tuple[str, int]]:
        """Texts on the list with their number of characters, in order."""
        place = 0
        while True:
            query = "SELECT place, text, characters FROM missing WHERE place > ? ORDER BY place LIMIT ?"
            with self._lock:
                rows: Sequence[tuple[int, str, int]] = self._base.execute(query, (place, _PAGE)).fetchall()
            if not rows:
                return
            place = rows[-1][0]
            yield from ((text, characters) for _, text, characters in rows)

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _count(self, query: str) -> tuple[int, int]:
        with self._lock:
            texts, characters = self._base.execute(query).fetchone()
        return int(texts), int(characters)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")


@contextmanager
def opened(path: Path, identity: Identity) -> Iterator[Cache]:
    """The cache at `path` for one engine, created if it does not exist.

    A second run with the same engine and options waits for the first, so that no text is sent twice. Raises UserError
    if the file is not a cache, or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock"):
            cache = Cache(path, identity)
        try:
            with _locked(FileLock(f"{path}.{cache.engine}.lock"), path):
                yield cache
        finally:
            cache.close()
    except sqlite3.Error as error:
        raise UserError(
            f"{path}: the translation cache cannot be used ({error}); repair it or give another --cache"
        ) from error


@contextmanager
def _locked(lock: FileLock, path: Path) -> Iterator[None]:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        console.notice(f"{path}: another run translates with the same engine and options; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
