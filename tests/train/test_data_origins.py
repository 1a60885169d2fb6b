from collections import Counter

import pyarrow as pa
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.train.data import OTHERS, count_origins, number_origins

ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from([None, "", "CC0", "CC BY"]), st.integers(0, 5), st.integers(1, 4)
    ),
    min_size=1,
)  # fmt: skip


@settings(deadline=None)
@given(ROWS)
def test_counts_are_those_of_a_plain_loop(rows):
    sources, licences, pictures, captions = zip(*rows, strict=True)
    origins, which = number_origins(pa.table({"source": sources, "license": pa.array(licences, pa.string())}))
    found = count_origins(origins, which, torch.tensor(pictures), torch.tensor(captions))
    seen, images, texts = set(), Counter(), Counter()
    for source, licence, picture, some in rows:
        texts[source] += some
        if picture not in seen:
            images[source, licence or ""] += 1
        seen.add(picture)
    assert {one["source"]: one["captions"] for one in found} == texts
    assert {
        (one["source"], licence): count for one in found for licence, count in one["licenses"].items() if count
    } == images
    assert all(one["pictures"] == sum(one["licenses"].values()) for one in found)


def test_of_many_licences_the_rare_ones_are_counted_together():
    names = [f"licence {n}" for n in range(30) for _ in range(1 if n < 25 else 2)]
    origins, which = number_origins(pa.table({"source": ["web"] * len(names), "license": names}))
    (found,) = count_origins(origins, which, torch.arange(len(names)), torch.ones(len(names)))
    assert len(found["licenses"]) == 21
    assert found["licenses"][OTHERS] == 10
    assert found["pictures"] == 35
