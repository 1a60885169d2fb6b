"""A folder that `SentenceTransformer` loads, for texts and pictures alike: see `hf`, with unit length on top.

What the library reads is written by itself: its generic `Transformer` module takes the features of the joint model by
name, and `Normalize` follows.
"""

from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.export import hf
from clip_italian.files.atomic import staged
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import reads_padding

# The methods that all joint models of `transformers` have.
_MODALITIES = {
    modality: {"method": f"get_{modality}_features", "method_output_name": "pooler_output"}
    for modality in ("text", "image")
}


def export(encoder: DualEncoder, name: str, folder: Path) -> None:
    """Write the folder. Raises UserError for a model with classes of ours, or without the library."""
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
    """SigLIP reads padding: its texts have one length."""
    if not reads_padding(encoder.model):
        return {"max_length": encoder.max_tokens}
    return {"padding": "max_length", "max_length": encoder.max_tokens, "return_attention_mask": False}
