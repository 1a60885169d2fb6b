"""`build`, `add`, `refresh`, `remove`, `compact`: from one generation of an index to the next, one writer at a time.

Embeddings wait in parts beside the index (`IDX.parts/`) for the commit. After a kill at any moment the index is as
before, and the next update of it uses the embeddings that are finished.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, languages
from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pictures.walk import Choice, Skipped
from clip_italian.pipeline import parts
from clip_italian.pipeline.rejects import Reject, read_rejects
from clip_italian.search import exchange, inputs
from clip_italian.search.commit import (
    PART_LEFT_OUT_FILE,
    FolderWriter,
    StoreWriter,
    finished_parts,
    part_rows,
    write_part,
)
from clip_italian.search.embed import Embed, Todo
from clip_italian.search.index import Index, check_model
from clip_italian.search.inputs import Entry, Roots
from clip_italian.search.milvus import MilvusWriter
from clip_italian.search.plan import Plan, write_scan
from clip_italian.search.schema import EMBEDDED, EXISTING, FORMAT, Manifest
from clip_italian.search.selection import (
    PLACES,
    VanishedFolder,
    check_roots,
    has_content,
    may_exist,
    selected,
    vanished_folders,
)
from clip_italian.search.storage import (
    MANIFEST_FILE,
    FolderStore,
    is_index_file,
    read_left_out,
    read_manifest,
    write_left_out,
)

# Pictures in a part, which a kill may cost, and most parts of a run.
PART = 256
_MOST_PARTS = 4_096


@dataclass(frozen=True)
class Change:
    """The result of an update: pictures now in the index, rows added, of these embedded now, rows removed, rejects.

    `aside` counts other files in the folders, `unmatched` are names that fit no picture, `kept` are folders that
    vanished as a whole and whose rows stay, `absent` are inputs of the index that are not there (`refresh`).
    """

    pictures: int
    added: int = 0
    embedded: int = 0
    removed: int = 0
    left_out: tuple[Reject, ...] = ()
    aside: Skipped = field(default_factory=Skipped)
    unmatched: tuple[str, ...] = ()
    kept: tuple[VanishedFolder, ...] = ()
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.pictures:,} pictures ({self.added:,} new, {self.embedded:,} embedded, {self.removed:,} gone), "
            f"{len(self.left_out):,} left out"
        )

    def is_news(self, before: "Change | None") -> bool:
        """True for the first update, and for one that changed the index or the pictures left out since `before`."""
        return before is None or bool(self.added or self.removed) or self.left_out != before.left_out


# Gets the pictures that an update is about to embed.
BeforeEmbedding = Callable[[Todo], None]


@dataclass(frozen=True)
class Model:
    """The encoder of an index, and the name by which another machine or session loads it."""

    encoder: SearchEncoder
    name: str


def build(
    folder: Path, sources: Sequence[Path], model: Model, exact: bool = False, store: str | None = None,
    ray: str | None = None, pictures: Path | None = None, force: bool = False,
    exclude: Sequence[str] | None = None, hidden: bool | None = None, before_embedding: BeforeEmbedding | None = None,
    language: str | None = None,
) -> Change:  # fmt: skip
    """Make the index in `folder` hold the pictures of the inputs, and no others.

    Indexed pictures are not embedded again, unless another model made the index. `pictures` is the folder that paths in
    embeddings start from; `ray` the address of a cluster that embeds the pictures. Rows of a folder that vanished as a
    whole stay and are reported, as its disk may be missing; `force` removes them. `exclude` and `hidden` are those of
    `walk.Choice`, `language` is that of the words in names and texts; they stay with the index, None: as it has them.
    `before_embedding` is called with the pictures to embed, if there are any, and may raise. Raises UserError where no
    picture can be read; then, and after a kill, the index is as before.
    """
    sources = [as_stored(source) for source in sources]
    with _workspace(folder, model) as workspace:
        before = _before(folder)
        shared = before is not None and before.identity.shares_index_with(model.encoder.identity)
        same = before is not None and shared and before.store == store
        manifest = _new_manifest(before, model, exact, store, sources)
        language = language or (before.language if before else languages.DEFAULT)
        languages.get(language)  # raises for an unknown one
        manifest = manifest.model_copy(update={"language": language})
        manifest = _with_choice(manifest, before, exclude, hidden)
        if before is not None and same:
            kept = ("calibration", "model", "source", "precisions", "agreement")
            manifest = manifest.model_copy(update={name: getattr(before, name) for name in kept})
        writer = _writer(folder, before if same else None, manifest)
        return _update(
            folder, workspace, manifest, writer, sources, Roots(), model, ray, pictures, True, force, before_embedding
        )


def add(
    folder: Path, sources: Sequence[Path], model: Model, ray: str | None = None, pictures: Path | None = None,
    exclude: Sequence[str] = (), hidden: bool | None = None,
) -> Change:  # fmt: skip
    """Add the pictures of the inputs to the index in `folder`; changed ones are embedded again.

    `exclude` is added to the patterns of the index, `hidden` replaces its choice (None: unchanged).
    Raises UserError where there is no index, or another model made it.
    """
    sources = [as_stored(source) for source in sources]
    index = Index.open(folder)
    check_model(folder, index.manifest, model.encoder)
    with _workspace(folder, model) as workspace:
        before = read_manifest(folder)
        names = [str(source.resolve()) for source in sources]
        inputs_now = list(dict.fromkeys([*before.inputs, *names]))
        manifest = before.model_copy(update={"inputs": inputs_now, "format": FORMAT})
        manifest = _with_choice(manifest, before, [*before.exclude, *exclude], hidden)
        writer = _writer(folder, before, manifest)
        roots = Roots(before.roots)
        return _update(folder, workspace, manifest, writer, sources, roots, model, ray, pictures, False)


def refresh(folder: Path, model: Model) -> Change:
    """Bring the index in `folder` in line with the inputs that it was made from, by its own settings.

    An input that is missing or empty may lie on a disk that is not mounted: it is reported as `absent`, its rows stay,
    and until it is back, rows of the other inputs are added but none is removed. Raises UserError where all inputs are
    absent, where one of them is embeddings, and otherwise as `build` and `add` do.
    """
    check_model(folder, read_manifest(folder), model.encoder)
    with _workspace(folder, model) as workspace:
        before = read_manifest(folder)  # again: another process may have changed the inputs until now
        sources = [Path(one) for one in before.inputs]
        there = [one for one in sources if one.is_file() or has_content(str(one))]
        absent = tuple(str(one) for one in sources if one not in there)
        if not there:
            which = f"{', '.join(absent)}: not there, or empty" if absent else f"{folder}: does not name its inputs"
            raise UserError(f"{which}; mount or restore it, or build the index again")
        if embeddings := [one for one in there if inputs.has_vectors(one)]:
            raise UserError(
                f"{embeddings[0]}: embeddings, which do not follow files; update {folder} by clip-italian index build"
            )
        manifest = before.model_copy(update={"format": FORMAT})
        writer, roots = _writer(folder, before, manifest), Roots(before.roots if absent else ())
        change = _update(folder, workspace, manifest, writer, there, roots, model, None, None, not absent)
        return replace(change, absent=absent)


def remove(folder: Path, what: Sequence[str], missing: bool = False, force: bool = False) -> Change:
    """Remove rows by id, path, pattern (`*.png`) or folder; with `missing` those whose file is gone.

    A name that a picture or folder has is no pattern. Rows of a folder that vanished as a whole stay and are reported,
    as its disk may be missing; `force` removes them. Raises UserError where nothing matches, and where an indexed
    folder itself is gone or empty.
    """
    Index.open(folder)
    with parts.exclusive_lock(folder):
        before = read_manifest(folder)
        writer = _writer(folder, before, before)
        chosen = selected(writer.existing(PLACES), before.roots, what, missing)
        kept: dict[str, list[str]] = {}
        if not force:
            kept = vanished_folders(chosen.missing, chosen.alive, before.roots)
            check_roots(kept, before.roots, folder, sum(map(len, chosen.missing.values())))
        stay = {place for places in kept.values() for place in places}
        doomed = set(chosen.named)
        doomed.update(at for place, some in chosen.missing.items() if place not in stay for at in some)
        gone: dict[int, list[int]] = {}
        for store, position in sorted(doomed):
            gone.setdefault(store, []).append(position)
        folders = tuple(
            VanishedFolder(name, sum(len(chosen.missing[one]) for one in some)) for name, some in kept.items()
        )
        unmatched = tuple(chosen.unmatched)
        if not doomed:
            if missing and not what:
                return Change(before.pictures, kept=folders)
            raise UserError(f"{folder}: nothing in it matches {' '.join(what)}; give ids, paths, folders or patterns")
        after = writer.commit(before, [], None, gone)
        return Change(after.pictures, removed=len(doomed), unmatched=unmatched, kept=folders)


def compact(folder: Path, exact: bool | None = None) -> Change:
    """Rewrite the index without removed rows, in as few segments as possible; `exact` as in `build`."""
    Index.open(folder)
    with parts.exclusive_lock(folder):
        before = read_manifest(folder)
        if before.store is not None:
            raise UsageError(f"{folder}: its rows are in {before.store}, which compacts them automatically")
        manifest = before.model_copy(update={"exact": before.exact if exact is None else exact, "format": FORMAT})
        segments = FolderStore.open(folder).segments
        gone = sum(one.stored.deleted for one in segments)
        after = FolderWriter(folder, segments).commit(manifest, [], None, {}, everything=True)
        return Change(after.pictures, removed=gone)


def write(
    folder: Path, root: Path, paths: Sequence[Path], vectors: np.ndarray, model: Model, ids: Sequence[str]
) -> Change:
    """Make an index of the pictures `paths`, below `root`, with existing embeddings (n, dim)."""
    root = root.resolve()
    entries = [
        Entry(id_, 0, path.resolve().relative_to(root).as_posix(), status.st_size, status.st_mtime_ns)
        for id_, path, status in ((id_, path, path.stat()) for id_, path in zip(ids, paths, strict=True))
    ]
    with _workspace(folder, model) as workspace:
        run, before = _new_run(workspace), _before(folder)
        write_part(run / "000000", EMBEDDED.empty_table(), vectors)
        table = inputs.as_table(entries).append_column("store", pa.array([0] * len(paths), pa.int32()))
        table = table.append_column("pos", pa.array(range(len(paths)), pa.int64()))
        pq.write_table(pa.Table.from_pylist(table.to_pylist(), EXISTING), run / "new.parquet")
        manifest = _new_manifest(before, model, False, None, [root])
        manifest = manifest.model_copy(update={"roots": [str(root)]})
        return Change(FolderWriter(folder, []).commit(manifest, [run / "000000"], run / "new.parquet", {}).pictures)


def _new_manifest(
    before: Manifest | None, model: Model, exact: bool, store: str | None, sources: Sequence[Path]
) -> Manifest:
    """The manifest of an empty index; row numbers continue after those of `before`."""
    identity = model.encoder.identity
    return Manifest(
        model=identity.weights, source=identity.source, precisions=[identity.precision], agreement=identity.agreement,
        model_name=model.name, dim=model.encoder.dim, exact=exact, store=store,
        inputs=[str(source.resolve()) for source in sources], generation=before.generation if before else 0,
        next_row=before.next_row if before else 0,
    )  # fmt: skip


def _with_choice(
    manifest: Manifest, before: Manifest | None, exclude: Sequence[str] | None, hidden: bool | None
) -> Manifest:
    """The manifest with the files to select in folders: as given, else as in `before`."""
    if exclude is None:
        exclude = before.exclude if before else ()
    if hidden is None:
        hidden = before is not None and before.hidden
    Choice(tuple(exclude))  # raises for an empty pattern
    return manifest.model_copy(update={"exclude": list(dict.fromkeys(exclude)), "hidden": hidden})


def _update(
    folder: Path, workspace: Path, manifest: Manifest, writer: StoreWriter, sources: Sequence[Path], roots: Roots,
    model: Model, ray: str | None, pictures: Path | None, everything: bool,
    force: bool = False, before_embedding: BeforeEmbedding | None = None,
) -> Change:  # fmt: skip
    """Bring the rows in line with the inputs; with `everything`, remove rows that no input has any more."""
    before = _before(folder)
    done = list(finished_parts(workspace))
    run = _new_run(workspace)
    choice, aside = Choice(tuple(manifest.exclude), manifest.hidden), Skipped()
    rejects = write_scan(_scanned(sources, roots, run, model, pictures, choice, aside), run / "scan.parquet")
    manifest = manifest.model_copy(update={"roots": roots.paths})
    with pq.ParquetWriter(run / "existing.parquet", EXISTING, compression="zstd") as file:
        for table in writer.existing():
            file.write_table(table)
    done += exchange.parts_of(run)
    plan = Plan(run / "scan.parquet", run / "existing.parquet", done, roots.paths, writer.stores, writer.columns)
    plan.find_moved()
    count = plan.write_todo(run / "todo.parquet")
    if count and before_embedding is not None:
        before_embedding(Todo(run / "todo.parquet", count, model.encoder))
    more = _embed(run, count, model, ray)
    plan.use_parts(more)
    for part in more:
        rejects += read_rejects(part / PART_LEFT_OUT_FILE)
    rejects += plan.duplicate_ids()
    added, gone = plan.write_new(run / "new.parquet"), plan.gone(everything)
    kept: tuple[VanishedFolder, ...] = ()
    if everything and not force and before is not None:
        kept = _keep_vanished(plan, gone, before, roots, folder)
    if not everything and before is not None:
        seen = plan.scanned_ids() | {one.id for one in rejects}
        rejects = [one for one in read_left_out(folder, before) if one.id not in seen] + rejects
    if everything and not plan.count_sources():
        first = f" (the first: {rejects[0].id}: {rejects[0].detail or rejects[0].reason})" if rejects else ""
        raise UserError(f"{sources[0]}: no picture could be read, no index was made{first}")
    del plan  # the commit needs the memory of its columns
    removed = sum(map(len, gone.values()))
    embedded = sum(map(part_rows, more))
    if before is not None and not added and not removed and _is_same(before, manifest, folder, rejects):
        return Change(before.pictures, left_out=tuple(rejects), aside=aside, kept=kept)
    if embedded:
        manifest = manifest.with_precision(model.encoder.identity)
    left_out_file = write_left_out(folder, manifest.generation + 1, rejects)
    manifest = manifest.model_copy(update={"left_out_file": left_out_file, "left_out": len(rejects)})
    older = before is not None and before.format != manifest.format
    if older:
        console.notice(f"{folder}: this index is of an older format; reading the metadata of its pictures")
    settings = ("exact", "language")
    rewrite = before is not None and (older or any(getattr(before, one) != getattr(manifest, one) for one in settings))
    after = writer.commit(manifest, [*done, *more], run / "new.parquet", gone, rewrite)
    return Change(after.pictures, added, embedded, removed, tuple(rejects), aside, kept=kept)


def _keep_vanished(
    plan: Plan, gone: dict[int, list[int]], before: Manifest, roots: Roots, folder: Path
) -> tuple[VanishedFolder, ...]:
    """Remove rows of folders that vanished as a whole from `gone`; return the folders.

    So are rows of files that may exist on a disk with errors, or in a folder that cannot be read, which the scan lists.
    Raises UserError where such a folder is an indexed one, or its rows cannot stay because the inputs changed.
    """
    missing = plan.missing(before.roots, roots.paths)
    unknown = plan.missing(before.roots, roots.paths, may_exist)
    if not missing and not unknown:
        return ()
    lost = vanished_folders(missing, plan.folders_with_pictures(), roots.paths)
    check_roots(lost, roots.paths, folder, sum(map(len, lost.values())))
    rows = [missing[place] for places in lost.values() for place in places] + list(unknown.values())
    if any(before.roots[root : root + 1] != roots.paths[root : root + 1] for some in rows for _, _, root in some):
        which = next(iter(lost or unknown))
        raise UserError(
            f"{which}: in {folder}, but not there or not readable, and the inputs are others than before; "
            "mount it or move it back, or give --force"
        )
    stay = {(store, position) for some in rows for store, position, _ in some}
    for store in {store for store, _ in stay}:
        gone[store] = [position for position in gone[store] if (store, position) not in stay]
    return tuple(VanishedFolder(name, sum(len(missing[one]) for one in places)) for name, places in lost.items())


def _scanned(
    sources: Sequence[Path],
    roots: Roots,
    run: Path,
    model: Model,
    pictures: Path | None,
    choice: Choice,
    aside: Skipped,
) -> Iterator[Entry | Reject]:  # fmt: skip
    """Entries and rejects of all inputs; embeddings are written to parts in `run`."""
    for number, source in enumerate(sources):
        if inputs.kind(source) == "vectors":
            imported = run / f"imported-{number}"
            imported.mkdir()
            yield from exchange.read(source, roots, imported, model.encoder, pictures)
        else:
            yield from inputs.scan(source, roots, choice, aside)


def _embed(run: Path, count: int, model: Model, ray: str | None) -> list[Path]:
    """Embed the pictures of todo.parquet; return the parts."""
    if not count:
        return []
    size = max(PART, -(-count // _MOST_PARTS))
    encoder = None if ray else model.encoder
    work = Embed(run / "todo.parquet", size, model.name, model.encoder.identity, encoder)
    number = -(-count // size)
    with console.progress("pictures", count) as advance:
        parts.make_parts(work, number, run, 1, ray, lambda done: advance(done * size))
    return [parts.part_folder(run, part) for part in range(number)]


@contextmanager
def _workspace(folder: Path, model: Model) -> Iterator[Path]:
    """The folder where parts wait, with the index locked. Raises UserError for a folder that holds something else."""
    if folder.is_file() or folder.name in ("", ".."):
        raise UserError(
            f"{folder}: {'a file' if folder.is_file() else 'no name'}; give the name of a folder for the index"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST_FILE).is_file():
        leftovers = all(is_index_file(path.name) for path in folder.iterdir())
        if not leftovers:
            raise UserError(f"{folder}: holds other files; choose another folder for the index")
    with parts.workspace(folder, {"index": model.encoder.weights_hash}) as workspace:
        try:
            yield workspace
        except Exception:
            if not any(finished_parts(workspace)):  # nothing that a later run could use
                for run in workspace.glob("run-*"):
                    shutil.rmtree(run)
            raise


def _new_run(workspace: Path) -> Path:
    number = 1 + max((int(path.name.rpartition("-")[2]) for path in workspace.glob("run-*")), default=0)
    run = workspace / f"run-{number:04d}"
    run.mkdir()
    return run


def _before(folder: Path) -> Manifest | None:
    """The manifest of the existing index; None where there is none, or one of another format. Raises OSError."""
    if (path := folder / MANIFEST_FILE).is_file():
        path.open("rb").close()  # an unreadable index must not be replaced
    try:
        return read_manifest(folder)
    except UserError:
        return None


def _is_same(before: Manifest, manifest: Manifest, folder: Path, rejects: Sequence[Reject]) -> bool:
    """True where a new generation would not differ from the existing one."""
    same = {"left_out_file": before.left_out_file, "left_out": before.left_out}
    kept = {"segments": before.segments, "pictures": before.pictures}
    return before == manifest.model_copy(update=same | kept) and read_left_out(folder, before) == list(rejects)


def _writer(folder: Path, before: Manifest | None, manifest: Manifest) -> StoreWriter:
    """The store to change, with the rows of `before`, or none."""
    if manifest.store is not None:
        return MilvusWriter(folder, manifest, empty=before is None)
    return FolderWriter(folder, FolderStore.open(folder).segments if before is not None else [])


def size(folder: Path) -> int:
    """The size of an index in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def waiting(folder: Path) -> int:
    """The number of pictures that a killed run embedded, and that the next update uses."""
    workspace = folder.resolve().parent / f"{folder.name}.parts"
    return sum(map(part_rows, finished_parts(workspace)))
