"""clip-italian: train, measure and use a CLIP for Italian.

from clip_italian import DualEncoder
model = DualEncoder.load("runs/demo/model")
model.encode_text(["un gatto che dorme"])  # (1, 512) float32, unit length

Importing the package makes `transformers.AutoModel` know the towers of the `mini` model and of its trained versions.
"""

from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.search.index import Index

__version__ = "0.1.0"
__all__ = ["DualEncoder", "Index", "__version__"]
