"""`evaluate probe` and `bias` as people run them."""

import json

from clip_italian import pairs
from tests.conftest import draw_shape


def test_probe(run, tiny_folder, tmp_path, borrowed_cache):
    code, out, err = run("evaluate", "probe", "--model", tiny_folder, "--each", 1, "--save", tmp_path / "p", "--json")
    assert code == 0, err
    figures = json.loads(out)
    assert [figures[kind]["cases"] for kind in ("number", "colour", "relation")] == [6, 10, 4]
    assert (figures["language"], figures["each"], figures["seed"]) == ("it", 1, 1)
    saved = pairs.read(tmp_path / "p/pairs.jsonl")
    choices = [json.loads(line) for line in (tmp_path / "p/choices.jsonl").read_text().splitlines()]
    assert len(saved) == len(choices) == 20
    assert all(tuple(c["choices"][c["right"]]) == pair.captions for c, pair in zip(choices, saved, strict=True))
    assert all((tmp_path / "p" / pair.image).is_file() for pair in saved)
    numbers = [choice for choice in choices if choice["id"].startswith("number")]
    for mistake in figures["number"]["mistakes"]:
        case = numbers[mistake["number"]]
        assert case["right"] == mistake["right"]["value"] != mistake["taken"]["value"]
        assert all(said["caption"] in case["choices"][said["value"]] for said in (mistake["right"], mistake["taken"]))
    code, out, _ = run("evaluate", "probe", "--model", tiny_folder, "--each", 1)
    assert "95 % interval" in out
    assert "rosso" in out


def test_bias(run, tiny_folder, tmp_path):
    for group, shape in (("uno", "cerchio"), ("due", "quadrato")):
        (tmp_path / "groups" / group).mkdir(parents=True)
        for number in range(3):
            draw_shape(shape, "red", number).save(tmp_path / "groups" / group / f"{number}.png")
    (tmp_path / "groups/uno/broken.png").write_text("x")
    (tmp_path / "prompts.txt").write_text("una foto\n\nun cerchio\nun quadrato\n")
    arguments = ("evaluate", "bias", tmp_path / "groups", "--model", tiny_folder, "--prompts", tmp_path / "prompts.txt")
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    assert "broken.png" in err
    assert "uno: 3 pictures are too few" in err
    figures = json.loads(out)
    assert figures["pictures"] == {"due": 3, "uno": 3}
    assert figures["neutral"] == "una foto"
    assert [record["prompt"] for record in figures["prompts"]] == ["un cerchio", "un quadrato"]
    for record in figures["prompts"]:  # of two groups, one's association is the other's turned round
        assert record["groups"]["uno"]["association"] == -record["groups"]["due"]["association"]
    assert figures["limits"]
    code, out, _ = run(*arguments)
    assert "It measures these pictures and these prompts" in out
    (tmp_path / "prompts.txt").write_text("una foto\n")
    assert run(*arguments)[0] == 2
