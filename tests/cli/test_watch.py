"""`index watch` as a process: it follows a folder, and ends cleanly."""

import json
import signal
import subprocess
import sys

import pytest

from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.search import update
from clip_italian.search.verify import verify
from tests.conftest import draw_shape
from tests.forked import command
from tests.search.test_update import contents
from tests.wait import until

pytest.importorskip("watchfiles", reason="extra `watch` is not installed")


@pytest.fixture
def folder(shapes):
    return shapes.parent / "images"


@pytest.fixture
def index(folder, tiny_folder, tmp_path, tiny_graphs):
    update.build(tmp_path / "idx", [folder], update.Model(DualEncoder.load(tiny_folder), str(tiny_folder)))
    return tmp_path / "idx"


def ended(process, number):
    process.send_signal(number)
    out, err = process.communicate()
    assert "Traceback" not in err
    return process.returncode, out, err


def is_left(index):
    """Files beside an index that an update has left."""
    return sorted(path.name for path in index.parent.iterdir() if "idx" in path.name and path != index)


@pytest.mark.integration
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_watch_follows_a_folder_until_a_signal(index, folder, number, code):
    process = command("index", "watch", index, "--json")
    until(lambda: process.output.endswith("\n"), process)
    assert json.loads(process.output)["added"] == 0 and str(folder) in process.errors
    draw_shape("cerchio", "orange", 3).save(folder / "new.png")
    (folder / "quadrato-blu-0.png").unlink()
    until(lambda: process.output.count("\n") == 2, process)
    returned, out, _ = ended(process, number)
    assert returned == code
    last = json.loads(out.splitlines()[-1])
    assert (last["pictures"], last["added"], last["embedded"], last["removed"]) == (54, 1, 1, 1)
    assert "new.png" in contents(index)
    assert verify(index) == [] and is_left(index) == []


def test_what_cannot_be_watched_is_one_line(index, tmp_path, run):
    code, _, err = run("index", "watch", tmp_path / "none")
    assert (code, err.count("\n")) == (1, 1) and "no index here" in err


@pytest.mark.parametrize("arguments", [["index", "watch", "idx"]])
def test_without_the_extra_one_line_says_what_to_install(arguments):
    code = (
        "import sys\n"
        "sys.modules['watchfiles'] = None  # cannot be imported\n"
        "from clip_italian import cli\n"
        f"sys.argv = ['clip-italian', *{arguments!r}]\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "clip-italian: watchfiles is missing; pip install 'clip-italian[watch]'\n"
