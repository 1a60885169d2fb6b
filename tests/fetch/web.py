"""A web server with all the troubles of the web, in a thread: /good/N.jpg, /photo/WIDTHxHEIGHT/N.jpg, /slow, …"""

import io
import struct
import threading
import time
import zlib
from collections import Counter
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def photo(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """Smooth noise, as photos are."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """A picture file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG that says it has 50,000 x 50,000 pixels, without them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1_000)))


@lru_cache(maxsize=64)
def _kept_photo(seed: int, size: str) -> bytes:
    width, height = map(int, size.split("x"))
    return encoded(photo(seed, (width, height)), quality=90)


class Web(ThreadingHTTPServer):
    """Counts requests by path; `most_at_once` is the largest number that were answered at one time.

    With `hold_after` requests it answers no more until that is None again: who asks can be killed at leisure.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, delay: float = 0.0, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.delay = delay
        self.asked: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.agents: set[str] = set()
        self.hold_after: int | None = None
        self.open = True  # False: the host refuses everything with 503
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def __enter__(self) -> "Web":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            server.asked[self.path] += 1
            server.times.setdefault(self.path, []).append(time.monotonic())
            server.agents.add(self.headers["User-Agent"])
            number = server.asked[self.path]
            total = server.asked.total()
        time.sleep(server.delay)
        while server.hold_after is not None and total > server.hold_after:
            time.sleep(0.02)
        # Before the answer: whoever has it may ask again before this thread goes on.
        with server.lock:
            server.at_once -= 1
        self.answer(self.path, number)

    def answer(self, path: str, number: int) -> None:
        kind = path.split("/")[1]
        if not self.server.open:
            self.send(503, b"")
        elif kind == "good":
            self.send(200, encoded(photo(int(path.split("/")[2].split(".")[0]))))
        elif kind == "photo":
            _, _, size, name = path.split("/")
            self.send(200, _kept_photo(int(name.split(".")[0]), size))
        elif kind == "turned":
            exif = Image.Exif()
            exif[0x0112] = 6
            self.send(200, encoded(photo(1), exif=exif))
        elif kind == "gif":
            self.send(200, encoded(photo(2), "GIF"))
        elif kind == "png16":
            self.send(
                200, encoded(Image.fromarray(np.linspace(0, 65_535, 90 * 90).reshape(90, 90).astype(np.uint16)), "PNG")
            )
        elif kind == "moving":
            self.send(200, encoded(photo(3), "GIF", save_all=True, append_images=[photo(4)]))
        elif kind == "small":
            self.send(200, encoded(photo(5, (40, 40)), "PNG"))
        elif kind == "bomb":
            self.send(200, bomb())
        elif kind == "text":
            self.send(200, b"<html>no picture</html>", {"Content-Type": "image/jpeg"})
        elif kind == "half":
            whole = encoded(photo(6))
            self.send(200, whole[: len(whole) // 2])
        elif kind == "truncated":
            self.send(200, b"\xff\xd8", {"Content-Length": "100000"})
            self.close_connection = True
        elif kind == "truncated-once":
            whole = encoded(photo(7))
            self.send(200, whole[:100] if number == 1 else whole, {"Content-Length": str(len(whole))})
            self.close_connection = True
        elif kind == "redirect":
            self.send(302, b"", {"Location": "/good/8.jpg"})
        elif kind == "circle":
            self.send(302, b"", {"Location": path})
        elif kind == "busy-once":
            self.send(*((429, b"", {"Retry-After": "1"}) if number == 1 else (200, encoded(photo(9)))))
        elif kind == "busy-twice":
            self.send(*((503, b"") if number <= 2 else (200, encoded(photo(10)))))
        elif kind == "closed-for-hours":
            self.send(429, b"", {"Retry-After": "7200"})
        elif kind == "noai":
            self.send(200, encoded(photo(11)), {"X-Robots-Tag": "noai, noimageai"})
        elif kind == "huge":
            self.send(200, b"", {"Content-Length": str(10**12)})
            self.close_connection = True
        elif kind == "drip":
            self.send(200, b"", {"Content-Length": "1000000"})
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        elif kind == "slow":
            time.sleep(0.5)
            self.send(200, encoded(photo(12)))
        else:
            self.send(404, b"")

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""
