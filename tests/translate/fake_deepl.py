"""A server that speaks as much of DeepL's API as the client uses, in a thread."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "a-key"
# What to answer instead of translations: status and headers. Takes the number of the request (from 1).
Trouble = Callable[[int], tuple[int, dict[str, str]] | None]


def italian(text: str) -> str:
    """What the server answers."""
    return f"{text} in italiano"


class FakeDeepL(ThreadingHTTPServer):
    """Counts the texts that it was asked for and those that it answered; remembers bodies and times of requests.

    With `hold_after` requests it answers no more until that is None again: who asks can be killed at leisure.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, trouble: Trouble = lambda number: None, delay: float = 0.0, limit: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.trouble = trouble
        self.delay = delay
        self.limit = limit
        self.answer: Callable[[str], str | None] = italian
        self.left_out: tuple[str, ...] = ()  # fields of each translation, as compatible servers leave them out
        self.hold_after: int | None = None
        self.seen: Counter[str] = Counter()
        self.billed = 0
        self.bodies: list[dict] = []
        self.sizes: list[int] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "FakeDeepL":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeDeepL

    def do_GET(self) -> None:
        if self.path != "/v2/usage":
            self._send(404, {})
        elif self._authorised():
            used = {"character_count": self.server.billed, "character_limit": self.server.limit}
            self._send(200, used if self.server.limit is not None else {})

    def do_POST(self) -> None:
        server = self.server
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v2/translate" or not self._authorised():
            return
        body = json.loads(raw)
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            server.bodies.append(body)
            server.sizes.append(len(raw))
            server.times.append(time.monotonic())
            number = len(server.bodies)
            trouble = server.trouble(number)
            if trouble is None:
                server.seen.update(body["text"])
                server.billed += sum(map(len, body["text"]))
        time.sleep(server.delay)
        while server.hold_after is not None and number > server.hold_after:
            time.sleep(0.02)
        with server.lock:
            server.at_once -= 1
        if trouble is not None:
            self._send(trouble[0], {"message": "trouble"}, trouble[1])
            return
        answers = [
            {"text": server.answer(text), "detected_source_language": "EN", "billed_characters": len(text)}
            for text in body["text"]
        ]
        for name in server.left_out:
            for one in answers:
                del one[name]
        self._send(200, {"translations": answers})

    def _authorised(self) -> bool:
        if self.headers["Authorization"] == f"DeepL-Auth-Key {KEY}":
            return True
        self._send(403, {"message": "Forbidden"})
        return False

    def _send(self, status: int, answer: dict, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""
