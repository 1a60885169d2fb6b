"""`clip-italian collect SOURCE`: from a source to a pairs file."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import (
    CORES,
    HIDDEN_HELP,
    Commands,
    Exclude,
    Json,
    Language,
    PairsOutput,
    Ray,
    Workers,
    show_summary,
)
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian import http
    from clip_italian.files import cache, names
    from clip_italian.pictures import walk
    from clip_italian.sources import collect, tables, web
    from clip_italian.sources import conceptual_captions as conceptual_captions_source
    from clip_italian.sources import folder as folder_source
    from clip_italian.sources import ilpost as ilpost_source
    from clip_italian.sources import mscoco_it as mscoco_it_source
    from clip_italian.sources import picture_book as picture_books
    from clip_italian.sources import unsplash as unsplash_source
    from clip_italian.sources import webdataset as webdataset_source
    from clip_italian.sources import wit as wit_source


Inputs = Annotated[list[Path], typer.Argument(help="Files to read, plain or gzipped.", show_default=False)]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column with the picture: a path relative to the file, or a URL.")
]
CaptionColumn = Annotated[str | None, typer.Option(help="Column with one or more captions.")]
IdColumn = Annotated[
    str | None, typer.Option(help="Column with the picture's id. Default: derived from URL or content.")
]
SourceName = Annotated[str | None, typer.Option("--source", help="Name of the source. Default: the file's name.")]

app = Commands(help="Collect image-caption pairs from a source into a pairs file.", no_args_is_help=True)


@app.callback()
def sources() -> None:
    """Collect image-caption pairs from a source into a pairs file."""


@app.command("picture-book")
def picture_book(output: PairsOutput, language: Language = languages.DEFAULT, as_json: Json = False) -> None:
    """Emoji drawings and Tux Paint stamps with captions in the language: about 2,800 pictures.

    Example: clip-italian collect picture-book -o book/pairs.parquet
    """
    pairs = picture_books.collect(languages.get(language), output, console.notice)
    splits = Counter(pair.split for pair in pairs)
    counts = {"pairs": len(pairs), **{f"{name}": splits[name] for name in ("train", "val", "test")}}
    if as_json:
        print(json.dumps(counts | {"output": str(output)}))
    else:
        console.output.print(f"{output}: {counts['pairs']} pairs, of them {splits['test']} for testing")


@app.command("wit")
def wit(
    files: Inputs,
    output: PairsOutput,
    language: Language = languages.DEFAULT,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """WIT's published TSV files: reference descriptions in one language, one pair per image.

    Example: clip-italian collect wit wit_v1.train.all-*.tsv.gz -o wit.parquet
    """
    _collect("wit", wit_source.Wit(language), {"language": language}, files, output, workers, ray, as_json)


@app.command("mscoco-it")
def mscoco_it(
    files: Inputs,
    output: PairsOutput,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of MSCOCO's pictures (flat or train2014/, val2014/). Default: their URLs."),
    ] = None,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """MSCOCO-IT's published JSON files; the development set becomes the split "val".

    Example: clip-italian collect mscoco-it captions_ita_*.json.gz --images coco -o mscoco-it.parquet
    """
    if images is not None and not images.is_dir():
        raise UsageError(f"{images}: no such folder; give --images the folder of MSCOCO's pictures")
    folder = images.resolve() if images else None
    _collect(
        "mscoco-it", mscoco_it_source.MscocoIt(folder), {"images": str(folder)}, files, output, workers, ray, as_json
    )


@app.command("conceptual-captions")
def conceptual_captions(
    files: Inputs, output: PairsOutput, workers: Workers = CORES, ray: Ray = None, as_json: Json = False
) -> None:
    """Conceptual Captions' TSV files: English captions and URLs, ready to translate.

    Example: clip-italian collect conceptual-captions Train_GCC-training.tsv -o cc-en.parquet
    """
    _collect("conceptual-captions", conceptual_captions_source.read, {}, files, output, workers, ray, as_json)


@app.command("unsplash")
def unsplash(
    files: Inputs,
    output: PairsOutput,
    width: Annotated[int, typer.Option(min=0, help="Width to request, in pixels; 0 for the original size.")] = 640,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Unsplash's data set (photos.tsv000): 25,000 photos to search in, the paper's gallery.

    Example: clip-italian collect unsplash photos.tsv000 -o unsplash.parquet
    """
    _collect("unsplash", unsplash_source.Unsplash(width), {"width": width}, files, output, workers, ray, as_json)


