"""`clip-italian fetch`: download the pictures of a pairs file."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import CORES, Json, PairsArgument, Ray, Workers

with lazy_imports():
    from clip_italian.fetch import fetching
    from clip_italian.pipeline import rejects


class Distributor(StrEnum):
    """How shards are distributed."""

    multiprocessing = "multiprocessing"
    ray = "ray"
    pyspark = "pyspark"  # deprecated: the same as multiprocessing


def fetch(
    pairs: PairsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the shards.")],
    size: Annotated[int, typer.Option(min=16, help="Pixels of the shorter side; larger pictures are reduced.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 95,
    min_side: Annotated[int, typer.Option(min=1, help="Minimum pixels of the shorter side.")] = 64,
    shard: Annotated[int, typer.Option(min=1, help="Pictures per shard.")] = 1_000,
    per_host: Annotated[int, typer.Option(min=1, help="Requests at once to one host.")] = 4,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one picture.")] = 30.0,
    retries: Annotated[int, typer.Option(min=0, help="Further tries if a host is busy or cannot be reached.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Downloads at once in each process.")] = 32,
    distributor: Annotated[
        Distributor,
        typer.Option(help="Processes, or Ray on this machine; pyspark is deprecated."),
    ] = Distributor.multiprocessing,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Download pictures into WebDataset shards; pictures that fail are listed with the reason.

    A killed run resumes. The same command on a finished folder retries pictures that failed for a passing reason.

    Example: clip-italian fetch clean.parquet -o shards/wit --per-host 2
    """
    settings = fetching.Settings(
        size, quality, shard, workers, threads, str(Distributor.ray if ray else distributor), per_host, timeout,
        retries, min_side,
    )  # fmt: skip
    found = fetching.fetch(pairs, output, settings, ray)
    if as_json:
        print(json.dumps({"output": str(output), "rejects": str(rejects.rejects_path(output))} | asdict(found)))
        return
    console.output.print(f"{output}: {found.fetched:,} of {found.pairs:,} pictures", markup=False)
    from rich.table import Table

    table = Table("source", "outcome", title=f"see {rejects.rejects_path(output)}", title_justify="left")
    table.add_column("pictures", justify="right")
    for source, counts in found.by_source.items():
        for outcome, count in counts.items():
            table.add_row(source, outcome, f"{count:,}")
    if found.local:
        table.add_row("", "no-address", f"{found.local:,}")
    console.output.print(table)
