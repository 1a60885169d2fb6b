"""The same work on a Ray cluster of two nodes on this machine: same bytes, also when a node dies half-way."""

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clip_italian import pairs
from clip_italian.clean.cleaning import clean
from clip_italian.clean.recipe import load_clean_recipe
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import rejects_path
from clip_italian.pipeline.stage import run_stage
from clip_italian.search import update
from clip_italian.sources.collect import collect
from clip_italian.sources.wit import COLUMNS, Wit
from clip_italian.split.splitting import Plan, split
from tests.pipeline.stages import DropMarked, Fails, Waits
from tests.search.test_update import contents as indexed

ray = pytest.importorskip("ray", reason="extra `cluster` is not installed")

pytestmark = pytest.mark.integration

SUBJECTS = "gatto cane cavallo treno fiore bambino vecchio mercato orso pesce ponte mulino violino".split()


@pytest.fixture(scope="module")
def cluster():
    """A cluster of a head with one processor, and a function that adds such a node."""
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 100 * 2**20, "num_cpus": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: beside other tests, workers would hardly run
        cluster = Cluster(initialize_head=True, head_node_args=store)
        try:
            yield cluster, lambda: cluster.add_node(**store)
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def two_nodes(cluster):
    nodes, add = cluster
    second = add()
    nodes.wait_for_nodes()
    yield nodes, second
    if second in nodes.list_all_nodes():
        nodes.remove_node(second)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A pairs file in 20 parts."""
    monkeypatch.setattr(pairs.rows, "PART_ROWS", 4)
    rows = [Pair(f"id-{i:03}", f"http://h/{i}", (("x" if i % 3 == 0 else "y") + f" {i}",), "s") for i in range(80)]
    pairs.write(rows, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def contents(output):
    return output.read_bytes(), rejects_path(output).read_bytes()


def wit_file(path, first):
    rows = [COLUMNS]
    for number in range(first, first + 40):
        values = dict.fromkeys(COLUMNS, "") | {"language": "it", "page_url": "https://h/P", "mime_type": "image/jpeg"}
        caption = f"Foto di un {SUBJECTS[number % 13]} accanto alla porta" if number % 7 else "Kim Rhodes"
        values |= {"image_url": f"https://h/{number % 30}.jpg", "caption_reference_description": caption}
        rows.append(list(values.values()))
    path.write_text("\n".join(map("\t".join, rows)))
    return path


def test_collect_clean_and_split_give_the_same_bytes_as_here(tmp_path, monkeypatch, two_nodes):
    address = two_nodes[0].address
    monkeypatch.setattr(pairs.rows, "PART_ROWS", 8)
    files = [wit_file(tmp_path / f"{number}.tsv", 25 * number) for number in range(3)]
    recipe = load_clean_recipe("paper", ["names.backend=lexicon"])
    found = {}
    for place, cluster in (("here", None), ("there", address)):
        folder = tmp_path / place
        summaries = [
            collect("wit", Wit("it"), {}, files, folder / "wit.parquet", 2, cluster),
            clean(folder / "wit.parquet", folder / "clean.parquet", recipe, 2, cluster),
            split(folder / "clean.parquet", folder / "split.parquet", Plan(0.3, 0.3), 2, cluster),
        ]
        found[place] = summaries, [contents(folder / f"{name}.parquet") for name in ("wit", "clean", "split")]
    assert found["there"] == found["here"]
    collected, cleaned, divided = found["here"][0]
    assert collected.after == 30
    assert {"names", "duplicate-caption"} <= set(cleaned.rejected)
    assert 0 < divided.after < 30
    assert min(divided.splits.values()) > 0


def test_a_node_that_dies_half_way_costs_nothing(tmp_path, source, two_nodes):
    nodes, second = two_nodes
    expected = run_stage("test", DropMarked(), {}, source, tmp_path / "local.parquet", 1)
    remote, parts, go = tmp_path / "remote.parquet", tmp_path / "remote.parquet.parts", tmp_path / "go"
    at_death = []

    def kill_when_half_done():
        limit = time.monotonic() + 120
        while len(list(parts.glob("0*"))) < 6 and time.monotonic() < limit:
            time.sleep(0.02)
        at_death.append(len(list(parts.glob("0*"))))
        nodes.remove_node(second, allow_graceful=False)
        go.touch()

    killer = threading.Thread(target=kill_when_half_done, daemon=True)
    killer.start()
    stage = Waits(parts=parts, after=6, go=go)
    assert run_stage("test", stage, {}, source, remote, 1, ray=nodes.address) == expected
    killer.join()
    assert 6 <= at_death[0] < 20
    assert contents(remote) == contents(tmp_path / "local.parquet")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("a.json: not JSON; download it again"), r"^a\.json: not JSON; download it again$"),
        (ValueError("strange"), r"^a worker of the Ray cluster failed \(ValueError: strange\); run the same"),
    ],
)
def test_errors_of_workers_are_one_line(tmp_path, source, cluster, error, words):
    with pytest.raises(UserError, match=words):
        run_stage("test", Fails(error=error), {}, source, tmp_path / "out.parquet", 1, ray=cluster[0].address)


@pytest.mark.slow
def test_fetch_on_the_cluster(tmp_path, two_nodes):
    from clip_italian.fetch.fetching import Settings, fetch
    from tests.fetch.test_fetching import contents as pictures
    from tests.fetch.test_fetching import rows
    from tests.fetch.web import Web

    paths = [f"/good/{number}.jpg" for number in range(20)]
    settings = Settings(shard=8, workers=2, threads=2)
    with Web() as web:
        pairs.write(rows(web, [*paths, "/missing"]), tmp_path / "in.parquet")
        here = fetch(tmp_path / "in.parquet", tmp_path / "here", settings)
        there = fetch(
            tmp_path / "in.parquet", tmp_path / "there",
            Settings(shard=8, workers=2, threads=2, distributor="ray"), ray=two_nodes[0].address,
        )  # fmt: skip
    assert there == here
    assert here.fetched == 20
    assert pictures(tmp_path / "there") == pictures(tmp_path / "here")
    assert Counter(web.asked) == dict.fromkeys([*paths, "/missing"], 2)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:no"])
def test_no_cluster_there(tmp_path, source, address):
    with pytest.raises(UserError, match=r"no Ray cluster there .*ray start --head"):
        run_stage("test", DropMarked(), {}, source, tmp_path / "out.parquet", 1, ray=address)
    assert list(Path(tmp_path).iterdir()) == [source]


def test_pictures_are_embedded_on_the_cluster(tmp_path, two_nodes, tiny_folder, tiny_encoder, shapes, monkeypatch):
    monkeypatch.setattr(update, "PART", 14)
    model = update.Model(tiny_encoder, str(tiny_folder))
    images = shapes.parent / "images"
    here = update.build(tmp_path / "here", [images], model)
    there = update.build(tmp_path / "there", [images], model, ray=two_nodes[0].address)
    assert (there.pictures, there.embedded) == (here.pictures, here.embedded) == (54, 54)
    found = [indexed(tmp_path / name) for name in ("here", "there")]
    vectors = [np.stack([np.frombuffer(one[id_], np.float16) for id_ in sorted(one)]).astype(float) for one in found]
    assert sorted(found[0]) == sorted(found[1])
    assert np.abs(vectors[0] - vectors[1]).max() < 0.01
