import platform
from pathlib import Path

import pytest

from clip_italian.models import precision
from clip_italian.models.precision import Identity

FLOAT = Identity("a", "a")
GOOD, BAD = (
    Identity("b", "a", "int8", share) for share in (precision.LEAST_AGREEMENT, precision.LEAST_AGREEMENT - 0.01)
)


@pytest.mark.parametrize(
    ("one", "other", "shares"),
    [
        (FLOAT, FLOAT, True),
        (FLOAT, GOOD, True),
        (FLOAT, BAD, False),
        (BAD, BAD, True),  # equal weights, equal embeddings
        (GOOD, Identity("c", "a", "bf16", 1.0), True),
        (GOOD, Identity("c", "a", "bf16", 0.2), False),
        (GOOD, Identity("b2", "another", "int8", 1.0), False),
    ],
)
def test_precisions_share_an_index_where_their_hits_agree(one, other, shares):
    assert one.shares_index_with(other) is shares
    assert other.shares_index_with(one) is shares


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni", True),
        ("flags\t\t: fpu avx2 avx_vnni", True),
        ("Features\t: fp asimd asimddp", True),
        ("flags\t\t: fpu sse4_2 avx2", False),
        ("model name\t: avx512_vnni", False),
        ("", False),
    ],
)
def test_int8_is_for_processors_with_products_of_8_bits(line, found, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor\t: 0\n{line}\n")
    precision.has_int8_products.cache_clear()
    try:
        assert precision.has_int8_products() is found
        assert precision.preferred() == ("int8" if found else "float32")
    finally:
        precision.has_int8_products.cache_clear()


def test_without_a_list_of_features_the_graphs_are_float32(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(Path, "read_text", missing)
    precision.has_int8_products.cache_clear()
    try:
        assert precision.preferred() == "float32"
    finally:
        precision.has_int8_products.cache_clear()
