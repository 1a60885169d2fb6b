import numpy as np
import pytest
import torch

from clip_italian.errors import UserError
from clip_italian.train.features import Draft, Store, run_tail


def outputs(rows, dtype=torch.float32):
    values = torch.randn(rows, 3, 2, generator=torch.Generator().manual_seed(rows)).to(dtype)
    return {"maps": values, "pooled": values.mean(dim=(1, 2)).half()}


def states(lengths):
    """Token states and mask as a trunk gives them for a batch of texts: padding holds anything."""
    longest = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return {"states": torch.randn(len(lengths), longest, 4), "mask": mask}


def finished(tmp_path, *written, lengths=None, places=None):
    draft = Draft.open(tmp_path / "store", "features", sum(len(next(iter(some.values()))) for some in written), lengths)
    for some in written:
        draft.write(some)
    draft.finish(tmp_path / "store", places)
    return Store.open(tmp_path / "store")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_come_back_to_the_bit_in_their_type(tmp_path, dtype):
    first, second = outputs(5, dtype), outputs(2, dtype)
    store = finished(tmp_path, first, second)
    rows = torch.tensor([6, 0, 4, 0])
    taken = store.take(rows)
    for key in first:
        expected = torch.cat([first[key], second[key]])[rows]
        assert taken[key].dtype == expected.dtype
        assert torch.equal(taken[key], expected)
    assert len(store) == 7


def test_texts_written_in_another_order_come_back_padded_to_the_longest_asked_for(tmp_path):
    first, second = states([1, 2, 2]), states([3, 5])
    places = np.array([4, 0, 3, 2, 1])
    store = finished(tmp_path, first, second, lengths=np.array([1, 2, 2, 3, 5]), places=places)
    taken = store.take(torch.tensor([2, 1, 4]))
    assert taken["mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert torch.equal(taken["states"][0], second["states"][0, :3])
    assert torch.equal(taken["states"][1, :1], first["states"][0, :1])
    assert torch.equal(taken["states"][2, :2], first["states"][1, :2])
    assert not taken["states"][1, 1:].any()
    assert store.take(torch.tensor([0]))["mask"].shape == (1, 5)


def test_rows_of_one_length_written_in_another_order(tmp_path):
    written = outputs(4)
    places = np.array([2, 0, 3, 1])
    taken = finished(tmp_path, written, places=places).take(torch.arange(4))
    assert torch.equal(taken["maps"], written["maps"][places])


def test_a_killed_draft_goes_on_where_it_was_saved(tmp_path):
    whole = outputs(6)
    parts = [{key: value[i : i + 2] for key, value in whole.items()} for i in (0, 2, 4)]
    draft = Draft.open(tmp_path / "store", "features", 6)
    draft.write(parts[0])
    draft.save(torch.arange(3, dtype=torch.uint8), now=True)
    draft.write({key: value + 1 for key, value in parts[1].items()})  # lost: it was not saved
    del draft
    again = Draft.open(tmp_path / "store", "features", 6)
    assert again.done == 2
    assert again.generator.tolist() == [0, 1, 2]
    assert not (tmp_path / "store").exists()
    for part in parts[1:]:
        again.write(part)
    again.finish(tmp_path / "store")
    taken = Store.open(tmp_path / "store").take(torch.arange(6))
    assert all(torch.equal(taken[key], whole[key]) for key in whole)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_draft_that_was_never_saved_begins_afresh(tmp_path):
    Draft.open(tmp_path / "store", "features", 4).write(outputs(2))
    assert Draft.open(tmp_path / "store", "features", 4).done == 0


def test_the_size_is_told_before_and_a_small_disk_is_one_line(tmp_path, monkeypatch, capsys):
    draft = Draft.open(tmp_path / "store", "features", 1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 10_000_000}))
    with pytest.raises(UserError, match=r"features take 26\.0 MB, and 10\.0 MB are free"):
        draft.write(outputs(2))
    assert "keeps features: 26.0 MB" in capsys.readouterr().err


def test_everything_through_a_tail(tmp_path):
    written = outputs(150)
    store = finished(tmp_path, written)
    expected = written["maps"].flatten(1).sum(dim=1, keepdim=True)
    for some in (store, Store.of(written)):
        assert torch.allclose(
            run_tail(lambda inputs: inputs["maps"].flatten(1).sum(dim=1, keepdim=True), some), expected
        )


@pytest.mark.parametrize("kept", [torch.bfloat16, torch.float32])
def test_a_tail_with_weights_runs_in_float32_whatever_was_kept(kept):
    torch.manual_seed(0)
    pooled, head = torch.randn(70, 6).to(kept), torch.nn.Linear(6, 3)
    found = run_tail(lambda inputs: torch.softmax(head(inputs["pooled"]), dim=1), Store.of({"pooled": pooled}))
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.softmax(head(pooled.float()), dim=1), atol=1e-6)


def test_masks_of_token_states_stay_integers():
    states = torch.randn(5, 4, 3).to(torch.bfloat16)
    seen = []

    def tail(inputs):
        seen.append({key: value.dtype for key, value in inputs.items()})
        return inputs["states"].sum(dim=(1, 2))[:, None] * inputs["mask"].sum(dim=1, keepdim=True)

    found = run_tail(tail, Store.of({"states": states, "mask": torch.ones(5, 4, dtype=torch.long)}))
    assert seen == [{"states": torch.float32, "mask": torch.int64}]
    assert torch.allclose(found, states.float().sum(dim=(1, 2))[:, None] * 4)
