"""The verbs of an index as people use them."""

import json
from pathlib import Path

import pytest

from clip_italian.search import storage
from clip_italian.search.index import Index
from clip_italian.search.storage import read_manifest
from tests.conftest import draw_shape
from tests.search.test_index import with_old_vectors


@pytest.fixture
def index(run, shapes, tiny_folder, tmp_path):
    code, _, err = run("index", "build", shapes, "-o", tmp_path / "idx", "--model", tiny_folder)
    assert code == 0, err
    return tmp_path / "idx"


def found(run, *arguments):
    code, out, err = run("search", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)["results"]


def test_a_life_of_an_index(run, index, shapes, tmp_path):
    (shapes.parent / "images" / "no.png").write_text("x")
    code, out, err = run("index", "add", index, shapes.parent / "images" / "no.png".replace("no.png", ""), "--json")
    assert code == 0, err
    added = json.loads(out)
    assert (added["pictures"], added["embedded"]) == (108, 0), "the same files under other ids keep their vectors"
    assert [one["id"] for one in added["left_out"]] == ["images/no.png"]
    assert run("index", "verify", index)[:2] == (0, f"{index}: intact\n")
    code, out, _ = run("index", "remove", index, "images", "--json")
    assert code == 0
    code, out, _ = run("index", "remove", index, "cerchio-*", "--json")
    assert code == 1, "they lay in that folder as well"
    code, out, err = run("index", "info", index)
    assert "pictures: 0" in out


def test_removing_and_compacting(run, index, shapes):
    assert json.loads(run("index", "remove", index, "cerchio-*", "--json")[1])["removed"] == 18
    (shapes.parent / "images" / "quadrato-blu-0.png").unlink()
    code, _, err = run("index", "verify", index)
    assert (code, "1 pictures have lost their file" in err) == (0, True)
    assert json.loads(run("index", "remove", index, "--missing", "--json")[1])["removed"] == 1
    code, out, _ = run("index", "compact", index)
    assert (code, "35 pictures" in out) == (0, True)
    (segment,) = read_manifest(index).segments
    assert segment.rows == 35
    code, out, _ = run("index", "info", index, "--json")
    details = json.loads(out)
    assert (details["pictures"], details["deleted"], details["waiting"], details["search"]) == (35, 0, 0, "exact")
    path = index / segment.name / "names.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, out, _ = run("index", "verify", index, "--json")
    assert code == 1
    assert "changed since it was written" in json.loads(out)["problems"][0]


def test_what_fits_nothing_and_what_vanished_is_reported(run, index, shapes):
    code, out, err = run("index", "remove", index, "cerchio-rosso-0", "spost*")
    assert (code, "1 gone" in out, err) == (0, True, f"{index}: nothing in it matches spost*\n")
    images, away = shapes.parent / "images", shapes.parent / "away"
    images.rename(away)
    code, out, err = run("index", "remove", index, "--missing")
    assert (code, "0 gone" in out) == (0, True)
    assert err == (
        f"{shapes.parent}: all 53 pictures of this folder are gone; they stay in the index. "
        "Mount it or move it back, or remove them with --force\n"
    )
    answer = json.loads(run("index", "remove", index, "cerchio-rosso-1", "x", "--missing", "--json")[1])
    assert (answer["removed"], answer["unmatched"]) == (1, ["x"])
    assert [one["folder"] for one in answer["kept"]] == [str(shapes.parent)]
    assert json.loads(run("index", "remove", index, "--missing", "--force", "--json")[1])["removed"] == 52


def test_several_queries_pages_paths_and_the_papers(run, index, shapes, tmp_path, monkeypatch):
    results = found(run, index, "un cerchio rosso", "un quadrato", "-k", 3)
    assert [one["query"] for one in results] == ["un cerchio rosso", "un quadrato"]
    (averaged,) = found(
        run, index, "un cerchio rosso", "un quadrato", "-k", 3, "--average", "--prompt", "una foto di {}"
    )
    assert averaged["query"] == "un cerchio rosso, un quadrato"
    (whole,) = found(run, index, "un gatto", "-k", 6, "--copies")
    (second,) = found(run, index, "un gatto", "-k", 3, "--page", 2, "--copies")
    assert second["hits"] == whole["hits"][3:]
    code, out, _ = run("search", index, "un gatto", "-k", 3, "--copies", "--paths")
    assert out.splitlines() == [hit["path"] for hit in whole["hits"][:3]]
    sheet = tmp_path / "sheet.html"
    code, out, _ = run("search", index, "--paper-queries", "-k", 2, "--html", sheet)
    assert code == 0
    assert out.count("un topolino") == 1
    page = sheet.read_text()
    for query in ("due cani sulla neve", "una coppia al tramonto", "una coppia in montagna", "un topolino"):
        assert f"<h1>{query}</h1>" in page
    assert page.count("data:image/jpeg") == 8
    assert '<html lang="it">' in page


