"""Vectors and rows in a Milvus collection (extra `milvus`), for more pictures than one machine should hold.

The index folder keeps index.json: model, folders, and `store`, the collection's address: `milvus://HOST:PORT/COLLECTION`
on a server (its token in MILVUS_TOKEN), or `milvus:///FOLDER/FILE.db/COLLECTION` in a file of Milvus Lite.

A collection has no generations: readers see the rows of an update arrive block by block. Reads are strongly
consistent, so that a search which begins after an update has ended sees all of it, in any process. A killed update
leaves some rows, and the same update resumes there. Row numbers are derived from ids, so that writing a row twice
changes nothing.

Words are one text a row, which Milvus' BM25 function indexes: the stems of `words.RowWords`, each once. BM25 without
the length of texts is then the sum of the words' idf, as in `words.shares`. Milvus finds the rows with the largest
sums; their shares and the order of those with equal shares are computed here, as in a folder.
"""

import hashlib
import json
import logging
import os
import unicodedata
from array import array
from collections.abc import Collection as Container
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, privacy
from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import normal
from clip_italian.search import metadata
from clip_italian.search.commit import StoreWriter, VectorSource
from clip_italian.search.engine import halved
from clip_italian.search.filters import Filter, Near
from clip_italian.search.schema import EXISTING, ROWS, Manifest, Row, moment
from clip_italian.search.storage import (
    LackingError,
    Match,
    NamedMatch,
    Store,
    cosines_of,
    read_manifest,
    write_manifest,
)
from clip_italian.search.words import RowWords, weights

# A search waits until Milvus has applied all writes that were confirmed before it.
CONSISTENCY = "Strong"
_BATCH = 1_000  # rows written at once, fewer where their texts are long
_MOST_BYTES = 16 << 20  # of the texts and vectors in them: a server takes 64 MB at once
_READ = 4_000  # rows read at once
_MOST = 16_384  # Milvus returns no more hits at once
_TEXT_BYTES = 65_535  # Milvus stores no longer text
_VECTOR = "vector"
_BINARY = ("sha256", "look")  # stored as hexadecimal text
_LISTS = ("keywords",)  # stored as JSON
# Fields that a hit shows, see `schema.Row`.
_SHOWN = ("row", "id", "root", "path", "offset", "length", "look", "taken", "latitude", "longitude")
# Texts in lower case and NFC that filters look into, since Milvus compares bytes: keywords are lines. Characters with a
# meaning in patterns are others there, as Milvus Lite does not find an escaped backslash.
_FOLDED = {"camera": "camera_folded", "keywords": "keywords_folded"}
_PLAIN = str.maketrans("\\%_", "\ue000\ue001\ue002")
_WORDS, _BM25 = "words", "words_bm25"
_CANDIDATES = 400  # fewest rows whose shares of the words are compared
# An empty field whose name marks a collection as ours and holds the model's hash: Milvus Lite stores no descriptions.
_MARK = "clip_italian_model_"


