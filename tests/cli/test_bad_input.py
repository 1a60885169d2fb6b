"""Every format with every kind of damage, by the command line: what is good comes, the rest has its reason.

Each format is written with three rows, "prima", "perché" and "dopo"; the damage is done to the second or to the file.
"""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_italian import pairs
from clip_italian.sources.wit import COLUMNS

WORDS = ("prima", "perché", "dopo")


def wit(rows):
    lines = ["\t".join(COLUMNS)]
    for number, row in enumerate(rows):
        values = dict.fromkeys(COLUMNS, "") | {
            "language": "it", "page_url": "https://h/P", "image_url": f"https://h/{number}.jpg",
            "caption_reference_description": row, "mime_type": "image/jpeg",
        }  # fmt: skip
        lines.append("\t".join(values.values()))
    return "\n".join(lines)


def coco(rows):
    found = [{"image_id": number, "id": number, "caption": row} for number, row in enumerate(rows)]
    return json.dumps({"images": [], "annotations": found}, ensure_ascii=False)


def json_lines(rows):
    lines = [{"image": f"https://h/{number}.jpg", "caption": row} for number, row in enumerate(rows)]
    return "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)


def csv(rows):
    return "image,caption\n" + "\n".join(f"https://h/{number}.jpg,{row}" for number, row in enumerate(rows))


def page(rows):
    figures = "\n".join(
        f"<figure><img src=https://h/{number}.jpg><figcaption>{row}</figcaption></figure>"
        for number, row in enumerate(rows)
    )
    return f"<html><body>\n{figures}\n</body></html>"


# For each format: subcommand, file name, how three captions are written, and a broken line for the second.
TEXT = {
    "wit": (["wit"], "w.tsv", wit, "it\thttps://h/P\tonly three"),
    "mscoco-it": (["mscoco-it"], "captions_ita_devset_validated.json", coco, None),
    "conceptual-captions": (
        ["conceptual-captions"], "c.tsv",
        lambda rows: "\n".join(f"{row}\thttps://h/{row}" for row in rows), "no address",
    ),
    "jsonl": (["jsonl"], "o.jsonl", json_lines, '{"image": '),
    "csv": (["csv"], "o.csv", csv, "one,two,three"),
    "ilpost-jsonl": (["ilpost"], "p.jsonl", json_lines, '{"image": '),
    "ilpost-csv": (["ilpost"], "p.csv", csv, "one,two,three"),
    "ilpost-page": (["ilpost"], "p.html", page, "<figure><figcaption>senza foto</figure>"),
}  # fmt: skip


@pytest.fixture
def collect(run, tmp_path):
    """Collect raw bytes written to a file: exit code, captions, reasons, the line on stderr."""

    def call(arguments, name, raw):
        path, output = tmp_path / name, tmp_path / "out" / "pairs.parquet"
        path.write_bytes(raw)
        code, out, err = run("collect", *arguments, path, "-o", output, "--json", *workers(arguments))
        assert "Traceback" not in err
        last = [line for line in err.splitlines() if line.startswith("clip-italian: ")]
        if code:
            assert len(last) == 1
            assert str(path) in last[0]
            return code, None, {}, last[0]
        assert last == []
        return 0, [pair.captions[0] for pair in pairs.read(output)], json.loads(out)["rejected"], ""

    return call


def workers(arguments):
    return [] if arguments == ["ilpost"] else ["--workers", "1"]


@pytest.mark.parametrize("kind", TEXT)
def test_encodings_and_compression(collect, kind):
    arguments, name, write, _ = TEXT[kind]
    text = write(WORDS)
    for raw in (text.encode("utf-8-sig"), text.encode("latin-1"), text.replace("\n", "\r\n").encode()):
        assert collect(arguments, name, raw) == (0, list(WORDS), {}, "")
    assert collect(arguments, f"{name}.gz", gzip.compress(text.encode())) == (0, list(WORDS), {}, "")


@pytest.mark.parametrize("kind", TEXT)
def test_broken_lines_and_nul_bytes_cost_only_their_own(collect, kind):
    arguments, name, write, broken = TEXT[kind]
    if broken is not None:
        lines = write(WORDS).split("\n")
        second = next(number for number, line in enumerate(lines) if "perché" in line)
        code, captions, rejected, _ = collect(
            arguments, name, "\n".join([*lines[:second], broken, *lines[second + 1 :]]).encode()
        )
        assert (code, captions) == (0, ["prima", "dopo"])
        assert sum(rejected.values()) == 1
    code, captions, rejected, _ = collect(arguments, name, write(("prima", "per\0ché", "dopo")).encode())
    if kind == "ilpost-page":  # browsers leave NUL out, and so do we
        assert (captions, rejected) == (list(WORDS), {})
    else:
        assert (code, captions, rejected) == (0, ["prima", "dopo"], {"nul-byte": 1})


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize(
    "raw", [b"", b"\0" * 100, b"\x89PNG\r\n\x1a\n\0\0", b"{", "ciao".encode("utf-16"), b"x" * 2_000_000]
)
def test_files_with_nothing_good_are_one_line(collect, kind, raw):
    arguments, name, _, _ = TEXT[kind]
    assert collect(arguments, name, raw)[0] == 1


@pytest.mark.parametrize("raw", [b"", b"\0" * 100, b"PAR1", "testo".encode("utf-16")])
def test_parquet_that_is_none(collect, raw):
    code, _, _, line = collect(["parquet"], "o.parquet", raw)
    assert code == 1
    assert "not a Parquet file" in line


