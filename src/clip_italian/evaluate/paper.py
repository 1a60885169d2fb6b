"""The paper's Tables 3 and 4, measured again: its two models, its two test sets, and the figures that it printed.

Bianchi et al. 2021 (arXiv:2108.08688). Table 3: every caption of MSCOCO-IT's development set searches for its picture,
MRR@1/5/10. Table 4: accuracy@1/5/10/100 on ImageNet's validation set, among labels that DeepL translated in 2021. The
original project's notebook prints Table 4's figures for the labels alone, without "a photo of".
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.clean.pictures import PictureLimits
from clip_italian.errors import UserError
from clip_italian.evaluate import labelled, labels, results, run
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.evaluate.report import PublishedTable
from clip_italian.evaluate.sets.base import Contents, EvaluationSet
from clip_italian.evaluate.sets.base import load as load_set
from clip_italian.evaluate.sets.coco import mscoco_it
from clip_italian.evaluate.sets.imagenet import PICTURES
from clip_italian.fetch.download import Fetcher, Policy
from clip_italian.files.atomic import staged
from clip_italian.http import FetchError
from clip_italian.languages import Language
from clip_italian.models.load import load_rival
from clip_italian.sources.mscoco_it import IMAGES_URL

TOLERANCE = 0.01  # of MRR and of accuracy, which is a share here
PROMPT = "{}"
LABELS_FILE = labels.PROJECT_LABELS
CAPTIONS_FILE = "captions_ita_devset_unvalidated.json.gz"
CAPTIONS_URL = (
    "https://raw.githubusercontent.com/crux82/mscoco-it/36becb0986ad456c8a56facb49f1bef216a0bf7f/mscoco-it/"
    f"{CAPTIONS_FILE}"
)
LABELS_URL = (
    "https://raw.githubusercontent.com/clip-italian/clip-italian/33558146b93ce40df79df7ca514a278e96a7eb47/evaluation/"
    f"{LABELS_FILE}"
)
COCO_HELP = (
    f"get {CAPTIONS_FILE} from https://github.com/crux82/mscoco-it (CC BY-SA 4.0) and {IMAGES_URL}/zips/val2014.zip "
    "(pictures by their Flickr licences), or give --fetch"
)
IMAGENET_HELP = (
    "get ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from https://image-net.org (research and education "
    "only, on request)"
)
_LABELS_HELP = f"get {LABELS_URL} (no licence stated) and give --labels FILE, or give --fetch"
_PICTURE = re.compile(r"COCO_((?:train|val)2014)_\d{12}\.jpg")
_AT_ONCE = 4  # requests to one host
_MAX_BYTES = 50_000_000  # of a file


@dataclass(frozen=True)
class PaperModel:
    """One of the two models: its name in the published tables, the default for `load_rival`, its page and licence."""

    name: str
    source: str
    page: str
    licence: str


MODELS = (
    PaperModel(
        "CLIP-Italian", "clip-italian/clip-italian", "https://huggingface.co/clip-italian/clip-italian", "GPL-3.0"
    ),
    PaperModel(
        "mCLIP", "mclip", "https://huggingface.co/sentence-transformers/clip-ViT-B-32-multilingual-v1", "Apache-2.0"
    ),
)


@dataclass(frozen=True)
class Check:
    """A figure of a model beside the published one, both as shares."""

    model: str
    figure: str
    measured: float
    published: float

    @property
    def difference(self) -> float:
        """Measured minus published, with four decimals as both have."""
        return round(self.measured - self.published, 4)

    @property
    def passed(self) -> bool:
        """True within `TOLERANCE`."""
        return abs(self.difference) <= TOLERANCE


@dataclass(frozen=True)
class CheckedTable:
    """A table of the paper measured again; `queries` and `gallery` are those of `published` where it is `whole`."""

    number: int
    title: str
    published: PublishedTable
    queries: int
    gallery: int
    checks: tuple[Check, ...]

    @property
    def whole(self) -> bool:
        """True if the test set has the published size, so that the figures can be compared."""
        return (self.queries, self.gallery) == (self.published.queries, self.published.gallery)

    @property
    def passed(self) -> bool:
        """True if the test set is whole and each figure is within `TOLERANCE`."""
        return self.whole and all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "table": self.number,
            "queries": self.queries,
            "gallery": self.gallery,
            "whole": self.whole,
            "passed": self.passed,
            "figures": [
                {
                    "model": check.model,
                    "figure": check.figure,
                    "measured": check.measured,
                    "published": check.published,
                    "difference": check.difference,
                    "passed": check.passed,
                }
                for check in self.checks
            ],
        }


def load_models(sources: Sequence[str], language: Language, device: str) -> list[run.NamedModel]:
    """The two models from `sources`, in the order of `MODELS`, by torch in float32.

    Raises UserError, with page and licence, for one that cannot be loaded.
    """
    loaded = []
    for model, source in zip(MODELS, sources, strict=True):
        try:
            loaded.append(run.NamedModel(source, model.name, load_rival(source, language, device)))
        except UserError as error:
            raise type(error)(f"{error}; {model.name} is at {model.page} ({model.licence})") from error
    return loaded


def retrieval_set(folder: Path, partial: bool) -> Contents:
    """The pairs of MSCOCO-IT's development set from its folder; `partial` accepts an incomplete one.

    Raises UserError, with source and licence, for what is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {COCO_HELP}")
    try:
        return load_set(_coco(), folder, partial)
    except UserError as error:
        raise UserError(f"{error}; {COCO_HELP}") from error


