"""Whole fetches from a server with troubles: every good picture comes, also after kills."""

import io
import json
import random
import signal
import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.fetch.fetching import Settings, fetch
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import read_rejects, rejects_path
from tests.fetch.web import Web, photo
from tests.forked import command
from tests.wait import until

pytestmark = pytest.mark.integration

GOOD = ["/redirect", "/busy-once", "/busy-twice", "/truncated-once", "/slow", "/gif", "/turned", "/png16",
        *(f"/good/{number}.jpg" for number in range(20, 40))]  # fmt: skip
BAD = {
    "/missing": "http-404", "/text": "unreadable", "/half": "unreadable", "/moving": "animated", "/small": "too-small",
    "/bomb": "too-many-pixels", "/noai": "robots-tag", "/huge": "too-many-bytes", "/closed-for-hours": "http-429",
    "/circle": "redirects",
}  # fmt: skip


def rows(web, paths, source="s"):
    return [
        Pair(path, web.url(path), ("una foto", f"di {path}"), source, license="CC0", captions_original=("a", "b"))
        for path in paths
    ]


def contents(folder):
    """Pictures and their data by id, over all shards; each only once."""
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            files = {member.name: archive.extractfile(member).read() for member in archive}
        for name in files:
            if name.endswith(".json"):
                data = json.loads(files[name])
                assert data["id"] not in found
                key = name.removesuffix(".json")
                found[data["id"]] = (files[f"{key}.jpg"], files[f"{key}.txt"].decode(), data)
    return found


def test_not_one_good_picture_is_missing(tmp_path):
    with Web() as web:
        pairs.write(
            [*rows(web, GOOD), *rows(web, BAD, "t"), Pair("local", "a.jpg", ("c",), "u")], tmp_path / "in.parquet"
        )
        settings = Settings(size=128, shard=10, workers=2, threads=4, timeout=60.0, retries=2)
        summary = fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)
        found = contents(tmp_path / "shards")
        assert sorted(found) == sorted(GOOD)
        assert (summary.pairs, summary.fetched, summary.local) == (len(GOOD) + len(BAD) + 1, len(GOOD), 1)
        assert summary.by_source["s"] == {"fetched": len(GOOD)}
        assert summary.by_source["t"] == {reason: list(BAD.values()).count(reason) for reason in BAD.values()}
        rejects = {reject.id: reject.reason for reject in read_rejects(rejects_path(tmp_path / "shards"))}
        assert rejects == BAD | {"local": "no-address"}

        picture, caption, data = found["/good/20.jpg"]
        image = Image.open(io.BytesIO(picture))
        assert image.format == "JPEG"
        assert image.size == (192, 128)
        expected = np.asarray(photo(20).resize((192, 128), Image.Resampling.BOX), np.int16)
        assert np.abs(np.asarray(image.convert("RGB"), np.int16) - expected).mean() < 6
        assert Image.open(io.BytesIO(found["/turned"][0])).size == (128, 192)
        assert caption == "una foto"
        assert data["captions"] == ["una foto", "di /good/20.jpg"]
        assert data["captions_original"] == ["a", "b"]
        assert (data["url"], data["source"], data["license"]) == (web.url("/good/20.jpg"), "s", "CC0")

        # Again: only what failed for the moment is asked for, in a shard of its own.
        before = web.asked.copy()
        again = fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)
        assert again == summary
        assert set(web.asked - before) == {"/closed-for-hours"}


def test_outcomes_of_several_sources_are_joined_in_the_error(tmp_path):
    with Web() as web:
        web.open = False
        some = rows(web, GOOD[:3])
        sources = [replace(row, source=name) for row, name in zip(some, ("wit", "wit", "ilpost"), strict=True)]
        pairs.write(sources, tmp_path / "in.parquet")
        settings = Settings(workers=1, timeout=1.0, retries=0)
        with pytest.raises(UserError, match=r"none of its 3 pictures came \(http-503 3\);"):
            fetch(tmp_path / "in.parquet", tmp_path / "shards[1]", settings)


def test_a_server_that_drips_costs_its_time_only(tmp_path):
    with Web() as web:
        pairs.write(rows(web, ["/drip"]), tmp_path / "in.parquet")
        settings = Settings(workers=1, timeout=1.0, retries=0)
        with pytest.raises(UserError, match=r"none of its 1 pictures came \(timeout 1\)"):
            fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)


