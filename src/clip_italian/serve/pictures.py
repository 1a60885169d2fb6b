"""Uploaded pictures, decoded within limits, and pictures of the index, encoded anew as JPEG."""

import io
import threading
from collections import OrderedDict
from typing import Literal

from PIL import Image

from clip_italian.pictures.decoding import decode
from clip_italian.search.index import Hit

# Formats of uploads, with widely used decoders. None of these starts another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF")
# An encoder needs no larger pictures, and each waiting request keeps its own in memory.
SIDE = 1_024
Size = Literal["small", "large", "full"]
# Sides of the pictures in responses, in pixels; a JPEG has no longer one than the last.
SIDES: dict[Size, int] = {"small": 320, "large": 1_280, "full": 65_500}

# Decoding takes memory for all pixels of a picture.
_decoding = threading.Semaphore(2)


def uploaded(content: bytes, name: str, most_pixels: int) -> Image.Image:
    """An uploaded picture in RGB, at most `SIDE` pixels a side; raises PictureError with `name`."""
    with _decoding:
        image = decode(io.BytesIO(content), name, at_least=SIDE, most_pixels=most_pixels, formats=FORMATS)
        image.thumbnail((SIDE, SIDE))
        return image


def jpeg(image: Image.Image, side: int, quality: int = 82) -> bytes:
    """A JPEG of at most `side` pixels without metadata: no place, no date, no comment."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    small.info.clear()
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=quality, optimize=True)
    return sink.getvalue()


def of_hit(hit: Hit, size: Size) -> bytes:
    """The picture of a row as a JPEG; raises PictureError where its file is gone or damaged."""
    side = SIDES[size]
    with _decoding:
        return jpeg(hit.open(at_least=side), side, quality=92 if size == "full" else 82)


class Cache:
    """The thumbnails requested last, of at most `most_bytes` in all; threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[int, int, Size], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, Size]) -> bytes | None:
        """The thumbnail of a key: generation of the index, row, size."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, int, Size], content: bytes) -> None:
        """Add a thumbnail, and drop the least recently used ones beyond the limit."""
        with self._lock:
            self._bytes += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
