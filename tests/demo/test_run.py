"""The real demo pipeline, with the real encoders, on a cut-down picture book."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
from transformers import AutoModel, VisionTextDualEncoderModel

from clip_italian import languages, pairs
from clip_italian.demo import run as demo
from clip_italian.evaluate import report, results
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.files import assets
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.search.index import Index
from clip_italian.sources import emoji

pytestmark = pytest.mark.integration

# A start in closed form embeds the names of ImageNet's 1,000 classes first; the Italian demo does that.
WITHOUT_START = ["model.class_names=false", "model.landmarks=0", "model.start=random"]


@pytest.fixture
def book(borrowed_cache, monkeypatch):
    """A picture book of some emoji, spread out: faces, people, animals, food, places and flags are all there."""
    whole = emoji.read

    def shorten(pictures):
        step = 1_800 // pictures
        monkeypatch.setattr(emoji, "read", lambda *args: islice(whole(*args), 0, pictures * step, step))

    monkeypatch.setattr(assets, "stamps", lambda: None)
    return shorten


@pytest.fixture
def done(book, tmp_path):
    book(90)
    return demo.run("it", tmp_path / "run", ["stage.0.epochs=2", "stage.1.epochs=1"], lambda _: None)


def test_demo_leaves_everything_it_promises(done):
    written = json.loads((done.output / "metrics.json").read_text())
    assert written == done.metrics
    counts = done.metrics["retrieval"]["text_to_image"]
    assert counts["queries"] == counts["gallery"] > 3
    for direction in ("text_to_image", "image_to_text"):
        figures = done.metrics["retrieval"][direction]
        assert set(figures) >= {"MRR@1", "MRR@5", "MRR@10", "R@1", "R@5", "R@10", "median_rank", "queries", "gallery"}
        for baseline in ("untrained", "chance"):
            assert set(done.metrics["baselines"][baseline]["retrieval"][direction]) == set(figures)
    assert {"accuracy@1", "accuracy@5", "accuracy@10"} <= set(done.metrics["zeroshot"])

    files = sorted((done.output / "results").iterdir())
    assert [file.stem for file in files] == [
        "retrieval-trained", "retrieval-untrained", "zeroshot-trained", "zeroshot-untrained",
    ]  # fmt: skip
    read = [results.read(file) for file in files]
    for direction in ("text_to_image", "image_to_text"):
        for result, part in zip(read, (done.metrics, done.metrics["baselines"]["untrained"]), strict=False):
            assert result.values[direction].pop("intervals")
            assert result.values[direction] == part["retrieval"][direction]
    assert read[0].values["overlap"] == done.metrics["overlap"] == {"checked": True, "pictures": 0}
    compared = report.compare([(file, results.read(file)) for file in files], Resampling(20))
    assert [(part.kind, list(part.models)) for part in compared] == [
        ("retrieval", ["trained", "untrained"]), ("zeroshot", ["trained", "untrained"]),
    ]  # fmt: skip

    page = (done.output / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 12 * min(5, counts["gallery"])
    assert 'src="http' not in page
    assert "<link" not in page
    history = [json.loads(line) for line in (done.output / "history.jsonl").read_text().splitlines()]
    assert [history[0]["stage"], history[1]["stage"], history[-1]["stage"]] == ["untrained", "projections", "unfrozen"]
    assert min(r["validation_loss"] for r in history) < history[0]["validation_loss"]

    # The saved folder is a stock transformers model that gives the same embeddings.
    encoder = DualEncoder.load(done.output / "model")
    index = Index.open(done.output / "index")
    index.check_model(encoder)
    pictures = [hit.path for hit in index.search(encoder.encode_text(["un animale"])[0], 3)]
    ours = encoder.encode_images(pictures)
    pixels = torch.stack([encoder.preprocess(opened) for opened in map(_open, pictures)])
    for loader in (AutoModel, VisionTextDualEncoderModel):
        model = loader.from_pretrained(done.output / "model").eval()
        with torch.no_grad():
            theirs = torch.nn.functional.normalize(model.get_image_features(pixels).pooler_output, dim=1).numpy()
        assert np.abs(theirs - ours).max() <= 1e-4


def _open(path):
    from clip_italian.pictures.decoding import open_picture

    return open_picture(path)


@pytest.mark.parametrize(
    ("code", "title", "said"),
    [
        ("de", "language: Deutsch", ["„eine Blume“", "Ähnlichkeit 0,"]),
        pytest.param("es", "language: español", ["«una flor»", "semejanza 0,"], marks=pytest.mark.slow),
    ],
)
def test_demo_speaks_the_language(code, title, said, book, tiny_folder, tmp_path):
    """With a tiny model: what it finds does not matter here."""
    book(40)
    layers = 'stage.1.trainable=["*projection.*", "text_model.encoder.layer.0.*"]'
    model = [*WITHOUT_START, f"model.base={tiny_folder}", "model.projection_dim=24", layers]
    done = demo.run(code, tmp_path / "run", [*model, "stage.0.epochs=1", "stage.1.epochs=1"], lambda _: None)
    captions = {caption for pair in pairs.read(demo.book(languages.get(code))) for caption in pair.captions}
    assert len(captions) > 30
    articles = {"de": ("ein ", "eine ", "der ", "die ", "das "), "es": ("un ", "una ", "el ", "la ", "unos ", "unas ")}
    assert sum(caption.startswith(articles[code]) for caption in captions) > 0.8 * len(captions)
    page = (done.output / "report.html").read_text()
    assert title in page
    assert all(words in page for words in said)
    assert "somiglianza" not in page
    kept = json.loads((done.output / "model" / "clip_italian.json").read_text())
    assert kept["recipe"]["language"] == code
    assert done.metrics["zeroshot"]["accuracy@1"] >= 0