def test_a_host_that_comes_back_and_another_job_on_the_same_folder(tmp_path):
    with Web() as web:
        pairs.write(rows(web, GOOD[-6:]), tmp_path / "in.parquet")
        web.open = False
        settings = Settings(shard=3, workers=1, threads=4, retries=0)
        with pytest.raises(UserError, match=r"none of its 6 pictures came \(http-503 6\); check the network"):
            fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)
        web.open = True
        summary = fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)
        assert summary.by_source == {"s": {"fetched": 6}}
        assert sorted(contents(tmp_path / "shards")) == sorted(GOOD[-6:])
        assert list(read_rejects(rejects_path(tmp_path / "shards"))) == []
        # Another job is refused, and nothing is lost.
        before = contents(tmp_path / "shards")
        with pytest.raises(UserError, match="holds shards of another pairs file or other settings"):
            fetch(tmp_path / "in.parquet", tmp_path / "shards", replace(settings, size=64))
        pairs.write(rows(web, GOOD[-1:]), tmp_path / "other.parquet")
        with pytest.raises(UserError, match="holds shards of another pairs file"):
            fetch(tmp_path / "other.parquet", tmp_path / "shards", settings)
        assert contents(tmp_path / "shards") == before


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_result_is_the_same(tmp_path, seed):
    paths = [f"/good/{number}.jpg" for number in range(60)]
    with Web() as web:
        pairs.write(rows(web, [*paths, "/missing"]), tmp_path / "in.parquet")
        settings = Settings(shard=8, workers=2, threads=2)
        fetch(tmp_path / "in.parquet", tmp_path / "whole", settings)
        options = ["--shard", "8", "--workers", "2", "--threads", "2"]
        draw = random.Random(seed)
        for _ in range(2):
            web.hold_after = web.asked.total() + draw.randrange(1, 25)
            process = command("fetch", tmp_path / "in.parquet", "-o", tmp_path / "killed", *options)
            until(lambda: web.asked.total() > web.hold_after, process, seconds=120)
            time.sleep(draw.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            web.hold_after = None
        fetch(tmp_path / "in.parquet", tmp_path / "killed", settings)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert sorted(contents(tmp_path / "killed")) == sorted(paths)
    for folder in (tmp_path / "killed", tmp_path / "whole"):
        assert [(r.id, r.reason) for r in read_rejects(rejects_path(folder))] == [("/missing", "http-404")]


def test_nothing_to_fetch(tmp_path):
    pairs.write([Pair("1", "a.jpg", ("c",), "s")], tmp_path / "in.parquet")
    summary = fetch(tmp_path / "in.parquet", tmp_path / "shards", Settings())
    assert (summary.pairs, summary.fetched, summary.local) == (1, 0, 1)
    with pytest.raises(UserError, match="no such pairs file"):
        fetch(tmp_path / "none.parquet", tmp_path / "other", Settings())


def test_lists_of_version_0_3_are_divided(tmp_path):
    """It wrote ten shards to a list; what it fetched stays."""
    with Web() as web:
        some = rows(web, GOOD[-5:])
        pairs.write(some, tmp_path / "in.parquet")
        settings = Settings(shard=2, workers=1, threads=2)
        fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)
        before = contents(tmp_path / "shards")
        for path in (tmp_path / "shards" / "input").iterdir():
            path.unlink()
        pairs.write(some, tmp_path / "shards" / "input" / "000000.parquet")
        for path in (tmp_path / "shards").glob("00001*"):
            path.unlink()
        web.asked.clear()
        fetch(tmp_path / "in.parquet", tmp_path / "shards", settings)
        assert sorted(web.asked) == sorted(GOOD[-3:-1])
    assert contents(tmp_path / "shards") == before


def test_pyspark_is_deprecated(tmp_path, capsys):
    pairs.write([Pair("1", "a.jpg", ("c",), "s")], tmp_path / "in.parquet")
    fetch(tmp_path / "in.parquet", tmp_path / "shards", Settings(distributor="pyspark"))
    assert "--distributor pyspark is deprecated" in capsys.readouterr().err
