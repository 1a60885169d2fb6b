"""Tiny test sets of the structure of the paper's: MSCOCO-IT's development set and ImageNet's validation set."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from clip_italian import languages
from tests.conftest import draw_shape

CAPTIONS = {
    42: ("un cerchio rosso", "una foto di un cerchio"),
    7: ("un quadrato blu", "un quadrato", "una foto di un quadrato blu"),
    359: ("un triangolo giallo", "un triangolo"),
    500: ("un cerchio verde",),
}
_DRAWN = {42: ("cerchio", "red"), 7: ("quadrato", "blue"), 359: ("triangolo", "yellow"), 500: ("cerchio", "green")}
WORDNETS = ("n01440764", "n07873807", "n02123045")


def coco(folder: Path, pictures: bool = True) -> Path:
    """Write captions, and pictures below val2014."""
    (folder / "val2014").mkdir(parents=True)
    annotations = [
        {"image_id": number, "id": 10 * number + place, "caption": text}
        for number, some in CAPTIONS.items()
        for place, text in enumerate(some)
    ]
    images = [{"id": number, "file_name": f"COCO_val2014_{number:012d}.jpg", "license": 1} for number in CAPTIONS]
    text = json.dumps({"images": images, "annotations": annotations})
    (folder / "captions_ita_devset_unvalidated.json").write_text(text)
    for number, (shape, colour) in _DRAWN.items() if pictures else ():
        draw_shape(shape, colour, number).save(folder / f"val2014/COCO_val2014_{number:012d}.jpg")
    return folder


def imagenet(folder: Path) -> Path:
    """Write six pictures of three classes by their names on the Hub, and the labels of all thousand classes."""
    (folder / "val").mkdir(parents=True)
    for number in range(1, 7):
        place = (number - 1) % 3
        shape, colour = (("cerchio", "red"), ("quadrato", "blue"), ("triangolo", "yellow"))[place]
        name = f"ILSVRC2012_val_{number:08d}_{WORDNETS[place]}.JPEG"
        draw_shape(shape, colour, number).save(folder / "val" / name)
    labels(folder / "imagenet_labels_IT.tsv")
    return folder


def labels(path: Path) -> dict[str, str]:
    """Write a table of labels with the columns of the original project; return the labels by WordNet id."""
    words = ("cerchio", "quadrato", "triangolo", "rosso", "verde", "blu", "giallo", "nero", "viola", "gatto", "dorme")
    # In base 11, so that no two labels are equal for a tokenizer that knows these words alone.
    named = {
        one.wordnet: " ".join(words[number // 11**place % 11] for place in range(3))
        for number, one in enumerate(languages.get("it").imagenet)
    }
    head = "set_id\tsyn_set\tfirst_syn\tquery_short_translated\tquery_long_translated\tclass_id"
    rows = [f"{wordnet}\tx, y\tx\t{text}\tuna foto di {text}\t{n}" for n, (wordnet, text) in enumerate(named.items())]
    path.write_text("\n".join([head, *rows]) + "\n")
    return named


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Write MSCOCO-IT's set and the labels to a folder and serve it, as MSCOCO and GitHub do; yield the address."""
    coco(folder)
    labels(folder / "imagenet_labels_IT.tsv")
    captions = folder / "captions_ita_devset_unvalidated.json"
    captions.with_suffix(".json.gz").write_bytes(gzip.compress(captions.read_bytes()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