class Collection:
    """A connection to one collection."""

    def __init__(self, address: str) -> None:
        try:
            from pymilvus import MilvusClient, MilvusException
        except ImportError as error:
            raise UserError('--store milvus://… needs pymilvus: pip install "clip-italian[milvus]"') from error
        for name in ("pymilvus", "grpc"):  # they log tracebacks of what they raise
            logging.getLogger(name).setLevel(logging.CRITICAL)
        parts = urlsplit(address)
        place, _, self.name = parts.path.rpartition("/")
        if parts.scheme != "milvus" or not self.name or (parts.netloc and place) or not (parts.netloc or place):
            raise UsageError(f"{address}: give milvus://HOST:PORT/COLLECTION, or milvus:///FOLDER/FILE.db/COLLECTION")
        if parts.netloc:
            privacy.refuse_offline(address, "use milvus:///FOLDER/FILE.db/COLLECTION", address)
        self.address = address
        self.is_lite = not parts.netloc
        self._failure = MilvusException
        with self.one_line_errors():
            uri = f"http://{parts.netloc}" if parts.netloc else place
            self.client = MilvusClient(uri=uri, token=os.environ.get("MILVUS_TOKEN", ""), timeout=60)

    @contextmanager
    def one_line_errors(self) -> Iterator[None]:
        """Turn Milvus' errors into UserError."""
        try:
            yield
        except self._failure as error:
            reason = " ".join(str(getattr(error, "message", error)).split())[:300]
            raise UserError(f"{self.address}: Milvus says: {reason}") from error

    def model(self) -> str | None:
        """The hash of the collection's model, None where there is no collection.

        Raises UserError for a collection of something else.
        """
        with self.one_line_errors():
            if not self.client.has_collection(self.name):
                return None
            fields = self.client.describe_collection(self.name)["fields"]
        marks = [field["name"] for field in fields if field["name"].startswith(_MARK)]
        if not marks:
            raise UserError(f"{self.address}: holds something else; choose another collection")
        return str(marks[0].removeprefix(_MARK))

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of its fields: an older version of the package stored fewer."""
        with self.one_line_errors():
            return frozenset(field["name"] for field in self.client.describe_collection(self.name)["fields"])

    @property
    def columns(self) -> list[str]:
        """The columns of `schema.ROWS` that it has."""
        return [name for name in ROWS.names if name in self.fields]

    def create(self, manifest: Manifest) -> None:
        """Create an empty collection for this model; it replaces an existing one."""
        from pymilvus import DataType, Function, FunctionType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        for field in ROWS:
            if field.name == "row":
                schema.add_field("row", DataType.INT64, is_primary=True)
            elif pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type):
                schema.add_field(field.name, DataType.INT64, nullable=field.nullable)
            elif pa.types.is_floating(field.type):
                schema.add_field(field.name, DataType.DOUBLE, nullable=field.nullable)
            else:
                schema.add_field(field.name, DataType.VARCHAR, max_length=_TEXT_BYTES, nullable=field.nullable)
        for name in _FOLDED.values():
            schema.add_field(name, DataType.VARCHAR, max_length=_TEXT_BYTES, nullable=True)
        # Milvus splits the text at spaces only, as there is nothing but letters and digits besides.
        analyzer = {"enable_analyzer": True, "enable_match": True, "analyzer_params": {"tokenizer": "standard"}}
        schema.add_field(_WORDS, DataType.VARCHAR, max_length=_TEXT_BYTES, **analyzer)
        schema.add_field(_BM25, DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("bm25", FunctionType.BM25, input_field_names=_WORDS, output_field_names=_BM25))
        schema.add_field(f"{_MARK}{manifest.model}", DataType.VARCHAR, max_length=1, nullable=True)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=manifest.dim)
        kind = MilvusClient.prepare_index_params()
        kind.add_index(_VECTOR, index_type=_kind(manifest.exact), metric_type="COSINE")
        # Without the length of texts. As pymilvus sends them by default, Milvus Lite does not read parameters.
        short = {"params": {"bm25_k1": 1.2, "bm25_b": 0.0}}
        kind.add_index(_BM25, index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=short)
        with self.one_line_errors():
            self.client.drop_collection(self.name)
            self.client.create_collection(self.name, schema=schema, index_params=kind, consistency_level=CONSISTENCY)
        self.__dict__.pop("fields", None)

    def index_anew(self, exact: bool) -> None:
        """Replace the index of the vectors by one that looks at all of them, or by Milvus' choice."""
        kind = self.client.prepare_index_params()
        kind.add_index(_VECTOR, index_type=_kind(exact), metric_type="COSINE")
        with self.one_line_errors():
            self.client.release_collection(self.name)
            for name in self.client.list_indexes(self.name, field_name=_VECTOR):
                self.client.drop_index(self.name, name)
            self.client.create_index(self.name, kind)
        self.load()

    def load(self) -> None:
        """Make it ready for reads: Milvus Lite opens collections unloaded, and anyone may release them."""
        with self.one_line_errors():
            self.client.load_collection(self.name)

    def search(
        self, data: Sequence[Any], field: str, k: int, condition: str, columns: Sequence[str]
    ) -> list[list[dict[str, Any]]]:
        """The k best hits for each of some vectors or texts, with the columns that it has."""
        there = [name for name in columns if name in self.fields]
        with self.one_line_errors():
            found = self.client.search(
                self.name, data=list(data), anns_field=field, limit=k, filter=condition, output_fields=there,
                consistency_level=CONSISTENCY,
            )  # fmt: skip
        return [list(hits) for hits in found]

    def get(self, numbers: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The entities with these row numbers that are there, with the columns that it has."""
        there = list(dict.fromkeys(["row", *(name for name in columns if name in self.fields)]))
        with self.one_line_errors():
            found = self.client.get(self.name, ids=list(numbers), output_fields=there, consistency_level=CONSISTENCY)
        return list(found)

    def rows(
        self, columns: Sequence[str], condition: str = "row >= 0", most: int = -1
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows that meet a condition, or the first of them by row number, some thousand at a time."""
        there = list(dict.fromkeys(["row", *(name for name in columns if name in self.fields)]))
        with self.one_line_errors():
            found = self.client.query_iterator(
                self.name, batch_size=_READ, limit=most, filter=condition, output_fields=there,
                consistency_level=CONSISTENCY,
            )  # fmt: skip
            while some := found.next():
                yield list(some)
            found.close()

    def count(self) -> int:
        """The number of rows."""
        with self.one_line_errors():
            found = self.client.query(self.name, filter="", output_fields=["count(*)"], consistency_level=CONSISTENCY)
        return int(found[0]["count(*)"])


class MilvusStore(Store):
    """A collection to search in."""

    def __init__(self, collection: Collection, manifest: Manifest) -> None:
        self._collection = collection
        self._manifest = manifest

    @classmethod
    def open(cls, manifest: Manifest) -> Self:
        """Connect; raises UserError where Milvus or the collection is missing, or holds another model's vectors."""
        assert manifest.store is not None
        collection = Collection(manifest.store)
        if collection.model() != manifest.model:
            raise UserError(f"{manifest.store}: this collection is gone, or was filled anew; build the index again")
        collection.load()
        return cls(collection, manifest)

    def __len__(self) -> int:
        return self._collection.count()

    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Match]:
        if exact and not self._manifest.exact:
            raise UsageError(f"{self._manifest.store}: Milvus looks at every vector only if built with --exact")
        condition = self._condition(where, k)
        if condition is None:
            return []
        hits, _ = self._hits(query.tolist(), _VECTOR, k, where, condition, _SHOWN)
        return [Match(row_of(hit["entity"]), float(hit["distance"])) for hit in hits]

    def _condition(self, where: Filter | None, k: int) -> str | None:
        """A filter as a Milvus expression; None for one that no row can pass.

        Raises UserError for too large a k, LackingError for columns that the collection does not have.
        """
        assert self._manifest.store is not None
        if k > _MOST:
            raise UserError(f"{self._manifest.store}: Milvus gives the best {_MOST:,} at most, not {k:,}")
        if where is None:
            return ""
        for name in where.columns:
            if not {name, _FOLDED.get(name, name)} <= self._collection.fields:
                what = f"made by an older version, it has no {name} to filter by"
                raise LackingError(self._manifest.store, f"{what}; build the index into another collection")
        return expression(where, self._manifest.roots)

    def _hits(
        self, query: list[float] | str, field: str, k: int, where: Filter | None, condition: str, columns: Sequence[str]
    ) -> tuple[list[dict[str, Any]], bool]:
        """The k best hits that meet a condition and pass a filter, best first, and True where these are all."""
        wanted = k
        while True:
            (found,) = self._collection.search([query], field, wanted, condition, columns)
            good = [hit for hit in found if where is None or _is_inside(where.near, hit["entity"])]
            if len(good) >= k or len(found) < wanted or wanted == _MOST:
                return good[:k], len(found) < wanted and len(good) <= k
            wanted = min(2 * wanted + 32, _MOST)

    @property
    def has_words(self) -> bool:
        return _BM25 in self._collection.fields

    def matching(
        self, words: Sequence[str], query: np.ndarray | None, k: int, where: Filter | None = None
    ) -> list[NamedMatch]:
        condition = self._condition(where, k)
        if condition is None:
            return []
        weight = self._weights(list(dict.fromkeys(words)))
        if not weight:
            return []
        columns = [*_SHOWN, _WORDS, *([_VECTOR] if query is not None else [])]
        most = min(2 * k + _CANDIDATES, _MOST)
        hits, complete = self._hits(" ".join(weight), _BM25, most, where, condition, columns)
        found: list[NamedMatch] = []
        sets: dict[float, set[tuple[str, ...]]] = {}  # the words of rows with each share
        for hit in hits:
            has = set(hit["entity"][_WORDS].split())
            there = tuple(word for word in weight if word in has)
            share = float(sum((weight[word] for word in there), np.float32(0)))
            sets.setdefault(share, set()).add(there)
            score = float("nan")
            if query is not None:
                score = float(cosines_of(np.array([hit["entity"][_VECTOR]], np.float32), query)[0])
            found.append(NamedMatch(Match(row_of(hit["entity"]), score), share))
        if not complete and found:
            # Milvus chose among the rows that have the least share: those nearest to the query belong to them.
            least = sorted((one.share for one in found), reverse=True)[:k][-1]
            same = " or ".join(self._has_exactly(some, list(weight)) for some in sorted(sets[least]))
            known = {one.match.row.number for one in found}
            nearest = self._best(query, k, where, f"({same}) and {condition}" if condition else same)
            found += [NamedMatch(one, least) for one in nearest if one.row.number not in known]
        found.sort(key=lambda one: (-one.share, one.match.row.number if query is None else -one.match.score))
        return found[:k]

    def _weights(self, words: Sequence[str]) -> dict[str, np.float32]:
        """The weights of words, see `words.weights`; empty where no row has any of them.

        The score of a row that has a word is the word's idf in Milvus (in Milvus Lite negative), from which follows how
        many rows have it.
        """
        rows = self._manifest.pictures
        best = self._collection.search(words, _BM25, 1, "", ["row"])
        counts = [max(round((rows + 1) / np.exp(abs(hits[0]["distance"])) - 0.5), 1) if hits else 0 for hits in best]
        found = weights(counts, rows)
        return dict(zip(words, found.astype(np.float32), strict=True)) if any(best) else {}

    def _has_exactly(self, some: Sequence[str], words: Sequence[str]) -> str:
        """An expression for rows that have some of the words and none of the others."""
        terms = [f"{'' if word in some else 'not '}{self._has(word)}" for word in words]
        return f"({' and '.join(terms)})"

    def _has(self, word: str) -> str:
        """An expression for rows that have a word.

        TEXT_MATCH uses a server's index of the text. Milvus Lite has none and splits every row's text by Python, which
        takes ten times as long as LIKE.
        """
        return f'({_WORDS} like "% {word} %")' if self._collection.is_lite else f'TEXT_MATCH({_WORDS}, "{word}")'

    def _best(self, query: np.ndarray | None, k: int, where: Filter | None, condition: str) -> list[Match]:
        """The k rows nearest to a query, or else the first by row number, that meet a condition and pass a filter."""
        if query is not None:
            hits, _ = self._hits(query.tolist(), _VECTOR, k, where, condition, _SHOWN)
            return [Match(row_of(hit["entity"]), float(hit["distance"])) for hit in hits]
        found: list[Match] = []
        for some in self._collection.rows(_SHOWN, condition, k if where is None or where.near is None else -1):
            found += [Match(row_of(one), float("nan")) for one in some if where is None or _is_inside(where.near, one)]
            if len(found) >= k:
                break
        return found[:k]

    def row(self, number: int) -> Row | None:
        found = self._get(number, _SHOWN)
        return row_of(found) if found else None

    def vector(self, number: int) -> np.ndarray | None:
        found = self._get(number, [_VECTOR])
        return np.array(found[_VECTOR], np.float32) if found else None

    def fields(self, number: int, columns: Sequence[str]) -> dict[str, Any] | None:
        found = self._get(number, columns)
        row: dict[str, Any] | None = table_of([found], columns).to_pylist()[0] if found else None
        return row

    def _get(self, number: int, columns: Sequence[str]) -> Mapping[str, Any] | None:
        """Columns of the entity with this number."""
        found = self._collection.get([number], columns)
        return found[0] if found else None

    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for some in self._collection.rows([*columns, _VECTOR]):
            yield table_of(some, columns), halved(np.array([row[_VECTOR] for row in some], np.float32))

    def sample(self, count: int) -> np.ndarray:
        with self._collection.one_line_errors():
            found = self._collection.client.query(
                self._collection.name, filter="row >= 0", limit=count, output_fields=[_VECTOR],
                consistency_level=CONSISTENCY,
            )  # fmt: skip
        return np.array([row[_VECTOR] for row in found], np.float32)


