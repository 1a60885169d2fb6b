"""Marker for tests that need a GPU; elsewhere they are skipped with a reason."""

import pytest
import torch

GPU = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch's CUDA build can use")
needs_two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
