"""Builds the wheel `clip-italian-mini`: the graphs of `mini`, so that searching needs no torch and no network.

    python wheels/mini.py dist

Needs the extras `train` and `dev`. The weights of `mini` were trained on photos that are for research only; the version
(+research), the card, the licences and the first line of `clip-italian find` say so.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from clip_italian import languages
from clip_italian.export import cached, onnx
from clip_italian.export.parity import Sample
from clip_italian.models import exported, mini_facts
from clip_italian.models.graphs import MINI, MINI_MARK, MINI_PACKAGE
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import settings_hash
from clip_italian.release import card, facts

VERSION = "1.0.0+research"
APACHE = Path(__file__).parents[1] / "LICENSE"
LICENCE = """For research only.

The graphs hold the weights of three works:

- EfficientNet-Lite2, Apache-2.0, Copyright (c) 2020, ML Illustrated,
  https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch
- multilingual-e5-small, MIT, Copyright (c) Microsoft Corporation,
  https://huggingface.co/intfloat/multilingual-e5-small
- the heads of `mini`, trained by clip-italian on 800 photos of Flickr8k with Italian captions.
  Flickr8k is for research only, and so are weights trained on it.

The first two were changed: adapted to `mini`, converted to ONNX, and stored in 8 and 16 bits.
LICENCE-Apache-2.0.txt and LICENCE-MIT.txt are the texts of the first two licences.
"""
MIT = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
README = """# clip-italian-mini

**For research only**: the heads of this model were trained on photos of Flickr8k, which are for research only.

The model `mini` of clip-italian as onnxruntime graphs, so that searching needs neither torch nor network:

    clip-italian find "due cani sulla neve" ~/Pictures

The card of the model follows. Its figures are of the model in float32, and its example needs `clip-italian[train]`.

"""
PYPROJECT = """[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "clip-italian-mini"
version = "{version}"
description = "For research only, like its training photos: the model mini of clip-italian as onnxruntime graphs"
readme = "README.md"
license = "Apache-2.0 AND MIT AND LicenseRef-Flickr8k-research-only"
license-files = ["LICENCE*.txt"]
requires-python = ">=3.11"
classifiers = ["Intended Audience :: Science/Research", "Natural Language :: Italian"]

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
artifacts = ["{package}/model/*"]
"""
_SMALL = 1024  # numbers, or bytes; smaller weights stay in float32, and in the graph


def build(target: Path) -> Path:
    """Make the graphs and build the wheel in the folder `target`; return its path."""
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        package = room / MINI_PACKAGE
        package.mkdir()
        text = '"""The graphs of `mini`, read by clip-italian. For research only."""\n'
        (package / "__init__.py").write_text(text, encoding="utf-8")
        make_graphs(package / "model")
        mark = json.dumps({"version": mini_facts.version()})
        (package / "model" / MINI_MARK).write_text(mark, encoding="utf-8")
        licences = {"": LICENCE, "-MIT": MIT, "-Apache-2.0": APACHE.read_text(encoding="utf-8")}
        for name, text in licences.items():
            (room / f"LICENCE{name}.txt").write_text(text, encoding="utf-8")
        (package / "model" / "LICENCE.txt").write_text(LICENCE, encoding="utf-8")
        (room / "README.md").write_text(readme(), encoding="utf-8")
        text = PYPROJECT.format(version=VERSION, package=MINI_PACKAGE)
        (room / "pyproject.toml").write_text(text, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", str(target.resolve()), str(room)], check=True
        )
    (wheel,) = target.glob(f"{MINI_PACKAGE}-{VERSION}-*.whl")
    return wheel


def readme() -> str:
    """Return the description of the wheel: what it is for, and the model's card without its YAML."""
    known = card.with_licence(facts.gather(MINI, [], None), "other: research only, see LICENCE.txt")
    return README + re.sub(r"\A---\n.*?\n---\n(<!--.*?-->\n+)?", "", card.card(known), flags=re.DOTALL)


def make_graphs(folder: Path) -> None:
    """Write the graphs of `mini` in int8, with the image graphs' float32 weights stored in 16 bits."""
    cached.make(MINI, "int8", folder)
    settings = exported.read(folder)
    if settings.precision != "int8" or settings.maps is None:
        raise SystemExit("mini: the graphs are not in int8 with maps; see the message above")
    halved = [settings.image.file, settings.maps.head]
    for name in halved:
        halve(folder / name)
    weights = settings_hash({"source": settings.weights_sha256, "float16": halved})
    settings = settings.model_copy(update={"weights_sha256": weights})
    exported.write(folder, settings)  # with the new sizes, which are checked before the graphs are loaded
    source = onnx.Source(DualEncoder.load(MINI), MINI, Sample.of(languages.get(languages.DEFAULT)))
    onnx.measure_parity(source, folder, settings)


def halve(file: Path) -> None:
    """Store the float32 weights of a graph in 16 bits. onnxruntime makes float32 of them again as it loads the graph.

    Convolutions stay in float32 when the rest is quantised, and are most of the image graphs.
    """
    from onnx import TensorProto, helper, load, numpy_helper, save

    model = load(file)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= _SMALL and np.abs(values).max() < np.finfo(np.float16).max:
            half = numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_float16")
            casts.append(helper.make_node("Cast", [half.name], [weight.name], to=TensorProto.FLOAT))
            weight.CopyFrom(half)
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    data = file.with_name(f"{file.name}.data")
    data.unlink()  # otherwise onnx appends to it
    save(model, file, save_as_external_data=True, location=data.name, size_threshold=_SMALL)


def main() -> None:
    """Build the wheel in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="folder for the wheel")
    wheel = build(parser.parse_args().target)
    print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
