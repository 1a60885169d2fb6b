"""Vectors and rows in a Milvus collection (extra `milvus`), for more pictures than one machine should hold.

The index folder keeps index.json: model, folders, and `store`, the collection's address: `milvus://HOST:PORT/COLLECTION`
on a server (its token in MILVUS_TOKEN), or `milvus:///FOLDER/FILE.db/COLLECTION` in a file of Milvus Lite.

A collection has no generations: readers see the rows of an update arrive one by one. A killed update leaves some of
them, and the same update resumes there. Row numbers are derived from ids, so that writing a row twice changes nothing.
"""

import hashlib
import json
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
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
from clip_italian.search import metadata
from clip_italian.search.commit import StoreWriter, VectorSource
from clip_italian.search.engine import halved
from clip_italian.search.filters import Filter, Near
from clip_italian.search.schema import EXISTING, ROWS, Manifest, Row, moment
from clip_italian.search.storage import LackingError, Match, NamedMatch, Store, write_manifest

_BATCH = 500
_MOST = 16_384  # Milvus returns no more hits at once
_TEXT_BYTES = 65_535  # Milvus stores no longer text
_VECTOR = "vector"
_BINARY = ("sha256", "look")  # stored as hexadecimal text
_LISTS = ("keywords",)  # stored as JSON
# Fields that a hit shows, see `schema.Row`.
_SHOWN = ("row", "id", "root", "path", "offset", "length", "look", "taken", "latitude", "longitude")
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
    def columns(self) -> list[str]:
        """The columns of `schema.ROWS` that it has: an older version of the package stored fewer."""
        with self.one_line_errors():
            fields = {field["name"] for field in self.client.describe_collection(self.name)["fields"]}
        return [name for name in ROWS.names if name in fields]

    def create(self, manifest: Manifest) -> None:
        """Create an empty collection for this model; it replaces an existing one."""
        from pymilvus import DataType, MilvusClient

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
        schema.add_field(f"{_MARK}{manifest.model}", DataType.VARCHAR, max_length=1, nullable=True)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=manifest.dim)
        kind = MilvusClient.prepare_index_params()
        kind.add_index(_VECTOR, index_type="FLAT" if manifest.exact else "AUTOINDEX", metric_type="COSINE")
        with self.one_line_errors():
            self.client.drop_collection(self.name)
            self.client.create_collection(self.name, schema=schema, index_params=kind, consistency_level="Strong")
        self.__dict__.pop("columns", None)

    def rows(self, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """All rows, some hundred at a time; those of the columns that it has, and the vector if asked for."""
        there = [name for name in columns if name in self.columns or name == _VECTOR]
        with self.one_line_errors():
            found = self.client.query_iterator(
                self.name, batch_size=_BATCH, filter="row >= 0", output_fields=["row", *there]
            )
            while some := found.next():
                yield list(some)
            found.close()

    def count(self) -> int:
        """The number of rows."""
        with self.one_line_errors():
            return int(self.client.query(self.name, filter="", output_fields=["count(*)"])[0]["count(*)"])


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
        return cls(collection, manifest)

    def __len__(self) -> int:
        return self._collection.count()

    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Match]:
        if exact and not self._manifest.exact:
            raise UsageError(f"{self._manifest.store}: Milvus looks at every vector only if built with --exact")
        if k > _MOST:
            raise UserError(f"{self._manifest.store}: Milvus gives the best {_MOST:,} at most, not {k:,}")
        if where and not set(where.columns) <= set(self._collection.columns):
            assert self._manifest.store is not None
            what = f"made by an older version, it has no {where.columns[-1]} to filter by"
            raise LackingError(self._manifest.store, f"{what}; build the index into another collection")
        condition = expression(where, self._manifest.roots) if where else ""
        if condition is None:
            return []
        wanted = k
        while True:
            found = self._nearest(query, wanted, condition)
            good = (
                found
                if where is None or where.near is None
                else [one for one in found if _is_inside(where.near, one.row)]
            )
            if len(good) >= k or len(found) < wanted or wanted == _MOST:
                return good[:k]
            wanted = min(2 * wanted + 32, _MOST)

    def _nearest(self, query: np.ndarray, k: int, condition: str) -> list[Match]:
        fields = [name for name in _SHOWN if name in self._collection.columns]
        with self._collection.one_line_errors():
            (hits,) = self._collection.client.search(
                self._collection.name, data=[query.tolist()], limit=k, filter=condition, output_fields=fields
            )
        return [Match(row_of(hit["entity"]), float(hit["distance"])) for hit in hits]

    has_words = False

    def matching(
        self, words: Sequence[str], query: np.ndarray | None, k: int, where: Filter | None = None
    ) -> list[NamedMatch]:
        raise UserError(f"{self._manifest.store}: words are searched in index folders only, not in Milvus")

    def row(self, number: int) -> Row | None:
        with self._collection.one_line_errors():
            found = self._collection.client.get(self._collection.name, ids=[number])
        return row_of(found[0]) if found else None

    def vector(self, number: int) -> np.ndarray | None:
        found = self._get(number, [_VECTOR])
        return np.array(found[_VECTOR], np.float32) if found else None

    def fields(self, number: int, columns: Sequence[str]) -> dict[str, Any] | None:
        found = self._get(number, [name for name in columns if name in self._collection.columns])
        row: dict[str, Any] | None = table_of([found], columns).to_pylist()[0] if found else None
        return row

    def _get(self, number: int, columns: Sequence[str]) -> Mapping[str, Any] | None:
        """Columns of the entity with this number."""
        with self._collection.one_line_errors():
            found = self._collection.client.get(self._collection.name, ids=[number], output_fields=list(columns))
        return found[0] if found else None

    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for some in self._collection.rows([*columns, _VECTOR]):
            yield table_of(some, columns), halved(np.array([row[_VECTOR] for row in some], np.float32))

    def sample(self, count: int) -> np.ndarray:
        with self._collection.one_line_errors():
            found = self._collection.client.query(
                self._collection.name, filter="row >= 0", limit=count, output_fields=[_VECTOR]
            )
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
        self._numbers: list[int] = []

    def existing(self) -> Iterator[pa.Table]:
        self._numbers = []
        for some in self._collection.rows([name for name in ROWS.names if name != "row"]):
            first = len(self._numbers)
            self._numbers += [row["row"] for row in some]
            table = table_of(some, ROWS.names)
            table = table.append_column("store", pa.array([0] * len(table), pa.int32()))
            positions = pa.array(range(first, first + len(table)), pa.int64())
            yield table.append_column("pos", positions).select(EXISTING.names).cast(EXISTING)

    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        written: set[int] = set()
        file = pq.ParquetFile(new) if new else None
        source = VectorSource([], parts)
        with console.progress("rows", file.metadata.num_rows if file else 0) as advance:
            for batch in file.iter_batches(_BATCH) if file else ():
                table = metadata.completed(pa.Table.from_batches([batch]), before.roots)
                rows = [self._stored(entity_of(row)) for row in table.to_pylist()]
                vectors = self._vectors(batch["store"].to_numpy(), batch["pos"].to_numpy(), source, before.dim)
                data = [row | {_VECTOR: vector.tolist()} for row, vector in zip(rows, vectors, strict=True)]
                with self._collection.one_line_errors():
                    self._collection.client.upsert(self._collection.name, data)
                written.update(row["row"] for row in rows)
                advance(len(rows))
        doomed = [number for number in (self._numbers[at] for at in gone.get(0, ())) if number not in written]
        for start in range(0, len(doomed), _BATCH):
            with self._collection.one_line_errors():
                self._collection.client.delete(self._collection.name, ids=doomed[start : start + _BATCH])
        with self._collection.one_line_errors():
            self._collection.client.flush(self._collection.name)
        change = {"generation": before.generation + 1, "pictures": self._collection.count(), "segments": []}
        after = before.model_copy(update=change)
        write_manifest(self._folder, after)
        return after

    def _stored(self, entity: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in entity.items() if name in self._collection.columns}

    def _vectors(self, stores: np.ndarray, positions: np.ndarray, source: VectorSource, dim: int) -> np.ndarray:
        found = np.empty((len(stores), dim), np.float32)
        inside = stores == 0
        found[~inside] = source.half(stores[~inside] - 1, positions[~inside], dim)
        if inside.any():
            numbers = [self._numbers[at] for at in positions[inside]]
            with self._collection.one_line_errors():
                rows = self._collection.client.get(
                    self._collection.name, ids=list(set(numbers)), output_fields=["row", _VECTOR]
                )
            by_number = {row["row"]: row[_VECTOR] for row in rows}
            found[inside] = [by_number[number] for number in numbers]
        return found


