"""The C library's allocator, set for a process of many threads that stays."""

import ctypes
import os

_M_ARENA_MAX = -8  # malloc.h of glibc
MOST = 2


def limit_arenas() -> bool:
    """Let all threads allocate from two arenas instead of eight a core; returns whether that could be said.

    What a thread frees stays in its arena: after 2,000 requests of 64 clients half of what the service had from the
    allocator was free (benchmarks/RESULTS.md). It holds for arenas made from now on. Where MALLOC_ARENA_MAX says
    otherwise it is left at that; other C libraries have no such setting.
    """
    if "MALLOC_ARENA_MAX" in os.environ or not _is_glibc():
        return False
    return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MOST))


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
