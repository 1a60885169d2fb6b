"""A small index of coloured shapes with a tiny random model, served in this process."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian import languages
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.search import update
from clip_italian.serve.app import create
from clip_italian.serve.encoder import SharedEncoder
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.service import ServedIndex, Service
from clip_italian.serve.settings import Limits, access
from tests.conftest import COLOURS, SHAPES, draw_shape, tiny_model, tiny_tokenizer

ITALIAN = languages.get("it")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """The tiny model, loaded from its folder `model`."""
    processor = CLIPImageProcessorPil(
        size={"height": 32, "width": 32}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    folder = tmp_path_factory.mktemp("serve") / "model"
    DualEncoder(tiny_model(), tiny_tokenizer(), processor).save(folder)
    loaded = DualEncoder.load(folder)
    loaded.info["folder"] = str(folder)
    return loaded


def build(room, encoder):
    """36 pictures in three folders, and an index of them."""
    for shape in SHAPES:
        (room / "photos" / shape).mkdir(parents=True)
        for seed, (name, colour) in enumerate(COLOURS.items()):
            for copy in range(2):
                draw_shape(shape, colour, seed + 7 * copy).save(room / "photos" / shape / f"{name}-{copy}.png")
    update.build(room / "idx", [room / "photos"], update.Model(encoder, encoder.info["folder"]))
    return room / "photos", room / "idx"


@pytest.fixture(scope="session")
def common(tmp_path_factory, encoder):
    return build(tmp_path_factory.mktemp("common"), encoder)


@pytest.fixture
def alters(tmp_path, encoder):
    """For tests that change the pictures or the index: they get their own."""
    return build(tmp_path, encoder)


@pytest.fixture
def library(request):
    return request.getfixturevalue("alters" if "alters" in request.fixturenames else "common")


@pytest.fixture
def photos(library):
    return library[0]


@pytest.fixture
def folder(library):
    return library[1]


def exif(moment, place=None):
    """EXIF of a camera: date and time, and the degrees, minutes and seconds north and east."""
    made = Image.Exif()
    made[0x0110] = "Pinhole 3"
    made.get_ifd(0x8769)[0x9003] = moment
    if place:
        made.get_ifd(0x8825).update({1: "N", 2: place[0], 3: "E", 4: place[1]})
    return made


def served(folder, encoder, keys=(), origins=(), names=("testserver",), language=ITALIAN, places=True, **limits):
    """A client of a service; `with` starts and stops it."""
    metrics = Metrics()
    shared = SharedEncoder(encoder, metrics.observe_batch)
    service = Service(ServedIndex(folder, shared), shared, "tiny", language, Limits(**limits), places)
    client = TestClient(
        create(service, access("127.0.0.1", keys, origins, names), metrics), raise_server_exceptions=False
    )
    client.service = service
    return client


@pytest.fixture
def start(folder, encoder):
    """Makes clients of a service with these limits, keys, origins, names and language."""
    with ExitStack() as clients:
        yield lambda **settings: clients.enter_context(served(folder, encoder, **settings))


@pytest.fixture
def client(start):
    return start()


def upload(content, field="picture"):
    """A picture file or its bytes as httpx sends it."""
    content = content.read_bytes() if isinstance(content, Path) else content
    return {"files": [(field, ("../../etc/passwd", content, "application/octet-stream"))]}
