"""`make light`: installs both wheels in an empty environment, and searches there without torch and without network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clip_italian import __version__

SCRIPT = Path(__file__).parents[1] / ".ci" / "light"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it makes the graphs of `mini`, which takes minutes
def test_the_core_searches_without_torch_and_without_network(real_assets, tmp_path):
    chosen = {"PYTHON": sys.executable, "CLIP_ITALIAN_CACHE": str(real_assets), "TMPDIR": str(tmp_path)}
    environment = os.environ | chosen
    done = subprocess.run([SCRIPT], cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"clip-italian {__version__}\n" in done.stdout
    assert "commands show their help" in done.stdout
    assert "installed and searched without torch and network" in done.stdout