def test_pictures_and_what_should_not_be_there(run, index, shapes):
    picture = shapes.parent / "images" / "cerchio-rosso-0.png"
    (result,) = found(run, index, picture, "-k", 1)
    assert Path(result["hits"][0]["path"]) == picture
    (liked,) = found(run, index, "--like", picture, "-k", 5)
    assert liked["hits"] == found(run, index, picture, "-k", 5)[0]["hits"], "given in either way it finds the same"
    (result,) = found(run, index, "un quadrato", "--like", picture, "--not", "un gatto", "-k", 2)
    assert result["query"] == "un quadrato, cerchio-rosso-0.png − un gatto"
    assert len(result["hits"]) == 2


def test_filters(run, index):
    (result,) = found(run, index, "un cerchio", "--source", "shapes", "--since", "2020-01-01", "-k", 5)
    assert len(result["hits"]) == 5
    (result,) = found(run, index, "un cerchio", "--until", "2000-01-01")
    assert result["hits"] == []
    (result,) = found(run, index, "un cerchio", "--since", "2020:01:01 00:30", "--until", "2999", "-k", 5)
    assert len(result["hits"]) == 5
    (result,) = found(run, index, "un cerchio", "--where", "caption=un cerchio rosso", "--folder", "images", "--copies")
    assert sorted(hit["id"] for hit in result["hits"]) == [f"cerchio-rosso-{number}" for number in range(3)]
    code, out, err = run("search", index, "un cerchio", "--source", "none")
    assert (code, out, err) == (0, "", "no pictures found; the filters leave none\n")


def test_a_folder_named_as_the_packaged_model(run, shapes, tmp_path, tiny_encoder, monkeypatch):
    """The index names the model that made it, not an album of the working folder."""
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clip_italian.models.load.load", lambda name, *_, **__: tiny_encoder)
    code, _, err = run("index", "build", shapes.parent / "images", "-o", "idx", "--model", "mini")
    assert code == 0, err
    assert Index.open(tmp_path / "idx").info["model_name"] == "mini"


