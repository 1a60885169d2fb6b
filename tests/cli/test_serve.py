"""The command as a process of its own: it starts, answers and stops, or says in one line why not."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.search import update

PROGRAM = [sys.executable, "-c", "from clip_italian.cli import main; main()", "serve"]


@pytest.fixture
def index(shapes, tiny_folder, tmp_path):
    update.build(tmp_path / "idx", [shapes], update.Model(DualEncoder.load(tiny_folder), str(tiny_folder)))
    return tmp_path / "idx"


def test_starts_answers_and_stops(index, tmp_path):
    command = [*PROGRAM, "--index", str(index), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=dict(os.environ)) as process:
        try:
            line = next(line for line in process.stderr if "pictures at" in line)
            address = re.search(r"54 pictures at (http://127\.0\.0\.1:\d+),", line)[1]
            with urllib.request.urlopen(f"{address}/v1/search?text=un+gatto&k=2") as answer:
                found = json.load(answer)
            assert len(found["hits"]) == 2
            assert found["model"] == "tiny-model"
            assert "server" not in answer.headers
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
    assert process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in rest


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
