"""Builds the wheel `clip-italian-mini`: the graphs of `mini`, so that searching needs no torch and no network.

    python wheels/mini.py dist

Needs the extras `train` and `dev`. The weights of `mini` were trained on photos that are for research only; the version
(+research), the card and the first line of `clip-italian find` say so.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from clip_italian.export import cached
from clip_italian.models import mini_facts
from clip_italian.models.graphs import MINI_MARK, MINI_PACKAGE

VERSION = "1.0.0+research"
LICENCE = """The graphs hold the weights of three works:

- EfficientNet-Lite2, Apache-2.0, https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch
- multilingual-e5-small, MIT, https://huggingface.co/intfloat/multilingual-e5-small
- the heads of `mini`, trained by clip-italian on 800 photos of Flickr8k with Italian captions.
  Flickr8k is for research only, and so are weights trained on it.
"""
PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "clip-italian-mini"
version = "{version}"
description = "The model mini of clip-italian as onnxruntime graphs. For research only, like its training photos"
readme = "README.md"
license = {{ text = "Apache-2.0 and MIT parts; trained on photos for research only, see LICENCE.txt" }}
requires-python = ">=3.11"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
artifacts = ["{package}/model/*"]
"""


def build(target: Path) -> Path:
    """Make the graphs and build the wheel in the folder `target`; return its path."""
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        package = room / MINI_PACKAGE
        package.mkdir()
        (package / "__init__.py").write_text('"""The graphs of `mini`, read by clip-italian."""\n', encoding="utf-8")
        cached.make("mini", "int8", package / "model")
        mark = json.dumps({"version": mini_facts.version()})
        (package / "model" / MINI_MARK).write_text(mark, encoding="utf-8")
        (package / "model" / "LICENCE.txt").write_text(LICENCE, encoding="utf-8")
        card = [sys.executable, "-m", "clip_italian", "card", "mini", "-o", str(room / "README.md")]
        subprocess.run([*card, "--license", "other"], check=True)
        (room / "LICENCE.txt").write_text(LICENCE, encoding="utf-8")
        text = PYPROJECT.format(version=VERSION, package=MINI_PACKAGE)
        (room / "pyproject.toml").write_text(text, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(target.resolve()), str(room)], check=True
        )
    (wheel,) = target.glob(f"{MINI_PACKAGE}-{VERSION}-*.whl")
    return wheel


def main() -> None:
    """Build the wheel in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="folder for the wheel")
    wheel = build(parser.parse_args().target)
    print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
