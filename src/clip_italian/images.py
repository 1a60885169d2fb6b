"""Safe decoding of pictures: every failure becomes a `PictureError` with the path and the reason."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image, ImageOps, UnidentifiedImageError

from clip_italian.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
# Larger pictures are refused before decoding: 100 megapixels take 300 MB.
MAX_PIXELS = 100_000_000

T = TypeVar("T")


class PictureError(UserError):
    """A picture that cannot be used, and why."""


def open_picture(path: Path, mode: str = "RGB", at_least: int | None = None) -> Image.Image:
    """Decode a picture, upright by its EXIF orientation; transparency lies on white in RGB.

    `at_least` lets a JPEG be decoded at a half, a quarter or an eighth of its sides, as long as both keep so
    many pixels. Raises PictureError for a missing, truncated, oversized or unknown file.
    """
    return decode(path, str(path), mode, at_least)


def decode(source: Path | BinaryIO, name: str, mode: str = "RGB", at_least: int | None = None) -> Image.Image:
    """The same for a file, or bytes that can be read like one, that messages call `name`."""
    try:
        with Image.open(source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"{name}: {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            if at_least:
                image.draft(None, (at_least, at_least))
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            return image.convert("RGBA") if mode == "RGBA" else on_white(image)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such picture") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name}: not a picture in a known format") from None
    except PictureError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files: struct.error, KeyError, EOFError …
        reason = getattr(error, "strerror", None) or error  # without the path, which is there already
        raise PictureError(f"{name}: damaged picture ({reason})") from error


def on_white(image: Image.Image) -> Image.Image:
    """RGB without transparency: see-through parts become white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(canvas, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def trim(image: Image.Image) -> Image.Image:
    """Cut off the fully transparent border of an RGBA picture."""
    return image.crop(image.getchannel("A").getbbox() or (0, 0, *image.size))


def fit_square(image: Image.Image, size: int, margin: float = 0.03) -> Image.Image:
    """Centre a picture on a white square of `size` pixels, keeping its shape."""
    room = round(size * (1 - 2 * margin))
    scale = room / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = on_white(image.resize((width, height), Image.Resampling.LANCZOS))
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(resized, ((size - width) // 2, (size - height) // 2))
    return canvas


def find_pictures(folder: Path) -> list[Path]:
    """All picture files below a folder, sorted; raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder with pictures")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise UserError(f"{folder}: no pictures in it (looked for {', '.join(sorted(SUFFIXES))})")
    return found


def decode_batches(
    paths: Iterable[Path], size: int, prepare: Callable[[Image.Image], T]
) -> Iterator[tuple[list[Path], list[T], list[PictureError]]]:
    """Decode and `prepare` pictures in threads, `size` at a time, one batch ahead of the reader.

    Yields the paths that could be read, what `prepare` made of them, and the errors of the others.
    """

    def attempt(path: Path) -> T | PictureError:
        try:
            return prepare(open_picture(path))
        except PictureError as error:
            return error

    with ThreadPoolExecutor(max_workers=2) as pool:
        pending: list[tuple[list[Path], list]] = []
        remaining = iter(paths)
        while group := list(islice(remaining, size)):
            pending.append((group, [pool.submit(attempt, path) for path in group]))
            if len(pending) > 1:
                yield _collect(*pending.pop(0))
        for left in pending:
            yield _collect(*left)


def _collect(group: list[Path], futures: list) -> tuple[list[Path], list, list[PictureError]]:
    results = [future.result() for future in futures]
    good = [(path, r) for path, r in zip(group, results, strict=True) if not isinstance(r, PictureError)]
    return [p for p, _ in good], [r for _, r in good], [r for r in results if isinstance(r, PictureError)]
