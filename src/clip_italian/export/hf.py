"""Exports a folder that `transformers` loads without this package, so all classes must be from `transformers`.

In addition to the weights, it contains the tokenizer, which truncates to the model's maximum length, and a processor
for both inputs, so that `AutoModel`, `AutoTokenizer`, `AutoImageProcessor` and `AutoProcessor` can load it.
"""

import copy
import json
from pathlib import Path
from typing import Any

from transformers import (
    AltCLIPModel,
    AltCLIPProcessor,
    CLIPProcessor,
    MetaClip2Model,
    SiglipModel,
    SiglipProcessor,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from clip_italian.errors import UserError
from clip_italian.export.texts import add_lowercasing
from clip_italian.files.atomic import staged
from clip_italian.models.folders import INFO_FILE
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import tokenizer_hash

_OURS = "clip_italian."


def export(encoder: DualEncoder, name: str, folder: Path) -> None:
    """Write the folder. Raises UserError if the model has classes of this package."""
    check(encoder, name)
    with staged(folder) as temporary:
        encoder.save(temporary)
        write_inputs(encoder, temporary)


def check(encoder: DualEncoder, name: str) -> None:
    """Raise UserError if the model has a class that is not from `transformers`."""
    parts = encoder.parts
    ours = [type(one).__name__ for one in (encoder.model, parts.vision, parts.text) if _OURS in type(one).__module__]
    if ours:
        raise UserError(
            f"{name}: uses classes of clip-italian ({', '.join(ours)}), which plain transformers does not know; "
            "export it --to onnx or openvino"
        )


def write_inputs(encoder: DualEncoder, folder: Path) -> None:
    """Write tokenizer and processor for use without this package: with truncation, and lowercasing if needed."""
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.model_max_length = encoder.max_tokens
    add_lowercasing(encoder, tokenizer)
    processor = _processor(encoder.model)(image_processor=encoder.image_processor, tokenizer=tokenizer)
    processor.save_pretrained(folder)
    # `AutoImageProcessor` reads its own file, whatever the processor's file contains.
    encoder.image_processor.save_pretrained(folder)
    file = folder / INFO_FILE
    info = json.loads(file.read_text(encoding="utf-8"))
    info["tokenizer_sha256"] = tokenizer_hash(tokenizer)
    file.write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _processor(model: Any) -> Any:
    for kind, processor in (
        (VisionTextDualEncoderModel, VisionTextDualEncoderProcessor),
        (SiglipModel, SiglipProcessor),
        (AltCLIPModel, AltCLIPProcessor),
        (MetaClip2Model, CLIPProcessor),
    ):
        if isinstance(model, kind):
            return processor
    return CLIPProcessor
