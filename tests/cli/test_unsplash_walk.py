"""The paper's gallery from its table to the page of the paper's four queries: collect, fetch, index, search."""

import json

import pytest

from tests.fetch.web import Web
from tests.sources.test_unsplash import COLUMNS, line


@pytest.mark.slow
def test_from_the_table_to_the_papers_queries(run, tmp_path, tiny_folder):
    with Web() as web:
        rows = ["\t".join(COLUMNS)]
        names = {f"p{number}": f"/good/{number}.jpg" for number in range(20, 26)}
        rows += [line(photo_id=name, photo_image_url=web.url(path)) for name, path in names.items()]
        rows.append(line(photo_id="gone", photo_image_url=web.url("/missing")))
        (tmp_path / "photos.tsv000").write_text("\n".join(rows))
        table = tmp_path / "unsplash.parquet"
        code, _, err = run("collect", "unsplash", tmp_path / "photos.tsv000", "-o", table, "--width", 0)
        assert code == 0, err
        code, _, err = run("fetch", table, "-o", tmp_path / "shards", "--workers", "1")
        assert code == 0, err
    shards = tmp_path / "shards"
    code, out, err = run("index", "build", shards, "-o", tmp_path / "idx", "--model", tiny_folder, "--json")
    assert code == 0, err
    assert json.loads(out)["pictures"] == 6
    code, out, err = run("search", tmp_path / "idx", "--paper-queries", "--html", tmp_path / "page.html", "--json")
    assert code == 0, err
    results = json.loads(out)["results"]
    assert len(results) == 4
    assert {hit["id"] for hit in results[0]["hits"]} == {f"unsplash-p{number}" for number in range(20, 26)}
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") == 24
