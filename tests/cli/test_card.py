"""`card` and `push` from the command line."""

import json

from huggingface_hub import ModelCard


def test_a_card_of_a_model_without_a_run(run, tiny_folder, tmp_path):
    out = tmp_path / "card.md"
    code, text, err = run("card", tiny_folder, "-o", out, "--license", "mit", "--name", "you/tiny", "--json")
    assert code == 0, err
    told = json.loads(text)
    assert told["card"] == str(out)
    assert told["results"] == 0
    assert "missing: recipe" in err
    assert ModelCard.load(out).data.license == "mit"
    code, text, _ = run("card", tiny_folder)
    assert code == 0
    assert (tiny_folder / "README.md").is_file()


def test_a_dry_run_lists_files_with_sizes_and_what_would_be_refused(run, tiny_folder):
    (tiny_folder / "foto.jpg").write_bytes(b"x" * 2000)
    code, text, err = run("push", tiny_folder, "you/tiny", "--dry-run")
    assert code == 1
    row = next(line for line in text.splitlines() if "foto.jpg" in line)
    assert "2.0 kB" in row and "a picture" in row
    assert "model.safetensors" in text
    assert "would refuse: README.md is missing" in err
    assert "would refuse: foto.jpg" in err
    code, text, _ = run("push", tiny_folder, "you/tiny", "--dry-run", "--json")
    told = json.loads(text)
    assert code == 1
    assert {"path": "foto.jpg", "size": 2000, "refused": "a picture, which is no part of a model"} in told["files"]
    assert told["bytes"] == sum(path.stat().st_size for path in tiny_folder.iterdir())


def test_a_wrong_name_is_wrong_usage_and_a_wrong_folder_one_line(run, tmp_path):
    assert run("push", tmp_path, "tiny", "--dry-run")[0] == 2
    code, _, err = run("push", tmp_path / "none", "you/tiny")
    assert (code, err.count("\n")) == (1, 1)
    code, _, err = run("card", tmp_path / "none")
    assert (code, err.count("\n")) == (1, 1)
