"""An index that follows its folders: real files, changes as the system reports them, and what hinders both."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian import console, pairs
from clip_italian.errors import UserError
from clip_italian.files.mounts import Mount
from clip_italian.pairs import Pair
from clip_italian.pipeline import parts
from clip_italian.search import update
from clip_italian.search.index import Index
from clip_italian.search.storage import read_manifest
from tests.search.conftest import noise
from tests.search.fakes import FakeEncoder
from tests.search.test_update import contents, expected
from tests.wait import until

watch = pytest.importorskip("clip_italian.search.watch", reason="extra `watch` is not installed")

pytestmark = pytest.mark.integration

FAST = watch.Pace(quiet=0.1, longest=0.2, full=60, poll=0.2, look=0.1, busy=0.05)
NEVER = watch.Pace(quiet=0.1, longest=0.2, full=60, poll=60, look=60, busy=0.05)
SECONDS = 15


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Look at the reports more often than people need."""
    monkeypatch.setattr(watch, "_TICK_MS", 20)


@pytest.fixture
def lines(monkeypatch):
    """What is said on stderr."""
    said = []
    monkeypatch.setattr(console, "notice", said.append)
    return said


@pytest.fixture
def index(tmp_path, photos, model):
    update.build(tmp_path / "idx", [photos], model)
    return tmp_path / "idx"


class Followed:
    """`follow` in a thread, from its first update on; `changes` are the updates."""

    def __init__(self, index, model, pace=FAST):
        self.changes, self.stop, self.error = [], threading.Event(), None
        self._arguments = (index, model, self.stop, pace)
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            for change in watch.follow(*self._arguments):
                self.changes.append(change)
        except UserError as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        until(lambda: self.changes or self.error or not self._thread.is_alive(), seconds=SECONDS)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def ended(self):
        self._thread.join(SECONDS)
        return self.error


def soon(condition):
    until(condition, seconds=SECONDS)


def test_new_changed_renamed_deleted_and_moved_files(tmp_path, index, photos, model, encoder):
    """Only reports can wake these updates: the next look at everything is a minute away."""
    (tmp_path / "outside" / "below").mkdir(parents=True)
    for number in range(3):
        noise(60 + number).save(tmp_path / "outside" / "below" / f"{number}.png")

    def holds_the_folder():
        return contents(index) == expected(photos, FakeEncoder())

    with Followed(index, model, NEVER):
        noise(50).save(photos / "new.png")
        soon(holds_the_folder)
        assert "new.png" in contents(index)
        noise(51).save(photos / "sub" / "01.png")
        soon(holds_the_folder)
        embedded = encoder.embedded
        (photos / "03.png").rename(photos / "sub" / "renamed.png")
        soon(holds_the_folder)
        (photos / "sub" / "02.png").unlink()
        soon(holds_the_folder)
        assert encoder.embedded == embedded, "a renamed picture keeps its vector"
        (tmp_path / "outside").rename(photos / "moved")
        soon(holds_the_folder)
        assert "moved/below/2.png" in contents(index)
        noise(70).save(photos / "moved" / "below" / "later.png")  # the folder that moved in is watched too
        soon(holds_the_folder)


def test_a_sidecar_that_is_added_changed_or_removed(index, photos, model, encoder):
    def titles():
        return {row["title"] for table, _ in Index.open(index).store.content(["title"]) for row in table.to_pylist()}

    with Followed(index, model):
        encoder.embedded = 0
        for title in ("Il faro", "La torre nuova"):
            (photos / "03.json").write_text(json.dumps({"title": title}))
            soon(lambda title=title: titles() == {None, title})
        (photos / "03.json").unlink()
        soon(lambda: titles() == {None})
    assert encoder.embedded == 0


def test_a_deleted_folder_of_pictures_stays_until_it_is_named(index, photos, model, lines):
    """As with `build`: it might be a disk. What is printed removes its rows."""
    with Followed(index, model):
        shutil.rmtree(photos / "sub")
        soon(lambda: lines)
        time.sleep(3 * FAST.quiet)
        assert len(Index.open(index)) == 12
        (line,) = lines
        assert f"{photos / 'sub'} (8 pictures): gone as a whole" in line
        program, *words = shlex.split(line.partition("remove them: ")[2])
        assert (program, words) == ("clip-italian", ["index", "remove", str(index), str(photos / "sub")])
        update.remove(index, words[3:])
        noise(7).save(photos / "new.png")
        soon(lambda: set(contents(index)) == {"00.png", "03.png", "06.png", "09.png", "new.png"})
    assert len(lines) == 1


def test_a_burst_gives_few_updates(index, photos, model):
    with Followed(index, model, watch.Pace(quiet=0.3, longest=5)) as followed:
        for number in range(200):
            noise(1000 + number, (8, 8)).save(photos / f"burst-{number}.png")
        soon(lambda: len(Index.open(index)) == 212)
        assert sum(change.added > 0 for change in followed.changes) <= 3


