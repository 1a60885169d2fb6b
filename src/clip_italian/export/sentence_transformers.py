"""Exports a folder for `SentenceTransformer`, which embeds texts and pictures; based on the export of `hf`.

The library writes the folder itself: its generic `Transformer` module calls the feature methods of the joint model, and
`Normalize` scales the output to unit length.
"""

from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.export import hf
from clip_italian.files.atomic import staged
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import reads_padding

# Methods of every joint model of `transformers`.
_MODALITIES = {
    modality: {"method": f"get_{modality}_features", "method_output_name": "pooler_output"}
    for modality in ("text", "image")
}


def export(encoder: DualEncoder, name: str, folder: Path) -> None:
    """Write the folder. Raises UserError if the model has classes of this package, or the library is missing."""
    hf.check(encoder, name)
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
    except ImportError as error:
        raise UserError(f"{folder}: needs sentence-transformers; pip install 'clip-italian[rivals]'") from error
    with staged(folder) as temporary:
        plain = temporary.parent / "plain"
        hf.export(encoder, name, plain)
        transformer: Any = Transformer(
            str(plain), modality_config=_MODALITIES, module_output_name="sentence_embedding",
            processing_kwargs={"text": _padding(encoder)},
        )  # fmt: skip
        SentenceTransformer(modules=[transformer, Normalize()], device="cpu").save(str(temporary))


def _padding(encoder: DualEncoder) -> dict[str, Any]:
    """Return tokenizer arguments: truncation, and for SigLIP padding to a fixed length."""
    if not reads_padding(encoder.model):
        return {"max_length": encoder.max_tokens}
    return {"padding": "max_length", "max_length": encoder.max_tokens, "return_attention_mask": False}
