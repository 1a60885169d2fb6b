"""A small web site in a thread: pages by path, with what goes wrong on the way, and a record of who asked when."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Takes how many times the path was asked for, this time included; gives status, body and headers.
Answer = Callable[[int], tuple[int, bytes, dict[str, str]]]


def html(body: str, **headers: str) -> Answer:
    """A page that is always there."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (200, body.encode(), {"Content-Type": "text/html; charset=utf-8"} | named)


def figure(number: int) -> str:
    """A page with one photo of its own."""
    return f"<figure><img src='/foto/{number}.jpg'><figcaption>Il cane numero {number} (ANSA)</figcaption></figure>"


class Site(ThreadingHTTPServer):
    """`asked` lists path, time and user agent of every request."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Answer], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answers = answers
        self.asked: list[tuple[str, float, str]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def paths(self) -> list[str]:
        """What was asked for, in order, without robots.txt."""
        return [path for path, _, _ in self.asked if path != "/robots.txt"]

    def __enter__(self) -> "Site":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.path, time.monotonic(), self.headers["User-Agent"]))
        number = sum(path == self.path for path, _, _ in self.server.asked)
        status, body, headers = self.server.answers.get(self.path, lambda _: (404, b"", {}))(number)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        for piece in [body[at : at + 1] for at in range(len(body))] if "X-Drip" in headers else [body]:
            self.wfile.write(piece)
            time.sleep(float(headers.get("X-Drip", 0)))
        self.close_connection = headers.get("Connection") == "close"

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""
