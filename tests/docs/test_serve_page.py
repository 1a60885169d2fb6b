"""The unit in docs/serve.md is valid for systemd; the container's build context has only the needed files."""

import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clip_italian.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = "\n".join(re.findall(r"^    (.*)$", PAGE.split("\n## With systemd\n")[1], re.MULTILINE)) + "\n"
OPTIONS = set(re.findall(r"--[a-z-]+", CliRunner().invoke(app, ["serve", "--help"]).output))


def in_context(path):
    """Return True if Docker sends a file: the last pattern in .dockerignore that matches it or a parent decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.lstrip("!")
        places = [path, *list(path.parents)[:-1]]
        if line and not line.startswith("#") and any(fits(str(place), pattern) for place in places):
            sent = line.startswith("!")
    return sent


def fits(place, pattern):
    deep = pattern.startswith("**/")
    return fnmatch(place.rpartition("/")[2], pattern[3:]) if deep else fnmatch(place, pattern)


def test_the_image_is_built_from_what_pip_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hatch = project["tool"]["hatch"]
    needed = ["pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]]
    needed += [hatch["version"]["path"], *hatch["build"]["targets"]["wheel"]["packages"]]
    assert [name for name in needed if not (ROOT / name).exists() or not in_context(Path(name))] == []


@pytest.mark.parametrize(
    "name", [".venv/bin/python", ".venv-peers/x", ".git/HEAD", "runs/a", "site/index.html", "tests/a.py", "a.jpg"]
)
def test_all_else_stays_out_of_the_image(name):
    assert not in_context(Path(name))
    assert not in_context(Path("src/clip_italian/__pycache__/a.pyc"))


def test_the_images_command_is_one_of_ours():
    (command,) = re.findall(r'^ENTRYPOINT \["clip-italian", "serve", (.*)\]$', DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", command)) <= OPTIONS
    assert len(re.findall("^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)) == 1
    mounted = set(re.findall(r"-v \S+:(/[a-z/]+):ro", PAGE))
    assert {"/index", "/run/secrets/keys", "/cache"} <= mounted
    assert "ENV CLIP_ITALIAN_CACHE=/cache\n" in DOCKERFILE


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_the_unit_and_finds_it_safe(tmp_path):
    (command,) = re.findall(r"^ExecStart=(\S+) serve ", UNIT, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", re.findall("^ExecStart=.*", UNIT, re.MULTILINE)[0])) <= OPTIONS
    unit = tmp_path / "clip-italian.service"
    unit.write_text(UNIT.replace(command, "/bin/true"), encoding="utf-8")
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    judged = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True)
    (score,) = re.findall(r"exposure level for \S+ ([\d.]+)", judged.stdout.replace("service:", "service"))
    assert float(score) < 2  # the page tells of one version of systemd; others look at more or less
