"""A part that another machine embeds with the model that it has under the name."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_italian.errors import UserError
from clip_italian.models.precision import Identity
from clip_italian.search.commit import PART_ROWS_FILE
from clip_italian.search.embed import Embed
from clip_italian.search.schema import EMBEDDED, TO_EMBED


def test_another_model_under_the_same_name_is_refused(tmp_path, tiny_folder, tiny_encoder):
    pq.write_table(pa.Table.from_pylist([], TO_EMBED), tmp_path / "todo.parquet")
    with pytest.raises(UserError, match="another model on this machine"):
        Embed(tmp_path / "todo.parquet", 4, str(tiny_folder), Identity("0123", "0123"))(0, tmp_path / "part")
    Embed(tmp_path / "todo.parquet", 4, str(tiny_folder), tiny_encoder.identity)(0, tmp_path / "part")
    assert pq.read_table(tmp_path / "part" / PART_ROWS_FILE).schema.equals(EMBEDDED)
