"""Rows of an index as Milvus keeps them, and filters in its language."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from clip_italian.errors import UserError
from clip_italian.search.filters import Filter
from clip_italian.search.rows import SCHEMA, Name

TEXT_BYTES = 65_535  # the most that a text field takes
_BINARY = ("sha256", "look")


def row_number(id_: str) -> int:
    """A number of 63 bits made of an id."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest()) >> 1


def expression(where: Filter, roots: Sequence[str]) -> str | None:
    """A filter in Milvus' language; None for one that nothing can pass."""
    terms = [
        _any([f"{name} == {json.dumps(form, ensure_ascii=False)}" for form in _forms(value)])
        for name, value in where.texts
    ]
    if where.first:
        terms.append(f"taken >= {_milliseconds(where.first.isoformat())}")
    if where.last:
        terms.append(f"taken < {_milliseconds(where.last.isoformat()) + 1}")
    if where.folder is not None:
        places = [_below(number, form) for number, start in where.starts(roots) for form in _forms(start)]
        if not places:
            return None
        terms.append(f"({' or '.join(places)})")
    return " and ".join(terms)


def _forms(text: str) -> list[str]:
    """A text in both Unicode forms, as Milvus compares bytes."""
    return list(dict.fromkeys([text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]))


def _any(terms: Sequence[str]) -> str:
    return terms[0] if len(terms) == 1 else f"({' or '.join(terms)})"


def _below(root: int, start: str) -> str:
    """Paths that begin with `start`, which ends in "/": those from there up to the next character, "0"."""
    if not start:
        return f"root == {root}"
    first, last = (json.dumps(text, ensure_ascii=False) for text in (start, start[:-1] + "0"))
    return f"(root == {root} and path >= {first} and path < {last})"


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def name_of(entity: Mapping[str, Any]) -> Name:
    """The name of a row as Milvus gives it."""
    look = entity.get("look")
    return Name(
        entity["row"], entity["id"], entity["root"], entity["path"], entity.get("offset"), entity.get("length"),
        bytes.fromhex(look) if look else None,
    )  # fmt: skip


def stored(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `plan.EXISTING` as Milvus keeps it; raises UserError for a text that is too long for it."""
    data = {name: row[name] for name in SCHEMA.names if name != "row"} | {"row": row_number(row["id"])}
    data |= {name: row[name].hex() if row[name] else None for name in _BINARY}
    data["taken"] = _milliseconds(row["taken"].isoformat()) if row["taken"] else None
    for name, value in data.items():
        if isinstance(value, str) and len(value.encode()) > TEXT_BYTES:
            raise UserError(
                f"{row['id'][:100]}: its {name} has more than {TEXT_BYTES:,} bytes, which Milvus does not take"
            )
    return data


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    """Rows as Milvus gives them as a table of columns of `SCHEMA`."""
    arrays = []
    for name in columns:
        values = [row.get(name) for row in rows]
        if name in _BINARY:
            values = [bytes.fromhex(value) if value else None for value in values]
        arrays.append(pa.array(values, SCHEMA.field(name).type))
    return pa.table(arrays, schema=pa.schema([SCHEMA.field(name) for name in columns]))
