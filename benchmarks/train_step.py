"""Fine-tuning steps of ViT-B/32 + BERT-base: ours, open_clip's training loop, and a plain transformers loop.

    make peers                                                     # once: the environment that open_clip needs
    python benchmarks/train_step.py --captions captions.jsonl      # 2 cores: about 45 minutes
    python benchmarks/train_step.py --device cuda --batch 128 --steps 40 --warmups 10 --precisions bf16
    python benchmarks/train_step.py --device cuda --batch 4096 --chunk 512 --steps 3 --sides ours open_clip

Random weights, a batch of 64 random pictures with captions of the given pairs file (without one: made-up
captions with as many words as Flickr8k's in Italian have). Each side runs in a process of its own, in turns; a
process makes two steps that are not counted and then times some. Decoding pictures is not in it:
benchmarks/feeding_speed.py measures that. Cutting captions into tokens is, padding as each side's users get
it: ours to the longest of a batch, open_clip's to 77, the original script's to 96.
Prints Markdown for RESULTS.md.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from clip_italian import languages, pairs

SIDES = ("ours", "ours-adamw", "ours-compiled", "open_clip", "transformers")
PEERS = Path(__file__).parent.parent / ".venv-peers/bin/python"
WORKER = Path(__file__).parent / "train_step_sides.py"
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
# So many pieces for the 4,000 captions of Flickr8k give 16.4 tokens a caption, two of them [CLS] and [SEP]; the
# multilingual tokenizer of `mini` gives 17.4, and a large Italian vocabulary gives fewer.
PIECES = 1500
ROWS = 32102  # of the Italian BERT's embedding table
WORDS = (0, 2, 10, 44, 118, 186, 300, 341, 444, 443, 443, 386, 331, 258, 187, 166, 104, 76, 46, 37, 24, 15, 18, 5, 7, 3)
LABELS = {
    "ours": "ours (AdaBelief, adaptive clipping)",
    "ours-adamw": "ours (AdamW, adaptive clipping)",
    "ours-compiled": "ours, towers by torch.compile",
    "open_clip": "open_clip 3.3.0 (AdamW)",
    "transformers": "transformers loop (AdamW)",
}


def captions(file: Path | None, count: int) -> list[str]:
    """`count` captions of a pairs file, or made-up ones of as many words: entry i of WORDS counts captions of i + 1."""
    draw = random.Random(1)
    if file is not None:
        return draw.choices([caption for pair in pairs.read(file) for caption in pair.captions], k=count)
    words = " ".join(one.label for one in languages.get("it").imagenet).split()
    lengths = draw.choices(range(1, len(WORDS) + 1), WORDS, k=count)
    return [" ".join(draw.choices(words, k=length)) for length in lengths]


def write_text_tower(folder: Path, texts: Sequence[str]) -> None:
    """A word-piece tokenizer of these texts and BERT-base's configuration, as a folder that transformers reads."""
    from transformers import BertConfig, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=PIECES, special_tokens=[*SPECIAL.values()], show_progress=False)
    )
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)
    BertConfig(vocab_size=ROWS, pad_token_id=tokenizer.token_to_id("[PAD]")).save_pretrained(folder)


def measure(
    side: str, inputs: Path, precision: str, steps: int, python: Path | None = None, more: Sequence[str] = (),
    warmups: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Run one side in its environment; what it prints. `more` are the worker's last arguments."""
    python = python or (PEERS if side == "open_clip" else Path(sys.executable))
    command = [str(python), str(WORKER), side, str(inputs), precision, str(warmups), str(steps), *more]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=offline)
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    seconds = f"{statistics.median(result['seconds']):.4f} s a step" if "seconds" in result else "done"
    print(f"{side}, {precision}: {seconds}", file=sys.stderr)
    return result


def processor_name() -> str:
    """The processor as Linux names it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="pairs file")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each side")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "float32"], choices=["bf16", "float32"])
    parser.add_argument("--sides", nargs="+", default=[s for s in SIDES if s != "ours-compiled"], choices=SIDES)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--chunk", type=int, default=0, help="pictures in memory at a time; 0: all")
    parser.add_argument("--warmups", type=int, default=2, help="steps of a process before those that are timed")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has open_clip")
    args = parser.parse_args()
    if "open_clip" in args.sides and not args.peers.is_file():
        raise SystemExit(f"{args.peers}: not there; run make peers")

    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        inputs = Path(temporary)
        texts = captions(args.captions, args.batch * (args.steps + args.warmups))
        write_text_tower(inputs / "text", captions(args.captions, 4000))
        batches = [texts[start : start + args.batch] for start in range(0, len(texts), args.batch)]
        (inputs / "captions.json").write_text(json.dumps(batches), encoding="utf-8")
        bare = {
            (name, precision): measure("plain", inputs, precision, 9, python)
            for precision in args.precisions
            for name, python in (("ours", Path(sys.executable)), ("open_clip's", args.peers))
            if args.device == "cpu"
        }
        more = (args.device, str(args.chunk))
        for _ in range(args.rounds):
            for precision in args.precisions:
                for side in args.sides:
                    python = args.peers if side == "open_clip" else Path(sys.executable)
                    result = measure(side, inputs, precision, args.steps, python, more, args.warmups)
                    found.setdefault((precision, side), []).append(result)

    print(f"{processor_name()}, {os.cpu_count()} threads; Python {sys.version.split()[0]}\n")
    if bare:
        print("| plain torch, ms, forwards and backwards | torch | linear | patch convolution |\n|---|---|---:|---:|")
    else:
        print(
            "\n".join(
                sorted({f"{result['device']}, torch {result['torch']}" for one in found.values() for result in one})
            )
        )
    for (name, precision), times in bare.items():
        linear, convolution = (statistics.median(times[key]) for key in ("linear", "convolution"))
        print(f"| {name} environment, {precision} | {times['torch']} | {linear:.0f} | {convolution:.0f} |")
    print("\n| step | precision | tokens a caption | s (fastest–slowest) | core s | samples/s | peak memory, GB |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for (precision, side), results in sorted(found.items()):
        seconds = [second for result in results for second in result["seconds"]]
        tokens = statistics.mean(count for result in results for count in result["tokens"]) / args.batch
        middle, peak = statistics.median(seconds), max(result["peak"] for result in results)
        work = statistics.median(second for result in results for second in result["cpu_seconds"])
        print(
            f"| {LABELS[side]} | {precision} | {tokens:.0f} | {middle:.3f} ({min(seconds):.3f}–{max(seconds):.3f}) "
            f"| {work:.2f} | {args.batch / middle:,.2f} | {peak:.2f} |"
        )


if __name__ == "__main__":
    main()
