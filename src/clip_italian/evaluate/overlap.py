"""Whether models were trained on the pictures that they are to be measured on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.models import registry
from clip_italian.models.encoder import Encoder
from clip_italian.pictures import leaks
from clip_italian.pictures.copies import Encoder as CopyEncoder

_LISTED = 100  # pictures named one by one


def check(
    encoders: Mapping[str, Encoder], ids: Mapping[Path, str], place: str, allow: bool = False,
    copies: Callable[[], CopyEncoder | None] | None = None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """For each model by its name, on how many of the pictures it was trained; not `checked` where it does not tell.

    Raises UserError where there are any, unless `allow`; which ones is said on stderr. Pictures are looked at once,
    and not at all where no model tells. `copies` gives the encoder for models that keep features of their
    pictures; by default `CopyFeatures.load_or_say`.
    """
    kept = {name: encoder.info.get(leaks.INFO_KEY) for name, encoder in encoders.items()}
    for name, known in kept.items():
        if known is None:
            console.notice(f"{name} does not tell its training pictures: nobody knows whether these are among them")
    if all(known is None for known in kept.values()):
        return {name: {"checked": False} for name in kept}
    with console.progress("overlap", len(ids)) as advance:
        load = copies or registry.resolve(registry.COPY_FEATURES).load_or_say
        encoder = load() if any(known and "features" in known for known in kept.values()) else None
        paths, mine = leaks.fingerprints(list(ids), advance, encoder)
    result: dict[str, dict[str, Any]] = {}
    for name, known in kept.items():
        if known is None:
            result[name] = {"checked": False}
            continue
        found = [
            (ids[path], reason)
            for path, reason in zip(paths, mine.found_in(leaks.Fingerprints.from_json(known)), strict=True)
            if reason is not None
        ]
        _say(found)
        if found and not allow:
            raise UserError(
                f"{place}: {len(found):,} of {len(ids):,} pictures are among the training pictures of {name}; "
                "leave them out (clip-italian split), or give --allow-overlap to measure all the same"
            )
        result[name] = {"checked": True, "pictures": len(found)}
    return result


def _say(found: list[tuple[str, str]]) -> None:
    for id_, reason in found[:_LISTED]:
        console.notice(f"{id_}: {reason} as one that the model was trained on")
    if len(found) > _LISTED:
        console.notice(f"… and {len(found) - _LISTED:,} more")
