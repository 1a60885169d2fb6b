"""Loads any model by its name: our own, exported ones, and rivals to compare with."""

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
    """Load a model to search with: `mini`, a folder or a Hub id by `DualEncoder`, an exported folder by `OnnxEncoder`.

    An exported folder runs on the CPU, all others on `device`. Raises UserError where the model cannot be loaded.
    """
    if not str(name).isascii():
        name = str(as_stored(Path(name)))
    if exported.is_exported(Path(name)):
        return OnnxEncoder.load(name)
    encoder: SearchEncoder = registry.resolve(registry.DUAL_ENCODER).load(name).to(device)
    return encoder


def load_rival(name: str, language: Language, device: str = "cpu") -> Encoder:
    """Load a model to measure on `device`.

    | name | loaded by |
    |---|---|
    | `mini`, a folder, a Hub id | `DualEncoder`: ours, the published one, joint models of `transformers` |
    | a folder that `clip-italian export` wrote | `OnnxEncoder`: its graphs, on the CPU |
    | `mclip`, `sentence-transformers:TEXT,IMAGES` | sentence-transformers |
    | `open_clip:NAME/WEIGHTS`, `open_clip:hf-hub:ID`, `open_clip:local-dir:FOLDER` | open_clip |

    Some multilingual models need to know the texts' `language`. Raises UserError, one line, where a library, a file
    or weights are missing.
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
