"""`build`, `add`, `remove` and `compact`: from one generation of an index to the next, one writer at a time.

Embeddings are kept in parts beside the index (`IDX.parts/`) until the new generation is there: killed at any moment,
the index is as before, and the same or another update of it goes on with what was embedded.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console
from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored
from clip_italian.pictures.walk import Aside, Choice
from clip_italian.pipeline import parts
from clip_italian.pipeline.database import database
from clip_italian.pipeline.rejects import Reject, read_rejects
from clip_italian.search import embed, exchange, inputs, manifest
from clip_italian.search.commit import LocalBackend
from clip_italian.search.embed import Embed, PictureEncoder
from clip_italian.search.index import Index
from clip_italian.search.inputs import Entry, Roots
from clip_italian.search.local import LocalStore
from clip_italian.search.manifest import Manifest
from clip_italian.search.plan import EXISTING, Plan, write_scan
from clip_italian.search.selection import Absent, absent, check_roots, selected
from clip_italian.search.store import Backend
from clip_italian.search.vectors import to_bf16

# Pictures of a part, and most parts of a run: what a kill may cost.
PART = 256
_MOST_PARTS = 4_096


@dataclass(frozen=True)
class Change:
    """What an update did: pictures now in the index; new rows, of them embedded now; rows gone; what was left out.

    `aside` is what its folders hold beside pictures, `unmatched` are names that no picture has, `kept` folders that
    vanished as a whole, whose rows stay.
    """

    pictures: int
    added: int = 0
    embedded: int = 0
    removed: int = 0
    left_out: tuple[Reject, ...] = ()
    aside: Aside = field(default_factory=Aside)
    unmatched: tuple[str, ...] = ()
    kept: tuple[Absent, ...] = ()


@dataclass(frozen=True)
class Model:
    """The encoder of an index, and the name by which another machine or session loads it."""

    encoder: PictureEncoder
    name: str


def build(
    folder: Path, sources: Sequence[Path], model: Model, exact: bool = False, store: str | None = None,
    ray: str | None = None, pictures: Path | None = None, force: bool = False,
    exclude: Sequence[str] | None = None, hidden: bool | None = None,
) -> Change:  # fmt: skip
    """Make the index in `folder` hold what the inputs hold, and nothing else.

    What it holds already is not embedded again, unless it was made with another model. `pictures` is the folder that
    paths in embeddings start at; `ray` the address of a cluster that embeds the pictures. Rows of a folder that
    vanished as a whole stay and are reported, as its disk may be missing; `force` removes them. `exclude` and `hidden`
    are those of `walk.Choice`, None: as the index has it; they stay with the index. Raises UserError where no picture
    can be read; then, and after a kill, the index is as before.
    """
    sources = [as_stored(source) for source in sources]
    with _room(folder, model) as room:
        before = _before(folder)
        same = before is not None and before.model == model.encoder.weights_hash and before.store == store
        settings = _settings(before, model, exact, store, sources)
        settings = _chosen(settings, before, exclude, hidden)
        if before is not None and same:
            settings = settings.model_copy(update={"calibration": before.calibration})
        backend = _backend(folder, before if same else None, settings)
        return _update(folder, room, settings, backend, sources, Roots(), model, ray, pictures, True, force)


def add(
    folder: Path, sources: Sequence[Path], model: Model, ray: str | None = None, pictures: Path | None = None,
    exclude: Sequence[str] = (), hidden: bool | None = None,
) -> Change:  # fmt: skip
    """Add what the inputs hold to the index in `folder`; pictures that changed are embedded anew.

    `exclude` is added to the patterns of the index, `hidden` replaces its choice (None: as it is).
    Raises UserError where there is no index, or another model made it.
    """
    sources = [as_stored(source) for source in sources]
    index = Index.open(folder)
    if index.manifest.model != model.encoder.weights_hash:
        raise UserError(f"{folder}: made with another model ({index.manifest.model_name}); add with that one")
    with _room(folder, model) as room:
        before = manifest.read(folder)
        names = [str(source.resolve()) for source in sources]
        settings = before.model_copy(update={"inputs": list(dict.fromkeys([*before.inputs, *names]))})
        settings = _chosen(settings, before, [*before.exclude, *exclude], hidden)
        backend = _backend(folder, before, settings)
        roots = Roots(before.roots)
        return _update(folder, room, settings, backend, sources, roots, model, ray, pictures, False)


def remove(folder: Path, what: Sequence[str], missing: bool = False, force: bool = False) -> Change:
    """Remove rows: by id, by path, by pattern (`*.png`), whole folders; with `missing` those whose file is gone.

    A name that a picture or folder has is no pattern. Rows of a folder that vanished as a whole stay and are reported,
    as its disk may be missing; `force` removes them. Raises UserError where nothing fits, and where an indexed folder
    itself is gone or empty.
    """
    Index.open(folder)
    with parts.alone(folder):
        before = manifest.read(folder)
        backend = _backend(folder, before, before)
        chosen = selected(backend.existing(), before.roots, what, missing)
        kept: dict[str, list[str]] = {}
        if not force:
            kept = absent(chosen.missing, chosen.alive, before.roots)
            check_roots(kept, before.roots, folder, sum(map(len, chosen.missing.values())))
        stay = {place for places in kept.values() for place in places}
        doomed = set(chosen.named)
        doomed.update(at for place, some in chosen.missing.items() if place not in stay for at in some)
        gone: dict[int, list[int]] = {}
        for store, position in sorted(doomed):
            gone.setdefault(store, []).append(position)
        told = tuple(Absent(name, sum(len(chosen.missing[one]) for one in some)) for name, some in kept.items())
        unmatched = tuple(chosen.unmatched)
        if not doomed:
            if missing and not what:
                return Change(before.pictures, kept=told)
            raise UserError(f"{folder}: nothing in it fits {' '.join(what)}; give ids, paths, folders or patterns")
        after = backend.commit(before, [], None, gone)
        return Change(after.pictures, removed=len(doomed), unmatched=unmatched, kept=told)


def compact(folder: Path, exact: bool | None = None) -> Change:
    """Write the index anew without what was removed, in as few segments as can be; `exact` as in `build`."""
    Index.open(folder)
    with parts.alone(folder):
        before = manifest.read(folder)
        if before.store is not None:
            raise UsageError(f"{folder}: its rows are in {before.store}, which puts them together by itself")
        settings = before if exact is None else before.model_copy(update={"exact": exact})
        segments = LocalStore.open(folder)[1].segments
        gone = sum(one.stored.deleted for one in segments)
        after = LocalBackend(folder, segments).commit(settings, [], None, {}, everything=True)
        return Change(after.pictures, removed=gone)


def write(
    folder: Path, root: Path, paths: Sequence[Path], vectors: np.ndarray, model: Model, ids: Sequence[str]
) -> Change:
    """Make an index of the pictures `paths`, below `root`, with embeddings (n, dim) that are there already."""
    root = root.resolve()
    entries = [
        Entry(id_, 0, path.resolve().relative_to(root).as_posix(), status.st_size, status.st_mtime_ns)
        for id_, path, status in ((id_, path, path.stat()) for id_, path in zip(ids, paths, strict=True))
    ]
    with _room(folder, model) as room:
        run, before = _new_run(room), _before(folder)
        embed.write_part(run / "000000", embed.FOUND.empty_table(), to_bf16(vectors))
        table = inputs.as_table(entries).append_column("store", pa.array([0] * len(paths), pa.int32()))
        table = table.append_column("pos", pa.array(range(len(paths)), pa.int64()))
        pq.write_table(pa.Table.from_pylist(table.to_pylist(), EXISTING), run / "new.parquet")
        settings = _settings(before, model, False, None, [root])
        settings = settings.model_copy(update={"roots": [str(root)]})
        return Change(LocalBackend(folder, []).commit(settings, [run / "000000"], run / "new.parquet", {}).pictures)


def _settings(
    before: Manifest | None, model: Model, exact: bool, store: str | None, sources: Sequence[Path]
) -> Manifest:
    """What index.json will say of the whole; rows that were numbered before keep their numbers to themselves."""
    return Manifest(
        model=model.encoder.weights_hash, model_name=model.name, dim=model.encoder.dim, exact=exact, store=store,
        inputs=[str(source.resolve()) for source in sources], generation=before.generation if before else 0,
        next_row=before.next_row if before else 0,
    )  # fmt: skip


def _chosen(
    settings: Manifest, before: Manifest | None, exclude: Sequence[str] | None, hidden: bool | None
) -> Manifest:
    """The settings with what is looked at in folders: what is given, else what the index had."""
    if exclude is None:
        exclude = before.exclude if before else ()
    if hidden is None:
        hidden = before is not None and before.hidden
    Choice(tuple(exclude))  # raises for what is no pattern
    return settings.model_copy(update={"exclude": list(dict.fromkeys(exclude)), "hidden": hidden})


def _update(
    folder: Path, room: Path, settings: Manifest, backend: Backend, sources: Sequence[Path], roots: Roots,
    model: Model, ray: str | None, pictures: Path | None, everything: bool,
    force: bool = False,
) -> Change:  # fmt: skip
    """Bring the rows in line with the inputs. With `everything`, rows that no input has any more go."""
    before = _before(folder)
    done = list(embed.finished(room))
    run = _new_run(room)
    choice, aside = Choice(tuple(settings.exclude), settings.hidden), Aside()
    rejects = write_scan(_scanned(sources, roots, run, model, pictures, choice, aside), run / "scan.parquet")
    settings = settings.model_copy(update={"roots": roots.paths})
    with pq.ParquetWriter(run / "existing.parquet", EXISTING, compression="zstd") as writer:
        for table in backend.existing():
            writer.write_table(table)
    done += exchange.parts_of(run)
    with database(run) as base:
        plan = Plan(base, run / "scan.parquet", run / "existing.parquet", done, roots.paths, backend.stores)
        plan.recognise()
        more = _embed(run, plan.write_todo(run / "todo.parquet"), model, ray)
        plan.take(more)
        for part in more:
            rejects += read_rejects(part / embed.LEFT_OUT_FILE)
        rejects += plan.twice()
        added, gone = plan.write_new(run / "new.parquet"), plan.gone(everything)
        kept = _keep(plan, gone, before, roots, folder) if everything and not force and before is not None else ()
        if not everything and before is not None:
            seen = plan.scanned()
            rejects = [one for one in manifest.read_left_out(folder, before) if one.id not in seen] + rejects
        if everything and not plan.count_sources():
            first = f" (the first: {rejects[0].id}: {rejects[0].detail or rejects[0].reason})" if rejects else ""
            raise UserError(f"{sources[0]}: no picture could be read, no index was made{first}")
    removed = sum(map(len, gone.values()))
    embedded = sum(pq.read_metadata(part / embed.ROWS_FILE).num_rows for part in more)
    if before is not None and not added and not removed and _is_like(before, settings, folder, rejects):
        return Change(before.pictures, left_out=tuple(rejects), aside=aside, kept=kept)
    named = manifest.write_left_out(folder, settings.generation + 1, rejects)
    settings = settings.model_copy(update={"left_out_file": named, "left_out": len(rejects)})
    anew = before is not None and before.exact != settings.exact
    after = backend.commit(settings, [*done, *more], run / "new.parquet", gone, anew)
    return Change(after.pictures, added, embedded, removed, tuple(rejects), aside, kept=kept)


def _keep(plan: Plan, gone: dict[int, list[int]], before: Manifest, roots: Roots, folder: Path) -> tuple[Absent, ...]:
    """Take rows of folders that vanished as a whole out of `gone`; return the folders.

    Raises UserError where such a folder is an indexed one, or its rows cannot stay as the inputs changed.
    """
    missing = plan.missing(before.roots, roots.paths)
    if not missing:
        return ()
    lost = absent(missing, plan.alive(), roots.paths)
    check_roots(lost, roots.paths, folder, sum(map(len, lost.values())))
    rows = [missing[place] for places in lost.values() for place in places]
    if any(before.roots[root : root + 1] != roots.paths[root : root + 1] for some in rows for _, _, root in some):
        raise UserError(
            f"{next(iter(lost))}: this folder of {folder} is not there, and the inputs are others than before; "
            "mount it or move it back, or give --force"
        )
    stay = {(store, position) for some in rows for store, position, _ in some}
    for store in {store for store, _ in stay}:
        gone[store] = [position for position in gone[store] if (store, position) not in stay]
    return tuple(Absent(name, sum(len(missing[one]) for one in places)) for name, places in lost.items())


def _scanned(
    sources: Sequence[Path], roots: Roots, run: Path, model: Model, pictures: Path | None, choice: Choice, aside: Aside
) -> Iterator[Entry | Reject]:
    for number, source in enumerate(sources):
        if inputs.kind(source) == "vectors":
            room = run / f"imported-{number}"
            room.mkdir()
            yield from exchange.read(source, roots, room, model.encoder, pictures)
        else:
            yield from inputs.scan(source, roots, choice, aside)


def _embed(run: Path, count: int, model: Model, ray: str | None) -> list[Path]:
    """Embed the pictures of todo.parquet; return the parts."""
    if not count:
        return []
    size = max(PART, -(-count // _MOST_PARTS))
    encoder = None if ray else model.encoder
    work = Embed(run / "todo.parquet", size, model.name, model.encoder.weights_hash, encoder)
    number = -(-count // size)
    with console.progress("pictures", count) as advance:
        parts.complete(work, number, run, 1, ray, lambda done: advance(done * size))
    return [parts.part_folder(run, part) for part in range(number)]


@contextmanager
def _room(folder: Path, model: Model) -> Iterator[Path]:
    """Where embeddings wait, with the lock of the index. Raises UserError for a folder that holds something else."""
    if folder.is_file() or folder.name in ("", ".."):
        raise UserError(
            f"{folder}: {'a file' if folder.is_file() else 'no name'}; give the name of a folder for the index"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / manifest.FILE).is_file():
        leftovers = all(manifest.is_ours(path.name) for path in folder.iterdir())
        if not leftovers:
            raise UserError(f"{folder}: holds other files; choose another folder for the index")
    with parts.workspace(folder, {"index": model.encoder.weights_hash}) as room:
        try:
            yield room
        except Exception:
            if not any(embed.finished(room)):  # nothing that a later run could use
                for run in room.glob("run-*"):
                    shutil.rmtree(run)
            raise


def _new_run(room: Path) -> Path:
    number = 1 + max((int(path.name.rpartition("-")[2]) for path in room.glob("run-*")), default=0)
    run = room / f"run-{number:04d}"
    run.mkdir()
    return run


def _before(folder: Path) -> Manifest | None:
    """The index that is there, if it is one that this version reads. Raises OSError where nobody can tell."""
    if (path := folder / manifest.FILE).is_file():
        path.open("rb").close()  # what may not be read must not be replaced
    try:
        return manifest.read(folder)
    except UserError:
        return None


def _is_like(before: Manifest, settings: Manifest, folder: Path, rejects: Sequence[Reject]) -> bool:
    """Whether a new generation would be no other than the one that is there."""
    same = {"left_out_file": before.left_out_file, "left_out": before.left_out}
    kept = {"segments": before.segments, "pictures": before.pictures}
    return before == settings.model_copy(update=same | kept) and manifest.read_left_out(folder, before) == list(rejects)


def _backend(folder: Path, before: Manifest | None, settings: Manifest) -> Backend:
    """What keeps the rows: those of `before`, or none."""
    if settings.store is not None:
        from clip_italian.search.milvus import MilvusBackend

        return MilvusBackend(folder, settings, empty=before is None)
    return LocalBackend(folder, LocalStore.open(folder)[1].segments if before is not None else [])


def size(folder: Path) -> int:
    """Bytes of all files of an index."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def waiting(folder: Path) -> int:
    """Pictures that a killed run embedded, and that the next update of the index takes."""
    room = folder.resolve().parent / f"{folder.name}.parts"
    return sum(pq.read_metadata(part / embed.ROWS_FILE).num_rows for part in embed.finished(room))
