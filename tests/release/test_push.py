import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import EvalResult, HfApi, ModelCardData

from clip_italian.errors import UsageError, UserError
from clip_italian.release.push import plan, push


@pytest.fixture
def folder(tiny_folder):
    """A model folder with a card."""
    found = EvalResult("text-to-image-retrieval", "shapes", "shapes", "mrr@10", 0.5)
    data = ModelCardData(license="cc-by-sa-4.0", model_name="shapes", eval_results=[found])
    (tiny_folder / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n# Shapes\n")
    return tiny_folder


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's API as an upload of small files needs."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, body, self.headers.get("Authorization")))
        if self.path == "/api/repos/create":
            self.answer({"url": f"{self.server.address}/you/shapes"}, 409 if self.server.exists else 200)
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            self.answer({"commitUrl": f"{self.server.address}/you/shapes/commit/1", "commitOid": "1", "hookOutput": ""})
        else:
            self.answer({"error": "not here"}, 404)

    def do_GET(self):
        self.server.asked.append((self.path, b"", self.headers.get("Authorization")))
        self.answer({"id": "you/shapes", "private": self.server.private, "siblings": [], "sha": "0" * 40})

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A server in the Hub's place; `HF_HUB_OFFLINE` of the other tests does not hold for it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.exists, server.private = [], False, True
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def api(server):
    return HfApi(endpoint=server.address, token="hf_test")


def test_every_file_arrives_as_it_is(folder, hub):
    assert push(folder, "you/shapes", True, api(hub)) == f"{hub.address}/you/shapes"
    created = json.loads(next(body for path, body, _ in hub.asked if path == "/api/repos/create"))
    assert created["name"] == "shapes" and created["organization"] == "you"
    assert created.get("private") is True or created.get("visibility") == "private"
    commit = next(body for path, body, _ in hub.asked if "/commit/" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"}
    assert sent == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {token for *_, token in hub.asked} == {"Bearer hf_test"}


def test_nothing_private_goes_into_a_public_repository(folder, hub):
    hub.private, hub.exists = False, True
    with pytest.raises(UserError, match="already and public"):
        push(folder, "you/shapes", True, api(hub))
    assert not any("/commit/" in path for path, *_ in hub.asked)
    push(folder, "you/shapes", False, api(hub))
    assert any("/commit/" in path for path, *_ in hub.asked)


def test_a_hub_that_cannot_be_reached_is_one_line(folder, hub):
    nowhere = HfApi(endpoint="http://127.0.0.1:9", token="hf_test")
    with pytest.raises(UserError, match="you/shapes: not uploaded") as caught:
        push(folder, "you/shapes", False, nowhere)
    assert "\n" not in str(caught.value)


def test_without_a_token_nothing_is_sent(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="hf auth login"):
        push(folder, "you/shapes", False)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("optimizer.bin", "state of training"),
        ("training_args.bin", "state of training"),
        ("trainer_state.json", "state of training"),
        ("step-00000012.pt", "state of training"),
        ("checkpoints/model.safetensors", "state of training"),
        ("foto.JPG", "a picture"),
        ("samples/a.png", "a picture"),
        ("train.parquet", "no file of a model"),
        (".env", "no file of a model"),
        ("events.out.tfevents.1", "no file of a model"),
        ("weights.bin", "no file of a model"),
    ],
)
def test_what_is_no_part_of_a_model_is_refused(folder, hub, name, why):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"12345")
    found = plan(folder)
    (file,) = (file for file in found.files if file.refused)
    assert (file.path, file.size) == (name, 5)
    assert why in file.refused
    assert found.objections == [f"{name}: {file.refused}"]
    with pytest.raises(UserError, match="nothing was sent"):
        push(folder, "you/shapes", False, api(hub))
    assert not hub.asked


def test_without_licence_or_metrics_or_a_card_it_is_refused(folder):
    path = folder / "README.md"
    text = path.read_text()
    assert plan(folder).objections == []
    path.write_text(text.replace("license: cc-by-sa-4.0\n", ""))
    (objection,) = plan(folder).objections
    assert "no licence" in objection
    path.write_text("---\nlicense: mit\n---\n# A model\n")
    (objection,) = plan(folder).objections
    assert "no metrics" in objection
    path.write_text("---\nlicense: [mit\n---\n")
    (objection,) = plan(folder).objections
    assert "cannot be read" in objection
    path.unlink()
    (objection,) = plan(folder).objections
    assert "README.md is missing" in objection


def test_missing_weights_are_refused(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    assert "weights are missing" in plan(folder).objections[0]
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00001-of-00002.safetensors").write_bytes(weights)
    assert plan(folder).objections == [
        "model-00002-of-00002.safetensors: missing, though model.safetensors.index.json names it"
    ]
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert plan(folder).objections == ["model-00002-of-00002.safetensors: empty"]


def test_a_folder_that_is_none_or_empty_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        plan(tmp_path / "none")
    with pytest.raises(UserError, match="empty"):
        plan(tmp_path)


@pytest.mark.parametrize("name", ["model", "a/b/c", "you/..", "you/a--b", "you/ä"])
def test_what_can_be_no_repository_is_wrong_usage(folder, name):
    with pytest.raises(UsageError, match="no repository id"):
        push(folder, name, False)
