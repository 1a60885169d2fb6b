"""The same stage on a Ray cluster of two nodes on this machine: same bytes, also when a node dies half-way."""

import threading
import time

import pytest

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import rejects_path
from clip_italian.pipeline.stage import run_stage
from tests.pipeline.stages import DropMarked, Slow

ray = pytest.importorskip("ray", reason="extra `cluster` is not installed")


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    store = {"object_store_memory": 100 * 2**20, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=store)
    second = cluster.add_node(**store)
    cluster.wait_for_nodes()
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def write_input(path):
    rows = [Pair(f"id-{i:03}", f"http://h/{i}", (("x" if i % 3 == 0 else "y") + f" {i}",), "s") for i in range(80)]
    pairs.write(rows, path)


def test_same_bytes_as_local_processes_and_a_dead_node_costs_nothing(tmp_path, monkeypatch, cluster):
    nodes, second = cluster
    monkeypatch.setattr(pairs, "PART_ROWS", 4)
    source = tmp_path / "in.parquet"
    write_input(source)
    local, remote = tmp_path / "local.parquet", tmp_path / "remote.parquet"
    expected = run_stage("test", DropMarked(), {}, source, local, 1)

    assert run_stage("test", DropMarked(), {}, source, remote, 1, ray=nodes.address) == expected
    assert remote.read_bytes() == local.read_bytes()
    assert rejects_path(remote).read_bytes() == rejects_path(local).read_bytes()

    survivor = tmp_path / "survivor.parquet"
    parts = tmp_path / "survivor.parquet.parts"
    killed = []

    def kill_when_half_done():
        while len(list(parts.glob("0*"))) < 6:
            time.sleep(0.02)
        killed.append(len(list(parts.glob("0*"))))
        nodes.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_when_half_done, daemon=True)
    killer.start()
    assert run_stage("test", Slow(seconds=0.2), {}, source, survivor, 1, ray=nodes.address) == expected
    killer.join(timeout=30)
    assert killed and killed[0] < 20, "the node died after the work was done"
    assert survivor.read_bytes() == local.read_bytes()


def test_no_cluster_there(tmp_path):
    write_input(tmp_path / "in.parquet")
    with pytest.raises(UserError, match="no Ray cluster there"):
        run_stage("test", DropMarked(), {}, tmp_path / "in.parquet", tmp_path / "out.parquet", 1, ray="127.0.0.1:1")
