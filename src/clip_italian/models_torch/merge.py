"""Merges two models by interpolating their weights (WiSE-FT, Wortsman et al. 2022).

A merge of the weights before and after fine-tuning is often better than both on data that neither was tuned for, and
costs nothing at inference. One model should be trained from the other, or both from the same base. If each has its own
landmarks, as `mini` and models trained by its recipe do, the merged model has the landmarks of both: before
normalisation, its embedding of a picture is the interpolation of the two embeddings.
"""

from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import nn

from clip_italian.errors import UserError
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import tokenizer_hash
from clip_italian.models_torch.landmark_efficientnet import Group, LandmarkEfficientNetModel, find_group, set_groups
from clip_italian.pictures import leaks

_DROPPED = ("validation", "logit_bias")  # not measured with the merged weights; written again by `save`


@torch.no_grad()
def merge(start: DualEncoder, end: DualEncoder, weight: float, names: tuple[str, str]) -> DualEncoder:
    """Return the model with weights `(1 - weight) * start + weight * end`; modifies both inputs.

    `names` identify the two models in errors and in `clip_italian.json`. Integer buffers are taken from `end`. The
    merged model records the training pictures of both. Raises UserError if weights, tokenizers or preprocessing do not
    match.
    """
    both = f"{names[0]} and {names[1]}"
    _check_inputs(start, end, both)
    info = _info(start, end, weight, names)  # before the weights change
    _share_landmarks(start, end)
    first, second = start.model.state_dict(), end.model.state_dict()
    for name in sorted(first.keys() | second.keys()):
        shapes = [list(weights[name].shape) if name in weights else None for weights in (first, second)]
        if shapes[0] != shapes[1]:
            found = " and ".join("missing" if shape is None else str(shape) for shape in shapes)
            raise UserError(f"{both}: different shapes, {name} is {found}; merge models with the same towers")
        if ".landmarks." in name and not torch.equal(first[name], second[name]):
            raise UserError(f"{both}: different landmark pictures; merge models with the same landmarks")
    for name, value in second.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(first[name].to(value.device), value, weight))
    return replace(end, info=info)


def _share_landmarks(start: DualEncoder, end: DualEncoder) -> None:
    """Give each model the landmarks of both, if their heads differ in nothing else."""
    towers = [encoder.parts.vision for encoder in (start, end)]
    linear = all(isinstance(encoder.parts.visual_projection, nn.Linear) for encoder in (start, end))
    if not linear or not all(isinstance(tower, LandmarkEfficientNetModel) for tower in towers):
        return
    first, second = (tower.head for tower in towers)
    equal = all(
        getattr(first.landmarks, name) == getattr(second.landmarks, name) for name in ("sharpness", "sizes")
    ) and all(map(torch.equal, first.landmarks.parameters(), second.landmarks.parameters()))
    if equal or (first.classes, first.features) != (second.classes, second.features):
        return
    if first.landmarks.sharpness != second.landmarks.sharpness:
        return
    groups: list[Group] = []
    for group in (*first.landmarks.groups(), *second.landmarks.groups()):
        try:
            find_group(groups, group)
        except ValueError:
            groups.append((group[0].clone(), group[1].clone()))
    for encoder in (start, end):
        set_groups(encoder.model, groups)


def _check_inputs(start: DualEncoder, end: DualEncoder, both: str) -> None:
    if tokenizer_hash(start.tokenizer) != tokenizer_hash(end.tokenizer):
        raise UserError(f"{both}: different tokenizers; merge models with the same tokenizer")
    probe = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    first, second = start.preprocess(probe), end.preprocess(probe)
    if first.shape != second.shape or not torch.allclose(first, second, atol=1e-3):
        raise UserError(f"{both}: different image preprocessing; merge models with the same preprocessing")


def _info(start: DualEncoder, end: DualEncoder, weight: float, names: tuple[str, str]) -> dict[str, Any]:
    info = {key: value for key, value in end.info.items() if key not in _DROPPED}
    info["merged"] = [
        {"model": name, "weights": encoder.weights_hash, "share": share}
        for name, encoder, share in zip(names, (start, end), (1 - weight, weight), strict=True)
    ]
    sources = [(encoder.info.get("data") or {}).get("sources") or [] for encoder in (start, end)]
    if any(sources):
        # Both may have used the same pictures of a source, so take the larger count instead of the sum.
        largest: dict[str, dict[str, Any]] = {}
        for source in sorted((*sources[0], *sources[1]), key=lambda one: one["pictures"]):
            largest[source["source"]] = source
        info["data"] = (end.info.get("data") or {}) | {"sources": list(largest.values())}
    seen = [encoder.info[leaks.INFO_KEY] for encoder in (start, end) if leaks.INFO_KEY in encoder.info]
    if seen:
        info[leaks.INFO_KEY] = leaks.Fingerprints.union([leaks.Fingerprints.from_json(one) for one in seen]).to_json()
    return info
