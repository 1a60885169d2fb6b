"""The cache of thumbnails keeps to its size, whatever is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from clip_italian.serve.pictures import Cache
from clip_italian.serve.service import _shown_folder, _shown_id, shown_name


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=40))
def test_cache_holds_the_last_ones_that_fit(puts):
    cache, order = Cache(100), {}
    for row, size in puts:
        cache.put((1, row, "small"), bytes(size))
        order.pop(row, None)
        order[row] = size
        while sum(order.values()) > 100:
            order.pop(next(iter(order)))
        kept = {at: len(content) for at in range(10) if (content := cache._kept.get((1, at, "small"))) is not None}
        assert kept == order
    assert cache.get((2, 0, "small")) is None


def test_names_lose_where_they_lie_on_this_machine(tmp_path):
    assert _shown_id("/home/ada/photos/a.jpg") == "a.jpg"
    assert _shown_id("2019/a.jpg") == "2019/a.jpg"
    assert _shown_folder("2019/b/a.jpg") == "2019/b"
    assert [_shown_folder(one) for one in ("a.jpg", "/home/a.jpg", "../b/a.jpg")] == ["", "", ""]
    (tmp_path / "runs" / "model").mkdir(parents=True)
    assert shown_name(str(tmp_path / "runs" / "model")) == "model"
    assert shown_name("clip-italian/clip-italian") == "clip-italian/clip-italian"
