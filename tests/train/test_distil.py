"""Learning from a teacher: what is learned, from which texts, and what a resumed run does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import clip_italian
from clip_italian.config import Recipe
from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate import ranks
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, read, write
from clip_italian.train import run as run_module
from clip_italian.train.batches import Batches, LiveTexts, NoImages
from clip_italian.train.data import load_examples
from clip_italian.train.distil import keep_targets, original_pairs, set_text_projection
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.parallel import Processes
from clip_italian.train.run import train
from tests.conftest import COLOURS, SHAPES, draw_shape, save_tiny_bert
from tests.models_torch import kinds
from tests.train.test_resume import Fragile

STAGE = {
    "name": "texts", "trainable": ["text_model.*", "text_projection.*"],
    "frozen": ["vision_model.*", "visual_projection.*", "logit_*"],
    "learning_rate": 3e-3, "clipping": 0.0, "epochs": 12, "patience": 12,
}  # fmt: skip
VOCABULARY = ["un", *SHAPES, *COLOURS]
PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2)]


def recipe(pairs, teacher, student, output, stage=None, model=None, **more):
    return Recipe.model_validate(
        {
            "output": output,
            "data": {"pairs": pairs, "validation": 0.25},
            "model": {"teacher": str(teacher), "text": str(student)} | (model or {}),
            "batch": {"per_device": 6},
            "optimizer": {"name": "adamw"},
            "stage": [STAGE | (stage or {})],
        }
        | more
    )


@pytest.fixture
def teacher(tiny_encoder, tmp_path):
    """A model folder whose texts lie apart, unlike those of freshly drawn weights."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tiny_encoder.parts.text.parameters():
            if parameter.ndim == 2:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    tiny_encoder.save(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def student(tmp_path):
    """A text tower of another size than the teacher's."""
    return save_tiny_bert(tmp_path / "student", 5, hidden_size=32, layers=2)


def original(caption):
    """The caption in another language: the words of the captions exchanged in a circle."""
    following = dict(zip(VOCABULARY, [*VOCABULARY[1:], VOCABULARY[0]], strict=True))
    return " ".join(following[word] for word in caption.split())


@pytest.fixture
def translated(shapes):
    """The pairs file with an original for each caption."""
    write([replace(p, captions_original=(original(p.captions[0]),)) for p in read(shapes)], shapes)
    return shapes


@pytest.fixture
def far(translated, tmp_path):
    """The same captions with pictures that were never downloaded."""
    pairs = [replace(p, image=f"https://h/{p.id}.jpg") for p in read(translated)]
    write(pairs, tmp_path / "far.parquet")
    return tmp_path / "far.parquet"


def test_a_student_learns_the_teachers_texts_without_any_picture(far, teacher, student, tmp_path, cache):
    run = train(recipe(far, teacher, student, tmp_path / "run"))
    losses = [record["validation_loss"] for record in run.history]
    assert min(losses) < 0.2 * losses[0]
    assert losses[1] < losses[0]  # the projection by ridge regression, before any step
    steps = [json.loads(line)["loss"] for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert np.mean(steps[-5:]) < 0.5 * np.mean(steps[:5])
    taught, learned = DualEncoder.load(teacher), DualEncoder.load(tmp_path / "run" / "model")
    captions = [p.captions[0] for p in read(far)]
    wanted = taught.encode_text([original(caption) for caption in captions])
    assert (learned.encode_text(captions) * wanted).sum(axis=1).mean() > 0.95
    assert (taught.encode_text(captions) * wanted).sum(axis=1).mean() < 0.8  # the teacher reads originals only


def test_the_result_is_a_whole_model_with_the_teachers_pictures(far, teacher, student, tmp_path, cache):
    run = train(recipe(far, teacher, student, tmp_path / "run", {"epochs": 1}))
    taught = DualEncoder.load(teacher)
    for model in (clip_italian.load(tmp_path / "run" / "model", engine="torch"), run.encoder):
        np.testing.assert_array_equal(model.encode_images(PICTURES), taught.encode_images(PICTURES))
        assert model.logit_scale == pytest.approx(taught.logit_scale)
        assert model.encode_text(["un cerchio rosso"]).shape == (1, taught.dim)
    info = json.loads((tmp_path / "run" / "model" / "clip_italian.json").read_text())
    assert info["teacher"] == {"model": str(teacher), "weights_sha256": taught.weights_hash}
    assert "training_pictures" not in info  # none was read


def test_pictures_that_the_teacher_was_trained_on_still_count_as_seen(far, tiny_encoder, student, tmp_path, cache):
    listed = {"count": 0, "contents": "", "outlines": "", "colours": ""}
    replace(tiny_encoder, info={"training_pictures": listed}).save(tmp_path / "listed")
    run = train(recipe(far, tmp_path / "listed", student, tmp_path / "run", {"epochs": 1}))
    assert run.encoder.info["training_pictures"] == listed


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_targets_are_the_teachers_embeddings_of_the_originals(translated, student, tmp_path, cache, kind):
    teacher = DualEncoder.load(kinds.folder(kind, tmp_path / kind))
    examples = load_examples(recipe(translated, "x", student, "out"))
    targets = keep_targets(teacher, examples.originals(), torch.float32, lambda _: None)
    expected = teacher.encode_text(examples.originals().to_pylist())
    numbers = torch.tensor([0, 7, 53, 20])
    np.testing.assert_allclose(targets.of(numbers).numpy(), expected[numbers], atol=1e-6)
    torch.testing.assert_close(targets.of(numbers + len(expected)), targets.of(numbers))  # the originals themselves


@pytest.mark.parametrize(("share", "read_by_student"), [(0.0, lambda caption: caption), (1.0, original)])
def test_the_student_reads_translations_or_originals_and_the_teacher_originals(
    translated, teacher, student, cache, share, read_by_student
):
    encoder = DualEncoder.load(teacher)
    examples = load_examples(recipe(translated, "x", student, "out"))
    targets = keep_targets(encoder, examples.originals(), torch.float32, lambda _: None)
    here = torch.device("cpu")
    texts = LiveTexts(examples, encoder, here)
    batches = Batches(
        examples, torch.arange(54), NoImages(here), texts, 20, share, False, Processes(), (1, 0), targets=targets
    )
    (first, *_) = batches.epoch(1)
    captions = [pair.captions[0] for pair in examples.pairs(first.rows)]
    assert torch.equal(
        first.texts["input_ids"], encoder.tokenize([read_by_student(caption) for caption in captions])["input_ids"]
    )
    expected = encoder.encode_text([original(caption) for caption in captions])
    np.testing.assert_allclose(first.targets.numpy(), expected, atol=1e-6)
    assert first.images == {}


def test_the_teachers_features_are_kept(far, teacher, student, tmp_path, cache, monkeypatch):
    settings = recipe(far, teacher, student, tmp_path / "run", {"epochs": 1})
    first = train(settings).history
    assert len(list((cache / "features").iterdir())) == 1
    monkeypatch.setattr("clip_italian.train.features.Draft.open", None)
    assert train(settings).history == first


def test_validation_figures_are_those_of_the_model_that_is_left(far, teacher, student, tmp_path, cache):
    run = train(recipe(far, teacher, student, tmp_path / "run", {"epochs": 2}))
    examples = load_examples(recipe(far, teacher, student, tmp_path / "run"))
    held = examples.pairs(examples.split_rows("val"))
    captions = list(dict.fromkeys(p.captions[0] for p in held))
    originals = [original(caption) for caption in captions]
    texts, gallery = run.encoder.encode_text(captions), DualEncoder.load(teacher).encode_text(originals)
    validation = run.encoder.info["validation"]
    assert validation["validation_loss"] == pytest.approx(np.square(texts - gallery).sum(axis=1).mean(), abs=1e-4)
    found = ranks.ranks(texts, gallery, [[number] for number in range(len(captions))])
    assert validation["MRR@10"] == pytest.approx(ranks.mrr(found, 10))
    assert (validation["queries"], validation["gallery"]) == (len(captions), len(captions))


def test_pictures_and_teacher_together(translated, teacher, student, tmp_path, cache):
    settings = recipe(translated, teacher, student, tmp_path / "run", {"epochs": 2}, loss={"pictures": 0.5})
    run = train(settings)
    taught = DualEncoder.load(teacher)
    np.testing.assert_array_equal(run.encoder.encode_images(PICTURES), taught.encode_images(PICTURES))
    assert len(run.encoder.info["training_pictures"]["contents"]) > 0
    examples = load_examples(settings)
    held = examples.split_rows("val")
    pairs = examples.pairs(held)
    images = torch.from_numpy(run.encoder.encode_images([pair.image for pair in pairs]))
    texts, wanted = (
        model.encode_text([text for pair in pairs for text in column(pair)])
        for model, column in (
            (run.encoder, lambda pair: pair.captions),
            (taught, lambda pair: [original(pair.captions[0])]),
        )
    )
    of_pairs = contrastive_loss(images, torch.from_numpy(texts), 20.0, examples.groups[held]).item()
    distinct = np.unique([pair.captions[0] for pair in pairs], return_index=True)[1]
    distance = np.square(texts - wanted).sum(axis=1)[distinct].mean()
    loss = run.encoder.info["validation"]["validation_loss"]
    assert loss == pytest.approx(0.5 * of_pairs + distance, rel=1e-3)
    assert {"MRR@10", "gallery"} <= run.encoder.info["validation"].keys()


def test_a_third_of_the_teachers_own_layers_can_be_the_student(far, teacher, tmp_path, cache):
    model = {"text_layers": 1, "start": "random"}
    run = train(recipe(far, teacher, teacher, tmp_path / "run", {"epochs": 1}, model))
    assert run.encoder.model.config.text_config.num_hidden_layers == 1
    loaded = DualEncoder.load(tmp_path / "run" / "model")
    np.testing.assert_allclose(loaded.encode_text(["un gatto"]), run.encoder.encode_text(["un gatto"]), atol=1e-6)


@pytest.mark.parametrize("pictures", [None, 1.0])
def test_broken_off_at_every_step_the_run_equals_an_undisturbed_one(
    translated, teacher, student, tmp_path, cache, monkeypatch, pictures
):
    more = {"checkpoints": {"every": 1}, "batch": {"per_device": 12}, "loss": {"pictures": pictures}}
    whole, broken = (
        recipe(translated, teacher, student, tmp_path / name, {"epochs": 1, "tower_dropout": True}, **more)
        for name in ("whole", "broken")
    )
    expected = train(whole)

    monkeypatch.setattr(run_module, "Monitor", Fragile)
    unfinished, run, attempts = "refuse", None, 0
    while run is None and attempts < 20:
        attempts += 1
        try:
            run = train(broken, unfinished=unfinished)
        except RuntimeError:
            unfinished = "resume"
    assert attempts > 2
    records = [(tmp_path / name / "steps.jsonl").read_text().splitlines() for name in ("whole", "broken")]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in records]
    assert losses[0] == losses[1]
    assert run.history == expected.history
    weights = expected.encoder.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in run.encoder.model.state_dict().items())


