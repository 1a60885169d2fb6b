"""Pictures that come in are decoded within bounds; pictures that go out are decoded and encoded anew."""

import io
import threading
from collections import OrderedDict

from PIL import Image

from clip_italian.pictures.decoding import decode
from clip_italian.search.index import Hit

# Formats that people upload, whose decoders are in wide use. None of them starts another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF")
# More is of no use to an encoder, and would be kept in memory by each request that waits.
SIDE = 1_024
# Sides of the pictures that go out.
SMALL, LARGE = 320, 1_280

# Each takes memory for all pixels of a picture.
_decoding = threading.Semaphore(2)


def uploaded(content: bytes, name: str, most_pixels: int) -> Image.Image:
    """A picture from a request, RGB, at most `SIDE` pixels a side; raises PictureError, which calls it `name`."""
    with _decoding:
        image = decode(io.BytesIO(content), name, at_least=SIDE, most_pixels=most_pixels, formats=FORMATS)
        image.thumbnail((SIDE, SIDE))
        return image


def jpeg(image: Image.Image, side: int) -> bytes:
    """A JPEG of at most `side` pixels with nothing in it but the picture: no place, no date, no comment."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    small.info.clear()
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=82, optimize=True)
    return sink.getvalue()


def of_hit(hit: Hit, side: int) -> bytes:
    """The picture of a row as a JPEG; raises PictureError where its file is gone or damaged."""
    with _decoding:
        return jpeg(hit.open(at_least=side), side)


class Cache:
    """The thumbnails asked for last, of at most so many bytes; threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> bytes | None:
        """What was put there: generation of the index, row, side."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, int, int], content: bytes) -> None:
        """Keep it, and let go of the oldest ones where there is no more room."""
        with self._lock:
            self._bytes += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
