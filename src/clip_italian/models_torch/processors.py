"""Image processors of `transformers` in model folders."""

from pathlib import Path

import torch
from transformers import AutoImageProcessor, BaseImageProcessor, CLIPVisionConfig, PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.models.preprocess import Preprocess


def normalise(preprocess: Preprocess, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (…, 3, height, width) from 0 to 255 as float32 in the tower's range, on their device."""
    scale, offset = (torch.from_numpy(part).to(pixels.device) for part in (preprocess.scale, preprocess.offset))
    return pixels.float() * scale + offset


def load_image_processor(source: str, model: PreTrainedModel) -> BaseImageProcessor:
    """The preprocessing in a folder or repository; CLIP's own where there is none for a CLIP tower."""
    try:
        return AutoImageProcessor.from_pretrained(source, backend="pil")
    except OSError:
        if not isinstance(model.config.vision_config, CLIPVisionConfig):
            raise
        # The published checkpoint carries no preprocessing file; its tower is CLIP's.
        size = model.config.vision_config.image_size
        return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def image_processor(folder: Path) -> BaseImageProcessor:
    """The preprocessing in a folder. Raises UserError where it cannot be read."""
    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot read its preprocessing ({str(error).splitlines()[0]})") from error
