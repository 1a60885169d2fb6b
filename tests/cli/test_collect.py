"""`clip-italian collect SOURCE` as people run it, from files to a pairs file."""

import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_italian import cli, pairs
from tests.sources.site import Site, figure, html

DATA = Path(__file__).parents[1] / "data"
SOURCES = ("wit", "mscoco-it", "conceptual-captions", "jsonl", "csv", "parquet")


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clip-italian", "collect", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


def coco(folder):
    data = {"images": [], "annotations": [{"image_id": n, "id": n, "caption": f"gatto {n}"} for n in (1, 2)]}
    path = folder / "captions_ita_testset_validated.json.gz"
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    return path


def own(folder):
    Image.new("RGB", (4, 4), "red").save(folder / "a.png")
    (folder / "own.jsonl").write_text('{"image_path": "a.png", "captions": ["rosso"]}\nbroken\n')
    (folder / "own.csv").write_text("foto;testo\na.png;rosso\nb.png;blu\n")
    pq.write_table(pa.table({"URL": ["http://h/1"], "TEXT": ["uno"]}), folder / "own.parquet")


def test_every_source_prints_one_json_object(run, tmp_path):
    own(tmp_path)
    commands = [
        (["wit", DATA / "wit_sample.tsv"], 10, 5, {"mime-type": 3, "no-caption": 1, "wrong-columns": 1}),
        (["mscoco-it", coco(tmp_path)], 2, 2, {}),
        (["conceptual-captions", DATA / "conceptual_captions_sample.tsv"], 3, 3, {}),
        (["jsonl", tmp_path / "own.jsonl"], 2, 1, {"not-json": 1}),
        (
            ["csv", tmp_path / "own.csv", "--image-column", "foto", "--caption-column", "testo"],
            2,
            1,
            {"missing-image": 1},
        ),
        (["parquet", tmp_path / "own.parquet", "--image-column", "URL", "--caption-column", "TEXT"], 1, 1, {}),
    ]
    for arguments, before, after, rejected in commands:
        output = tmp_path / "out" / f"{arguments[0]}.parquet"
        code, out, err = run(*arguments, "-o", output, "--json", "--workers", "1")
        assert code == 0, err
        assert json.loads(out) == {
            "output": str(output), "before": before, "after": after, "rejected": rejected,
            "rejects": str(output.with_suffix(".rejects.jsonl")),
        }  # fmt: skip
        assert len(pairs.read(output)) == after


def test_a_table_for_people(run, tmp_path):
    code, out, _ = run("wit", DATA / "wit_sample.tsv", "-o", tmp_path / "wit.jsonl")
    assert code == 0
    assert "5 of 10 rows" in out
    assert "mime-type" in out
    assert pairs.read(tmp_path / "wit.jsonl")[0].captions[0] == "Il ponte visto dalla riva sinistra"


def test_wit_in_another_language(run, tmp_path):
    assert run("wit", DATA / "wit_sample.tsv", "--language", "en", "-o", tmp_path / "en.parquet")[0] == 0
    assert [pair.captions for pair in pairs.read(tmp_path / "en.parquet")] == [("The mill's tower in winter",)]
    code, _, err = run("wit", DATA / "wit_sample.tsv", "--language", "de", "-o", tmp_path / "de.parquet")
    assert code == 1
    assert "no pairs found" in err


def test_mscoco_pictures_of_a_folder(run, tmp_path):
    folder = tmp_path / "coco" / "val2014"
    folder.mkdir(parents=True)
    (folder / "COCO_val2014_000000000002.jpg").touch()
    code, out, _ = run("mscoco-it", coco(tmp_path), "--images", folder.parent, "-o", tmp_path / "c.jsonl", "--json")
    assert code == 0
    assert json.loads(out)["rejected"] == {"missing-image": 1}
    (pair,) = pairs.read(tmp_path / "c.jsonl")
    assert (pair.image, pair.split) == ("coco/val2014/COCO_val2014_000000000002.jpg", "test")


def test_several_pairs_files_put_together(run, tmp_path):
    own(tmp_path)
    for source, path in (("jsonl", tmp_path / "own.jsonl"), ("wit", DATA / "wit_sample.tsv")):
        assert run(source, path, "-o", tmp_path / f"{source}.parquet")[0] == 0
    files = (tmp_path / "jsonl.parquet", tmp_path / "wit.parquet")
    assert run("parquet", *files, "-o", tmp_path / "all.parquet", "--workers", "2")[0] == 0
    assert pairs.read(tmp_path / "all.parquet") == [pair for path in files for pair in pairs.read(path)]


def test_csv_options(run, tmp_path):
    own(tmp_path)
    (tmp_path / "tab.csv").write_text("k\timage\tcaption, in Italian\n7\ta.png\trosso\n")
    arguments = ("csv", tmp_path / "tab.csv", "--caption-column", "caption, in Italian", "--id-column", "k")
    assert run(*arguments, "--delimiter", "\\t", "--source", "mine", "-o", tmp_path / "o.parquet")[0] == 0
    (pair,) = pairs.read(tmp_path / "o.parquet")
    assert (pair.id, pair.source, pair.captions) == ("7", "mine", ("rosso",))


