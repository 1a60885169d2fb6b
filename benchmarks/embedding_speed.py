"""How fast models embed pictures and captions, and how fast their embeddings are ranked.

    make peers                                                             # for open_clip, left out without it
    python benchmarks/embedding_speed.py --pictures ../photos --captions captions.jsonl --rounds 3

All models go through the interface that `evaluate` uses, with random weights in the published sizes (`mini` has its
own, and its own tokenizer); captions are cut by one tokenizer made of them, so that all text towers read about as many
tokens. Each model runs in a process of its own, in turns, on pictures that are decoded before the clock starts;
preparing them is in the time. Ranking is of random embeddings of the model's size, both directions. Memory is of the
whole process, before ranking. Prints Markdown with medians over the rounds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers/bin/python"
if sys.argv[1:2] == ["--one"]:
    # What the other environment lacks of the package's needs comes last, so that its torch stays its own.
    sys.path[:0] = [str(ROOT / "src")]
    sys.path.append(sys.argv[4])

import numpy as np
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.evaluate.ranks import ranks_both_ways
from clip_italian.models.encoder import Encoder
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pictures.decoding import open_picture
from clip_italian.pictures.walk import find_pictures

B32 = {"patch_size": 32}  # with transformers' defaults: ViT-B/32 at 224 pixels
SIZE = 512


def tokenizer(inputs: Path) -> PreTrainedTokenizerFast:
    """The word pieces that the driver made of the captions."""
    return PreTrainedTokenizerFast.from_pretrained(inputs / "text")


def mini(_: Path) -> Encoder:
    return DualEncoder.load("mini")


def bert(inputs: Path) -> Encoder:
    """The paper's: CLIP's ViT-B/32 and the Italian BERT-base."""
    from clip_italian.models_torch.towers import join

    text = BertModel(BertConfig.from_pretrained(inputs / "text"))
    model = join(CLIPVisionModel(CLIPVisionConfig(**B32)), text, SIZE, 3.0)
    model.save_pretrained(inputs / "saved")  # only loading settles the attention's implementation
    tokenizer(inputs).save_pretrained(inputs / "saved")
    CLIPImageProcessorPil().save_pretrained(inputs / "saved")
    return DualEncoder.load(inputs / "saved")


def clip(inputs: Path) -> Encoder:
    """OpenAI's ViT-B/32 with its text tower."""
    words = tokenizer(inputs)
    ids = {"bos_token_id": words.cls_token_id, "eos_token_id": words.sep_token_id, "pad_token_id": words.pad_token_id}
    model = CLIPModel(CLIPConfig(text_config=ids, vision_config=B32)).eval()
    return DualEncoder(model, words, CLIPImageProcessorPil(), token_limit=77)


