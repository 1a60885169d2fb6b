"""Kills at random points, a full disk, two writers, and readers while the index changes."""

import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time

import numpy as np
import pytest

from clip_italian.errors import UserError
from clip_italian.search import commit, engine, update
from clip_italian.search.index import Index
from clip_italian.search.storage import MANIFEST_FILE, read_manifest
from clip_italian.search.verify import verify
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder
from tests.search.test_update import contents
from tests.wait import until

pytestmark = pytest.mark.integration

FORK = multiprocessing.get_context("fork")
WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


@pytest.fixture
def small(monkeypatch):
    """Parts of 4 pictures, lists from 8 rows on in segments of 20: every step comes several times."""
    monkeypatch.setattr(update, "PART", 4)
    monkeypatch.setattr(commit, "EXACT_BELOW", 30)
    monkeypatch.setattr(commit, "LISTS_FROM", 8)
    monkeypatch.setattr(commit, "SEGMENT_ROWS", 20)


def steps(index, photos, extra):
    """Updates of every kind, each from the index that the one before left; they are what is killed."""
    model = update.Model(FakeEncoder(), "fake")
    return [
        lambda: update.build(index, [photos], model),
        lambda: update.add(index, [extra], model),
        lambda: update.remove(index, ["1[0-3]*", "extra/e00.png"]),
        lambda: update.compact(index),
    ]


@pytest.fixture
def folders(photos, tmp_path):
    for number in range(100, 140):
        noise(number).save(photos / f"{number}.png")
    extra = tmp_path / "extra"
    extra.mkdir()
    for number in range(10):
        noise(200 + number).save(extra / f"e{number:02}.png")
    return photos, extra


def run_and_die(step, at, report):
    """Do a step, and be killed when it touches the file system for the `at`-th time; tell how often it did."""
    touched = 0

    def watch(event, arguments):
        nonlocal touched
        if event in WATCHED and not (event == "open" and not isinstance(arguments[0], (str, bytes))):
            touched += 1
            if touched == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    step()
    report.send(touched)


def forked(step, at=-1):
    """Run a step in a process of its own: its exit code, and how often it touched the file system."""
    receive, send = FORK.Pipe(duplex=False)
    process = FORK.Process(target=run_and_die, args=(step, at, send))
    process.start()
    process.join(120)
    send.close()
    return process.exitcode, receive.recv() if process.exitcode == 0 else None


def test_killed_at_random_points_every_step_leaves_the_index_as_it_was_and_goes_on(tmp_path, folders, small):
    chance = random.Random(os.environ.get("KILL_SEED", "11"))
    index = tmp_path / "idx"
    before = None
    for number in range(4):
        code, total = forked(steps(tmp_path / "undisturbed", *folders)[number])
        assert code == 0
        expected = contents(tmp_path / "undisturbed")
        for at in sorted(chance.sample(range(1, total), 3)):
            code, _ = forked(steps(index, *folders)[number], at)
            assert code in (0, 1, -signal.SIGKILL)  # 1: nothing is left to remove
            now = contents(index) if (index / MANIFEST_FILE).is_file() else None
            assert now in (before, expected), f"half an update after the kill at {at} of {total}"
            assert now is None or verify(index) == []
        try:
            steps(index, *folders)[number]()
        except UserError as error:
            assert "nothing in it matches" in str(error), "removed by the run that was killed"
        before = contents(index)
        assert before == expected
        assert verify(index) == []
    assert sorted(path.name for path in tmp_path.glob("*idx*")) == ["idx"], "locks and parts are gone"
    kept = {MANIFEST_FILE} | {one.name for one in read_manifest(index).segments} | {read_manifest(index).left_out_file}
    assert {path.name for path in index.iterdir()} == kept, "nothing half-written stays"


class Slow(FakeEncoder):
    """Embeds four pictures, then waits to be killed."""

    def encode_pixels(self, pixels):
        if self.embedded >= 16:
            time.sleep(600)
        return super().encode_pixels(pixels)