def test_filters_by_metadata(run, shapes, tmp_path, tiny_folder):
    """With `find`, whose index is that of the folder, and with `search`."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed, (place, words) in enumerate({(45.46, 9.19): ["Anna"], (41.9, 12.5): ["Anna", "Mare"]}.items()):
        draw_shape("cerchio", "red", seed).save(photos / f"{seed}.png")
        data = {"keywords": words, "geoData": dict(zip(("latitude", "longitude"), place, strict=True))}
        data |= {
            "Make": "NIKON CORPORATION",
            "Model": f"NIKON D{seed}",
            "DateTimeOriginal": f"201{seed}:08:15 12:00:00",
        }
        (photos / f"{seed}.png.json").write_text(json.dumps(data))
    assert run("index", "build", photos, "-o", tmp_path / "idx", "--model", tiny_folder)[0] == 0
    cases = {
        ("--near", "45.4,9.2"): [0], ("--near", "45.4,9.2", "--within", "500m"): [], ("--keyword", "anna"): [0, 1],
        ("--keyword", "anna", "--keyword", "MARE"): [1], ("--camera", "d1"): [1], ("--since", "2011"): [1],
        ("--near", "43,11", "--within", "400"): [0, 1], ("--near", "43,11", "--camera", "nikon"): [],
    }  # fmt: skip
    for options, expected in cases.items():
        (result,) = found(run, tmp_path / "idx", "un cerchio", *options)
        assert sorted(hit["id"] for hit in result["hits"]) == [f"{number}.png" for number in expected], options
        code, out, err = run("find", "un cerchio", photos, "--model", tiny_folder, "--json", *options)
        assert code == 0, err
        assert [hit["id"] for hit in json.loads(out)["hits"]] == [hit["id"] for hit in result["hits"]], options
    (hit,) = found(run, tmp_path / "idx", "un cerchio", "--camera", "D0")[0]["hits"]
    assert (hit["taken"], hit["latitude"], hit["longitude"]) == ("2010-08-15T12:00:00", 45.46, 9.19)


def test_words(run, index, monkeypatch):
    """Names of the pictures are like cerchio-rosso-0.png."""
    (named,) = found(run, index, "quadrato blu", "-k", 3, "--copies")
    assert sorted(hit["id"] for hit in named["hits"]) == [f"quadrato-blu-{number}" for number in range(3)]
    (looks,) = found(run, index, "quadrato blu", "-k", 54, "--copies", "--no-words")
    scores = [hit["score"] for hit in looks["hits"]]
    assert scores == sorted(scores, reverse=True)
    by_id = {hit["id"]: hit["score"] for hit in looks["hits"]}
    assert [hit["score"] for hit in named["hits"]] == [by_id[hit["id"]] for hit in named["hits"]], "still cosines"
    (both,) = found(run, index, "un gatto", "--words", "quadrato blu", "-k", 3, "--copies")
    assert (both["query"], {hit["id"] for hit in both["hits"]}) == (
        "un gatto, quadrato blu", {hit["id"] for hit in named["hits"]}
    )  # fmt: skip
    monkeypatch.setattr("clip_italian.models.load.load", lambda *_, **__: pytest.fail("no model is needed"))
    (alone,) = found(run, index, "--words", "quadrati blu", "-k", 3, "--copies")
    assert {hit["id"]: hit["score"] for hit in alone["hits"]} == {hit["id"]: 1 for hit in named["hits"]}
    assert run("search", index, "--words", "balena")[:2] == (0, "")


def test_calibrating_and_exporting(run, index, shapes, tmp_path, tiny_folder):
    code, out, err = run("index", "calibrate", index, shapes)
    assert code == 0, err
    assert "calibrated on 54 captions" in out
    assert found(run, index, "un cerchio", "-k", 1)[0]["hits"][0]["probability"] is not None
    assert "%" in run("search", index, "un cerchio", "-k", 1)[1]
    code, out, _ = run("index", "export", index, "-o", tmp_path / "emb")
    assert out == f"{tmp_path / 'emb'}: 54 pictures\n"
    code, out, err = run("index", "build", tmp_path / "emb", "-o", tmp_path / "back", "--model", tiny_folder, "--json")
    assert code == 0, err
    assert json.loads(out)["pictures"] == 54


def test_slow_vectors_of_an_older_version_are_said_once(run, index, monkeypatch):
    with_old_vectors(index)
    assert "older version" not in run("search", index, "un gatto", "--json")[2], "as fast as lists"
    monkeypatch.setattr(storage, "_SLOW_FROM", 50)
    command = f"clip-italian index compact {index}"
    code, out, err = run("search", index, "un gatto", "un cane", "--json")
    assert (code, err.count("older version"), err.count(command)) == (0, 1, 1)
    assert len(json.loads(out)["results"]) == 2
    assert "older version" not in run("search", index, "--words", "rosso", "--json")[2], "no vector is compared"
    monkeypatch.setattr("clip_italian.serve.run.run", lambda server, listening: None)
    assert run("serve", "--index", index, "--port", 0)[2].count(command) == 1
    assert run(*command.split()[1:])[0] == 0
    assert "older version" not in run("search", index, "un gatto", "--json")[2]
    assert "older version" not in run("serve", "--index", index, "--port", 0)[2]


def test_bad_input_is_one_line(run, index, tmp_path, tiny_folder, shapes):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    other = tmp_path / "empty.parquet"
    other.touch()
    cases = [
        (["index", "build", tmp_path / "a.txt", "-o", tmp_path / "o", "--model", tiny_folder], 1, "give a folder"),
        (["index", "build", tmp_path / "empty", "-o", tmp_path / "o", "--model", tiny_folder], 1, "no pictures found"),
        (["index", "build", other, "-o", tmp_path / "o", "--model", tiny_folder], 1, "not a Parquet file"),
        (["index", "build", shapes, "-o", shapes.parent, "--model", tiny_folder], 1, "other files"),
        (["index", "build", shapes, "-o", shapes, "--model", tiny_folder], 1, "a file; give the name of a folder"),
        (["index", "build", shapes, "-o", tmp_path / "o", "--model", tiny_folder, "--store", "x://y"], 2, "give milvus://"),
        (["index", "build", shapes, "-o", tmp_path / "o", "--model", tiny_folder, "--ray", "127.0.0.1:9"], 1, "no Ray"),
        (["index", "add", tmp_path / "none", shapes], 1, "no index here"),
        (["index", "remove", index], 2, "say what to remove"),
        (["index", "remove", index, "nothing"], 1, "nothing in it matches"),
        (["index", "verify", tmp_path], 1, "no index here"),
        (["index", "calibrate", index, tmp_path / "none.jsonl"], 1, "no such pairs file"),
        (["search", index], 2, "nothing to look for"),
        (["search", index, " "], 2, "the query is empty"),
        (["search", index, "x", "--where", "license"], 2, "give FIELD=TEXT"),
        (["search", index, "x", "--where", "colour=red"], 2, "no field to filter by"),
        (["search", index, "none.jpg"], 1, "no such picture"),
        (["search", index, "x", "--prompt", "una foto"], 2, "exactly one {}"),
        (["search", index, "x", "--since", "yesterday"], 2, "--since yesterday: no date; give one like 2024-06-01"),
        (["search", index, "x", "--near", "91,9"], 2, "--near 91,9: no such place; give a town, or degrees"),
        (["search", index, "x", "--near", "45,9", "--within", "far"], 2, "--within far: no distance; give one"),
        (["search", index, "x", "--within", "5km"], 2, "--within: give a place too"),
        (["search", index, "--words", "e di"], 2, "e di: words that every caption has do not count"),
        (["search", index, "--words", " "], 2, "nothing to look for"),
        (["search", index, "--words", "?!"], 2, "?!: no letter and no digit in it"),
        (["search", index, "x", "--words", "y", "--no-words"], 2, "--no-words: contradicts --words"),
        (["search", index, "--words", "y", "--not", "z"], 2, "needs something to look for"),
        (["index", "build", shapes, "-o", tmp_path / "o", "--model", tiny_folder, "--language", "xx"], 2, "unknown"),
    ]  # fmt: skip
    for arguments, expected, words in cases:
        code, out, err = run(*arguments)
        assert (code, out) == (expected, ""), (arguments, err)
        assert words in err, (arguments, err)
        assert "Traceback" not in err
    assert not (tmp_path / "o").exists()
    assert not list(tmp_path.glob("*.parts"))


def test_what_is_left_out_of_a_folder(run, tmp_path, tiny_folder):
    photos = tmp_path / "photos"
    shapes = {"a.jpg": "cerchio", "b.jpg": "quadrato", "raw/c.jpg": "triangolo", "@eaDir/d.jpg": "cerchio"}
    for seed, (name, shape) in enumerate(shapes.items()):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        draw_shape(shape, "red", seed).save(photos / name)
    (photos / "b.jpg").rename(photos / "b.jfif")
    (photos / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0")
    build = ("index", "build", photos, "-o", tmp_path / "idx", "--model", tiny_folder)
    code, out, err = run(*build, "--exclude", "raw", "--exclude", "*.xyz")
    assert (code, err) == (0, "--exclude *.xyz: matches no name, and no path below the given folders\n")
    assert "2 pictures (2 new, 2 embedded, 0 gone), 0 left out\n" in out
    assert out.endswith("\nother media: video 1; excluded: @eaDir 1, raw 1\n")
    code, out, err = run(*build, "--exclude", "", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["pictures"], told["other_media"], told["excluded"]) == (3, {"video": 1}, {"@eaDir": 1})
    assert json.loads(run("index", "add", tmp_path / "idx", photos, "--hidden", "--json")[1])["pictures"] == 4
    details = json.loads(run("index", "info", tmp_path / "idx", "--json")[1])
    assert (details["exclude"], details["hidden"]) == ([], True)
    code, out, err = run(*build, "--exclude", "/")
    assert (code, out, err.count("\n")) == (2, "", 1)
    (result,) = found(run, tmp_path / "idx", photos / "b.jfif", "-k", 1)
    assert result["hits"][0]["id"] == "b.jfif"
    (photos / "note").write_text("un gatto")
    for arguments in ((photos / "note",), ("un gatto", "--not", photos / "film.mp4")):
        code, out, err = run("search", tmp_path / "idx", *arguments)
        assert (code, out, err.count("\n"), "but it is not a picture" in err) == (1, "", 1, True)
