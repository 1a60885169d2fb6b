"""Loads a model by name: our own, exported ones, and models to compare with."""

from pathlib import Path

from clip_italian.files.names import as_stored
from clip_italian.languages import Language
from clip_italian.models import exported, registry
from clip_italian.models.encoder import Encoder, SearchEncoder
from clip_italian.models.onnx import OnnxEncoder

OPEN_CLIP = "open_clip:"
SENTENCE_TRANSFORMERS = "sentence-transformers:"
MCLIP = (
    f"{SENTENCE_TRANSFORMERS}sentence-transformers/clip-ViT-B-32-multilingual-v1,sentence-transformers/clip-ViT-B-32"
)


def load(name: str | Path, device: str = "cpu") -> SearchEncoder:
    """Load a model for searching.

    `mini`, a model folder or a Hub id is loaded as `DualEncoder` on `device`, an exported folder as `OnnxEncoder` on
    the CPU. Raises UserError if the model cannot be loaded.
    """
    if not str(name).isascii():
        name = str(as_stored(Path(name)))
    if exported.is_exported(Path(name)):
        return OnnxEncoder.load(name)
    encoder: SearchEncoder = registry.resolve(registry.DUAL_ENCODER).load(name).to(device)
    return encoder


def load_rival(name: str, language: Language, device: str = "cpu") -> Encoder:
    """Load a model for evaluation on `device`.

    | name | loaded as |
    |---|---|
    | `mini`, a folder, a Hub id | `DualEncoder`: ours, the published one, joint models of `transformers` |
    | a folder written by `clip-italian export` | `OnnxEncoder`, on the CPU |
    | `mclip`, `sentence-transformers:TEXT,IMAGES` | `SentenceEncoder` |
    | `open_clip:NAME/WEIGHTS`, `open_clip:hf-hub:ID`, `open_clip:local-dir:FOLDER` | `OpenClipEncoder` |

    `language` is the language of the texts, which some multilingual models need to know. Raises UserError if a library,
    a file or weights are missing.
    """
    if name == "mclip":
        name = MCLIP
    encoder: Encoder
    if name.startswith(SENTENCE_TRANSFORMERS):
        encoder = registry.resolve(registry.SENTENCE_TRANSFORMERS).load(name, device)
    elif name.startswith(OPEN_CLIP):
        encoder = registry.resolve(registry.OPEN_CLIP).load(name, language.flores_code, device)
    else:
        encoder = load(name, device)
    return encoder