def test_a_half_written_picture_is_read_again(index, photos, model, tmp_path):
    noise(80).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    with Followed(index, model) as followed, (photos / "slow.png").open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        soon(lambda: "slow.png" in {one.id for one in followed.changes[-1].left_out})
        file.write(content[len(content) // 2 :])
        file.flush()
        soon(lambda: {one.id for one in followed.changes[-1].left_out} == {"broken.jpg"})
        assert "slow.png" in contents(index)


def test_while_another_run_writes_the_update_waits(index, photos, model, lines):
    with Followed(index, model):
        with parts.exclusive_lock(index):
            noise(81).save(photos / "new.png")
            soon(lambda: lines)
            time.sleep(4 * FAST.busy)
            assert "new.png" not in contents(index)
        soon(lambda: "new.png" in contents(index))
    (line,) = lines
    assert "another run is writing it; waiting" in line


def test_a_disk_that_is_pulled_and_comes_back(tmp_path, index, photos, model, lines):
    stick, away = tmp_path / "stick", tmp_path / "away"
    stick.mkdir()
    for number in range(4):
        noise(90 + number).save(stick / f"{number}.png")
    update.add(index, [stick], model)
    with Followed(index, model):
        before = set(contents(index))
        stick.rename(away)
        soon(lambda: lines)
        noise(95).save(photos / "new.png")
        (photos / "00.png").unlink()
        soon(lambda: set(contents(index)) == before | {"new.png"})
        stick.mkdir()  # as a mount point, without its disk
        time.sleep(3 * FAST.look)
        assert set(contents(index)) == before | {"new.png"}
        (away / "3.png").unlink()
        stick.rmdir()
        away.rename(stick)
        soon(lambda: set(contents(index)) == before - {"00.png", "stick/3.png"} | {"new.png"})
        noise(96).save(stick / "after.png")
        soon(lambda: "stick/after.png" in contents(index))
    (line,) = lines
    assert line.startswith(f"{stick}: not there, or empty") and "nothing is removed" in line


def test_where_everything_is_gone_nothing_is_removed(tmp_path, index, photos, model, lines):
    with Followed(index, model):
        photos.rename(tmp_path / "away")
        soon(lambda: lines)
        time.sleep(3 * FAST.poll)
        assert len(lines) == 1 and "not there, or empty" in lines[0], "it is said once"
        assert len(Index.open(index)) == 12
        (tmp_path / "away").rename(photos)
        noise(97).save(photos / "after.png")
        soon(lambda: "after.png" in contents(index))


def test_an_index_inside_its_folder_does_not_wake_itself(photos, model):
    update.build(photos / "idx", [photos], model)
    with Followed(photos / "idx", model) as followed:
        noise(98).save(photos / "new.png")
        soon(lambda: "new.png" in contents(photos / "idx"))
        updates = len(followed.changes)
        time.sleep(5 * FAST.quiet)
        assert len(followed.changes) <= updates + 1 <= 4


def test_what_an_index_leaves_out_wakes_no_update(tmp_path, photos, model):
    index = photos / "idx"
    update.build(index, [photos], model, exclude=["*.gif", "drafts/"])
    relevant = watch._Inputs.of(read_manifest(index)).relevance(index)
    for name in (".hidden.png", "@eaDir/thumbnail.jpg", "sub/drafts/a.png", "sub/a.gif", "idx/index.json", ".idx.lock"):
        assert not relevant(str(photos / name)), name
    assert not relevant(f"{index}.parts/run-0001") and not relevant(str(tmp_path / "elsewhere.png"))
    assert all(map(relevant, map(str, (photos, photos / "sub", photos / "new.png", photos / "sub" / "idx"))))


def test_inputs_that_another_command_adds_are_followed(tmp_path, index, model):
    more = tmp_path / "more"
    more.mkdir()
    noise(1).save(more / "a.png")
    with Followed(index, model):
        while True:
            try:
                update.add(index, [more], model)
            except parts.BusyError:
                continue
            break
        soon(lambda: "more/a.png" in contents(index))
        time.sleep(3 * FAST.look)
        noise(2).save(more / "b.png")
        soon(lambda: "more/b.png" in contents(index))


def test_a_pairs_file_that_is_replaced(tmp_path, photos, model):
    rows = [Pair(str(number), f"photos/{number:02}.png", ("x",), "wit") for number in (0, 3, 6)]
    pairs.write(rows[:2], tmp_path / "pairs.jsonl")
    update.build(tmp_path / "idx", [tmp_path / "pairs.jsonl"], model)
    with Followed(tmp_path / "idx", model):
        pairs.write(rows[1:], tmp_path / "pairs.jsonl")
        soon(lambda: set(contents(tmp_path / "idx")) == {"3", "6"})
        noise(5).save(photos / "06.png")  # nobody watches this folder
        soon(lambda: contents(tmp_path / "idx")["6"] == expected(photos, FakeEncoder())["06.png"])


def test_without_reports_the_folders_are_looked_at(index, photos, model, lines, monkeypatch):
    def refuse(*_, **__):
        raise OSError('OS file watch limit reached. about ["/photos"] (Error { kind: MaxFilesWatch })')
        yield

    monkeypatch.setattr(watch.watchfiles, "watch", refuse)
    with Followed(index, model):
        noise(3).save(photos / "new.png")
        soon(lambda: "new.png" in contents(index))
    (line,) = lines
    assert "does not report changes (OS file watch limit reached)" in line and "every 0 seconds" in line


def test_beyond_the_limit_of_the_system_its_reason_is_told(photos):
    """In a user namespace of its own, where the kernel allows fewer watched folders than there are."""
    for number in range(8):
        (photos / str(number)).mkdir()
    code = (
        "import sys; from clip_italian.search.watch import _Reports\n"
        "with _Reports([sys.argv[1]], bool) as reports: print(reports.problem)"
    )
    limit = 'echo 5 > /proc/sys/user/max_inotify_watches || exit 77; exec "$@"'
    program = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
    try:
        done = subprocess.run([*program, sys.executable, "-c", code, photos], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if done.returncode != 0 and "Traceback" not in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout == "the system does not report changes (OS file watch limit reached)\n", done.stderr


def test_folders_that_may_not_be_read(index, photos, model, lines, monkeypatch):
    """The library passes over them only together with all others that cannot be watched, so everything is looked at."""
    real, options = watch.watchfiles.watch, []

    def refuse(*folders, **given):
        options.append(given["ignore_permission_denied"])
        if not given["ignore_permission_denied"]:  # simulates missing permission, which root does not have
            raise PermissionError("Permission denied about [...]")
        yield from real(*folders, **given)

    monkeypatch.setattr(watch.watchfiles, "watch", refuse)
    with Followed(index, model) as followed:
        soon(lambda: len(followed.changes) > 2)
        noise(3).save(photos / "new.png")
        soon(lambda: "new.png" in contents(index))
    assert options == [False, True] and len(lines) == 1 and "some folders may not be read" in lines[0]


def test_a_network_drive_is_looked_at(index, photos, model, lines, monkeypatch):
    monkeypatch.setattr(watch, "mounts", lambda: [Mount(1, "/", "ext4"), Mount(2, str(photos), "nfs4")])
    real = watch.watchfiles.watch

    def silent(*folders, **options):
        for _ in real(*folders, **options):
            yield set()

    monkeypatch.setattr(watch.watchfiles, "watch", silent)
    with Followed(index, model):
        noise(3).save(photos / "new.png")
        soon(lambda: "new.png" in contents(index))
    assert lines == [f"{index}: changes by others are not reported on {photos} (nfs4); {lines[0].split('; ')[1]}"]


def test_a_mount_below_a_folder_wakes_an_update(index, photos, model, monkeypatch):
    table = [Mount(1, "/", "ext4")]
    monkeypatch.setattr(watch, "mounts", lambda: list(table))
    with Followed(index, model) as followed:
        assert len(followed.changes) == 1
        table.append(Mount(2, str(photos / "sub"), "vfat"))
        soon(lambda: len(followed.changes) == 2)


def test_names_that_are_no_unicode_do_not_end_it(index, photos, model):
    with Followed(index, model) as followed:
        shutil.copy(os.fsencode(photos / "00.png"), os.fsencode(photos) + b"/caf\xe9.png")
        soon(lambda: "broken-name" in {one.reason for one in followed.changes[-1].left_out})
        noise(4).save(photos / "after.png")
        soon(lambda: "after.png" in contents(index))


def test_a_failed_update_is_tried_again(index, photos, model, lines, monkeypatch):
    real, failures = watch.refresh, [OSError(28, "No space left on device", str(index)), UserError("no")]

    def refresh(*arguments):
        if failures:
            raise failures.pop(0)
        return real(*arguments)

    monkeypatch.setattr(watch, "refresh", refresh)
    noise(5).save(photos / "new.png")
    with Followed(index, model):
        soon(lambda: "new.png" in contents(index))
    assert len(lines) == 2
    assert lines[0].startswith(f"{index}: No space left on device") and "tried again" in lines[0]


def test_an_index_that_is_gone_or_of_another_model_ends_it(tmp_path, index, photos, model):
    with Followed(index, model) as followed:
        update.build(index, [photos], update.Model(FakeEncoder(seed=5), "other"))
        assert "another model" in str(followed.ended())
    with Followed(index, update.Model(FakeEncoder(seed=5), "other")) as followed:
        shutil.rmtree(index)
        assert "no index here" in str(followed.ended())


def test_what_was_embedded_when_it_was_ended_is_kept(index, photos, lines, monkeypatch):
    """Ctrl-C during an update: the next one uses the finished parts."""
    monkeypatch.setattr(update, "PART", 4)
    for number in range(20):
        noise(300 + number).save(photos / f"late-{number}.png")

    class Interrupted(FakeEncoder):
        def encode_pixels(self, pixels):
            if self.embedded >= 8:
                raise KeyboardInterrupt
            return super().encode_pixels(pixels)

    ended, encoder = Interrupted(), FakeEncoder()
    with pytest.raises(KeyboardInterrupt):
        next(watch.follow(index, update.Model(ended, "fake"), threading.Event(), FAST))
    assert len(Index.open(index)) == 12
    change = next(watch.follow(index, update.Model(encoder, "fake"), threading.Event(), FAST))
    assert (change.pictures, change.added) == (32, 20)
    assert ended.embedded >= 8 and ended.embedded + encoder.embedded == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(number):
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    reached = []

    def wait():
        with watch.until_signal() as stop:
            reached.append(stop)
            os.kill(os.getpid(), number)
            time.sleep(SECONDS)
            reached.append("no signal")

    if number == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            wait()
    else:
        wait()
    assert len(reached) == 1 and reached[0].is_set()
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


@given(st.lists(st.floats(0, 5), max_size=30), st.floats(0, 2))
def test_the_schedule_gathers_changes(pauses, seconds):
    """Against a simulation: what was reported is seen, not before it is quiet, and not later than `longest`."""
    pace = watch.Pace(quiet=2, longest=10, full=1e9, poll=1e9)
    schedule = watch.Schedule(pace)
    schedule.ended(0.0, seconds, reported=True)
    rest = min(watch._REST * seconds, pace.longest)
    times = [sum(pauses[: n + 1]) for n in range(len(pauses))]
    waiting, tick, starts, ended = [], 0.05, [], 0.0
    now = 0.0
    while times or waiting:
        now += tick
        while times and times[0] <= now:
            schedule.changed(now)
            waiting.append(now)
            times.pop(0)
        due = schedule.is_due(now)
        allowed = now >= ended + rest
        assert due == bool(
            allowed and waiting and (now - waiting[-1] >= pace.quiet or now - waiting[0] >= pace.longest)
        )
        if due:
            schedule.started()
            schedule.ended(now, seconds, reported=True)
            starts.append(now)
            ended, waiting = now, []
    assert all(later - earlier >= rest for earlier, later in pairwise(starts))


def test_the_schedule_looks_at_everything_at_intervals():
    pace = watch.Pace()
    schedule = watch.Schedule(pace)
    assert schedule.is_due(5.0), "at the start"
    schedule.started()
    schedule.ended(5.0, 0.0, reported=True)
    assert not schedule.is_due(5 + pace.full - 1) and schedule.is_due(5 + pace.full)
    schedule.ended(5.0, 0.0, reported=False)
    assert not schedule.is_due(5 + pace.poll - 1) and schedule.is_due(5 + pace.poll)
    schedule.ended(5.0, 200 / watch._REST, reported=False)
    assert not schedule.is_due(5 + 199) and schedule.is_due(5 + 200), "where a look takes long, there are fewer"
    schedule.ask(6.0)
    assert not schedule.is_due(5 + pace.longest - 1) and schedule.is_due(5 + pace.longest)
    schedule.busy(500.0)
    assert not schedule.is_due(500.0) and schedule.is_due(500 + pace.busy)


def test_refresh_is_build_with_the_settings_of_the_index(tmp_path, photos, model):
    index, again = tmp_path / "idx", tmp_path / "again"
    noise(1).save(photos / ".hidden.png")
    (photos / "private").mkdir()
    noise(2).save(photos / "private" / "a.png")
    update.build(index, [photos], model, exact=True, exclude=["private"], hidden=True)
    noise(3).save(photos / "sub" / "new.png")
    (photos / "00.png").unlink()
    change = update.refresh(index, model)
    assert (change.added, change.removed, change.absent) == (1, 1, ())
    update.build(again, [photos], model, exact=True, exclude=["private"], hidden=True)
    assert contents(index) == contents(again)
    kept = ("exact", "exclude", "hidden", "inputs", "roots", "model_name", "left_out")
    assert all(getattr(read_manifest(index), name) == getattr(read_manifest(again), name) for name in kept)
    generation = read_manifest(index).generation
    assert not update.refresh(index, model).is_news(change)
    assert read_manifest(index).generation == generation