def test_parquet_with_text_of_other_encodings(collect, tmp_path):
    raw = pa.array([word.encode("latin-1") for word in WORDS] + [b"nu\0lo", None], pa.binary())
    table = {"image": [f"https://h/{number}" for number in range(5)],
             "caption": pa.Array.from_buffers(pa.string(), 5, raw.buffers())}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "o.parquet")
    found = collect(["parquet"], "o.parquet", (tmp_path / "o.parquet").read_bytes())
    assert found == (0, list(WORDS), {"nul-byte": 1, "no-caption": 1}, "")


def tar(samples):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, (suffix, content) in enumerate(samples):
            for name, some in ((f"{number}.jpg", bytes([number])), (f"{number}{suffix}", content)):
                entry = tarfile.TarInfo(name)
                entry.size = len(some)
                archive.addfile(entry, io.BytesIO(some))
    return file.getvalue()


def test_shards(collect):
    good = [(".txt", b"\xef\xbb\xbfprima"), (".txt", "perché".encode("latin-1")), (".json", b'{"caption": "dopo"}')]
    bad = [(".txt", b"nu\0lo"), (".txt", b""), (".json", b"{"), (".json", b"[1]")]
    raw = tar([*good, *bad])
    reasons = {"nul-byte": 1, "no-caption": 1, "not-json": 1, "no-object": 1}
    assert collect(["webdataset"], "s.tar", raw) == (0, list(WORDS), reasons, "")
    assert collect(["webdataset"], "s.tar.gz", gzip.compress(raw)) == (0, list(WORDS), reasons, "")
    assert collect(["webdataset"], "s.tar", raw[: 512 * 9])[1:3] == (["prima", "perché"], {"damaged-tar": 1})
    for content in (b"", b"\0" * 100, b"no tar"):
        assert collect(["webdataset"], "s.tar", content)[0] == 1


def test_a_folder(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    sidecars = {
        "a.txt": b"\xef\xbb\xbfprima", "b.txt": "perché".encode("latin-1"),
        "c.json": b'\xef\xbb\xbf{"caption": "dopo"}',
        "d.txt": b"nu\0lo", "e.txt": b"", "f.json": b"{", "g.json": b"",
    }  # fmt: skip
    for number, (name, content) in enumerate(sidecars.items()):
        (folder / name).write_bytes(content)
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(folder / f"{name[0]}.png")
    code, out, err = run("collect", "folder", folder, "-o", tmp_path / "o.parquet", "--json", "--workers", "1")
    assert code == 0, err
    assert [pair.captions[0] for pair in pairs.read(tmp_path / "o.parquet")] == list(WORDS)
    assert json.loads(out)["rejected"] == {"not-json": 2, "nul-byte": 1, "no-caption": 1}


def test_lists_of_addresses(run, tmp_path, cache):
    for raw in (
        b"",
        b"\xef\xbb\xbf# none\n",
        b"a\0b\n",
        "città\n".encode("latin-1"),
        "x".encode("utf-16"),
        b"x" * 2_000_000,
    ):
        (tmp_path / "list.txt").write_bytes(raw)
        code, out, err = run("collect", "ilpost", tmp_path / "list.txt", "-o", tmp_path / "o.parquet")
        assert (code, out) == (1, "")
        assert [line for line in err.splitlines() if "list.txt" in line] == err.splitlines()


STAGES = {
    "clean": [], "split": [], "translate": ["--engine", "deepl", "--server-url", "http://127.0.0.1:9"], "fetch": [],
    "stats": [], "rate sample": ["--raters", "anna"],
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("p.parquet", b""),
        ("p.parquet", b"\0" * 100),
        ("p.jsonl", b"\0\n"),
        ("p.jsonl", b"{\n"),
        ("p.jsonl", b"[1]\n"),
        ("p.jsonl", '{"image_path": "a.jpg", "captions": ["perché"]}\n'.encode("latin-1")),
        ("p.jsonl", b'{"image_path": "a.jpg", "captions": ["\\ud83d"]}\n'),
        ("p.jsonl", b'{"image_path": "a.jpg", "captions": [3]}\n'),
    ],
)
def test_pairs_files_that_are_none_are_one_line(run, tmp_path, monkeypatch, cache, stage, name, raw):
    monkeypatch.setenv("DEEPL_AUTH_KEY", "key")
    (tmp_path / name).write_bytes(raw)
    output = tmp_path / ("out" if stage in ("fetch", "stats", "rate sample") else "out.parquet")
    code, out, err = run(*stage.split(), tmp_path / name, "-o", output, *STAGES[stage])
    assert (code, out) == (1, ""), err
    assert err.count("\n") == 1, err
    assert str(tmp_path / name) in err
    assert not output.is_file()


def test_a_pairs_file_with_a_byte_order_mark_is_one(run, tmp_path):
    row = '{"image_path": "http://h/a.jpg", "captions": ["Un gatto dorme sul divano di casa, perché no"]}\n'
    (tmp_path / "p.jsonl").write_bytes(row.encode("utf-8-sig"))
    code, out, err = run("clean", tmp_path / "p.jsonl", "-o", tmp_path / "o.parquet", "--json")
    assert code == 0, err
    assert json.loads(out)["after"] == 1
