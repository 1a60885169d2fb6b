"""A model between two: weights interpolated between those before and those after fine-tuning.

Such a model is often better than both on what neither was tuned for, and costs nothing more to use
(WiSE-FT, Wortsman et al. 2022). It makes sense where one was trained from the other, or both from one.
"""

from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from clip_italian import leaks
from clip_italian.errors import UserError
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.hashes import tokenizer_hash

_DROPPED = ("validation", "logit_bias")  # was not measured with these weights; is written anew


@torch.no_grad()
def merge(start: DualEncoder, end: DualEncoder, weight: float, names: tuple[str, str]) -> DualEncoder:
    """The model that lies the share `weight` of the way from `start` to `end`; uses up `end`'s weights.

    `names` is what the two are called in errors and in `clip_italian.json`. What has no fraction (counters) is
    `end`'s. The pictures that either was trained on count as the merged model's. Raises UserError where
    weights, tokenizers, preprocessing or landmarks do not match.
    """
    both = f"{names[0]} and {names[1]}"
    _check_inputs(start, end, both)
    first, second = start.model.state_dict(), end.model.state_dict()
    for name in sorted(first.keys() | second.keys()):
        shapes = [list(weights[name].shape) if name in weights else None for weights in (first, second)]
        if shapes[0] != shapes[1]:
            found = " and ".join("missing" if shape is None else str(shape) for shape in shapes)
            raise UserError(f"{both}: not of one shape, {name} is {found}; merge models with the same towers")
        if ".landmarks." in name and not torch.equal(first[name], second[name]):
            raise UserError(f"{both}: their landmarks are different pictures; merge models that share them")
    info = _info(start, end, weight, names)  # before the weights change
    for name, value in second.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(first[name].to(value.device), value, weight))
    return replace(end, info=info)


def _check_inputs(start: DualEncoder, end: DualEncoder, both: str) -> None:
    if tokenizer_hash(start.tokenizer) != tokenizer_hash(end.tokenizer):
        raise UserError(f"{both}: their tokenizers differ; merge models that read text alike")
    probe = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    first, second = start.preprocess(probe), end.preprocess(probe)
    if first.shape != second.shape or not torch.allclose(first, second, atol=1e-3):
        raise UserError(f"{both}: they prepare pictures differently; merge models that see pictures alike")


def _info(start: DualEncoder, end: DualEncoder, weight: float, names: tuple[str, str]) -> dict[str, Any]:
    info = {key: value for key, value in end.info.items() if key not in _DROPPED}
    info["merged"] = [
        {"model": name, "weights": encoder.weights_hash, "share": share}
        for name, encoder, share in zip(names, (start, end), (1 - weight, weight), strict=True)
    ]
    seen = [encoder.info[leaks.INFO_KEY] for encoder in (start, end) if leaks.INFO_KEY in encoder.info]
    if seen:
        info[leaks.INFO_KEY] = leaks.Fingerprints.union([leaks.Fingerprints.from_json(one) for one in seen]).to_json()
    return info
