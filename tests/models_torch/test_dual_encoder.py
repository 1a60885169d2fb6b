import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from clip_italian.errors import UserError
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import tokenizer_hash
from clip_italian.pictures.decoding import PictureError
from tests.conftest import draw_shape, tiny_bert, tiny_tokenizer

PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2), draw_shape("triangolo", "green", 3)]


def test_embeddings_are_float32_and_of_unit_length(tiny_encoder):
    texts = tiny_encoder.encode_text(["un gatto", "un cerchio rosso", "una foto"])
    images = tiny_encoder.encode_images(PICTURES)
    for vectors in (texts, images):
        assert vectors.shape == (3, 24)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_empty_input_gives_empty_output(tiny_encoder):
    assert tiny_encoder.encode_text([]).shape == (0, 24)
    assert tiny_encoder.encode_images([]).shape == (0, 24)


def test_order_and_batching_do_not_matter(tiny_encoder):
    texts = ["un " * (n % 7 + 1) + "gatto" for n in range(150)]
    together = tiny_encoder.encode_text(texts)
    alone = np.concatenate([tiny_encoder.encode_text([text]) for text in texts[:20]])
    assert np.allclose(together[:20], alone, atol=1e-5)


def test_embeddings_equal_the_forward_pass_of_transformers(tiny_encoder):
    inputs = tiny_encoder.tokenize(["un cerchio rosso", "un gatto che dorme"])
    pixels = torch.stack([tiny_encoder.preprocess(image) for image in PICTURES[:2]])
    with torch.no_grad():
        outputs = tiny_encoder.model(**inputs, pixel_values=pixels)
    assert np.allclose(tiny_encoder.encode_images(PICTURES[:2]), outputs.image_embeds.numpy(), atol=1e-5)
    expected = outputs.text_embeds.numpy()
    assert np.allclose(tiny_encoder.encode_text(["un cerchio rosso", "un gatto che dorme"]), expected, atol=1e-5)


def test_a_single_text_instead_of_a_list_is_an_error(tiny_encoder):
    with pytest.raises(TypeError, match="list"):
        tiny_encoder.encode_text("un gatto")


def test_save_and_load_give_the_same_embeddings(tmp_path, tiny_encoder):
    tiny_encoder.save(tmp_path / "copy")
    again = DualEncoder.load(tmp_path / "copy")
    assert np.array_equal(again.encode_images(PICTURES), tiny_encoder.encode_images(PICTURES))
    assert again.weights_hash == tiny_encoder.weights_hash
    assert again.info["tokenizer_sha256"] == tokenizer_hash(tiny_encoder.tokenizer)


def test_another_tokenizer_is_an_error(tiny_folder):
    file = tiny_folder / "tokenizer.json"
    vocabulary = json.loads(file.read_text())
    words = vocabulary["model"]["vocab"]
    words["gatto"], words["dorme"] = words["dorme"], words["gatto"]
    file.write_text(json.dumps(vocabulary))
    with pytest.raises(UserError, match="tokenizer differs from the one"):
        DualEncoder.load(tiny_folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_files_are_errors(tiny_folder, missing):
    (tiny_folder / missing).unlink()
    if missing == "tokenizer.json":
        (tiny_folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="not a model folder") as caught:
        DualEncoder.load(tiny_folder)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_an_unreachable_hub_id_are_errors(tmp_path):
    with pytest.raises(UserError, match="no such model folder"):
        DualEncoder.load(tmp_path / "none")
    with pytest.raises(UserError, match=r"nobody/nothing: cannot load the model .*; check its name and the network"):
        DualEncoder.load("nobody/nothing")


def test_long_texts_are_truncated(tiny_encoder):
    assert tiny_encoder.tokenize(["gatto " * 500])["input_ids"].shape == (1, 96)


def test_bad_files_raise_or_are_skipped(tiny_encoder, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    PICTURES[0].save(good)
    bad.write_text("x")
    with pytest.raises(PictureError, match=r"bad\.png"):
        tiny_encoder.encode_images([good, bad])
    paths, vectors, errors = tiny_encoder.encode_files([bad, good])
    assert paths == [good]
    assert len(vectors) == len(errors) == 1


def test_transparent_pictures_are_composited_on_white(tiny_encoder):
    clear = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    white = Image.new("RGB", (48, 48), "white")
    assert np.allclose(tiny_encoder.encode_images([clear]), tiny_encoder.encode_images([white]), atol=1e-6)


def published(folder):
    """Write a folder like clip-italian/clip-italian on the Hub, with random weights.

    It has CLIP's vision tower and a BERT with names of 2021, in torch's format, no preprocessing, and Flax weights.
    """
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionModel(CLIPVisionConfig(image_size=64, patch_size=32, **shape))
    text = tiny_bert(hidden_size=16, layers=1)
    config = VisionTextDualEncoderConfig(vision_config=vision.config, text_config=text.config, projection_dim=8)
    model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text).eval()
    weights = {
        name.replace("vision_model.", "vision_model.vision_model.", 1) if name.startswith("vision_") else name: value
        for name, value in model.state_dict().items()
    }
    weights["vision_model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    weights["text_model.embeddings.position_ids"] = torch.arange(512)[None]
    folder.mkdir()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "flax_model.msgpack").write_bytes(b"not read")
    model.config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


def test_the_published_checkpoint_loads(tmp_path):
    model = published(tmp_path / "published")
    encoder = DualEncoder.load(tmp_path / "published")
    assert encoder.image_processor.size["shortest_edge"] == 64
    inputs = encoder.tokenize(["un gatto"])
    pixels = torch.stack([encoder.preprocess(picture) for picture in PICTURES])
    with torch.no_grad():
        texts = model.get_text_features(**inputs).pooler_output
        images = model.get_image_features(pixels).pooler_output
    unit = torch.nn.functional.normalize
    assert np.allclose(encoder.encode_text(["un gatto"]), unit(texts, dim=1), atol=1e-5)
    assert np.allclose(encoder.encode_images(PICTURES), unit(images, dim=1), atol=1e-5)


def test_only_flax_weights_is_an_error(tmp_path):
    published(tmp_path / "published")
    (tmp_path / "published" / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="only Flax weights") as caught:
        DualEncoder.load(tmp_path / "published")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_errors(tiny_folder):
    weights = load_file(tiny_folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, tiny_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"weights are missing \(text_projection\.weight"):
        DualEncoder.load(tiny_folder)
