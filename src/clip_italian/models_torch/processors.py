"""Loads image processors of `transformers`, and normalises pixels on the device."""

from pathlib import Path

import torch
from transformers import AutoImageProcessor, BaseImageProcessor, CLIPVisionConfig, PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.models.preprocess import Preprocess


def normalise(preprocess: Preprocess, pixels: torch.Tensor) -> torch.Tensor:
    """Scale pixels (…, 3, height, width) from 0–255 to the tower's range, as float32 on their device."""
    scale, offset = (torch.from_numpy(part).to(pixels.device) for part in (preprocess.scale, preprocess.offset))
    return pixels.float() * scale + offset


def load_image_processor(source: str, model: PreTrainedModel) -> BaseImageProcessor:
    """Load the image processor of a folder or Hub repository; CLIP's default if a CLIP tower has none."""
    try:
        return AutoImageProcessor.from_pretrained(source, backend="pil")
    except OSError:
        if not isinstance(model.config.vision_config, CLIPVisionConfig):
            raise
        # The published checkpoint has a CLIP tower and no preprocessing file.
        size = model.config.vision_config.image_size
        return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def image_processor(folder: Path) -> BaseImageProcessor:
    """Load the image processor of a folder. Raises UserError if it cannot be read."""
    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot read the image processor ({str(error).splitlines()[0]})") from error