@app.command("jsonl")
def jsonl(
    files: Inputs,
    output: PairsOutput,
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    id_column: IdColumn = None,
    source: SourceName = None,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Your own JSON lines: {"image_path": "a.jpg", "captions": ["…"]}, or other field names.

    Example: clip-italian collect jsonl captions.jsonl -o own.parquet
    """
    columns = tables.Columns(image_column, caption_column, id_column, source)
    _collect("jsonl", tables.JsonLines(columns), vars(columns), files, output, workers, ray, as_json)


@app.command("csv")
def csv(
    files: Inputs,
    output: PairsOutput,
    image_column: ImageColumn = "image",
    caption_column: CaptionColumn = "caption",
    id_column: IdColumn = None,
    source: SourceName = None,
    delimiter: Annotated[
        str | None, typer.Option(help='Delimiter. Default: detected among ",", ";" and tab ("\\t").')
    ] = None,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Your own CSV with a header: one picture and one caption per row.

    Example: clip-italian collect csv photos.csv --image-column file --caption-column text -o own.parquet
    """
    character = "\t" if delimiter in ("\\t", "tab") else delimiter
    if character is not None and (len(character) != 1 or character in '"\r\n'):
        raise UsageError(f"--delimiter {delimiter!r}: give one character other than a quote, or \\t")
    columns = tables.Columns(image_column, caption_column, id_column, source)
    settings = vars(columns) | {"delimiter": character}
    _collect("csv", tables.Csv(columns, character), settings, files, output, workers, ray, as_json)


@app.command("parquet")
def parquet(
    files: Inputs,
    output: PairsOutput,
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    id_column: IdColumn = None,
    source: SourceName = None,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Parquet: pairs files to merge, or your own table with the columns you name.

    Example: clip-italian collect parquet wit.parquet mscoco-it.parquet -o all.parquet
    """
    columns = tables.Columns(image_column, caption_column, id_column, source)
    _collect("parquet", tables.Parquet(columns), vars(columns), files, output, workers, ray, as_json)


@app.command("folder")
def folder(
    folders: Annotated[list[Path], typer.Argument(help="Folders of pictures, searched with their subfolders.")],
    output: PairsOutput,
    source: Annotated[str | None, typer.Option("--source", help="Name of the source. Default: the folder's.")] = None,
    exclude: Exclude = None,
    hidden: Annotated[bool, typer.Option("--hidden", help=HIDDEN_HELP)] = False,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Pictures with captions beside them (a.txt, a.json, a.xmp, Google Takeout) or inside (XMP, IPTC, EXIF).

    Example: clip-italian collect folder photos/ -o photos.parquet
    """
    for path in folders:
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder; give folders with pictures")
    choice = walk.Choice(tuple(exclude or ()), hidden)
    settings = {"source": source, "exclude": list(choice.exclude), "hidden": hidden}
    places = [path.resolve() for path in folders]
    _collect("folder", folder_source.Folder(source, choice), settings, places, output, workers, ray, as_json)


@app.command("webdataset")
def webdataset(
    shards: Annotated[list[Path], typer.Argument(help="Tar files, or folders of them.")],
    output: PairsOutput,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder to unpack the pictures into. Default: OUTPUT's name with -pictures.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="Name of the source where the shards have none.")
    ] = "webdataset",
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """WebDataset shards, as clip-italian fetch and img2dataset write them; the pictures are unpacked.

    Example: clip-italian collect webdataset shards/wit -o wit.parquet
    """
    files = [file for path in shards for file in _shards(path)]
    if not files:
        raise UsageError(f"{shards[0]}: no .tar files in it; give the folder that clip-italian fetch wrote")
    place = (pictures or output.parent / f"{output.stem}-pictures").resolve()
    read = webdataset_source.WebDataset(place, source)
    _collect("webdataset", read, {"pictures": str(place), "source": source}, files, output, workers, ray, as_json)


def _shards(path: Path) -> list[Path]:
    """The shards in a folder, in numeric order; a file is itself."""

    return sorted(path.glob("*.tar"), key=lambda file: names.natural_key(file.name)) if path.is_dir() else [path]


@app.command("ilpost")
def ilpost(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Lists of URLs (.txt), saved pages (.html) or folders of them, tables (.jsonl, .json, .csv).",
            show_default=False,
        ),
    ],
    output: PairsOutput,
    pages: Annotated[Path | None, typer.Option(help="Folder for downloaded pages. Default: the user's cache.")] = None,
    rate: Annotated[float, typer.Option(min=0.001, help="Requests per second; robots.txt may lower it.")] = 1.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Timeout per page, in seconds.")] = 30.0,
    retries: Annotated[int, typer.Option(min=0, help="Retries when the host is busy or unreachable.")] = 3,
    user_agent: Annotated[
        str | None, typer.Option(help="User agent: a name, then how to reach you. Default: clip-italian.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Il Post's "La Foto del Giorno": photos and captions from its pages, requested one at a time.

    Download the photos afterwards with clip-italian fetch.

    Example: clip-italian collect ilpost addresses.txt -o ilpost.parquet
    """
    user_agent = http.USER_AGENT if user_agent is None else user_agent.strip()
    if not user_agent.isprintable() or not user_agent.isascii() or not user_agent:
        raise UsageError(f"--user-agent {user_agent!r}: give a name in plain letters, like my-project/1.0 (me@my.org)")
    read = ilpost_source.IlPost(
        (pages or cache.cache_dir() / "pages").resolve(),
        web.Policy(user_agent, rate, timeout, retries),
    )
    # Every run reads anew: what an earlier one got is in the folder of pages, what it missed may come now.
    settings = {"started": time.time_ns()}
    # One process: the pauses between requests are counted in it.
    _collect("ilpost", read, settings, inputs, output, workers=1, ray=None, as_json=as_json)


def _collect(
    source: str, read: "collect.Read", settings: dict[str, Any], inputs: list[Path], output: Path,
    workers: int, ray: str | None, as_json: bool,
) -> None:  # fmt: skip

    show_summary(collect.collect(source, read, settings, inputs, output, workers, ray), output, as_json)
