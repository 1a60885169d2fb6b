"""`clip-italian translate`: captions in the language of the model."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json, Language, PairsArgument, PairsOutput, show_summary
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.models_torch import marian as marian_engine
    from clip_italian.translate import cache as caches
    from clip_italian.translate import deepl as deepl_engine
    from clip_italian.translate import engine as engines
    from clip_italian.translate import translation


class EngineName(StrEnum):
    """Translation engines."""

    deepl = "deepl"
    marian = "marian"


class Formality(StrEnum):
    """DeepL's values; the `prefer` ones have no effect for languages without formal forms."""

    default = "default"
    more = "more"
    less = "less"
    prefer_more = "prefer_more"
    prefer_less = "prefer_less"


def translate(
    pairs: PairsArgument,
    output: PairsOutput,
    engine: Annotated[EngineName, typer.Option(help="deepl: the service; marian: a model on this machine.")],
    source_language: Annotated[str, typer.Option(help="Language of the input captions.")] = "en",
    language: Language = languages.DEFAULT,
    cache: Annotated[Path | None, typer.Option(help="Translation cache. Default: in the user's cache.")] = None,
    max_characters: Annotated[
        int | None, typer.Option(min=0, help="Stop before sending more characters than this.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also translate pairs that are already translated.")] = False,
    server_url: Annotated[str | None, typer.Option(help="DeepL: another server.")] = None,
    formality: Annotated[Formality | None, typer.Option(help="DeepL: formality.")] = None,
    context: Annotated[str | None, typer.Option(help="DeepL: context of the captions; not billed.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="DeepL: concurrent requests.")] = 4,
    model: Annotated[str | None, typer.Option(help="Marian: model folder or Hub id.")] = None,
    beams: Annotated[int, typer.Option(min=1, help="Marian: beam size.")] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Marian: batch size.")] = 32,
    device: Annotated[str, typer.Option(help="Marian: cpu, cuda, mps or auto.")] = "auto",
    source_code: Annotated[
        str | None, typer.Option(help="Marian: source language code of a multilingual model.")
    ] = None,
    target_code: Annotated[
        str | None, typer.Option(help="Marian: target language code of a multilingual model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Translate captions; originals are kept in captions_original. Each text is paid for once, even after a crash.

    DeepL's key is read from DEEPL_AUTH_KEY.

    Example: clip-italian translate cc.parquet -o cc-it.parquet --engine deepl --max-characters 500000
    """
    target = languages.get(language)
    if source_language.casefold() == language.casefold():
        raise UsageError(f"--source-language {source_language}: the captions would be in {language} already")

    chosen: engines.Engine
    if engine is EngineName.deepl:
        settings = deepl_engine.Options(
            source_language.upper(), target.deepl_code, formality and str(formality), context
        )
        chosen = deepl_engine.DeepL(settings, server_url, parallel)
    else:
        codes = marian_engine.Codes(source_language, language, source_code, target_code)
        chosen = marian_engine.Marian(model or target.marian_model, codes, beams, batch_size, device)
    summary = translation.translate(pairs, output, chosen, cache or caches.default_path(), max_characters, again)
    if as_json:
        print(json.dumps({"output": str(output)} | asdict(summary)))
        return
    show_summary(summary, output, as_json)
    typer.echo(
        f"sent now: {summary.texts_sent:,} texts, {summary.characters_sent:,} characters; "
        f"already translated: {summary.already:,} pairs; came back unchanged: {summary.unchanged:,} captions"
    )
