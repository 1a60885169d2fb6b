"""`make wheel`: builds the wheel and runs the lines of the README in a clean environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clip_italian import __version__

SCRIPT = Path(__file__).parents[1] / ".ci" / "wheel"


@pytest.mark.slow
def test_the_wheel_runs_outside_the_repository(real_assets, tmp_path):
    chosen = {"PYTHON": sys.executable, "CLIP_ITALIAN_CACHE": str(real_assets), "TMPDIR": str(tmp_path)}
    environment = os.environ | chosen
    done = subprocess.run([SCRIPT], cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"clip-italian {__version__}\n" in done.stdout
    assert "the README's lines search 3 pictures" in done.stdout
    assert "installed and tried" in done.stdout
