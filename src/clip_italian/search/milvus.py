"""Vectors and rows in a Milvus collection (extra `milvus`), for more pictures than one machine should hold.

The index folder keeps index.json: model, folders, and `store`, the collection's address: `milvus://HOST:PORT/COLLECTION`
on a server (its token in MILVUS_TOKEN), or `milvus:///FOLDER/FILE.db/COLLECTION` in a file of Milvus Lite.

A collection has no generations: readers see rows of an update come one after another. A killed one leaves some of
them, and the same update goes on. Row numbers are made of ids, so that writing a row twice changes nothing.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, privacy
from clip_italian.errors import UsageError, UserError
from clip_italian.search import manifest
from clip_italian.search.commit import Sources
from clip_italian.search.filters import Filter
from clip_italian.search.manifest import Manifest
from clip_italian.search.milvus_rows import TEXT_BYTES, expression, name_of, stored, table_of
from clip_italian.search.plan import EXISTING
from clip_italian.search.rows import SCHEMA, Name
from clip_italian.search.store import Found
from clip_italian.search.vectors import from_bf16, to_bf16

_BATCH = 500
_MOST = 16_384  # hits that Milvus gives at once
_VECTOR = "vector"
# An empty field by whose name a collection is known as ours, and its model: Milvus Lite keeps no descriptions.
_MARK = "clip_italian_model_"


class Collection:
    """A connection to one collection."""

    def __init__(self, address: str) -> None:
        try:
            from pymilvus import MilvusClient, MilvusException
        except ImportError as error:
            raise UserError('--store milvus://… needs pymilvus: pip install "clip-italian[milvus]"') from error
        for name in ("pymilvus", "grpc"):  # they write tracebacks beside what they raise
            logging.getLogger(name).setLevel(logging.CRITICAL)
        parts = urlsplit(address)
        place, _, self.name = parts.path.rpartition("/")
        if parts.scheme != "milvus" or not self.name or (parts.netloc and place) or not (parts.netloc or place):
            raise UsageError(f"{address}: give milvus://HOST:PORT/COLLECTION, or milvus:///FOLDER/FILE.db/COLLECTION")
        if parts.netloc:
            privacy.refuse_offline(address, "use milvus:///FOLDER/FILE.db/COLLECTION", address)
        self.address = address
        self._failure = MilvusException
        with self.asked():
            uri = f"http://{parts.netloc}" if parts.netloc else place
            self.client = MilvusClient(uri=uri, token=os.environ.get("MILVUS_TOKEN", ""), timeout=60)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What Milvus refuses becomes one line."""
        try:
            yield
        except self._failure as error:
            reason = " ".join(str(getattr(error, "message", error)).split())[:300]
            raise UserError(f"{self.address}: Milvus says: {reason}") from error

    def model(self) -> str | None:
        """The hash of the model that the collection was made with, None without a collection.

        Raises UserError for a collection that is none of ours.
        """
        with self.asked():
            if not self.client.has_collection(self.name):
                return None
            fields = self.client.describe_collection(self.name)["fields"]
        marks = [field["name"] for field in fields if field["name"].startswith(_MARK)]
        if not marks:
            raise UserError(f"{self.address}: holds something else; choose another collection")
        return str(marks[0].removeprefix(_MARK))

    def create(self, settings: Manifest) -> None:
        """An empty collection for this model, in the place of one that is there."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        for field in SCHEMA:
            if field.name == "row":
                schema.add_field("row", DataType.INT64, is_primary=True)
            elif pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type):
                schema.add_field(field.name, DataType.INT64, nullable=field.nullable)
            else:
                schema.add_field(field.name, DataType.VARCHAR, max_length=TEXT_BYTES, nullable=field.nullable)
        schema.add_field(f"{_MARK}{settings.model}", DataType.VARCHAR, max_length=1, nullable=True)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=settings.dim)
        kind = MilvusClient.prepare_index_params()
        kind.add_index(_VECTOR, index_type="FLAT" if settings.exact else "AUTOINDEX", metric_type="COSINE")
        with self.asked():
            self.client.drop_collection(self.name)
            self.client.create_collection(self.name, schema=schema, index_params=kind, consistency_level="Strong")

    def rows(self, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """All rows, some hundred at a time."""
        with self.asked():
            found = self.client.query_iterator(
                self.name, batch_size=_BATCH, filter="row >= 0", output_fields=["row", *columns]
            )
            while some := found.next():
                yield list(some)
            found.close()

    def count(self) -> int:
        """Rows that are there."""
        with self.asked():
            return int(self.client.query(self.name, filter="", output_fields=["count(*)"])[0]["count(*)"])


class MilvusStore:
    """See `store.Store`."""

    def __init__(self, collection: Collection, settings: Manifest) -> None:
        self._collection = collection
        self._settings = settings

    @classmethod
    def open(cls, settings: Manifest) -> Self:
        """Connect; raises UserError where Milvus or the collection is not there, or of another model."""
        assert settings.store is not None
        collection = Collection(settings.store)
        if collection.model() != settings.model:
            raise UserError(f"{settings.store}: this collection is gone, or was filled anew; build the index again")
        return cls(collection, settings)

    def __len__(self) -> int:
        return self._collection.count()

    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Found]:
        if exact and not self._settings.exact:
            raise UsageError(f"{self._settings.store}: Milvus looks at every vector only if built with --exact")
        if k > _MOST:
            raise UserError(f"{self._settings.store}: Milvus gives the best {_MOST:,} at most, not {k:,}")
        condition = expression(where, self._settings.roots) if where else ""
        if condition is None:
            return []
        fields = ["row", "id", "root", "path", "offset", "length", "look"]
        with self._collection.asked():
            (hits,) = self._collection.client.search(
                self._collection.name, data=[query.tolist()], limit=k, filter=condition, output_fields=fields
            )
        return [Found(name_of(hit["entity"]), float(hit["distance"])) for hit in hits]

    def name(self, row: int) -> Name | None:
        with self._collection.asked():
            found = self._collection.client.get(self._collection.name, ids=[row])
        return name_of(found[0]) if found else None

    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for some in self._collection.rows([*columns, _VECTOR]):
            yield table_of(some, columns), to_bf16(np.array([row[_VECTOR] for row in some], np.float32))

    def sample(self, count: int) -> np.ndarray:
        with self._collection.asked():
            found = self._collection.client.query(
                self._collection.name, filter="row >= 0", limit=count, output_fields=[_VECTOR]
            )
        return np.array([row[_VECTOR] for row in found], np.float32)


class MilvusBackend:
    """See `store.Backend`: one store, whose rows are known by their numbers."""

    stores = 1

    def __init__(self, folder: Path, settings: Manifest, empty: bool) -> None:
        assert settings.store is not None
        self._folder = folder
        self._collection = Collection(settings.store)
        there = self._collection.model()
        # Without an index.json, rows of this model are those that a killed run left.
        if there is None or (empty and there != settings.model):
            self._collection.create(settings)
        self._numbers: list[int] = []

    def existing(self) -> Iterator[pa.Table]:
        self._numbers = []
        for some in self._collection.rows([name for name in SCHEMA.names if name != "row"]):
            first = len(self._numbers)
            self._numbers += [row["row"] for row in some]
            table = table_of(some, SCHEMA.names)
            table = table.append_column("store", pa.array([0] * len(table), pa.int32()))
            positions = pa.array(range(first, first + len(table)), pa.int64())
            yield table.append_column("pos", positions).select(EXISTING.names).cast(EXISTING)

    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        written: set[int] = set()
        file = pq.ParquetFile(new) if new else None
        sources = Sources([], parts)
        with console.progress("rows", file.metadata.num_rows if file else 0) as advance:
            for batch in file.iter_batches(_BATCH) if file else ():
                rows = [stored(row) for row in batch.to_pylist()]
                vectors = self._vectors(batch["store"].to_numpy(), batch["pos"].to_numpy(), sources, before.dim)
                data = [row | {_VECTOR: vector.tolist()} for row, vector in zip(rows, vectors, strict=True)]
                with self._collection.asked():
                    self._collection.client.upsert(self._collection.name, data)
                written.update(row["row"] for row in rows)
                advance(len(rows))
        doomed = [number for number in (self._numbers[at] for at in gone.get(0, ())) if number not in written]
        for start in range(0, len(doomed), _BATCH):
            with self._collection.asked():
                self._collection.client.delete(self._collection.name, ids=doomed[start : start + _BATCH])
        with self._collection.asked():
            self._collection.client.flush(self._collection.name)
        change = {"generation": before.generation + 1, "pictures": self._collection.count(), "segments": []}
        after = before.model_copy(update=change)
        manifest.commit(self._folder, after)
        return after

    def _vectors(self, stores: np.ndarray, positions: np.ndarray, sources: Sources, dim: int) -> np.ndarray:
        found = np.empty((len(stores), dim), np.float32)
        inside = stores == 0
        found[~inside] = from_bf16(sources.bits(stores[~inside] - 1, positions[~inside], dim))
        if inside.any():
            numbers = [self._numbers[at] for at in positions[inside]]
            with self._collection.asked():
                rows = self._collection.client.get(
                    self._collection.name, ids=list(set(numbers)), output_fields=["row", _VECTOR]
                )
            by_number = {row["row"]: row[_VECTOR] for row in rows}
            found[inside] = [by_number[number] for number in numbers]
        return found