def classification_set(
    folder: Path, label_file: Path | None, language: Language, room: Path, partial: bool
) -> LabelledSet:
    """ImageNet's validation pictures with the paper's labels; `partial` accepts some of the pictures.

    `label_file` defaults to `LABELS_FILE` in the folder. Raises UserError, with source and licence, for what is
    missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {IMAGENET_HELP}")
    chosen = label_file or folder / LABELS_FILE
    if not chosen.is_file():
        raise UserError(f"{chosen}: no such file of labels; {_LABELS_HELP}")
    try:
        (found,) = labelled.load([folder], [str(chosen)], language, room, allow_empty=True)
    except UserError as error:
        raise type(error)(f"{error}; {IMAGENET_HELP}") from error
    if len(found.paths) != PICTURES and not partial:
        raise UserError(
            f"{folder}: {len(found.paths):,} pictures, published are {PICTURES:,}; {IMAGENET_HELP}, or give --partial"
        )
    return found


def check_retrieval(measured: Sequence[Mapping[str, Any]], published: PublishedTable) -> CheckedTable:
    """Table 3 from the retrieval results of the models, beside the published figures of the same names."""
    ranks = measured[0]["ranks"]
    queries, gallery = len(ranks["text_to_image"]), len(ranks["image_to_text"])
    figures = {result["name"]: result["text_to_image"] for result in measured}
    return CheckedTable(3, "image retrieval on MSCOCO-IT", published, queries, gallery, _checks(figures, published))


def check_zeroshot(measured: Sequence[Mapping[str, Any]], published: PublishedTable) -> CheckedTable:
    """Table 4 from the zero-shot results of the models, beside the published figures of the same names."""
    queries, gallery = len(measured[0]["ranks"]["zeroshot"]), int(measured[0]["labels"])
    figures = {result["name"]: result for result in measured}
    title = "zero-shot classification on ImageNet"
    return CheckedTable(4, title, published, queries, gallery, _checks(figures, published))


def measure_retrieval(
    models: Sequence[run.NamedModel], contents: Contents, place: Path, overlaps: Mapping[str, Any],
    resampling: Resampling,
) -> list[dict[str, Any]]:  # fmt: skip
    """Retrieval results of each model, every caption a query; `place` is the set's folder."""
    embedded = run.embed_pairs(models, contents.pairs, place, overlaps)
    return [run.retrieval_result(one, merge=False, resampling=resampling).result for one in embedded]


def measure_zeroshot(
    models: Sequence[run.NamedModel], data: LabelledSet, overlaps: Mapping[str, Any], resampling: Resampling
) -> list[dict[str, Any]]:
    """Zero-shot results of each model among the labels alone."""
    embedded = run.embed_classes(models, [data], overlaps)
    return [run.classes_result(one, [PROMPT], resampling).result for one in embedded]


def write_results(measured: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write result files for `evaluate report` into a folder; return their paths."""
    files = [folder / f"{result['kind']}-{result['name']}.json" for result in measured]
    for file, result in zip(files, measured, strict=True):
        results.write(file, result)
    return files


def fetch_coco(folder: Path, captions_url: str = CAPTIONS_URL, images_url: str = IMAGES_URL) -> int:
    """Download what a folder lacks of MSCOCO-IT's development set; return the number of files.

    Pictures (some 250 MB) come one by one, so that a second call resumes. Raises UserError for files that cannot be
    had, and in offline mode.
    """
    fetcher = _fetcher()
    captions = folder / CAPTIONS_FILE
    had = 0
    if not captions.is_file() and not captions.with_suffix("").is_file():
        had += _fetch(fetcher, {captions_url: captions})
    missing = filter(None, map(_PICTURE.fullmatch, _coco().read(folder.resolve()).missing))
    places = [f"{match[1]}/{match[0]}" for match in missing]
    return had + _fetch(fetcher, {f"{images_url}/{place}": folder / place for place in places})


def fetch_labels(folder: Path, url: str = LABELS_URL) -> Path:
    """Download the paper's labels into a folder, unless they are there; return the file."""
    file = folder / LABELS_FILE
    if not file.is_file():
        _fetch(_fetcher(), {url: file})
    return file


def _coco() -> EvaluationSet:
    return next(one for one in mscoco_it() if one.name == "mscoco-it-dev-unvalidated")


def _checks(figures: Mapping[str, Mapping[str, Any]], published: PublishedTable) -> tuple[Check, ...]:
    return tuple(
        Check(model, figure, float(mine[figure]), value)
        for model, mine in figures.items()
        for figure, value in published.models[model].items()
    )


def _fetcher() -> Fetcher:
    return Fetcher(Policy(PictureLimits(), per_host=_AT_ONCE, max_bytes=_MAX_BYTES))


def _fetch(fetcher: Fetcher, wanted: Mapping[str, Path]) -> int:
    """Download files, several at once, each whole or not at all; return their number."""

    def get(url: str) -> str | None:
        try:
            content = fetcher.download(url)
        except FetchError as error:
            return f"{url}: {error.reason}"
        with staged(wanted[url]) as temporary:
            temporary.write_bytes(content)
        return None

    failures = []
    with ThreadPoolExecutor(_AT_ONCE) as pool, console.progress("download", len(wanted)) as advance:
        for failure in pool.map(get, wanted):
            failures += [failure] if failure else []
            advance(1)
    if failures:
        raise UserError(
            f"{len(failures):,} of {len(wanted):,} files could not be downloaded, first {failures[0]}; run the command "
            "again to get the others"
        )
    return len(wanted)
