"""The notebook runs from top to bottom in a kernel of its own, and comes to sensible ends."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from clip_italian.files import assets

pytestmark = pytest.mark.integration

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "first-steps.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_is_kept_without_outputs(notebook):
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)


def test_runs_on_mini(notebook, tmp_path, borrowed_cache):
    if assets.stamps() is None:
        pytest.skip("no apt-get here: the notebook's pictures cannot be had")
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    texts = [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
    (count, _), hits, named, measured = [ast.literal_eval(text) for text in texts if not text.startswith("<PIL")]
    assert count == 40
    instruments = "un violino", "un violoncello", "una chitarra classica", "una batteria", "una tromba", "un fagotto"
    assert sum(caption in instruments for caption, _ in hits) >= 3
    assert max(named["un elefante"], key=named["un elefante"].get) == "animale"
    assert all(sum(row.values()) == pytest.approx(1, abs=0.03) for row in named.values())
    reached, by_chance = measured["MRR@10"]
    assert reached > 4 * by_chance
