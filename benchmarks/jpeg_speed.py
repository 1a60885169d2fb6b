"""How fast picture files and captions are embedded by one CLIP ViT-B/32, beside open_clip and others.

    make peers
    python benchmarks/jpeg_speed.py --pictures ../photos --captions captions.jsonl

All sides have the same random weights of the published size, CLIP's own word pieces, and the same files; decoding and
preparing are in the time, loading is not. Each side runs in a process of its own, in turns. Cosines are to what
open_clip gives in float32, picture by picture.

open_clip-readme       as its README shows: float32, one picture after the other; captions 64 at a time
open_clip-float32      two loader processes, 64 at a time
open_clip-bf16         the same under autocast
sentence-transformers  `SentenceTransformer.encode`
transformers           `CLIPModel`, 32 at a time
ours                   `DualEncoder.encode_files`
ours-int8              the same for what `clip-italian export --to onnx --quantise int8` wrote
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers/bin/python"
PROGRAM = Path(sys.executable).with_name("clip-italian")
MODEL, QUANTISED, DATA = "model", "int8", "data.json"
BATCH = 64
Encode = tuple[Callable[[Sequence[str]], np.ndarray], Callable[[Sequence[str]], np.ndarray]]
"""Picture files → embeddings, captions → embeddings, both of unit length."""


def in_order(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def unit(rows: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.nn.functional.normalize(torch.cat(list(rows)).float()).numpy()


class Files(torch.utils.data.Dataset):
    """Pictures for open_clip's loader."""

    def __init__(self, paths: Sequence[str], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[at]))


def open_clip(inputs: Path, one_by_one: bool = False, bf16: bool = False) -> Encode:
    import open_clip as library

    model, _, transform = library.create_model_and_transforms("ViT-B-32-quickgelu")
    model.load_state_dict(torch.load(inputs / "open_clip.pt", weights_only=True))
    model.eval()
    tokenizer = library.get_tokenizer("ViT-B-32-quickgelu")

    def images(paths: Sequence[str]) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if one_by_one:
                return unit([model.encode_image(transform(Image.open(path)).unsqueeze(0)) for path in paths])
            loader = torch.utils.data.DataLoader(Files(paths, transform), BATCH, num_workers=2)
            return unit([model.encode_image(batch) for batch in loader])

    def texts(captions: Sequence[str]) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return unit([model.encode_text(tokenizer(batch)) for batch in in_order(captions, BATCH)])

    return images, texts


def sentence_transformers(inputs: Path) -> Encode:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    model = SentenceTransformer(modules=[Transformer(str(inputs / MODEL))], device="cpu")
    encode = lambda items: model.encode(items, normalize_embeddings=True)  # noqa: E731
    return lambda paths: encode([Image.open(path) for path in paths]), lambda captions: encode(list(captions))


