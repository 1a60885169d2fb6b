"""One loader for all models that can be measured, by name."""

import torch

from clip_italian.languages import Language
from clip_italian.model import load as own
from clip_italian.model import open_clip_encoder, sentence_encoder
from clip_italian.model.encoder import Encoder
from clip_italian.model.open_clip_encoder import OpenClipEncoder
from clip_italian.model.sentence_encoder import SentenceEncoder


def load(name: str, language: Language, device: torch.device) -> Encoder:
    """Load a model by its name, on `device`.

    | name | by |
    |---|---|
    | `mini`, a folder, a Hub id | `DualEncoder`: ours, the published one, joint models of `transformers` |
    | a folder that `clip-italian export` wrote | `OnnxEncoder`: its graphs, on the CPU |
    | `mclip`, `sentence-transformers:TEXT,IMAGES` | sentence-transformers |
    | `open_clip:NAME/WEIGHTS`, `open_clip:hf-hub:ID`, `open_clip:local-dir:FOLDER` | open_clip |

    `language` is told to models that want to know it. Raises UserError, one line, where a library, a file or
    weights are missing.
    """
    if name == "mclip":
        name = sentence_encoder.MCLIP
    if name.startswith(sentence_encoder.PREFIX):
        return SentenceEncoder.load(name, device)
    if name.startswith(open_clip_encoder.PREFIX):
        return OpenClipEncoder.load(name, language.flores_code, device)
    return own.load(name, device)
