"""A folder that plain `transformers` loads: no package of ours is needed, so that all classes must be its own.

Beside the weights lie the tokenizer, cut at the model's longest text, and a processor for both inputs, so that
`AutoModel`, `AutoTokenizer`, `AutoImageProcessor` and `AutoProcessor` open it.
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
from clip_italian.export.texts import spelling
from clip_italian.files.atomic import staged
from clip_italian.models.folders import INFO_FILE
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import tokenizer_hash

_OURS = "clip_italian."


def export(encoder: DualEncoder, name: str, folder: Path) -> None:
    """Write the folder. Raises UserError for a model with classes of ours."""
    check(encoder, name)
    with staged(folder) as temporary:
        encoder.save(temporary)
        write_inputs(encoder, temporary)


def check(encoder: DualEncoder, name: str) -> None:
    """Raise UserError where a class of the model is none of `transformers`' own."""
    parts = encoder.parts
    ours = [type(one).__name__ for one in (encoder.model, parts.vision, parts.text) if _OURS in type(one).__module__]
    if ours:
        raise UserError(
            f"{name}: holds classes of clip-italian ({', '.join(ours)}), which plain transformers does not know; "
            "export it --to onnx or openvino"
        )


def write_inputs(encoder: DualEncoder, folder: Path) -> None:
    """Tokenizer and processor as others use them: cut at the longest text, small letters where the model wants them."""
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.model_max_length = encoder.max_tokens
    spelling(encoder, tokenizer)
    processor = _processor(encoder.model)(image_processor=encoder.image_processor, tokenizer=tokenizer)
    processor.save_pretrained(folder)
    # `AutoImageProcessor` finds preprocessing here, whatever the processor's file holds.
    encoder.image_processor.save_pretrained(folder)
    info = folder / INFO_FILE
    told = json.loads(info.read_text(encoding="utf-8"))
    told["tokenizer_sha256"] = tokenizer_hash(tokenizer)
    info.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
