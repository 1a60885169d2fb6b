"""The check that models are not measured on pictures they were trained on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.models import registry
from clip_italian.models.encoder import Encoder
from clip_italian.pictures import leaks
from clip_italian.pictures.copies import Encoder as CopyEncoder

_MAX_LISTED = 100  # training pictures that stderr lists one by one

Overlap = dict[str, Any]  # `checked`, and the number of training `pictures` where it is true


def check(
    encoders: Mapping[str, Encoder], ids: Mapping[Path, str], place: str, allow: bool = False,
    copies: Callable[[], CopyEncoder | None] | None = None,
) -> dict[str, Overlap]:  # fmt: skip
    """Number of training pictures among `ids` for each model by name; `checked` is false for models that keep no list.

    Lists them on stderr, and raises UserError where there are any, unless `allow`. Pictures are decoded once, and only
    if some model has a list. `copies` loads the encoder for lists with copy features; by default
    `CopyFeatures.load_or_warn`.
    """
    known = {name: encoder.info.get(leaks.INFO_KEY) for name, encoder in encoders.items()}
    for name, training in known.items():
        if training is None:
            console.notice(f"{name} has no list of its training pictures, which may include these")
    if all(training is None for training in known.values()):
        return {name: {"checked": False} for name in known}
    with console.progress("overlap", len(ids)) as advance:
        encoder = None
        if any(training and "features" in training for training in known.values()):
            encoder = (copies or registry.resolve(registry.COPY_FEATURES).load_or_warn)()
        paths, prints = leaks.fingerprints(list(ids), advance, encoder)
    overlaps: dict[str, Overlap] = {}
    for name, training in known.items():
        if training is None:
            overlaps[name] = {"checked": False}
            continue
        reasons = prints.found_in(leaks.Fingerprints.from_json(training))
        seen = [(ids[path], reason) for path, reason in zip(paths, reasons, strict=True) if reason is not None]
        for id_, reason in seen[:_MAX_LISTED]:
            console.notice(f"{id_}: {reason} as one that the model was trained on")
        if len(seen) > _MAX_LISTED:
            console.notice(f"… and {len(seen) - _MAX_LISTED:,} more")
        if seen and not allow:
            raise UserError(
                f"{place}: {len(seen):,} of {len(ids):,} pictures are among the training pictures of {name}; "
                "leave them out (clip-italian split), or give --allow-overlap to measure all the same"
            )
        overlaps[name] = {"checked": True, "pictures": len(seen)}
    return overlaps
