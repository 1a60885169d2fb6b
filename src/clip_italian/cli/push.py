"""`clip-italian push`: upload a model folder to the Hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json
from clip_italian.errors import UserError

with lazy_imports():
    from clip_italian.release import push as pushing


def push(
    folder: Annotated[Path, typer.Argument(help="Model folder with its card (README.md).")],
    repo_id: Annotated[str, typer.Argument(help="Repository, like you/model; created if missing.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Upload a model to the Hub. Requires a licence, metrics and weights; refuses files that do not belong to a model.

    Example: clip-italian push runs/photos/model you/photos --dry-run
    """
    pushing.check_id(repo_id)
    if not dry_run:
        url = pushing.push(folder, repo_id, private)
        print(json.dumps({"url": url})) if as_json else console.output.print(url, markup=False)
        return
    plan = pushing.plan(folder)
    if as_json:
        files = [vars(file) for file in plan.files]
        print(json.dumps({"files": files, "bytes": plan.size, "objections": list(plan.objections)}))
    else:
        from rich.filesize import decimal
        from rich.table import Table

        table = Table("file", title=f"{folder} → {repo_id}", title_justify="left")
        table.add_column("size", justify="right")
        table.add_column("refused because", overflow="fold")
        for file in plan.files:
            table.add_row(file.path, decimal(file.size), file.refused or "")
        table.add_row(f"{len(plan.files)} files", decimal(plan.size), "")
        console.output.print(table)
    if plan.objections:
        for objection in plan.objections[1:]:
            console.notice(f"would refuse: {objection}")
        raise UserError(f"would refuse: {plan.objections[0]}")
