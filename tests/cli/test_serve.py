"""The command as a process of its own: it starts, answers and stops, or says in one line why not."""

import json
import re
import signal
import socket
import urllib.request

import pytest

from clip_italian import languages
from clip_italian.export import openvino as to_openvino
from clip_italian.export.onnx import Source
from clip_italian.export.parity import Sample
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.search import update
from tests.forked import command
from tests.wait import until

pytestmark = pytest.mark.integration


@pytest.fixture
def index(shapes, tiny_folder, tmp_path):
    update.build(tmp_path / "idx", [shapes], update.Model(DualEncoder.load(tiny_folder), str(tiny_folder)))
    return tmp_path / "idx"


@pytest.fixture
def openvino(tiny_encoder, tmp_path):
    """The tiny model exported to OpenVINO, as the option `--model`."""
    source = Source(tiny_encoder, "tiny", Sample.of(languages.get("it")))
    to_openvino.export(source, tmp_path / "tiny-openvino")
    return ["--model", str(tmp_path / "tiny-openvino")]


@pytest.mark.parametrize("model", ["torch", "openvino"])
def test_starts_answers_and_stops(model, index, tmp_path, request):
    """Loads two graphs with OpenVINO, each of which once made a `Core`: a signal then killed the process."""
    options = request.getfixturevalue("openvino") if model == "openvino" else []
    process = command("serve", "--index", index, "--port", 0, *options)
    try:
        until(lambda: "pictures at" in process.errors, process)
        address = re.search(r"54 pictures at (http://127\.0\.0\.1:\d+),", process.errors)[1]
        with urllib.request.urlopen(f"{address}/v1/search?text=un+gatto&k=2") as answer:
            found = json.load(answer)
        assert len(found["hits"]) == 2
        assert found["model"] == ("tiny-openvino" if options else "tiny-model")
        assert "server" not in answer.headers
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_what_cannot_be_served_is_one_line(index, tmp_path, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = run("serve", "--index", index, "--port", taken.getsockname()[1])
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "cannot listen there" in err
    code, _, err = run("serve", "--index", tmp_path / "none", "--port", 0)
    assert (code, err.count("\n")) == (1, 1)
    assert "no index here" in err
    code, _, err = run("serve", "--index", index, "--host", "0.0.0.0")
    assert code == 2
    assert "others can reach it" in err
    (tmp_path / "keys").write_text("short")
    code, _, err = run("serve", "--index", index, "--keys", tmp_path / "keys")
    assert code == 1
    assert "16 characters" in err