def mclip(inputs: Path) -> Encoder:
    """A multilingual DistilBERT with a matrix to 512, and CLIP's ViT-B/32, by sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from transformers import CLIPProcessor

    from clip_italian.models_torch.sentence_encoder import SentenceEncoder

    words = tokenizer(inputs)
    DistilBertModel(DistilBertConfig(vocab_size=119547)).save_pretrained(inputs / "distilbert")
    words.save_pretrained(inputs / "distilbert")
    CLIPModel(CLIPConfig(vision_config=B32)).save_pretrained(inputs / "clip")
    CLIPProcessor(CLIPImageProcessorPil(), words).save_pretrained(inputs / "clip")
    tower = Transformer(str(inputs / "distilbert"), max_seq_length=128)
    pooling = Pooling(tower.get_embedding_dimension())
    matrix = Dense(pooling.get_embedding_dimension(), SIZE, bias=False, activation_function=torch.nn.Identity())
    text = SentenceTransformer(modules=[tower, pooling, matrix], device="cpu")
    return SentenceEncoder(text, SentenceTransformer(modules=[Transformer(str(inputs / "clip"))], device="cpu"))


def open_clip(inputs: Path) -> Encoder:
    """xlm-roberta-base-ViT-B-32 by open_clip; captions padded to 77, as it does."""
    import open_clip as library

    from clip_italian.models_torch.open_clip_encoder import OpenClipEncoder

    words = tokenizer(inputs)
    XLMRobertaConfig(
        vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, pad_token_id=words.pad_token_id
    ).save_pretrained(inputs / "xlm-roberta")
    words.save_pretrained(inputs / "xlm-roberta")
    config = library.get_model_config("xlm-roberta-base-ViT-B-32")
    config["text_cfg"] |= {key: str(inputs / "xlm-roberta") for key in ("hf_model_name", "hf_tokenizer_name")}
    (inputs / "xlm-random.json").write_text(json.dumps(config), encoding="utf-8")
    library.add_model_config(inputs / "xlm-random.json")
    model, _, transform = library.create_model_and_transforms("xlm-random", pretrained_text=False)
    return OpenClipEncoder(model.eval(), library.get_tokenizer("xlm-random"), transform, torch.device("cpu"))


SIDES: dict[str, tuple[str, Callable[[Path], Encoder]]] = {
    "mini": ("mini: EfficientNet-Lite2 and e5-small", mini),
    "bert": ("ViT-B/32 and BERT-base (the paper's)", bert),
    "clip": ("CLIP ViT-B/32, transformers", clip),
    "mclip": ("mCLIP, sentence-transformers", mclip),
    "open_clip": ("XLM-R and ViT-B/32, open_clip", open_clip),
}


def measure(side: str, inputs: Path) -> dict[str, Any]:
    """Pictures and captions a second, seconds to rank, the size of an embedding, peak memory in MB."""
    data = json.loads((inputs / "data.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    encoder = SIDES[side][1](inputs)
    images = [open_picture(Path(path)) for path in data["pictures"]]
    encoder.encode_images(images[:8])
    encoder.encode_text(data["captions"][:64])
    seconds = {"pictures": _seconds(lambda: encoder.encode_images(images))}
    seconds["captions"] = _seconds(lambda: encoder.encode_text(data["captions"]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rng = np.random.default_rng(0)
    gallery, queries = (rng.standard_normal((count, encoder.dim), dtype=np.float32) for count in data["ranked"])
    owners = np.array_split(np.arange(len(queries)), len(gallery))
    ranking = _seconds(lambda: ranks_both_ways(gallery, queries, [rows.tolist() for rows in owners]))
    rates = {part: len(data[part]) / took for part, took in seconds.items()}
    return rates | {"ranking": ranking, "dim": encoder.dim, "memory": memory, "torch": torch.__version__}


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(side: str, inputs: Path) -> dict[str, Any]:
    """`measure` in the side's environment, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as room:
        for name in ("text", "data.json"):
            (Path(room) / name).symlink_to(inputs / name)
        python = PEERS if side == "open_clip" else Path(sys.executable)
        command = [str(python), __file__, "--one", side, room, sysconfig.get_path("purelib")]
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=offline)
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(side, {key: round(value, 2) for key, value in found.items() if key != "torch"}, file=sys.stderr)
    return found


def pictures(folder: Path | None, count: int, room: Path) -> list[str]:
    """The first pictures of a folder, or noise of a photo's usual size."""
    if folder is not None:
        return [str(path.resolve()) for path in find_pictures(folder)[:count]]
    paths = [room / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(path)
    return list(map(str, paths))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder of pictures; without it, noise of 500 x 375 pixels")
    parser.add_argument("--captions", type=Path, help="pairs file; without it, made-up captions")
    parser.add_argument("--count", nargs=2, type=int, default=[200, 2000], help="how many pictures and captions")
    parser.add_argument("--ranked", nargs=2, type=int, default=[5000, 25000], help="pictures and captions to rank")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    options = parser.parse_args(arguments)
    from train_step import captions, processor_name, write_text_tower

    sides = [side for side in options.sides if side != "open_clip" or PEERS.is_file()]
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(temporary)
        write_text_tower(inputs / "text", captions(options.captions, 4000))
        texts = captions(options.captions, options.count[1])
        shown = pictures(options.pictures, options.count[0], inputs)
        data = {"pictures": shown, "captions": texts, "ranked": options.ranked}
        (inputs / "data.json").write_text(json.dumps(data), encoding="utf-8")
        for _ in range(options.rounds):
            for side in sides:  # in turn, so that what else the machine does meets all of them
                found[side].append(run(side, inputs))
    print(f"{processor_name()}, {os.cpu_count()} threads; Python {sys.version.split()[0]}")
    print(f"{len(shown):,} pictures, {len(texts):,} captions; ranking {options.ranked[0]:,} x {options.ranked[1]:,}\n")
    print("| model | torch | dimensions | pictures/s | captions/s | ranking, s | peak memory, MB |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for side, rounds in found.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in ("pictures", "captions", "ranking")}
        memory = max(one["memory"] for one in rounds)
        print(
            f"| {SIDES[side][0]} | {rounds[0]['torch']} | {rounds[0]['dim']} | {middle['pictures']:,.1f} "
            f"| {middle['captions']:,.1f} | {middle['ranking']:.2f} | {memory:,.0f} |"
        )
    if len(sides) < len(options.sides):
        print("\nopen_clip is left out: no .venv-peers (make peers)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
    else:
        main(sys.argv[1:])
