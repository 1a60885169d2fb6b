"""Safe decoding of pictures: every failure becomes a `PictureError` with the path and the reason."""

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
from clip_italian.pictures.metadata import pixels_alone

# Of Apple's HEIC only with pillow-heif (extra `heic`).
_HEIC = frozenset({".heic", ".heif"})
_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp"})
_OTHERS = frozenset({".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".jp2"})
SUFFIXES = _JPEG | _OTHERS | _HEIC
# Larger pictures are refused before decoding: 100 megapixels take 300 MB.
MAX_PIXELS = 100_000_000
# Larger files are refused before reading.
MAX_BYTES = 1_000_000_000

# Pillow warns of what is refused below, and of odd metadata that nobody asked for.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Decoding and resizing let go of Python's lock; beyond this many threads what holds it is in the way.
_MOST_THREADS = 16

_ORIENTATION = 0x0112
# What brings a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's names of what no longer holds once a picture is upright, in sRGB and RGB.
_OUTDATED = (
    "exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "icc_profile", "gamma", "chromaticity", "srgb",
    "transparency",
)  # fmt: skip

S = TypeVar("S")
T = TypeVar("T")


class PictureError(UserError):
    """A picture that cannot be used, and why."""


def open_picture(path: Path, mode: str = "RGB", at_least: int | None = None) -> Image.Image:
    """Decode a picture, upright by its EXIF orientation, in sRGB; transparency lies on white in RGB.

    `at_least` lets a JPEG be decoded at a half, a quarter or an eighth of its sides, as long as both keep so
    many pixels. Raises PictureError for a missing, truncated, oversized or unknown file.
    """
    return decode(path, str(path), mode, at_least)


def decode(
    source: Path | BinaryIO, name: str, mode: str = "RGB", at_least: int | None = None, *,
    most_pixels: int | None = None, formats: tuple[str, ...] | None = None,
) -> Image.Image:  # fmt: skip
    """The same for a file, or bytes that can be read like one, that messages call `name`.

    `most_pixels` and `formats` (Pillow's names; those that are installed) bound what is accepted, before decoding.
    Metadata that is damaged or too large is left out.
    """
    _know_heic()
    if formats is not None:
        Image.init()
        formats = tuple(one for one in formats if one in Image.OPEN)
    most = MAX_PIXELS if most_pixels is None else most_pixels

    def work(file: Path | BinaryIO, profile: bytes | None) -> Image.Image:
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > most:
                raise PictureError(f"{name}: {image.width} x {image.height} pixels, more than {most:,}")
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            if profile is not None:
                image.info["icc_profile"] = profile
            return as_seen(image, mode, name)

    try:
        return despite_metadata(as_stored(source) if isinstance(source, Path) else source, work)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such picture") from None
    except IsADirectoryError:
        raise PictureError(f"{name}: a folder; give a picture") from None
    except UnidentifiedImageError:
        heic = Path(name).suffix.lower() in _HEIC and not _know_heic()
        missing = '; HEIC needs pip install "clip-italian[heic]"' if heic else ""
        raise PictureError(f"{name}: not a picture in a known format{missing}") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name}: more than {MAX_PIXELS:,} pixels") from None
    except PictureError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files: struct.error, KeyError, EOFError …
        reason = getattr(error, "strerror", None) or error  # without the path, which is there already
        raise PictureError(f"{name}: damaged picture ({reason})") from error


def despite_metadata(source: Path | BinaryIO, work: Callable[[Path | BinaryIO, bytes | None], T]) -> T:
    """What `work` makes of a picture file; where that fails, of a copy in memory without its metadata.

    `work` gets the file, and the ICC profile of a copy whose own is too large for Pillow. It raises what it raised
    for the file itself where the copy is no better.
    """
    try:
        return work(source, None)
    except (FileNotFoundError, PictureError, Image.DecompressionBombError):
        raise
    except Exception:
        bare = pixels_alone(source)
        if bare is not None:
            try:
                return work(*bare)
            except (PictureError, Image.DecompressionBombError):
                raise
            except Exception:  # the pixels are damaged, too: what is wrong with the file itself says more
                pass
        raise


@cache
def _know_heic() -> bool:
    """Have Pillow read HEIC, where pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def as_seen(image: Image.Image, mode: str = "RGB", name: str | None = None) -> Image.Image:
    """A picture as people see it: upright by its EXIF orientation, in sRGB, and on white (RGB) or see-through (RGBA).

    A picture that is so already is returned itself; what was done once is not done again. Raises PictureError, which
    calls it `name`, where its file is damaged (Pillow decodes late), or its values are no numbers.
    """
    name = name or getattr(image, "filename", None) or "picture"
    seen = upright(image, name)
    if seen.mode.startswith("I") or seen.mode == "F":
        profile = seen.info.get("icc_profile")
        seen = _eight_bits(seen, name)
        if profile:
            seen.info["icc_profile"] = profile
    seen = colours.to_srgb(seen)
    seen = seen.convert("RGBA") if mode == "RGBA" else on_white(seen)
    if seen is not image:
        for key in _OUTDATED:
            seen.info.pop(key, None)
    return seen


def upright(image: Image.Image, name: str = "picture") -> Image.Image:
    """The picture turned by its EXIF orientation, or itself. Raises PictureError where its file is damaged."""
    try:
        image.load()
    except Exception as error:  # as in `decode`
        raise PictureError(f"{name}: damaged picture ({error})") from error
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        told = image.getexif().get(_ORIENTATION, 1)
        return int(told) if told in _TURNS else 1
    except Exception:  # Pillow raises nearly anything on damaged EXIF
        return 1


def on_white(image: Image.Image) -> Image.Image:
    """RGB without transparency: see-through parts become white; of 16 bits a channel the upper 8 stay.

    Raises PictureError for values that are no numbers.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, "picture").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(canvas, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey values of more than 8 bits, which Pillow itself would cut at 255, in mode L."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        count = values.size - int(np.isfinite(values).sum())
        raise PictureError(
            f"{name}: {count:,} of {values.size:,} values are no numbers (NaN or infinite); replace them"
        )
    largest = float(values.max(initial=0))
    scale = 1 / 257
    if image.mode in ("I", "F") and largest <= 255:
        scale = 255.0 if image.mode == "F" and largest <= 1 else 1.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


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


def decode_batches(
    paths: Iterable[Path], size: int, prepare: Callable[[Image.Image], T], at_least: int | None = None
) -> Iterator[tuple[list[Path], list[T], list[PictureError]]]:
    """Decode and `prepare` pictures in threads, `size` at a time, one batch ahead of the reader.

    `at_least` as in `open_picture`.
    Yields the paths that could be read, what `prepare` made of them, and the errors of the others.
    """
    for batch in ahead(paths, size, lambda path: prepare(open_picture(path, at_least=at_least))):
        good = [(path, result) for path, result in batch if not isinstance(result, PictureError)]
        bad = [result for _, result in batch if isinstance(result, PictureError)]
        yield [path for path, _ in good], [result for _, result in good], bad


def ahead(items: Iterable[S], size: int, work: Callable[[S], T]) -> Iterator[list[tuple[S, T | PictureError]]]:
    """Each item with what `work` made of it, or the PictureError that it raised; a batch ahead of the reader."""
    threads = min(_MOST_THREADS, max(2, os.cpu_count() or 1))

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
        for left in pending:
            yield _collect(*left)


def _collect(group: list[S], futures: list) -> list[tuple[S, T | PictureError]]:
    return list(zip(group, (future.result() for future in futures), strict=True))


def read_bytes(path: Path, part: tuple[int, int] | None = None) -> bytes:
    """A picture file's content, or a part of it (first byte, length); raises PictureError where it is not there."""
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
        raise PictureError(f"{path}: shorter than it was; restore it")
    return content


def decode_bytes(content: bytes, name: str, at_least: int | None = None) -> Image.Image:
    """See `decode`."""
    return decode(io.BytesIO(content), name, at_least=at_least)
