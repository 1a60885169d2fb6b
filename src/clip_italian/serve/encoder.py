"""A model shared by all requests: texts and pictures that wait at the same time are embedded as one batch."""

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from clip_italian.models.encoder import MapEncoder, SearchEncoder
from clip_italian.models.precision import Identity

T = TypeVar("T")
R = TypeVar("R")

# The time (`time.monotonic`) by which the request of a thread must be answered.
deadline: ContextVar[float] = ContextVar("deadline")

# Largest batches.
_TEXTS = 64
_RECENT = 4_096  # texts, 8 MB of embeddings with 512 numbers
_PICTURES = 8  # larger batches are slower on few cores


@dataclass(frozen=True)
class _Job(Generic[T, R]):
    item: T
    answer: "Future[R]"


class Lane(Generic[T, R]):
    """One thread that works for many: it takes the items that wait, in order, in batches of at most `most`.

    It never waits for a batch to fill: a single item is worked on at once. `observe` gets the size of each batch.
    """

    def __init__(
        self, work: Callable[[list[T]], Iterable[R]], most: int, observe: Callable[[int], None] = lambda _: None
    ) -> None:
        self._work, self._most, self._observe = work, most, observe
        self._waiting: queue.SimpleQueue[_Job[T, R] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, items: Sequence[T]) -> list[R]:
        """The results of `work` for these items; raises its errors, and TimeoutError at the deadline."""
        jobs = [_Job[T, R](item, Future()) for item in items]
        for job in jobs:
            self._waiting.put(job)
        end = deadline.get(None)
        try:
            return [job.answer.result(None if end is None else max(end - time.monotonic(), 0.0)) for job in jobs]
        finally:
            for job in jobs:  # nobody waits for them any more
                job.answer.cancel()

    def close(self) -> None:
        """Finish the items that wait, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, last = [first], False
            while len(batch) < self._most and not last:
                try:
                    job = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    last = True
                else:
                    batch.append(job)
            batch = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if batch:
                self._observe(len(batch))
                self._answer(batch)
            if last:
                return

    def _answer(self, batch: list[_Job[T, R]]) -> None:
        try:
            results = self._work([job.item for job in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:  # an item that fails must not fail the others
                for job in batch:
                    self._answer([job])
            return
        for job, result in zip(batch, results, strict=True):
            job.answer.set_result(result)


class Recent:
    """Embeddings of the texts that were asked for last. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most, self._kept, self._lock = most, OrderedDict[str, np.ndarray](), threading.Lock()

    def get(self, text: str) -> np.ndarray | None:
        """The embedding (dim,) of a text, None where it is not known."""
        with self._lock:
            if (found := self._kept.get(text)) is not None:
                self._kept.move_to_end(text)
            return found

    def put(self, text: str, embedding: np.ndarray) -> None:
        """Keep an embedding; the one that was not asked for longest goes."""
        with self._lock:
            self._kept[text] = embedding
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


class SharedEncoder(SearchEncoder):
    """A model whose `encode_*` may be called from any thread; texts and pictures have a lane each."""

    def __init__(self, encoder: SearchEncoder, observe: Callable[[str, int], None] = lambda _, __: None) -> None:
        """Start both lanes; `observe` gets "text" or "picture" and the size of each batch."""
        self.encoder, self.info = encoder, encoder.info
        self._recent = Recent(_RECENT)
        self._texts: Lane[str, np.ndarray] = Lane(encoder.encode_text, _TEXTS, lambda n: observe("text", n))
        self._pictures: Lane[Any, np.ndarray] = Lane(encoder.encode_pixels, _PICTURES, lambda n: observe("picture", n))

    def close(self) -> None:
        """Finish what waits, and end both threads."""
        self._texts.close()
        self._pictures.close()

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """See `Encoder.encode_text`; raises TimeoutError at the deadline of the request."""
        known = {text: kept for text in texts if (kept := self._recent.get(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for text, embedding in zip(new, self._texts.ask(new), strict=True):
            known[text] = embedding.copy()  # a row would keep its whole batch in memory
            self._recent.put(text, known[text])
        return self._stack([known[text] for text in texts])

    def encode_pixels(self, pixels: Sequence[Any]) -> np.ndarray:
        """See `Encoder.encode_pixels`; raises TimeoutError at the deadline of the request."""
        return self._stack(self._pictures.ask(pixels))

    @property
    def picture_batch(self) -> int:
        return self.encoder.picture_batch

    @property
    def at_least(self) -> int | None:
        return self.encoder.at_least

    def preprocess(self, image: Image.Image) -> Any:
        return self.encoder.preprocess(image)

    def facts(self) -> dict[str, Any]:
        return self.encoder.facts()

    @property
    def dim(self) -> int:
        return self.encoder.dim

    @property
    def weights_hash(self) -> str:
        return self.encoder.weights_hash

    @property
    def identity(self) -> Identity:
        return self.encoder.identity

    @property
    def max_tokens(self) -> int:
        return self.encoder.max_tokens

    @property
    def logit_scale(self) -> float:
        return self.encoder.logit_scale

    @property
    def logit_bias(self) -> float | None:
        return self.encoder.logit_bias

    @property
    def parameters(self) -> int:
        return self.encoder.parameters

    @property
    def maps(self) -> MapEncoder | None:
        return self.encoder.maps

    def _stack(self, rows: list[np.ndarray]) -> np.ndarray:
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
