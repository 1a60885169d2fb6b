"""A part that another machine embeds with the model that it has under the name."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_italian.errors import UserError
from clip_italian.search import embed
from clip_italian.search.embed import Embed


def test_another_model_under_the_same_name_is_refused(tmp_path, tiny_folder, tiny_encoder):
    pq.write_table(pa.Table.from_pylist([], embed.TODO), tmp_path / "todo.parquet")
    with pytest.raises(UserError, match="another model on this machine"):
        Embed(tmp_path / "todo.parquet", 4, str(tiny_folder), "0123")(0, tmp_path / "part")
    Embed(tmp_path / "todo.parquet", 4, str(tiny_folder), tiny_encoder.weights_hash)(0, tmp_path / "part")
    assert pq.read_table(tmp_path / "part" / embed.ROWS_FILE).schema.equals(embed.FOUND)


def test_when_a_picture_was_taken(tmp_path):
    assert embed.taken(b"no picture") is None
