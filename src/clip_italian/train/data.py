"""What a run trains on: pictures, captions, identities and origins of all rows, compact enough for millions of pairs.

Data is read from a pairs file, from a folder of shards, or, for captions alone, from two columns of text.

Texts and ids stay in Arrow's memory and everything else in flat arrays: some 400 bytes a pair while reading, half of it
afterwards. No picture is read here.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from clip_italian import console, pairs
from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.files.digests import hash64
from clip_italian.pairs import Pair, concept
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.text import lines, one_line
from clip_italian.split.draw import connected, held_out
from clip_italian.train.pictures import FilePictures, Pictures
from clip_italian.train.shards import read_shards

Origin = tuple[str, str | None]  # source, and its licence where known

SPLITS = ("train", "val")
OTHERS = "(others)"  # licences of a source beyond the most frequent ones
_MOST_LICENCES = 20
_LEAST_PAIRS = 2
_COLUMNS = ("id", "image", "captions", "split", "captions_original", "source", "license")
_TWO_COLUMNS = (".tsv", ".txt", ".tsv.gz", ".txt.gz")
_CHUNK = 100_000


@dataclass(frozen=True)
class Examples:
    """n training and validation rows.

    `texts` (m,) are the captions of all rows, followed by those from before translation, if the recipe uses them: row i
    has texts `own[i]` to `own[i + 1]` and `original[i]` to `original[i + 1]`, both (n + 1,). With a teacher every
    caption has its original, in the same order. `groups` (n,) is the same number where rows share a caption or the
    picture, with a teacher also an original, and also through others: such rows are no negatives of each other.
    `identities` (n,) is the same where rows show the same picture. `splits` (n,) is a number in `SPLITS`, `origin` (n,)
    one in `origins`.
    """

    pictures: Pictures
    ids: pa.Array
    texts: pa.Array
    own: torch.Tensor
    original: torch.Tensor
    groups: torch.Tensor
    identities: torch.Tensor
    splits: torch.Tensor
    origins: list[Origin]
    origin: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def text(self, i: int) -> str:
        """Text number i."""
        return str(self.texts[i].as_py())

    def texts_of(self, rows: torch.Tensor) -> list[str]:
        """Texts by their numbers."""
        found: list[str] = self.texts.take(pa.array(rows.numpy())).to_pylist()
        return found

    def split_rows(self, name: str) -> torch.Tensor:
        """Rows of a split, in order."""
        return (self.splits == SPLITS.index(name)).nonzero().squeeze(1)

    def captions(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of the captions of some rows, in order, and the place in `rows` that each belongs to; both (k,)."""
        counts = self.own[rows + 1] - self.own[rows]
        owners = torch.repeat_interleave(counts)
        return self.own[rows][owners] + torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners], owners

    def originals(self) -> pa.Array:
        """The captions from before translation, of all rows."""
        return self.texts[int(self.own[-1]) :]

    def pairs(self, rows: torch.Tensor) -> list[Pair]:
        """Rows as pairs, for evaluation: name of the picture, captions and split, without source and licence."""
        chosen = rows.tolist()
        captions = _lists(self.texts, self.own).take(pa.array(rows.numpy())).to_pylist()
        ids = self.ids.take(pa.array(rows.numpy())).to_pylist()
        splits = [SPLITS[code] for code in self.splits[rows].tolist()]
        return [
            Pair(id_, self.pictures.name(row), tuple(some), source="", split=split)
            for row, id_, some, split in zip(chosen, ids, captions, splits, strict=True)
        ]

    def subset(self, rows: torch.Tensor) -> "Examples":
        """Some rows with their texts, renumbered; groups and identities keep their numbers."""
        chosen = pa.array(rows.numpy())
        texts, own, original = _join(
            _lists(self.texts, self.own).take(chosen), _lists(self.texts, self.original).take(chosen)
        )
        return Examples(
            self.pictures.subset(rows), self.ids.take(chosen), texts, own, original,
            self.groups[rows], self.identities[rows], self.splits[rows], self.origins, self.origin[rows],
        )  # fmt: skip

    def sources(self, rows: torch.Tensor) -> list[dict[str, Any]]:
        """Sources of some rows: see `count_origins`."""
        captions = self.own[rows + 1] - self.own[rows]
        return count_origins(self.origins, self.origin[rows], self.identities[rows], captions)

    def same_where(self, keys: np.ndarray) -> "Examples":
        """The same rows, of which those with equal `keys` (n,), such as content hashes, show the same picture."""
        identities = _components(len(self), [self.identities.numpy(), _numbered(keys)])
        return replace(
            self,
            identities=torch.from_numpy(identities),
            groups=torch.from_numpy(_components(len(self), [self.groups.numpy(), identities])),
        )

    def fingerprint(self) -> str:
        """Hex digest of ids, captions and splits in order: identifies the data that a model was trained on."""
        return pairs.fingerprint_of(self._rows())

    def _rows(self) -> Iterator[tuple[str, list[str], str]]:
        """Id, captions and split of each row."""
        captions = _lists(self.texts, self.own)
        for start in range(0, len(self), _CHUNK):
            some = slice(start, start + _CHUNK)
            columns = self.ids[some].to_pylist(), captions[some].to_pylist(), self.splits[some].tolist()
            for id_, texts, split in zip(*columns, strict=True):
                yield id_, texts, SPLITS[split]