def transformers(inputs: Path) -> Encode:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(inputs / MODEL).eval()
    processor, tokenizer = (
        AutoImageProcessor.from_pretrained(inputs / MODEL),
        AutoTokenizer.from_pretrained(inputs / MODEL),
    )

    def images(paths: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            batches = in_order(paths, 32)
            pixels = (processor([Image.open(path) for path in batch], return_tensors="pt") for batch in batches)
            return unit([model.get_image_features(**batch).pooler_output for batch in pixels])

    def texts(captions: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            batches = in_order(captions, 32)
            tokens = (tokenizer(list(batch), padding=True, truncation=True, return_tensors="pt") for batch in batches)
            return unit([model.get_text_features(**batch).pooler_output for batch in tokens])

    return images, texts


def ours(inputs: Path, name: str = MODEL) -> Encode:
    from clip_italian.models.load import load

    encoder = load(str(inputs / name))
    return lambda paths: encoder.encode_files(map(Path, paths))[1], encoder.encode_text


SIDES: dict[str, tuple[str, bool, Callable[[Path], Encode]]] = {
    "open_clip-readme": ("open_clip, float32, one by one", True, lambda inputs: open_clip(inputs, one_by_one=True)),
    "open_clip-float32": ("open_clip, float32, 2 loader processes", True, open_clip),
    "open_clip-bf16": ("open_clip, bf16, 2 loader processes", True, lambda inputs: open_clip(inputs, bf16=True)),
    "sentence-transformers": ("sentence-transformers", True, sentence_transformers),
    "transformers": ("transformers", True, transformers),
    "ours": ("ours, float32", False, ours),
    "ours-int8": ("ours, exported to onnx, int8", False, lambda inputs: ours(inputs, QUANTISED)),
}


def write_models(inputs: Path, vocabulary: Path) -> None:
    """One random CLIP: as a folder for transformers and ours, as weights for open_clip, and exported to int8."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pieces, merges = word_pieces(vocabulary)
    tokenizer = CLIPTokenizer(vocab=pieces, merges=merges, model_max_length=77)
    torch.manual_seed(0)
    ends = {"bos_token_id": len(pieces) - 2, "eos_token_id": len(pieces) - 1, "pad_token_id": len(pieces) - 1}
    model = CLIPModel(CLIPConfig(text_config=ends, vision_config={"patch_size": 32})).eval()
    model.save_pretrained(inputs / MODEL)
    CLIPProcessor(CLIPImageProcessorPil(), tokenizer).save_pretrained(inputs / MODEL)
    torch.save(for_open_clip(model.state_dict()), inputs / "open_clip.pt")
    command = [PROGRAM, "export", inputs / MODEL, "-o", inputs / QUANTISED, "--to", "onnx", "--quantise", "int8"]
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)


def word_pieces(vocabulary: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's word pieces and merges from the file that open_clip carries."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    lines = gzip.decompress(vocabulary.read_bytes()).decode().splitlines()[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    letters = list(bytes_to_unicode().values())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    return {piece: at for at, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}, merges  # type: ignore[return-value]


def for_open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of transformers' CLIP under open_clip's names."""
    same = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "logit_scale": "logit_scale",
    }
    norms = {"vision_model.pre_layrnorm": "visual.ln_pre", "vision_model.post_layernorm": "visual.ln_post",
             "text_model.final_layer_norm": "ln_final"}  # fmt: skip
    layer = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    found = {new: state[old] for old, new in same.items()}
    found |= {"visual.proj": state["visual_projection.weight"].T, "text_projection": state["text_projection.weight"].T}
    for kind in ("weight", "bias"):
        found |= {f"{new}.{kind}": state[f"{old}.{kind}"] for old, new in norms.items()}
        for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
            for number in range(12):
                old, new = f"{tower}.encoder.layers.{number}", f"{prefix}transformer.resblocks.{number}"
                found |= {f"{new}.{b}.{kind}": state[f"{old}.{a}.{kind}"] for a, b in layer.items()}
                parts = [state[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                found[f"{new}.attn.in_proj_{kind}"] = torch.cat(parts)
    return {name: value.contiguous() for name, value in found.items()}


def measure(side: str, inputs: Path, room: Path) -> dict[str, float]:
    """Pictures and captions a second, and peak memory of the process in MB; leaves the embeddings in `room`."""
    data = json.loads((inputs / DATA).read_text(encoding="utf-8"))
    rates = {}
    for what, encode in zip(("pictures", "captions"), SIDES[side][2](inputs), strict=True):
        encode(data[what][:BATCH])
        start = time.perf_counter()
        embedded = encode(data[what])
        rates[what] = len(data[what]) / (time.perf_counter() - start)
        np.save(room / f"{side}-{what}.npy", embedded)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return rates | {"memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + children) / 1024}


def run(side: str, inputs: Path, room: Path) -> dict[str, float]:
    """`measure` in the side's environment."""
    python = PEERS if SIDES[side][1] else Path(sys.executable)
    command = [str(python), __file__, "--one", side, str(inputs), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(side, {key: round(value, 1) for key, value in found.items()}, file=sys.stderr)
    return found


def made_up(room: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Coloured noise as JPEG files of `size` pixels."""
    paths = [room / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        draw = np.random.default_rng(number)
        smooth = Image.fromarray(draw.integers(0, 255, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        grain = draw.normal(0, 6, (size[1], size[0], 1))
        Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return list(map(str, paths))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder of pictures; without it, noise of --size pixels")
    parser.add_argument("--size", nargs=2, type=int, default=[640, 480], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--captions", type=Path, help="pairs file; without it, made-up captions")
    parser.add_argument("--count", nargs=2, type=int, default=[1000, 1000], help="how many pictures and captions")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    options = parser.parse_args(arguments)
    from train_step import captions, processor_name

    from clip_italian.pictures.walk import find_pictures

    if not PEERS.is_file():
        raise SystemExit(f"{PEERS}: not there; run make peers")
    found: dict[str, list[dict[str, float]]] = {side: [] for side in options.sides}
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(temporary)
        write_models(inputs, next(PEERS.parents[1].glob("lib/*/site-packages/open_clip/bpe_simple_vocab*.gz")))
        texts = captions(options.captions, options.count[1])
        folder = options.pictures
        shown = [str(path.resolve()) for path in find_pictures(folder)] if folder else []
        shown = shown[: options.count[0]] or made_up(inputs, options.count[0], tuple(options.size))
        (inputs / DATA).write_text(json.dumps({"pictures": shown, "captions": texts}), encoding="utf-8")
        for _ in range(options.rounds):
            for side in options.sides:  # in turn, so that what else the machine does meets all of them
                found[side].append(run(side, inputs, inputs))
        embedded = {path.stem: np.load(path) for path in inputs.glob("*.npy")}
    print(f"{processor_name()}, {os.cpu_count()} threads; Python {sys.version.split()[0]}")
    print(f"{len(shown):,} pictures, {len(texts):,} captions, {options.rounds} rounds\n")
    print(
        "| | pictures/s | least cosine | captions/s | least cosine | peak memory, MB |\n|---|---:|---:|---:|---:|---:|"
    )
    for side, rounds in found.items():
        cells = [SIDES[side][0]]
        for what in ("pictures", "captions"):
            rate = statistics.median(one[what] for one in rounds)
            alike = (embedded[f"{side}-{what}"] * embedded[f"{options.sides[0]}-{what}"]).sum(1).min()
            cells += [f"{rate:,.1f}", f"{alike:.4f}"]
        print("|", " | ".join([*cells, f"{max(one['memory'] for one in rounds):,.0f}"]), "|")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main(sys.argv[1:])