def row_number(id_: str) -> int:
    """A number of 63 bits derived from an id."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest()) >> 1


def entity_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `schema.EXISTING` as Milvus stores it; raises UserError for a text that is too long."""
    data = {name: row[name] for name in ROWS.names if name != "row"} | {"row": row_number(row["id"])}
    data |= {name: row[name].hex() if row[name] else None for name in _BINARY}
    data |= {name: None if row[name] is None else json.dumps(row[name], ensure_ascii=False) for name in _LISTS}
    data["taken"] = _milliseconds(row["taken"]) if row["taken"] else None
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

    `near` is a box around the circle. Cameras and keywords are found in the case that is given, in lower and in upper
    case, and with capitals at the beginning.
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
        terms.append(_any([_contains("camera", form) for form in _cases(where.camera)]))
    for word in where.keywords:
        quoted = (json.dumps(form, ensure_ascii=False) for form in _cases(word))
        terms.append(_any([_contains("keywords", form) for form in quoted]))
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


def _cases(text: str) -> list[str]:
    """A text in the cases and Unicode forms in which it may be stored: Milvus compares bytes."""
    cases = (text, text.lower(), text.upper(), text.capitalize(), text.title())
    return list(dict.fromkeys(form for case in cases for form in _unicode_forms(case)))


def _contains(field: str, text: str) -> str:
    """An expression for fields that contain a text, which may have the wildcards of patterns in it."""
    pattern = re.sub(r"([\\%_])", r"\\\1", text)
    return f"{field} like {json.dumps(f'%{pattern}%', ensure_ascii=False)}"


def _is_inside(near: Near, row: Row) -> bool:
    if row.latitude is None or row.longitude is None:
        return False
    return bool(near.mask(np.array([row.latitude]), np.array([row.longitude]))[0])


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
