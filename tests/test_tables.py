"""Tables line up, and every rendering shows the same figures."""

from hypothesis import given
from hypothesis import strategies as st

from clip_italian import tables
from clip_italian.tables import figure_table

COLUMNS = {
    "a_1": {"MRR@10": 0.5, "median_rank": 2.0, "queries": 4, "intervals": {"MRR@10": [0.25, 0.75]}, "ties": "x"},
    "b|c": {"MRR@10": 0.25, "median_rank": 1.0, "queries": 4},
}


def test_one_table_in_every_form(capsys):
    table = figure_table("Prova", COLUMNS, reference={"d, published": {"MRR@10": 0.75}})
    assert [name for name, _ in table.rows] == ["MRR@10", "median_rank", "queries"]
    assert [[bool(cell and cell.best) for cell in cells] for _, cells in table.rows[:2]] == [
        [True, False, False], [False, True, False],
    ]  # fmt: skip
    assert "| MRR@10 | **0.5000** [0.2500, 0.7500] | 0.2500 | 0.7500 |" in tables.markdown(table)
    assert "| median rank | 2.0 | **1.0** |  |" in tables.markdown(table)
    assert r" & a\_1 & b|c & d, published \\" in tables.latex(table)
    assert r"MRR@10 & \textbf{0.5000} {\scriptsize [0.2500, 0.7500]} & 0.2500 & 0.7500 \\" in tables.latex(table)
    tables.show(table)
    shown = capsys.readouterr().out
    assert "0.250 – 0.750" in shown
    assert "95 % interval" in shown  # beside the only column with intervals
    assert "published" in shown


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5), st.integers(0, 10**9))
def test_tables_line_up_whatever_the_names(names, number):
    text = tables.aligned_markdown(("name", "count"), [(name, f"{number:,}") for name in names])
    lines = text.split("\n")
    assert len(lines) == len(names) + 2
    assert len({len(line) for line in lines}) == 1
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines)
    assert not any("<" in line for line in lines)
