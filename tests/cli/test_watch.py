"""`index watch` and `serve --watch` as processes: they follow a folder, answer, and end cleanly."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

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
def test_watch_follows_a_folder_until_a_signal(index, folder):
    process = command("index", "watch", index, "--json")
    until(lambda: process.output.endswith("\n"), process)
    assert json.loads(process.output)["added"] == 0 and str(folder) in process.errors
    draw_shape("cerchio", "orange", 3).save(folder / "new.png")
    (folder / "quadrato-blu-0.png").unlink()
    until(lambda: process.output.count("\n") == 2, process)
    returned, out, _ = ended(process, signal.SIGTERM)
    assert returned == 0
    last = json.loads(out.splitlines()[-1])
    assert (last["pictures"], last["added"], last["embedded"], last["removed"]) == (54, 1, 1, 1)
    assert "new.png" in contents(index)
    assert verify(index) == [] and is_left(index) == []


@pytest.mark.integration
def test_serve_watch_updates_reports_and_ends_with_the_service(index, folder):
    process = command("serve", "--index", index, "--watch", "--port", 0)
    child = None
    try:
        until(lambda: "pictures at" in process.errors, process)
        address = re.search(r"(http://127\.0\.0\.1:\d+),", process.errors)[1]

        def ask(path):
            with urllib.request.urlopen(address + path) as answer:
                return answer.read().decode()

        until(lambda: json.loads(ask("/health"))["checked"], process)
        health = json.loads(ask("/health"))
        assert (health["pictures"], health["watching"]) == (54, True)
        (child,) = (pid for pid in children(process.pid) if "spawn_main" in command_line(pid))
        assert os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, process.pid)
        draw_shape("cerchio", "orange", 3).save(folder / "new.png")
        until(lambda: json.loads(ask("/v1/search?text=un+gatto&k=1"))["pictures"] == 55, process)
        updated = json.loads(ask("/health"))["updated"]
        assert updated > health["updated"]
        until(lambda: json.loads(ask("/health"))["checked"] >= updated, process)
        assert "clip_italian_watching 1.0" in ask("/metrics").splitlines()
    finally:
        returned, _, err = ended(process, signal.SIGTERM)
    assert returned == 0, err
    assert "55 pictures (1 new, 1 embedded, 0 gone)" in err
    assert child is not None and not is_alive(child)
    assert verify(index) == [] and is_left(index) == []


@pytest.mark.integration
def test_the_watching_process_ends_with_a_killed_service_and_the_service_outlives_it(index):
    process = command("serve", "--index", index, "--watch", "--port", 0)
    until(lambda: "pictures at" in process.errors, process)
    address = re.search(r"(http://127\.0\.0\.1:\d+),", process.errors)[1]

    def health():
        with urllib.request.urlopen(f"{address}/health") as answer:
            return json.load(answer)

    until(lambda: health()["checked"], process)
    (child,) = (pid for pid in children(process.pid) if "spawn_main" in command_line(pid))
    os.kill(child, signal.SIGKILL)
    until(lambda: not health()["watching"], process)
    assert health()["pictures"] == 54
    assert ended(process, signal.SIGTERM)[0] == 0

    process = command("serve", "--index", index, "--watch", "--port", 0)
    until(lambda: [pid for pid in children(process.pid) if "spawn_main" in command_line(pid)], process)
    (child,) = (pid for pid in children(process.pid) if "spawn_main" in command_line(pid))
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not is_alive(child))


@pytest.mark.integration
def test_ctrl_c_in_a_terminal_ends_both_processes_quietly(index):
    """It reaches the whole group, here while the watching process still imports."""
    process = command("serve", "--index", index, "--watch", "--port", 0)
    until(lambda: [pid for pid in children(process.pid) if "spawn_main" in command_line(pid)], process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err and err.count("\n") == 1


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.integration
def test_ctrl_c_ends_with_its_own_code(index):
    process = command("index", "watch", index)
    until(lambda: "54 pictures" in process.output, process)
    assert ended(process, signal.SIGINT)[0] == 130
    assert is_left(index) == []


def test_what_cannot_be_watched_is_one_line(index, tmp_path, run):
    code, _, err = run("index", "watch", tmp_path / "none")
    assert (code, err.count("\n")) == (1, 1) and "no index here" in err
    code, _, err = run("serve", "--index", tmp_path / "none", "--watch", "--port", 0)
    assert (code, err.count("\n")) == (1, 1) and "no index here" in err
    text = (index / "index.json").read_text()
    store = f'"store": "milvus://{tmp_path}/lite.db/a"'
    (index / "index.json").write_text(text.replace('"exact": false', f'"exact": false, {store}'))
    for arguments in (["index", "watch", index], ["serve", "--index", index, "--watch", "--port", 0]):
        code, _, err = run(*arguments)
        assert (code, err.count("\n")) == (1, 1) and "Milvus Lite" in err


@pytest.mark.parametrize("arguments", [["index", "watch", "idx"], ["serve", "--index", "idx", "--watch"]])
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
