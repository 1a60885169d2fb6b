"""Safe decoding of pictures: every failure is a `PictureError` with path and reason."""

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from clip_italian.errors import UserError
from clip_italian.files.names import as_stored
from clip_italian.pictures import colours
from clip_italian.pictures.metadata import strip_metadata

# Apple's HEIC needs pillow-heif (extra `heic`).
_HEIC = frozenset({".heic", ".heif"})
_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp"})
_OTHERS = frozenset({".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".jp2"})
SUFFIXES = _JPEG | _OTHERS | _HEIC
# Larger pictures are rejected before decoding: 100 megapixels take 300 MB.
MAX_PIXELS = 100_000_000
# Larger files are rejected before reading.
MAX_BYTES = 1_000_000_000

# Pillow warns about pictures that are rejected below, and about irrelevant metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Decoding and resizing release the GIL; with more threads, the remaining Python code is the bottleneck.
_MAX_THREADS = 16

_ORIENTATION = 0x0112
# Transformation to upright, by EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Keys of `Image.info` that no longer apply to a picture that is upright, in sRGB and in RGB.
_OUTDATED_INFO = (
    "exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "icc_profile", "gamma", "chromaticity", "srgb",
    "transparency",
)  # fmt: skip

S = TypeVar("S")
T = TypeVar("T")


class PictureError(UserError):
    """A picture that cannot be read, with the reason."""


def open_picture(path: Path, mode: str = "RGB", at_least: int | None = None) -> Image.Image:
    """Decode a picture: EXIF orientation applied, in sRGB, and composited on white if `mode` is RGB.

    `at_least` allows a JPEG to be decoded at 1/2, 1/4 or 1/8 size, as long as both sides keep that many pixels.
    Raises PictureError for a missing, truncated, oversized or unknown file.
    """
    return decode(path, str(path), mode, at_least)


def decode(
    source: Path | BinaryIO, name: str, mode: str = "RGB", at_least: int | None = None, *,
    most_pixels: int | None = None, formats: tuple[str, ...] | None = None,
) -> Image.Image:  # fmt: skip
    """Decode a path or a binary file object, as `open_picture` does; `name` appears in error messages.

    `most_pixels` and `formats` (Pillow's names; unavailable ones are ignored) limit what is accepted, before decoding.
    Damaged or oversized metadata is ignored.
    """
    register_heic()
    if formats is not None:
        Image.init()
        formats = tuple(one for one in formats if one in Image.OPEN)
    most = MAX_PIXELS if most_pixels is None else most_pixels

    def read(file: Path | BinaryIO, profile: bytes | None) -> Image.Image:
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > most:
                raise PictureError(f"{name}: {image.width} x {image.height} pixels, more than {most:,}")
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            if profile is not None:
                image.info["icc_profile"] = profile
            return as_displayed(image, mode, name)

    try:
        return retry_without_metadata(as_stored(source) if isinstance(source, Path) else source, read)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such picture") from None
    except IsADirectoryError:
        raise PictureError(f"{name}: a folder; give a picture") from None
    except UnidentifiedImageError:
        heic = Path(name).suffix.lower() in _HEIC and not register_heic()
        hint = '; for HEIC: pip install "clip-italian[heic]"' if heic else ""
        raise PictureError(f"{name}: not a picture in a known format{hint}") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name}: more than {MAX_PIXELS:,} pixels") from None
    except PictureError:
        raise
    except Exception as error:  # damaged files raise many classes: struct.error, KeyError, EOFError …
        reason = getattr(error, "strerror", None) or error  # str(error) would repeat the path
        raise PictureError(f"{name}: damaged picture ({reason})") from error


def retry_without_metadata(source: Path | BinaryIO, read: Callable[[Path | BinaryIO, bytes | None], T]) -> T:
    """Call `read` with a picture file, and if that fails, with a copy in memory without metadata.

    `read` gets the file and, for a copy, the ICC profile if it is too large for Pillow. If the copy fails too, the
    first exception is raised.
    """
    try:
        return read(source, None)
    except (FileNotFoundError, PictureError, Image.DecompressionBombError):
        raise
    except Exception:
        stripped = strip_metadata(source)
        if stripped is not None:
            try:
                return read(*stripped)
            except (PictureError, Image.DecompressionBombError):
                raise
            except Exception:  # damaged pixels: the first exception is more informative
                pass
        raise


@cache
def register_heic() -> bool:
    """Register pillow-heif with Pillow; returns False if it is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def as_displayed(image: Image.Image, mode: str = "RGB", name: str | None = None) -> Image.Image:
    """Return a picture as viewers display it: EXIF orientation applied, in sRGB, on white (RGB) or transparent (RGBA).

    Idempotent; a picture that needs no change is returned itself. Raises PictureError with `name` if its file is
    damaged (Pillow decodes lazily) or its values are NaN or infinite.
    """
    name = name or getattr(image, "filename", None) or "picture"
    result = upright(image, name)
    if result.mode.startswith("I") or result.mode == "F":
        profile = result.info.get("icc_profile")
        result = _eight_bits(result, name)
        if profile:
            result.info["icc_profile"] = profile
    result = colours.to_srgb(result)
    result = result.convert("RGBA") if mode == "RGBA" else on_white(result)
    if result is not image:
        for key in _OUTDATED_INFO:
            result.info.pop(key, None)
    return result


def upright(image: Image.Image, name: str = "picture") -> Image.Image:
    """Apply the EXIF orientation of a picture. Raises PictureError if its file is damaged."""
    try:
        image.load()
    except Exception as error:  # as in `decode`
        raise PictureError(f"{name}: damaged picture ({error})") from error
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return int(value) if value in _TURNS else 1
    except Exception:  # damaged EXIF raises many classes
        return 1


def on_white(image: Image.Image) -> Image.Image:
    """Convert a picture to RGB on a white background; of 16 bits per channel, the upper 8 are kept.

    Raises PictureError if values are NaN or infinite.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, "picture").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(canvas, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Scale grey values of more than 8 bits to mode L; Pillow itself would clip them at 255."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        count = values.size - int(np.isfinite(values).sum())
        raise PictureError(f"{name}: {count:,} of {values.size:,} values are NaN or infinite; replace them")
    largest = float(values.max(initial=0))
    scale = 1 / 257
    if image.mode in ("I", "F") and largest <= 255:
        scale = 255.0 if image.mode == "F" and largest <= 1 else 1.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


def trim(image: Image.Image) -> Image.Image:
    """Crop the fully transparent border of an RGBA picture."""
    return image.crop(image.getchannel("A").getbbox() or (0, 0, *image.size))


def fit_square(image: Image.Image, size: int, margin: float = 0.03) -> Image.Image:
    """Fit a picture into a white square of `size` pixels, centred, keeping its aspect ratio."""
    inner = round(size * (1 - 2 * margin))
    scale = inner / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = on_white(image.resize((width, height), Image.Resampling.LANCZOS))
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(resized, ((size - width) // 2, (size - height) // 2))
    return canvas


def decode_batches(
    paths: Iterable[Path], size: int, prepare: Callable[[Image.Image], T], at_least: int | None = None
) -> Iterator[tuple[list[Path], list[T], list[PictureError]]]:
    """Decode and `prepare` pictures in threads, in batches of `size`, one batch ahead of the consumer.

    Yields the readable paths, their results of `prepare`, and the errors of the others. `at_least` as in
    `open_picture`.
    """
    for batch in prefetch(paths, size, lambda path: prepare(open_picture(path, at_least=at_least))):
        good = [(path, result) for path, result in batch if not isinstance(result, PictureError)]
        bad = [result for _, result in batch if isinstance(result, PictureError)]
        yield [path for path, _ in good], [result for _, result in good], bad


def prefetch(items: Iterable[S], size: int, work: Callable[[S], T]) -> Iterator[list[tuple[S, T | PictureError]]]:
    """Run `work` on items in threads, one batch of `size` ahead of the consumer.

    Yields batches of (item, result), where a PictureError that `work` raised is the result.
    """
    threads = min(_MAX_THREADS, max(2, os.cpu_count() or 1))

    def attempt(item: S) -> T | PictureError:
        try:
            return work(item)
        except PictureError as error:
            return error

    with ThreadPoolExecutor(max_workers=threads) as pool:
        pending: list[tuple[list[S], list]] = []
        remaining = iter(items)
        while group := list(islice(remaining, size)):
            pending.append((group, [pool.submit(attempt, item) for item in group]))
            if len(pending) > 1:
                yield _collect(*pending.pop(0))
        for last in pending:
            yield _collect(*last)


def _collect(group: list[S], futures: list) -> list[tuple[S, T | PictureError]]:
    return list(zip(group, (future.result() for future in futures), strict=True))


def read_bytes(path: Path, part: tuple[int, int] | None = None) -> bytes:
    """Read a picture file, or a part of it (offset, length). Raises PictureError if it is missing or too short."""
    try:
        size = path.stat().st_size if part is None else part[1]
        if size > MAX_BYTES:
            raise PictureError(f"{path}: {size:,} bytes, more than {MAX_BYTES:,}")
        with path.open("rb") as file:
            if part is not None:
                file.seek(part[0])
            content = file.read(size)
    except FileNotFoundError:
        raise PictureError(f"{path}: no such picture") from None
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) < size:
        raise PictureError(f"{path}: the file was truncated; restore it")
    return content


def decode_bytes(content: bytes, name: str, at_least: int | None = None) -> Image.Image:
    """Decode the content of a picture file; see `decode`."""
    return decode(io.BytesIO(content), name, at_least=at_least)