def test_bad_input_is_one_clear_line(run, tmp_path):
    own(tmp_path)
    output = tmp_path / "o.parquet"
    (tmp_path / "empty").touch()
    (tmp_path / "utf16").write_bytes("ciao".encode("utf-16"))
    (tmp_path / "nul").write_bytes(b"\0\n" * 100)
    cases = [
        ([source, tmp_path / "none", "-o", output], 1, "none: no such file") for source in SOURCES
    ] + [
        ([source, tmp_path, "-o", output], 1, "") for source in SOURCES
    ] + [
        ([source, tmp_path / "nul", "-o", output], 1, "nul: ") for source in SOURCES
    ] + [
        ([source, tmp_path / "empty", "-o", output], 1, "empty: no pairs found")
        for source in ("wit", "conceptual-captions", "jsonl", "csv")
    ] + [
        (["mscoco-it", tmp_path / "empty", "-o", output], 1, "not JSON"),
        (["parquet", tmp_path / "empty", "-o", output], 1, "not a Parquet file"),
        (["jsonl", tmp_path / "utf16", "-o", output], 1, "save it as UTF-8"),
        (["csv", tmp_path / "own.csv", "-o", output], 1, "no column caption, image in its first line 'foto, testo'"),
        (["csv", tmp_path / "own.csv", "-o", output, "--delimiter", "::"], 2, "one character"),
        (["parquet", tmp_path / "own.parquet", "-o", output], 1, "no column 'image'; it has URL, TEXT"),
        (["jsonl", tmp_path / "own.jsonl", "-o", tmp_path / "own.jsonl"], 2, "would replace its own input"),
        (["mscoco-it", tmp_path / "own.jsonl", "-o", output, "--images", tmp_path / "no"], 2, "no such folder"),
    ]  # fmt: skip
    for arguments, expected, words in cases:
        code, out, err = run(*arguments, "--workers", "1")
        lines = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        assert (code, len(lines), out) == (expected, 1, ""), (arguments, err)
        assert words in lines[0], (arguments, err)
        assert "Traceback" not in err
        assert not output.exists()
    assert (tmp_path / "own.jsonl").read_text().startswith('{"image_path"')


def test_every_help_has_an_example(run):
    for source in SOURCES:
        code, out, _ = run(source, "--help")
        assert code == 0
        assert f"Example: clip-italian collect {source} " in out
        assert {"--workers", "--ray", "--json", "--output"} <= set(out.replace(",", " ").split())
    assert run("csv")[0] == 2


def test_il_post(run, tmp_path, cache):
    with Site({"/1": html(figure(1)), "/2": html("<p>niente")}) as site:
        (tmp_path / "list.txt").write_text(f"{site.url('/1')}\n{site.url('/2')}\n{site.url('/3')}\n")
        output = tmp_path / "ilpost.parquet"
        for _ in range(2):
            arguments = ("--rate", "100", "--user-agent", "museum/1.0 (me@museum.it)", "--json")
            code, out, err = run("ilpost", tmp_path / "list.txt", "-o", output, *arguments)
            assert code == 0, err
            assert json.loads(out) == {
                "output": str(output), "before": 3, "after": 1, "rejected": {"no-photo": 1, "http-404": 1},
                "rejects": str(output.with_suffix(".rejects.jsonl")),
            }  # fmt: skip
        assert sorted(site.paths()) == ["/1", "/2", "/3"]
        assert {agent for _, _, agent in site.asked} == {"museum/1.0 (me@museum.it)"}
        (pair,) = pairs.read(output)
        assert (pair.image, pair.captions) == (site.url("/foto/1.jpg"), ("Il cane numero 1",))
    assert len(list((cache / "pages").glob("*.html.gz"))) == 2
    (tmp_path / "own.csv").write_text("foto;didascalia\nhttp://h/1.jpg;Uno\n")
    assert run("ilpost", tmp_path / "own.csv", tmp_path / "list.txt", "-o", tmp_path / "all.jsonl")[0] == 0
    assert [pair.source for pair in pairs.read(tmp_path / "all.jsonl")] == ["ilpost"] * 2


def test_il_post_without_a_network_may_come_later(run, tmp_path, cache):
    with Site({}) as site:
        url = site.url("/1")
    (tmp_path / "list.txt").write_text(url)
    arguments = ("ilpost", tmp_path / "list.txt", "-o", tmp_path / "o.jsonl", "--rate", "100", "--retries", "0")
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert "clip-italian: " in err
    assert "no pairs found; rejected: no-connection 1" in err
    with Site({"/1": html(figure(1))}, site.server_port):
        assert run(*arguments)[0] == 0
    code, _, err = run(*arguments, "--user-agent", "città")
    assert code == 2
    assert "--user-agent" in err
