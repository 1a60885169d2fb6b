"""Which type `precision` means, by what the processor can do."""

import pytest
import torch

from clip_italian.train.step import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("amx", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bf16_only_with_matrix_units(amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose_precision("auto", CPU) is expected


def test_what_is_named_is_taken():
    assert choose_precision("bf16", CPU) is torch.bfloat16
    assert choose_precision("float32", CPU) is torch.float32