def load_examples(recipe: Recipe) -> Examples:
    """Training and validation rows of the recipe's pairs file, of its folder of shards, or of its two columns of text.

    Where no row names a split, a share of the identities is held out, drawn by the recipe's seed. With a teacher, rows
    without an original for each caption are left out, with a notice. Raises UserError where the file or a shard is
    missing or damaged, a caption is empty, a picture is needed and not downloaded, or a split has too few rows.
    """
    place = recipe.data.pairs
    rows: pa.Table
    pictures: Pictures
    if place.is_dir():
        rows, pictures = read_shards(place)
    elif place.name.endswith(_TWO_COLUMNS):
        rows, pictures = _read_two_columns(place, recipe.reads_pictures)
    else:
        rows, pictures = _read_pairs_file(place, recipe.reads_pictures)
    if recipe.model.teacher is not None:
        translated = _translated(rows, place)
        rows, pictures = rows.take(pa.array(translated)), pictures.subset(torch.from_numpy(translated))
    splits = rows["split"].combine_chunks()
    named = pc.not_equal(pc.fill_null(splits, ""), "")
    if pc.any(named).as_py():
        wanted = np.flatnonzero(pc.is_in(splits, pa.array(SPLITS, splits.type)).to_numpy(zero_copy_only=False))
        if len(wanted) < len(rows):
            rows, pictures = rows.take(pa.array(wanted)), pictures.subset(torch.from_numpy(wanted))
        splits = rows["split"].combine_chunks()
        codes = pc.index_in(splits, pa.array(SPLITS, splits.type)).to_numpy(zero_copy_only=False).astype(np.uint8)
    else:
        codes = None
    captions = _large(rows["captions"])
    originals = _large(rows["captions_original"])
    if recipe.data.original_captions == 0 and recipe.model.teacher is None:
        originals = pa.array([[]], originals.type).take(pa.array(np.zeros(len(rows), np.int64)))
    identities = _numbered(_large(rows["image"]))
    shown = [captions] if recipe.model.teacher is None else [captions, originals]  # what says that rows are alike
    groups = _components(len(rows), [identities], shown)
    ids = _large(rows["id"])
    if codes is None:
        held = held_out(groups.tolist(), ids.to_pylist(), recipe.data.validation, str(recipe.seed))
        codes = np.array(held, np.uint8)
    texts, own, original = _join(captions, originals)
    found = Examples(
        pictures, ids, texts, own, original,
        torch.from_numpy(groups), torch.from_numpy(identities), torch.from_numpy(codes), *number_origins(rows),
    )  # fmt: skip
    require_enough(found, place)
    return found


def require_enough(examples: Examples, place: Path, what: str = "pairs") -> None:
    """Raise UserError where a split has too few rows to train on."""
    for name in SPLITS:
        count = len(examples.split_rows(name))
        if count < _LEAST_PAIRS:
            raise UserError(f"{place}: {count} {what} in split {name!r}, too few to train on")