class MilvusWriter(StoreWriter):
    """A collection to change: one store, in which a row's position is its place in `existing`."""

    stores = 1

    def __init__(self, folder: Path, manifest: Manifest, empty: bool) -> None:
        """Connect, and create the collection where it is missing; `empty` replaces one of another model."""
        assert manifest.store is not None
        self._folder = folder
        self._collection = Collection(manifest.store)
        model = self._collection.model()
        # Without an index.json, rows of this model were left by a killed run.
        if model is None or (empty and model != manifest.model):
            self._collection.create(manifest)
        self._collection.load()
        self._numbers = array("q")

    @property
    def columns(self) -> list[str]:
        return self._collection.columns

    def existing(self, names: Sequence[str] = EXISTING.names) -> Iterator[pa.Table]:
        self._numbers = array("q")
        with console.progress("rows in Milvus", self._collection.count()) as advance:
            for some in self._collection.rows([name for name in ROWS.names if name != "row"]):
                first = len(self._numbers)
                self._numbers.extend(row["row"] for row in some)
                table = table_of(some, ROWS.names)
                table = table.append_column("store", pa.array([0] * len(table), pa.int32()))
                positions = pa.array(range(first, first + len(table)), pa.int64())
                yield table.append_column("pos", positions).select(EXISTING.names).cast(EXISTING).select(names)
                advance(len(some))

    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        doomed = {self._numbers[at] for at in gone.get(0, ())}
        words = RowWords(before.language)
        old = read_manifest(self._folder) if everything else before
        if old.language != before.language:
            self._rewrite(words, doomed)
        file = pq.ParquetFile(new) if new else None
        source = VectorSource([], parts)
        with console.progress("rows", file.metadata.num_rows if file else 0) as advance:
            for batch in file.iter_batches(_BATCH) if file else ():
                table = metadata.completed(pa.Table.from_batches([batch]), before.roots)
                vectors = self._vectors(batch["store"].to_numpy(), batch["pos"].to_numpy(), source, before.dim)
                doomed -= self._write(table.to_pylist(), vectors, words)
                advance(len(batch))
        left = sorted(doomed)
        for start in range(0, len(left), _BATCH):
            with self._collection.one_line_errors():
                self._collection.client.delete(self._collection.name, ids=left[start : start + _BATCH])
        with self._collection.one_line_errors():
            self._collection.client.flush(self._collection.name)
        if old.exact != before.exact:
            self._collection.index_anew(before.exact)
        change = {"generation": before.generation + 1, "pictures": self._collection.count(), "segments": []}
        after = before.model_copy(update=change)
        write_manifest(self._folder, after)
        return after

    def _write(self, rows: Sequence[dict[str, Any]], vectors: np.ndarray, words: RowWords) -> set[int]:
        """Write rows with their vectors (n, dim) in blocks of bounded size, and return their numbers.

        Rows are replaced by number, not only inserted: neither a killed run nor a repeated request doubles one.
        """
        block: list[dict[str, Any]] = []
        size, numbers = 0, set()
        for row, vector in zip(rows, vectors, strict=True):
            entity = entity_of(row, words(row))
            numbers.add(entity["row"])
            own = vector.nbytes + sum(len(value.encode()) for value in entity.values() if isinstance(value, str))
            if block and size + own > _MOST_BYTES:
                self._upsert(block)
                block, size = [], 0
            stored = {name: value for name, value in entity.items() if name in self._collection.fields}
            block.append(stored | {_VECTOR: vector})
            size += own
        self._upsert(block)
        return numbers

    def _upsert(self, block: list[dict[str, Any]]) -> None:
        with self._collection.one_line_errors():
            self._collection.client.upsert(self._collection.name, block)

    def _rewrite(self, words: RowWords, doomed: Container[int]) -> None:
        """Write all rows that stay with words in another language."""
        numbers = [number for number in self._numbers if number not in doomed]
        if _WORDS not in self._collection.fields:
            return
        with console.progress("words", len(numbers)) as advance:
            for start in range(0, len(numbers), _BATCH):
                some = self._collection.get(numbers[start : start + _BATCH], [*ROWS.names, _VECTOR])
                vectors = np.array([row[_VECTOR] for row in some], np.float32)
                self._write(table_of(some, ROWS.names).to_pylist(), vectors, words)
                advance(len(some))

    def _vectors(self, stores: np.ndarray, positions: np.ndarray, source: VectorSource, dim: int) -> np.ndarray:
        found = np.empty((len(stores), dim), np.float32)
        inside = stores == 0
        found[~inside] = source.half(stores[~inside] - 1, positions[~inside], dim)
        if inside.any():
            numbers = [self._numbers[at] for at in positions[inside]]
            by_number = {row["row"]: row[_VECTOR] for row in self._collection.get(list(set(numbers)), [_VECTOR])}
            found[inside] = [by_number[number] for number in numbers]
        return found


