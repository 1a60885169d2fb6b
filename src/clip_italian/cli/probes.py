"""`clip-italian evaluate probe` and `bias`: tests of numbers, colours and places, and of associations with people."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Device, Json, Language, Model
from clip_italian.errors import UsageError, UserError
from clip_italian.languages import Probes

with lazy_imports():
    from clip_italian.evaluate import bias as association
    from clip_italian.evaluate import probes, ranks
    from clip_italian.models import load

ModelOption = Annotated[str, Model]
SeedOption = Annotated[int, typer.Option("--seed", help="Random seed.")]


def probe(
    model: ModelOption,
    each: Annotated[int, typer.Option("--each", min=1, help="Pictures per number, colour and place.")] = 20,
    save: Annotated[
        Path | None, typer.Option("--save", help="Folder to save the pictures and their pairs file to.")
    ] = None,
    language: Language = languages.DEFAULT,
    seed: SeedOption = 1,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Accuracy on numbers from one to six, colours and places in generated drawings, compared with chance.

    Example: clip-italian evaluate probe --model mini
    """
    words = _words(language)
    encoder = load.load_rival(model, languages.get(language), device)
    if save is not None:
        probes.save_cases(probes.make_cases(words, each, seed), save)
    total = each * (len(probes.NUMBERS) + len(words.colours) + len(probes.RELATIONS))
    with console.progress("drawings", total) as advance:
        figures: dict[str, Any] = probes.probe(encoder, words, language, each, seed, advance)
    if as_json:
        print(json.dumps({"model": model} | figures, ensure_ascii=False))
        return
    for kind in probes.KINDS:
        found = figures[kind]
        from rich.table import Table

        table = Table(kind, "accuracy", "95 % interval", "chance", "pictures", title_justify="left")
        rows = {**found["by_value"], "all": found}
        for value, row in rows.items():
            low, high = row["interval"]
            table.add_row(
                value, f"{row['accuracy']:.3f}", f"{low:.3f} to {high:.3f}", f"{found['chance']:.3f}", str(row["cases"])
            )
        console.output.print(table)


def bias(
    folder: Annotated[Path, typer.Argument(help="Folder with one subfolder of pictures per group.")],
    model: ModelOption,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Text file with one prompt per line; the first is the neutral one.")
    ] = None,
    language: Language = languages.DEFAULT,
    seed: SeedOption = 1,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Associations of groups of people in your pictures with neutral prompts, with intervals and limits.

    Example: clip-italian evaluate bias groups --model mini
    """
    neutral, *texts = _prompts(prompts) if prompts else (_words(language).person, *_words(language).people)
    groups = association.groups(folder)
    encoder = load.load_rival(model, languages.get(language), device)
    images = {}
    for name, paths in groups.items():
        with console.progress(name, len(paths)) as advance:
            done, images[name], errors = encoder.encode_files(paths, advance)
        for error in errors:
            console.notice(f"left out: {error}")
        if len(done) < 2:
            raise UserError(f"{folder / name}: {len(done)} readable picture; a group needs at least 2")
        if len(done) < association.FEW:
            console.notice(f"{name}: {len(done)} pictures are too few for meaningful intervals")
    images = {name: ranks.unit(rows, f"pictures of {name}") for name, rows in images.items()}
    embedded = ranks.unit(encoder.encode_text([neutral, *texts]), "prompts")
    found = association.associations(images, embedded[1:], embedded[0], texts, seed)
    pictures = {name: len(rows) for name, rows in images.items()}
    if as_json:
        facts = {"model": model, "neutral": neutral, "seed": seed, "draws": association.DRAWS, "pictures": pictures}
        print(json.dumps(facts | {"prompts": found, "limits": association.LIMITS}, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("prompt", *(f"{name} ({count})" for name, count in pictures.items()))
    for record in found:
        cells = [
            f"{one['association']:+.3f} [{one['interval'][0]:+.3f}, {one['interval'][1]:+.3f}]"
            + (" *" if one["beside_zero"] else "")
            for one in record["groups"].values()
        ]
        table.add_row(record["prompt"], *(cell.replace("[", r"\[") for cell in cells))
    console.output.print(table)
    console.output.print(f"cosine against the other groups, less that of “{neutral}”; * interval without 0")
    for limit in association.LIMITS:
        console.output.print(f"- {limit}", markup=False)


def _prompts(path: Path) -> list[str]:
    """Read prompts, one per line. Raises UsageError if there are fewer than two."""
    found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(found) < 2:
        raise UsageError(f"{path}: {len(found)} prompts; give the neutral one first, then at least one more")
    return found


def _words(language: str) -> Probes:
    words = languages.get(language).probes
    if words is None:
        raise UsageError(f"language {language!r}: no words for the probes; add them to its language file")
    return words