def _read_pairs_file(path: Path, need_pictures: bool) -> tuple[pa.Table, FilePictures]:
    parts = []
    first = 1
    for batch in pairs.batches(path):
        _check(batch, path, first, need_pictures)
        first += len(batch)
        parts.append(batch.select(_COLUMNS))
    if not parts:
        raise UserError(f"{path}: the pairs file is empty; collect some pairs first (clip-italian collect --help)")
    rows = pa.Table.from_batches(parts)
    return rows, FilePictures(_large(rows["image"]), path.parent)


def _read_two_columns(path: Path, need_pictures: bool) -> tuple[pa.Table, FilePictures]:
    """Rows of a text file of originals and translations, divided by a tab; empty lines are skipped.

    Ids are line numbers. So are the names of pictures, of which there are none: each row is a picture of its own.
    """
    if need_pictures:
        raise UserError(
            f"{path}: two columns of text have no pictures; give a pairs file, or a recipe with a teacher and without "
            "loss.pictures (clip-italian train distil)"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file; give lines of an original, a tab and its translation")
    numbers, originals, translations = [], [], []
    for line in lines(path):
        if isinstance(line, Reject):
            raise UserError(f"{path}: {line.reason} ({line.detail}); fix or remove the line")
        if not line.text.strip():
            continue
        texts = [one_line(text) for text in line.text.split("\t")]
        if len(texts) != 2 or not all(texts):
            raise UserError(
                f"{path}, line {line.number}: not two texts divided by a tab (original, translation); fix or remove it"
            )
        numbers.append(str(line.number))
        originals.append([texts[0]])
        translations.append([texts[1]])
    if not numbers:
        raise UserError(f"{path}: the file is empty; give lines of an original, a tab and its translation")
    nothing = pa.nulls(len(numbers), pa.string())
    source = pa.array([path.name.split(".")[0]] * len(numbers))
    columns = [pa.array(numbers), pa.array(numbers), pa.array(translations), nothing, pa.array(originals)]
    rows = pa.Table.from_arrays([*columns, source, nothing], names=_COLUMNS)
    return rows, FilePictures(_large(rows["image"]), path.parent)


def _translated(rows: pa.Table, place: Path) -> np.ndarray:
    """Numbers of the rows that have a text from before translation for each caption."""
    captions, originals = _large(rows["captions"]), _large(rows["captions_original"])
    counts = pc.list_value_length(originals).to_numpy()
    whole = (counts > 0) & (counts == pc.list_value_length(captions).to_numpy())
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(originals.flatten(), "")), "")
    whole[pc.list_parent_indices(originals).to_numpy()[blank.to_numpy(zero_copy_only=False)]] = False
    if not whole.any():
        raise UserError(
            f"{place}: no captions with their originals (captions_original) for the teacher to read; "
            "run clip-italian translate first, or give two columns of text (original, tab, translation)"
        )
    if not whole.all():
        missing = f"{np.count_nonzero(~whole):,} of {len(whole):,} rows"
        console.notice(f"{place}: {missing} are left out, since they lack an original for each caption")
    found: np.ndarray = np.flatnonzero(whole)
    return found


def _check(batch: pa.RecordBatch, path: Path, first: int, need_pictures: bool) -> None:
    """Raise UserError for a row with an empty caption, or with a URL for a picture that is needed."""
    captions = batch.column("captions")
    empty = pc.equal(pc.list_value_length(captions), 0).to_numpy(zero_copy_only=False)
    texts = captions.flatten()
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(texts, "")), "").to_numpy(zero_copy_only=False)
    if blank.any():
        empty[pc.list_parent_indices(captions).to_numpy()[blank]] = True
    if empty.any():
        row = int(empty.argmax())
        image = batch.column("image")[row].as_py()
        raise UserError(f"{path}, row {first + row}: image {image!r} has an empty caption; remove it or the pair")
    if not need_pictures:
        return
    behind = pc.match_substring(batch.column("image"), "://").to_numpy(zero_copy_only=False)
    if behind.any():
        image = batch.column("image")[int(behind.argmax())].as_py()
        raise UserError(f"{path}: {image} is not on this machine; get the pictures by clip-italian fetch")