def test_another_teacher_or_other_originals_do_not_resume_a_run(
    far, teacher, tiny_encoder, student, tmp_path, cache, monkeypatch
):
    class Broken(run_module.Monitor):
        def step(self, record):
            raise RuntimeError("power cut")

    settings = recipe(far, teacher, student, tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(run_module, "Monitor", Broken)
        train(settings)
    with torch.no_grad():
        tiny_encoder.parts.text_projection.weight += 1
    tiny_encoder.save(tmp_path / "other")
    with pytest.raises(UserError, match=r"another teacher \(its weights\)"):
        train(recipe(far, tmp_path / "other", student, tmp_path / "run"), unfinished="resume")
    write([replace(p, captions_original=(original(p.captions_original[0]),)) for p in read(far)], far)
    with pytest.raises(UserError, match="another set of captions from before translation"):
        train(settings, unfinished="resume")


@pytest.mark.parametrize("pattern", ["visual_projection.*", "logit_scale"])
def test_captions_alone_do_not_train_pictures(far, teacher, student, tmp_path, cache, pattern):
    stage = {"trainable": [*STAGE["trainable"], pattern]}
    with pytest.raises(UsageError, match=rf"captions alone do not train {pattern[:6]}"):
        train(recipe(far, teacher, student, tmp_path / "run", stage))


def test_originals_are_the_gallery_of_their_translations(tmp_path):
    captions = [("un cane", "un cane nero"), ("un cane",), ("un gatto",)]
    originals = [("a dog", "a black dog"), ("one dog",), ("a cat",)]
    write(
        [
            Pair(str(i), f"{i}.png", own, "s", captions_original=before)
            for i, (own, before) in enumerate(zip(captions, originals, strict=True))
        ]
        + [Pair(str(i), f"{i}.png", (f"foto {i}",), "s", captions_original=(f"photo {i}",)) for i in (3, 4, 5, 6)],
        tmp_path / "pairs.parquet",
    )
    examples = load_examples(recipe(tmp_path / "pairs.parquet", "t", "s", "out"))
    found = original_pairs(examples, torch.tensor([0, 1, 2]))
    assert [(p.image, p.captions) for p in found] == [
        ("a dog", ("un cane",)), ("a black dog", ("un cane nero",)), ("one dog", ("un cane",)), ("a cat", ("un gatto",))
    ]  # fmt: skip
    assert [examples.text(int(p.id)) for p in found] == [p.captions[0] for p in found]


def test_the_start_of_the_projection_is_the_least_squares_fit(tiny_encoder):
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn(400, 24, generator=generator)
    wanted = torch.randn(24, tiny_encoder.dim, generator=generator)
    targets = normalize(pooled @ wanted, dim=1)
    set_text_projection(tiny_encoder, pooled, targets)
    fitted = pooled @ tiny_encoder.parts.text_projection.weight.detach().T
    expected = pooled.numpy() @ np.linalg.lstsq(pooled.numpy(), targets.numpy(), rcond=None)[0]
    np.testing.assert_allclose(fitted.numpy(), expected, atol=0.02)
