"""Runs in the environment of `make peers`, which holds open_clip and torchvision but not all that this package needs.

    python tests/models_torch/open_clip_worker.py FOLDER REPOSITORY SITE_PACKAGES

What is missing there is taken from SITE_PACKAGES, last in the search path, so that torch and the like stay the
environment's own. Writes tiny random models in open_clip's formats into FOLDER, and prints one line of JSON: by
model what the adapter gives and what the library's own calls give, and the lines of errors.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
FOLDER, REPOSITORY = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "src")]
sys.path.append(sys.argv[3])

import open_clip
import torch
from open_clip.push_to_hf_hub import save_for_hf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import normalize
from transformers import M2M100Config, NllbTokenizer, PreTrainedTokenizerFast, XLMRobertaConfig

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.models import load

TEXTS = ["un gatto che dorme", "un cerchio rosso"]
WORDS = ["<s>", "<pad>", "</s>", "<unk>", *("▁un", "▁gatto", "▁che", "▁dorme", "▁cerchio", "▁rosso"), "<mask>"]
VISION = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
CPU, ITALIAN = torch.device("cpu"), languages.get("it")


def pictures() -> list[Image.Image]:
    """Return a wide and a tall picture, to test resizing and cropping."""
    return [Image.linear_gradient("L").resize(size).convert("RGB") for size in ((60, 40), (33, 70))]


def own_calls(model, preprocess, tokens) -> dict[str, list]:
    """Return embeddings computed with open_clip directly."""
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(picture) for picture in pictures()]))
        return {"text": normalize(model.encode_text(tokens)).tolist(), "images": normalize(images).tolist()}


def adapter(name: str) -> dict:
    """Return embeddings computed with the encoder."""
    encoder = load.load_rival(name, ITALIAN, CPU)
    found = {"text": encoder.encode_text(TEXTS).tolist(), "images": encoder.encode_images(pictures()).tolist()}
    return found | {"facts": encoder.facts()}


def line(name: str) -> str:
    """Return the error message for a name that cannot be loaded."""
    try:
        load.load_rival(name, ITALIAN, CPU)
    except UserError as error:
        return str(error)
    return "loaded"


def by_name() -> dict:
    """Test a built-in name with a weights file: the smallest published model."""
    config = {"embed_dim": 24, "vision_cfg": VISION}
    config["text_cfg"] = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    (FOLDER / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(FOLDER / "tiny-clip.json")
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("tiny-clip")
    torch.save(model.state_dict(), FOLDER / "weights.pt")
    tokens = open_clip.get_tokenizer("tiny-clip")(TEXTS)
    # A published tag with weights in the cache.
    open_clip.pretrained._PRETRAINED["tiny-clip"] = {
        "plain": {"url": "https://example.org/x"}, "quick": {"url": "https://example.org/x", "quick_gelu": True},
    }  # fmt: skip
    open_clip.factory.download_pretrained = lambda *_, **__: str(FOLDER / "weights.pt")
    name = f"open_clip:tiny-clip/{FOLDER / 'weights.pt'}"
    made = {"adapter": adapter(name), "library": own_calls(model.eval(), preprocess, tokens)}
    return made | {"by tag": adapter("open_clip:tiny-clip/plain")["facts"], "quick": line("open_clip:tiny-clip/quick")}


def xlm_roberta() -> dict:
    """Test a folder like those of LAION's XLM-R CLIPs."""
    tower, folder = FOLDER / "xlm-roberta", FOLDER / "xlm-clip"
    shape = {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 1}
    XLMRobertaConfig(
        vocab_size=len(WORDS), max_position_embeddings=90, type_vocab_size=1, layer_norm_eps=1e-5, **shape
    ).save_pretrained(tower)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip
    fast.save_pretrained(tower)
    return from_folder(tower, folder, {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"})


def nllb() -> dict:
    """Test a folder like NLLB-CLIP's: NLLB's encoder, whose tokenizer prepends the language to the text."""
    tower, folder = FOLDER / "nllb", FOLDER / "nllb-clip"
    pieces = ["▁", *dict.fromkeys("".join(TEXTS).replace(" ", ""))]
    vocabulary = {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    tokenizer = NllbTokenizer(vocabulary, extra_special_tokens=["eng_Latn", "ita_Latn"])
    tokenizer.save_pretrained(tower)
    layers = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    width = {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 90}
    M2M100Config(vocab_size=len(tokenizer), **layers, **width).save_pretrained(tower)
    found = from_folder(tower, folder, {"hf_proj_type": "linear", "hf_pooler_type": "cls_pooler"})
    return found | {"italian": tokenizer.convert_tokens_to_ids("ita_Latn")}


def from_folder(tower: Path, folder: Path, pooling: dict[str, str]) -> dict:
    """Create a model with an HF text tower, save it in open_clip's format, and load it both ways."""
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower), "context_length": 20} | pooling
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text}
    (FOLDER / f"{folder.name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(FOLDER / f"{folder.name}.json")
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(folder.name, pretrained_text=False)
    tokenizer = open_clip.get_tokenizer(folder.name)
    save_for_hf(model, tokenizer, config, str(folder), safe_serialization=False)
    if hasattr(tokenizer.tokenizer, "src_lang"):
        tokenizer.tokenizer.src_lang = "ita_Latn"
    tokens = tokenizer(TEXTS)
    made = {"adapter": adapter(f"open_clip:local-dir:{folder}"), "library": own_calls(model.eval(), preprocess, tokens)}
    return made | {"tokens": tokens.tolist()}


def errors() -> dict[str, str]:
    """Return the error for each part that can be missing."""
    (FOLDER / "no-weights").mkdir()
    (FOLDER / "no-weights/open_clip_config.json").write_text((FOLDER / "xlm-clip/open_clip_config.json").read_text())
    (FOLDER / "broken.pt").write_text("no weights")
    names = {
        "unknown": "open_clip:ViT-B-33/openai", "no tag": "open_clip:ViT-B-32",
        "wrong tag": "open_clip:ViT-B-32/laion9",
        "unreachable": "open_clip:xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
        "no weights": f"open_clip:local-dir:{FOLDER / 'no-weights'}", "no folder": "open_clip:local-dir:/nowhere",
        "broken": f"open_clip:tiny-clip/{FOLDER / 'broken.pt'}",
        "other shape": f"open_clip:xlm-clip/{FOLDER / 'weights.pt'}",
    }  # fmt: skip
    open_clip.factory.download_pretrained = open_clip.pretrained.download_pretrained
    return {what: line(name) for what, name in names.items()}


if __name__ == "__main__":
    print(json.dumps({"by name": by_name(), "xlm-roberta": xlm_roberta(), "nllb": nllb(), "errors": errors()}))
