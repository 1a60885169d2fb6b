import json

import torch

from clip_italian.models_torch.dual_encoder import DualEncoder


def moved(folder, target):
    """A copy of a model with other projections."""
    encoder = DualEncoder.load(folder)
    with torch.no_grad():
        encoder.model.text_projection.weight += 1.0
    encoder.save(target)
    return encoder


def test_a_model_between_two(run, tiny_folder, tmp_path):
    moved(tiny_folder, tmp_path / "end")
    out = tmp_path / "between"
    code, text, err = run("merge", tiny_folder, tmp_path / "end", "-o", out, "--weight", "0.25", "--json")
    assert code == 0, err
    found, start = DualEncoder.load(out), DualEncoder.load(tiny_folder)
    assert json.loads(text) == {"model": str(out), "weight": 0.25, "weights_hash": found.weights_hash}
    change = found.model.text_projection.weight - start.model.text_projection.weight
    assert torch.allclose(change, torch.tensor(0.25), atol=1e-6)


def test_a_model_of_another_kind_is_one_line(run, tiny_folder, tmp_path):
    code, _, err = run("merge", tiny_folder, tmp_path / "missing", "-o", tmp_path / "out")
    assert code == 1
    assert err.count("\n") == 1 and "no such model folder" in err
    assert run("merge", tiny_folder, tiny_folder, "-o", tmp_path / "out", "--weight", "1.5")[0] == 2
    assert not (tmp_path / "out").exists()