def test_what_was_embedded_before_a_kill_is_not_embedded_again(tmp_path, folders, small):
    photos, _ = folders
    index = tmp_path / "idx"

    def wait():
        update.build(index, [photos], update.Model(Slow(), "fake"))

    process = FORK.Process(target=wait)
    process.start()
    until(lambda: update.waiting(index) >= 12)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = update.waiting(index)
    assert not index.exists()
    noise(7).save(photos / "later.png")
    (photos / "100.png").unlink()
    encoder = FakeEncoder()
    assert update.build(index, [photos], update.Model(encoder, "fake")).pictures == 52
    assert encoder.embedded <= 52 - done + 1
    assert verify(index) == []


def test_a_full_disk_costs_nothing(tmp_path, folders, small):
    index = tmp_path / "idx"
    step, more, *_ = steps(index, *folders)
    step()
    before = contents(index)

    def limited():
        # Files beyond some bytes fail as on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
        more()

    process = FORK.Process(target=limited)
    process.start()
    process.join(60)
    assert process.exitcode == 1
    assert contents(index) == before
    assert verify(index) == []
    assert update.waiting(index) in (0, 10)
    more()
    assert len(Index.open(index)) == len(before) + 10


@pytest.mark.parametrize("most", [600, 1_500, 3_000, 6_000])
def test_files_that_cannot_be_finished_are_noticed(tmp_path, most):
    """Vectors with lists and without: a short write anywhere is an error, never a short file."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 24)).astype(np.float16)

    def limited(indexed, folder):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            engine.build(folder, 24, [vectors], indexed)
        except (OSError, UserError):
            os._exit(3)
        os._exit(0)

    for indexed in (False, True):
        folder = tmp_path / str(indexed)
        folder.mkdir()
        process = FORK.Process(target=limited, args=(indexed, folder))
        process.start()
        process.join(60)
        assert process.exitcode == 3, indexed


def test_two_writers_the_second_says_so(tmp_path, folders, small):
    photos, _ = folders
    index = tmp_path / "idx"

    class Holding(FakeEncoder):
        def encode_pixels(self, pixels):
            started.set()
            assert go.wait(60)
            return super().encode_pixels(pixels)

    started, go = threading.Event(), threading.Event()
    first = threading.Thread(target=update.build, args=(index, [photos], update.Model(Holding(), "fake")))
    first.start()
    assert started.wait(60)
    with pytest.raises(UserError, match="another run is writing it"):
        update.build(index, [photos], update.Model(FakeEncoder(), "fake"))
    go.set()
    first.join()
    assert len(Index.open(index)) == 52


def test_readers_see_whole_generations_only(tmp_path, small, model, photos):
    """One process changes the index all the time between two states; readers open and search it meanwhile."""
    index = tmp_path / "idx"
    for number in range(100, 130):
        noise(number).save(photos / f"{number}.png")
    update.build(index, [photos], model)
    states = [set(contents(index))]
    update.remove(index, ["1[0-9][0-9].png"])
    states.append(set(contents(index)))
    old = Index.open(index)

    def change():
        while True:
            update.build(index, [photos], update.Model(FakeEncoder(), "fake"))
            update.remove(index, ["1[0-9][0-9].png"])
            update.compact(index)

    process = FORK.Process(target=change)
    process.start()
    query = np.eye(24)[0]
    seen, opened = set(), 0
    limit = time.monotonic() + 60
    try:
        while len(seen) < 4 or opened < 30:
            assert process.is_alive()
            assert time.monotonic() < limit
            reader = Index.open(index)
            found = {hit.id for hit in reader.search(query, 100)}
            assert found in states
            assert set().union(*(table["id"].to_pylist() for table, _ in reader.store.content(["id"]))) == found
            seen.add(reader.manifest.generation)
            opened += 1
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert {hit.id for hit in old.search(query, 100)} == states[1], "what was opened before stays as it was"
    assert old.fresh() is not old
