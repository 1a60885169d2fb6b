"""Runs common commands in one process, for use with strace: `python tests/traced.py MODEL PICTURES ROOM`.

MODEL is a model folder, PICTURES a folder of them; all output goes into the folder ROOM.
"""

import json
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from clip_italian.cli import app

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.exported_once import exported_once  # after the package, which sets the defaults of libraries first


def run(*arguments):
    app([str(one) for one in arguments], standalone_mode=False)


def filled(folder, make):
    """Return the folder; `make` fills it where it is new."""
    if not folder.exists():
        folder.mkdir(parents=True)
        make(folder)
    return folder


def served(index):
    """Send one text search to the service on a free port and return the response."""
    import uvicorn

    from clip_italian.serve.app import create
    from clip_italian.serve.metrics import Metrics
    from clip_italian.serve.run import Address, listen, service
    from clip_italian.serve.settings import Limits, access

    metrics = Metrics()
    with listen(Address("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        application = create(
            service(index, None, "auto", "it", Limits(), metrics), access("127.0.0.1", (), (), ()), metrics
        )
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        with urlopen(f"http://127.0.0.1:{port}/v1/search?text=un+gatto&k=2") as answer:
            hits = json.load(answer)["hits"]
        server.should_exit = True
        thread.join()
    return hits


if __name__ == "__main__":
    model, pictures, room = (Path(one) for one in sys.argv[1:])
    one = next(pictures.iterdir())
    with exported_once(lambda name, make: filled(room / name, make)):
        for to in ("onnx", "openvino", "sentence-transformers"):
            run("export", model, "--to", to, "-o", room / to)
        for exported in ("onnx", "openvino"):
            index = room / f"{exported}.idx"
            run("index", "build", pictures, "-o", index, "--model", room / exported)
            run("search", index, "un cerchio rosso", "--html", room / f"{exported}.html")
        run("classify", one, "--labels", "gatto,foto", "--model", room / "onnx")
        run("locate", one, "il gatto", "--model", model, "-o", room / "located.jpg")
    assert len(served(room / "onnx.idx")) == 2
