"""The container and the systemd unit of docs/serve.md limit the allocator's arenas, by glibc's own account."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOCATE = """
import ctypes, threading

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
together = threading.Barrier(16)

def allocate():
    together.wait()
    assert libc.malloc(5_000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


@pytest.mark.parametrize("file", ["Dockerfile", "docs/serve.md"])
@pytest.mark.skipif("glibc" not in str(getattr(os, "confstr", str)("CS_GNU_LIBC_VERSION")), reason="glibc's setting")
def test_many_threads_share_two_arenas(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    setting = re.search(r"(?:ENV |Environment=.*)(MALLOC_ARENA_MAX)=(\d+)$", text, re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment[setting[1]] = setting[2]
    run = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True, env=environment)
    assert len(re.findall("<heap nr=", run.stdout)) == 2
