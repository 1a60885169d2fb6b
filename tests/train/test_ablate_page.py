import xml.etree.ElementTree as ET

import pytest

from clip_italian.config import load_recipe
from clip_italian.errors import UserError
from clip_italian.train.ablate import BASELINE, DataSet, choose_variants, write_page

VARIANTS = choose_variants(["scale 100"])
RESULTS = [
    {
        "data": data, "variant": variant, "seed": seed, "MRR@10": value, "R@10": 2 * value, "queries": 1289,
        "gallery": 300, "untrained": 0.012, "scale": scale, "steps": 10, "seconds": 60.0,
    }
    for data in ("book", "photos")
    for variant, scale, values in [(BASELINE, 20.0, (0.30, 0.32)), ("scale 100", 100.0, (0.25, 0.29))]
    for seed, value in enumerate(values, start=1)
]  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write():
        recipe = load_recipe("ablation", ["data.pairs=x"])
        data = [DataSet("book", tmp_path), DataSet("photos", tmp_path)]
        page = tmp_path / "ablation.md"
        return write_page(page, recipe, VARIANTS, data, RESULTS, "clip-italian ablate -o x.md", "2 cores")

    return write


def test_the_table_has_mean_spread_and_paired_difference(written):
    page, plot = written()
    text = page.read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[2] == ["as it is", "0.310 ± 0.014", "0.620 ± 0.028", "", "20.0", "60 s"]
    assert lines[3] == ["scale 100", "0.270 ± 0.028", "0.540 ± 0.057", "-0.040 ± 0.014", "100.0", "60 s"]
    assert len(lines) == 8  # two data sets
    assert "over 2 seeds (1, 2)" in text
    assert "from random projections" in text
    assert "1,289 captions as queries, 300 pictures" in text
    assert "8 runs, 8 minutes of steps" in text
    assert "    clip-italian ablate -o x.md\n" in text
    assert f"]({plot.name})" in text


def test_the_plot_is_the_same_for_the_same_figures(written):
    _, plot = written()
    first = plot.read_text()
    written()
    assert plot.read_text() == first
    assert ET.fromstring(first).tag.endswith("svg")


def test_a_page_of_somebody_else_stays(written, tmp_path):
    (tmp_path / "ablation.md").write_text("# My own notes\n")
    with pytest.raises(UserError, match="written by somebody else"):
        written()
    assert (tmp_path / "ablation.md").read_text() == "# My own notes\n"
