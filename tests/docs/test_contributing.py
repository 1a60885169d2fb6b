"""The code in docs/contributing.md, applied to a copy of the package, passes ruff and its own tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```(python|diff) title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
FRENCH = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall((ROOT / "docs" / "contributing.md").read_text(encoding="utf-8"))
TESTS = [name for _, name, _ in BLOCKS if name.startswith("tests/")]


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    """A copy of package and tests with all changes on the page applied."""
    room = tmp_path_factory.mktemp("contributed")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, room / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", room)
    for kind, name, code in BLOCKS:
        if kind == "python":
            assert not (room / name).exists(), f"{name} is there already"
            (room / name).write_text(code, encoding="utf-8")
        else:
            # git accepts changed line numbers, but not changed context.
            done = subprocess.run(["git", "apply", "-"], cwd=room, input=code, text=True, capture_output=True)
            assert done.returncode == 0, f"{name}: {done.stderr}"
    guide = (ROOT / "docs" / "languages.md").read_text(encoding="utf-8")
    french = next(code for code in FRENCH.findall(guide) if 'code="fr"' in code)
    (room / "src" / "clip_italian" / "languages" / "fr.py").write_text(french, encoding="utf-8")
    return room


def in_copy(room, *command):
    environment = os.environ | {"PYTHONPATH": str(room / "src")}
    return subprocess.run([sys.executable, "-m", *command], cwd=room, env=environment, text=True, capture_output=True)


def test_shows_a_source_a_filter_a_rival_and_a_language():
    assert [Path(name).parts[1] for name in TESTS] == ["cli", "clean", "serve", "languages"]


def test_the_code_passes_its_own_tests(patched):
    done = in_copy(patched, "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_code_is_as_ruff_wants_it(patched):
    names = [name for _, name, _ in BLOCKS]
    for command in (["check"], ["format", "--check"]):
        done = in_copy(patched, "ruff", *command, *names)
        assert done.returncode == 0, done.stdout