def _components(count: int, keys: Sequence[np.ndarray], texts: Sequence[pa.Array] = ()) -> np.ndarray:
    """(count,) int64: connected components of rows that share a key (numbers from 0) or a text in one of the lists."""
    links = [(np.arange(count), key) for key in keys]
    links += [(pc.list_parent_indices(some).to_numpy(), _concepts(some.flatten())) for some in texts]
    return connected(count, links)


def _concepts(texts: pa.Array) -> np.ndarray:
    """A number from 0 per text, the same for texts of one concept."""
    distinct = texts.dictionary_encode()
    keys = np.fromiter((hash64(concept(text)) for text in _each(distinct.dictionary)), np.uint64)
    return _numbered(keys)[distinct.indices.to_numpy()]


def _each(texts: pa.Array) -> Iterator[str]:
    for start in range(0, len(texts), _CHUNK):
        yield from texts[start : start + _CHUNK].to_pylist()


def _numbered(keys: np.ndarray | pa.Array) -> np.ndarray:
    """Numbers from 0, the same for equal keys."""
    if isinstance(keys, pa.Array):
        return np.asarray(keys.dictionary_encode().indices.to_numpy(), np.int64)
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)


def _large(column: pa.ChunkedArray) -> pa.Array:
    """A column of strings or of lists of them in one piece, with offsets of 64 bits; no list is null."""
    if not pa.types.is_list(column.type):
        return column.cast(pa.large_string()).combine_chunks()
    return pc.fill_null(column.cast(pa.large_list(pa.large_string())).combine_chunks(), [])


def _lists(texts: pa.Array, offsets: torch.Tensor) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(offsets.numpy()), texts)


def _join(own: pa.Array, original: pa.Array) -> tuple[pa.Array, torch.Tensor, torch.Tensor]:
    """All texts of two arrays of lists, and the offsets of each list in them."""
    texts = pa.concat_arrays([own.flatten(), original.flatten()])
    first = _offsets(own)
    return texts, first, _offsets(original) + first[-1]


def _offsets(lists: pa.Array) -> torch.Tensor:
    lengths = torch.from_numpy(pc.list_value_length(lists).to_numpy().astype(np.int64))
    return torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


def number_origins(rows: pa.Table) -> tuple[list[Origin], torch.Tensor]:
    """The distinct origins of rows with `source` and `license`, and the number of each row's origin (n,) int32."""
    source, licence = (
        pc.fill_null(rows[name].cast(pa.large_string()), "").combine_chunks().dictionary_encode()
        for name in ("source", "license")
    )
    both = source.indices.to_numpy().astype(np.int64) * len(licence.dictionary) + licence.indices.to_numpy()
    known, which = np.unique(both, return_inverse=True)
    names, licences = source.dictionary.to_pylist(), licence.dictionary.to_pylist()
    origins = [(names[one // len(licences)], licences[one % len(licences)] or None) for one in known.tolist()]
    return origins, torch.from_numpy(which.astype(np.int32))


def count_origins(
    origins: list[Origin], which: torch.Tensor, pictures: torch.Tensor, captions: torch.Tensor
) -> list[dict[str, Any]]:
    """Distinct pictures, captions, and pictures by licence ("" where unknown) of each source.

    Of n rows: the number of the origin (`which`), of the picture, and the count of captions, (n,) each.
    """
    first = np.zeros(len(pictures), bool)
    first[np.unique(pictures.numpy(), return_index=True)[1]] = True  # a picture counts where it comes first
    by_origin = [np.bincount(which.numpy(), values, len(origins)).astype(int) for values in (first, captions.numpy())]
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    licences: dict[str, Counter[str]] = defaultdict(Counter)
    for (source, licence), images, texts in zip(origins, *by_origin, strict=True):
        if not images and not texts:
            continue
        sums[source][0] += int(images)
        sums[source][1] += int(texts)
        licences[source][licence or ""] += int(images)
    return [
        {"source": source, "pictures": images, "captions": texts, "licenses": _most_frequent(licences[source])}
        for source, (images, texts) in sums.items()
    ]


def _most_frequent(counts: Counter[str]) -> dict[str, int]:
    shown = dict(counts.most_common(_MOST_LICENCES))
    rest = counts.total() - sum(shown.values())
    return shown | ({OTHERS: rest} if rest else {})
