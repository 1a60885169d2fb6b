"""clip-italian: train, measure and use a CLIP for Italian.

from clip_italian import Pictures
pictures = Pictures.below("~/Pictures")
pictures.search("due cani sulla neve", k=5)[0].open()

Importing the package makes `transformers.AutoModel` know the towers of the `mini` model and of its trained versions.
"""

from clip_italian import privacy as privacy  # first: it keeps libraries from reporting their use
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.onnx_encoder import OnnxEncoder
from clip_italian.search.index import Index
from clip_italian.search.pictures import Pictures

__version__ = "0.3.0"
__all__ = ["DualEncoder", "Index", "OnnxEncoder", "Pictures", "__version__"]
