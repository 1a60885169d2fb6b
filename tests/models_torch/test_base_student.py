"""Models that keep a teacher's pictures and get a new text tower."""

import numpy as np
import pytest
import torch

from clip_italian.config import Model
from clip_italian.errors import UsageError
from clip_italian.models_torch.base import load_base, load_teacher
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.single_towers import load_text
from clip_italian.models_torch.towers import MlpDualEncoderModel, add_logit_bias
from tests.conftest import draw_shape, save_tiny_bert, save_tiny_model
from tests.models_torch import kinds

PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2)]
TEXTS = ["un gatto che dorme", "un cerchio rosso"]


@pytest.fixture
def bert(tmp_path):
    return save_tiny_bert(tmp_path / "bert", 1, hidden_size=16, layers=6)


@pytest.mark.parametrize("kind", kinds.KINDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_student_has_the_pictures_of_every_kind_of_teacher(tmp_path, bert, kind, layers):
    folder = kinds.folder(kind, tmp_path / kind)
    teacher = DualEncoder.load(folder)
    encoder = load_base(Model(teacher=str(folder), text=str(bert), projection_layers=layers, max_tokens=10))
    encoder.save(tmp_path / "student")
    expected = teacher.encode_images(PICTURES)
    for student in (encoder, DualEncoder.load(tmp_path / "student")):
        np.testing.assert_allclose(student.encode_images(PICTURES), expected, atol=1e-6)
        assert student.logit_scale == pytest.approx(teacher.logit_scale)
        assert student.logit_bias == pytest.approx(teacher.logit_bias)
        assert student.max_tokens == 10
        assert student.encode_text(TEXTS).shape == (2, teacher.dim)
    assert isinstance(encoder.model, MlpDualEncoderModel) == (layers == 2)
    text = load_text(str(bert))[0].state_dict()
    assert all(torch.equal(value, text[name]) for name, value in encoder.parts.text.state_dict().items())


def test_a_teachers_projection_with_a_hidden_layer_and_its_bias_are_kept(tmp_path, bert):
    tiny = save_tiny_model(tmp_path)
    teacher = load_base(Model(base=str(tiny), projection_layers=2))
    add_logit_bias(teacher.model, -3.5)
    teacher.save(tmp_path / "teacher")
    encoder = load_base(Model(teacher=str(tmp_path / "teacher"), text=str(bert)))
    np.testing.assert_allclose(encoder.encode_images(PICTURES), teacher.encode_images(PICTURES), atol=1e-6)
    assert encoder.logit_bias == pytest.approx(-3.5)
    assert isinstance(encoder.parts.text_projection, torch.nn.Linear)


@pytest.mark.parametrize(("count", "kept"), [(1, [0]), (2, [0, 5]), (3, [0, 2, 5]), (6, [0, 1, 2, 3, 4, 5])])
def test_some_layers_of_a_text_tower_are_kept(tmp_path, bert, count, kept):
    encoder = load_base(Model(teacher=str(save_tiny_model(tmp_path)), text=str(bert), text_layers=count))
    whole = load_text(str(bert))[0].encoder.layer
    layers = encoder.parts.text.encoder.layer
    assert len(layers) == count == encoder.model.config.text_config.num_hidden_layers
    for layer, number in zip(layers, kept, strict=True):
        assert all(torch.equal(value, whole[number].state_dict()[name]) for name, value in layer.state_dict().items())
    encoder.save(tmp_path / "student")
    np.testing.assert_allclose(
        DualEncoder.load(tmp_path / "student").encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-6
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_layers": 7}, r"text_layers = 7: .*bert has 6 layers; keep fewer"),
        ({"projection_dim": 8}, r"projection_dim = 8: .*tiny-model has 24 dimensions; remove it"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path, bert, settings, message):
    with pytest.raises(UsageError, match=message):
        load_base(Model(teacher=str(save_tiny_model(tmp_path)), text=str(bert), **settings))


@pytest.mark.parametrize("name", ["mclip", "open_clip:ViT-B-32/openai", "sentence-transformers:clip-ViT-B-32"])
def test_a_teacher_that_cannot_be_saved_is_one_line(name):
    with pytest.raises(UsageError, match="not in a format that training can save; name a model folder"):
        load_teacher(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "t"}, "a teacher has the pictures already: give it with text"),
        ({"teacher": "t", "text": "s", "vision": "v"}, "a teacher has the pictures already"),
        ({"teacher": "t", "text": "s", "base": "b"}, "name one of the three"),
        ({"teacher": "t", "text": "s", "start": "kept"}, "start = 'kept' needs a base"),
        ({"teacher": "t", "text": "s", "landmarks": 4}, "landmarks would change the teacher's pictures"),
        ({"base": "b", "text_layers": 2}, "text_layers needs a teacher"),
    ],
)
def test_settings_that_contradict_a_teacher_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Model.model_validate(settings)
