"""Embeds with another library and prints the result as JSON; runs where `import clip_italian` fails.

Standard input is JSON: `texts`, `picture` (a file) and `jobs`, pairs of a format of `clip-italian export` and a folder.
"""

import json
import sys

sys.modules["clip_italian"] = None  # type: ignore[assignment]


def by_transformers(folder, picture, texts):
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer, pictures = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    both = AutoProcessor.from_pretrained(folder)
    padding = "max_length" if "siglip" in model.config.model_type else True
    tokens = tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
    names = ("input_ids",) if padding == "max_length" else ("input_ids", "attention_mask")
    with torch.no_grad():
        words = model.get_text_features(**{name: tokens[name] for name in names}).pooler_output
        seen = model.get_image_features(pictures(images=picture, return_tensors="pt")["pixel_values"]).pooler_output
    again = both(images=picture, return_tensors="pt")["pixel_values"]
    assert torch.equal(again, pictures(images=picture, return_tensors="pt")["pixel_values"])
    unit = torch.nn.functional.normalize
    return unit(words, dim=1).tolist(), unit(seen, dim=1).tolist()


def by_sentence_transformers(folder, picture, texts):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return model.encode(texts).tolist(), model.encode([picture]).tolist()


if __name__ == "__main__":
    from PIL import Image

    ways = {"hf": by_transformers, "sentence-transformers": by_sentence_transformers}
    asked = json.load(sys.stdin)
    picture = Image.open(asked["picture"])
    print(json.dumps([ways[way](folder, picture, asked["texts"]) for way, folder in asked["jobs"]]))
