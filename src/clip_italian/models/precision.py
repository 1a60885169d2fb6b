"""Precision of a model's graphs: the rule that chooses it, and the rule by which precisions share an index."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "int8", "bf16"]

# Two precisions of one model may share an index if so many of the ten best hits are the same as in float32. The sample
# is harder than photos: of `mini` in int8 0.92 of its hits are the same, of 800 photos 0.97.
LEAST_AGREEMENT = 0.9

# CPU features with products of 8-bit integers: AVX-512 VNNI and AVX-VNNI, AMX, and the dot products of Arm.
_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@dataclass(frozen=True)
class Identity:
    """A model as an index remembers it.

    `weights` is the digest of the weights as they compute: models with the same digest have the same embeddings.
    `source` is the digest of the trained weights, in float32. `agreement` is the measured share of the ten best hits
    that are the same as in float32; 1 for float32 itself.
    """

    weights: str
    source: str
    precision: str = "float32"
    agreement: float = 1.0

    def shares_index_with(self, other: "Identity") -> bool:
        """Return True if one may search the vectors of the other: equal weights, or one source and enough agreement."""
        if self.weights == other.weights:
            return True
        return self.source == other.source and min(self.agreement, other.agreement) >= LEAST_AGREEMENT


def preferred() -> Precision:
    """Return "int8" on processors with 8-bit dot products, else "float32".

    A rule, not a measurement: the same index gives the same hits on the same kind of machine.
    """
    return "int8" if has_int8_products() else "float32"


@cache
def has_int8_products() -> bool:
    """Return True if the processor multiplies 8-bit integers into 32-bit sums in one instruction.

    Without it, onnxruntime's int8 products are slow on x86, and sums of 16 bits can overflow.
    """
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"  # all of Apple's own processors
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return not _INT8_FLAGS.isdisjoint(flags.split())
