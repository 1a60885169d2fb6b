"""`clip-italian fetch`: download pictures into shards."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import CORES, Json, PairsArgument, Ray, Workers

with lazy_imports():
    from clip_italian.fetch import run
    from clip_italian.fetch import settings as fetch_settings
    from clip_italian.pipeline import rejects


class Distributor(StrEnum):
    """img2dataset's."""

    multiprocessing = "multiprocessing"
    ray = "ray"
    pyspark = "pyspark"


def fetch(
    pairs: PairsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the shards.")],
    size: Annotated[int, typer.Option(min=16, help="Shorter side in pixels; larger pictures are downscaled.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 95,
    min_side: Annotated[int, typer.Option(min=1, help="Minimum side in pixels; smaller pictures are rejected.")] = 64,
    shard: Annotated[int, typer.Option(min=1, help="Pictures per shard.")] = 1_000,
    per_host: Annotated[int, typer.Option(min=1, help="Concurrent requests per host.")] = 4,
    timeout: Annotated[float, typer.Option(min=0.1, help="Timeout per picture, in seconds.")] = 30.0,
    retries: Annotated[int, typer.Option(min=0, help="Retries when a host is busy or unreachable.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Concurrent downloads per process.")] = 32,
    distributor: Annotated[
        Distributor, typer.Option(help="Backend that runs the workers.")
    ] = Distributor.multiprocessing,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Download pictures into WebDataset shards, with img2dataset; what does not come is listed with its reason.

    A killed run goes on where it was; the same command on a finished folder asks once more for what failed
    for the moment.

    Example: clip-italian fetch clean.parquet -o shards/wit --per-host 2
    """
    settings = fetch_settings.Settings(
        size, quality, shard, workers, threads, str(Distributor.ray if ray else distributor), per_host, timeout,
        retries, min_side,
    )  # fmt: skip
    found = run.fetch(pairs, output, settings, ray)
    if as_json:
        print(json.dumps({"output": str(output), "rejects": str(rejects.rejects_path(output))} | asdict(found)))
        return
    console.output.print(f"{output}: {found.fetched:,} of {found.pairs:,} pictures", markup=False)
    table = Table("source", "outcome", title=f"see {rejects.rejects_path(output)}", title_justify="left")
    table.add_column("pictures", justify="right")
    for source, counts in found.by_source.items():
        for outcome, count in counts.items():
            table.add_row(source, outcome, f"{count:,}")
    if found.local:
        table.add_row("", "no-address", f"{found.local:,}")
    console.output.print(table)