def _kind(exact: bool) -> str:
    """The type of the vectors' index."""
    return "FLAT" if exact else "AUTOINDEX"


def row_number(id_: str) -> int:
    """A number of 63 bits derived from an id."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest()) >> 1


def entity_of(row: dict[str, Any], words: Iterable[str]) -> dict[str, Any]:
    """A row of `schema.EXISTING` and its words as Milvus stores them; raises UserError for a text that is too long."""
    data = {name: row[name] for name in ROWS.names if name != "row"} | {"row": row_number(row["id"])}
    data |= {name: row[name].hex() if row[name] else None for name in _BINARY}
    data |= {name: None if row[name] is None else json.dumps(row[name], ensure_ascii=False) for name in _LISTS}
    data["taken"] = _milliseconds(row["taken"]) if row["taken"] else None
    data[_FOLDED["camera"]] = _folded(row["camera"]) if row["camera"] else None
    data[_FOLDED["keywords"]] = "".join(f"\n{_folded(word)}\n" for word in row["keywords"] or ()) or None
    data[_WORDS] = _joined(words)
    for name, value in data.items():
        if isinstance(value, str) and len(value.encode()) > _TEXT_BYTES:
            raise UserError(
                f"{row['id'][:100]}: its {name} has more than {_TEXT_BYTES:,} bytes, which Milvus does not take"
            )
    return data


def row_of(entity: Mapping[str, Any]) -> Row:
    """The row of an entity that Milvus returned."""
    look, taken = entity.get("look"), entity.get("taken")
    return Row(
        entity["row"], entity["id"], entity["root"], entity["path"], entity.get("offset"), entity.get("length"),
        bytes.fromhex(look) if look else None, moment(taken),
        entity.get("latitude"), entity.get("longitude"),
    )  # fmt: skip


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    """Rows that Milvus returned, as a table with columns of `schema.ROWS`."""
    arrays = []
    for name in columns:
        values = [row.get(name) for row in rows]
        if name in _BINARY:
            values = [bytes.fromhex(value) if value else None for value in values]
        elif name in _LISTS:
            values = [json.loads(value) if value else None for value in values]
        arrays.append(pa.array(values, ROWS.field(name).type))
    return pa.table(arrays, schema=pa.schema([ROWS.field(name) for name in columns]))


def expression(where: Filter, roots: Sequence[str]) -> str | None:
    """A filter as a Milvus expression; None for one that no row can pass.

    `near` is a box around the circle.
    """
    terms = [
        _any([f"{name} == {json.dumps(form, ensure_ascii=False)}" for form in _unicode_forms(value)])
        for name, value in where.texts
    ]
    if where.first:
        terms.append(f"taken >= {_milliseconds(where.first)}")
    if where.last:
        terms.append(f"taken < {_milliseconds(where.last) + 1}")
    if where.camera is not None:
        terms.append(_contains(_FOLDED["camera"], _folded(where.camera)))
    terms += [_contains(_FOLDED["keywords"], f"\n{_folded(word)}\n") for word in where.keywords]
    if where.near is not None:
        low, top, left, right = where.near.box
        terms.append(
            f"latitude >= {low!r} and latitude <= {top!r} and longitude >= {left!r} and longitude <= {right!r}"
        )
    if where.folder is not None:
        places = [_below(number, form) for number, start in where.starts(roots) for form in _unicode_forms(start)]
        if not places:
            return None
        terms.append(f"({' or '.join(places)})")
    return " and ".join(terms)


def _unicode_forms(text: str) -> list[str]:
    """A text in NFC and NFD, since Milvus compares bytes."""
    return list(dict.fromkeys([text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]))


def _folded(text: str) -> str:
    """A text as `_FOLDED` fields hold it."""
    return normal(text).lower().translate(_PLAIN)


def _joined(words: Iterable[str]) -> str:
    """Words between spaces, as many as Milvus stores."""
    text = f" {' '.join(sorted(words))} "
    while len(text.encode()) > _TEXT_BYTES:
        text = text[: text.rindex(" ", 0, -1) + 1]
    return text


def _contains(field: str, text: str) -> str:
    """An expression for fields that contain a folded text."""
    return f"{field} like {json.dumps(f'%{text}%', ensure_ascii=False)}"


def _is_inside(near: Near | None, entity: Mapping[str, Any]) -> bool:
    """True where an entity lies in a circle, and for all where there is none."""
    if near is None:
        return True
    latitude, longitude = entity["latitude"], entity["longitude"]
    return bool(near.mask(np.array([latitude]), np.array([longitude]))[0])


def _any(terms: Sequence[str]) -> str:
    return terms[0] if len(terms) == 1 else f"({' or '.join(terms)})"


def _below(root: int, start: str) -> str:
    """An expression for paths that begin with `start`, which ends in "/"; the character after "/" is "0"."""
    if not start:
        return f"root == {root}"
    first, last = (json.dumps(text, ensure_ascii=False) for text in (start, start[:-1] + "0"))
    return f"(root == {root} and path >= {first} and path < {last})"


def _milliseconds(when: datetime) -> int:
    return int(when.replace(tzinfo=UTC).timestamp() * 1000)
