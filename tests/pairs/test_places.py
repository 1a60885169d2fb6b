from pathlib import Path

import pytest

from clip_italian.errors import UserError
from clip_italian.pairs import Pair, image_path


def test_a_picture_behind_an_address_is_no_file():
    pair = Pair("1", "http://h/a.jpg", ("x",), "s")
    with pytest.raises(UserError, match=r"pairs\.parquet: http://h/a\.jpg is not on this machine.*clip-italian fetch"):
        image_path(pair, Path("pairs.parquet"))
