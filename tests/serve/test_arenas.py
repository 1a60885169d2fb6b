"""The allocator's own account of its arenas, in a process of many threads."""

import os
import re
import subprocess
import sys

import pytest

from clip_italian.serve import arenas as arenas_module

ALLOCATE = """
import ctypes, runpy, sys, threading

print(runpy.run_path(sys.argv[1])["limit_arenas"](), flush=True)
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


def arenas(**environment):
    """What `limit_arenas` said, and how many arenas there are afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", ALLOCATE, arenas_module.__file__]  # without the imports of its package
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment)
    return run.stdout.splitlines()[0], len(re.findall("<heap nr=", run.stdout))


@pytest.mark.skipif("glibc" not in str(getattr(os, "confstr", str)("CS_GNU_LIBC_VERSION")), reason="glibc's setting")
def test_many_threads_share_two_arenas_but_where_the_user_said_otherwise():
    assert arenas() == ("True", 2)
    assert arenas(MALLOC_ARENA_MAX="4") == ("False", 4)
