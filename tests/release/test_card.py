import json
import re

import pytest
from huggingface_hub import ModelCard

from clip_italian.errors import UserError
from clip_italian.evaluate import results
from clip_italian.release.card import MARK, card, with_licence, write
from clip_italian.release.facts import gather
from tests.release.conftest import result


def cells(text, start):
    """The cells of the Markdown table's row that starts with this cell."""
    (line,) = (line for line in text.splitlines() if re.match(rf"\| {re.escape(start)} +\|", line))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_metadata_reads_back_with_the_results_of_the_files(measured, tmp_path):
    write(card(gather(str(measured.folder), name="you/shapes")), tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.language, data.license, data.library_name) == ("it", "cc-by-sa-4.0", "transformers")
    assert data.pipeline_tag == "feature-extraction"
    assert data.datasets == ["shapes"]  # the Hub takes no card with the other one's name
    assert data.model_name == "you/shapes"
    found = {(one.task_type, one.metric_name): one.metric_value for one in data.eval_results}
    retrieval, zeroshot = result(measured, "retrieval"), result(measured, "zeroshot")
    expected = {
        (task, name.replace("_", " ")): value
        for task, values in (
            ("text-to-image-retrieval", retrieval["text_to_image"]),
            ("image-to-text-retrieval", retrieval["image_to_text"]),
            ("zero-shot-image-classification", zeroshot),
        )
        for name, value in values.items()
        if "@" in name or ("rank" in name and name != "ranks")
    }
    assert len(expected) == 24
    assert found == expected
    assert {one.dataset_revision for one in data.eval_results} == {retrieval["data"]["fingerprint"]}


def test_the_text_tells_what_the_files_tell(measured):
    text = card(gather(str(measured.folder)))
    retrieval = result(measured, "retrieval")["text_to_image"]
    low, high = retrieval["intervals"]["MRR@10"]
    assert cells(text, "MRR@10")[1:3] == [f"{retrieval['MRR@10']:.4g}", f"{low:.4g} to {high:.4g}"]
    assert cells(text, "shapes") == ["shapes", "unknown", "9", "9"]
    assert cells(text, "forme \\| &lt;b>") == ["forme \\| &lt;b>", "CC BY 4.0", "9", "9"]
    assert cells(text, "all") == ["all", "", "18", "18"]
    assert cells(text, "these weights")[1] == "cc-by-sa-4.0"
    assert cells(text, "learning rate")[1] == "0.01"
    assert measured.encoder.info["data"]["fingerprint"] in text
    assert measured.encoder.weights_hash in text
    spent = measured.spent
    assert cells(text, "training")[1] == "1"
    assert cells(text, "training")[4] == f"{spent.seconds / 3600 * 3:.3g}"
    assert "$ 3.00" in text
    assert f"{min(1, spent.parts[0].seconds):.0f}" and spent.parts[0].device in text
    # Nothing of whose machine it was made on.
    assert str(measured.folder.parent) not in text


def test_what_is_missing_is_said(trained, tiny_folder):
    found = gather(str(tiny_folder))
    assert [what.partition(" ")[0] for what in found.missing] == ["licence", "recipe", "training", "results", "cost"]
    text = card(found)
    assert text.count("Missing: ") == 4
    assert ModelCard(text).data.eval_results is None
    assert "license" not in ModelCard(text).data.to_dict()
    assert [what for what in gather(str(trained.folder)).missing if "energy" not in what] == [
        "results (clip-italian evaluate … -o RUN/results/NAME.json)"
    ]


def test_energy_and_carbon_are_the_runs_own(measured):
    file = measured.folder / "model" / "clip_italian.json"
    info = json.loads(file.read_text())
    info["cost"]["parts"][0] |= {"energy_kwh": 2.5, "co2_kg": 0.75, "measured": 7200.0, "missing": None}
    info["cost"]["parts"] = [info["cost"]["parts"][0] | {"seconds": 7200.0, "devices": 4, "device": "H100"}]
    file.write_text(json.dumps(info))
    text = card(gather(str(measured.folder)))
    # $ per device: 2 hours at $ 3; in all: four devices.
    assert cells(text, "training") == ["training", "4", "2:00:00", "8", "6", "24", "2.5", "0.75"]
    assert ModelCard(text).data.co2_eq_emissions == {
        "emissions": 750.0, "source": "codecarbon", "training_type": "fine-tuning", "geographical_location": "ITA",
        "hardware_used": "4 x H100",
    }  # fmt: skip


def test_results_of_other_weights_are_not_this_models(measured, tmp_path):
    other = result(measured, "retrieval")
    other["model"]["weights_sha256"] = "0" * 16
    results.write(tmp_path / "other" / "rival.json", other)
    with pytest.raises(UserError, match="no result of this model"):
        gather(str(measured.folder), [tmp_path / "other"])
    results.write(measured.folder / "results" / "rival.json", other)
    assert len(gather(str(measured.folder)).results) == 2
    known = result(measured, "retrieval")  # the same once more is not told twice
    own = known | {"name": "again", "left_out": 1}
    for name, one in (("known", known), ("own", own)):
        results.write(tmp_path / "other" / f"{name}.json", one)
    assert gather(str(measured.folder), [tmp_path / "other"]).results[2:] == [own]


def test_a_cross_validation_counts_where_its_recipe_is_the_models(measured):
    pooled = result(measured, "retrieval")
    recipe = measured.encoder.info["recipe"]
    pooled["model"]["weights_sha256"] = "1, 2"
    pooled["folds"] = {"count": 2, "recipe": recipe | {"output": "elsewhere", "license": None}}
    results.write(measured.folder / "results" / "retrieval.json", pooled)
    found = gather(str(measured.folder))
    assert len(found.results) == 2
    assert "Cross-validated: 2 models of this recipe" in card(found)
    pooled["folds"]["recipe"] = recipe | {"seed": 7}
    results.write(measured.folder / "results" / "retrieval.json", pooled)
    assert len(gather(str(measured.folder)).results) == 1


def test_probes_and_biases_that_were_measured_are_told(measured):
    folder = measured.folder / "results"
    share = {
        "accuracy": 0.25, "interval": [0.2, 0.3], "chance": 0.1667,
        "answers": {"uno": {"uno": 5, "due": 3}, "due": {"uno": 7, "due": 1}},
    }  # fmt: skip
    place = str(measured.folder / "model")
    probe = {"model": place, "language": "it", "seed": 1, "number": share, "colour": share | {"chance": 0.25}}
    groups = {
        "donne": {"association": 0.0123, "beside_zero": True},
        "uomini": {"association": -0.0123, "beside_zero": True},
    }
    none = {name: one | {"beside_zero": False} for name, one in groups.items()}
    bias = {
        "model": place, "neutral": "una persona", "pictures": {"donne": 30, "uomini": 28}, "limits": ["few pictures"],
        "prompts": [{"prompt": "che cucina", "groups": groups}, {"prompt": "che dorme", "groups": none}],
    }  # fmt: skip
    (folder / "probe.json").write_text(json.dumps(probe))
    (folder / "bias.json").write_text(json.dumps(bias))
    text = card(gather(str(measured.folder)))
    assert cells(text, "number")[:4] == ["number", "0.250", "0.200 to 0.300", "0.167"]
    assert cells(text, "number")[4:] == ["uno: 12 of 16", "due taken for uno: 7 of 8"]
    assert "At chance (inside the interval): colour. Above chance: number. A model" in text
    assert cells(text, "che cucina") == ["che cucina", "+0.012", "-0.012"]
    assert "che dorme" not in text
    assert "few pictures" in text
    (folder / "bias.json").write_text(json.dumps(bias | {"model": "another"}))
    assert "che cucina" not in card(gather(str(measured.folder)))


def test_a_licence_may_be_given(trained):
    text = card(with_licence(gather(str(trained.folder)), "mit"))
    assert ModelCard(text).data.license == "mit"


@pytest.mark.parametrize("pictures", [None, 0.5])
def test_a_teacher_is_named_with_what_was_read(trained, tmp_path, pictures):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "README.md").write_text("---\nlicense: mit\n---\n")
    file = trained.folder / "model" / "clip_italian.json"
    info = json.loads(file.read_text())
    info["recipe"]["model"] |= {"base": None, "teacher": str(tmp_path / "teacher"), "text": "you/bert"}
    info["recipe"]["loss"]["pictures"] = pictures
    file.write_text(json.dumps(info))
    text = card(gather(str(trained.folder)))
    assert cells(text, "teacher")[1] == "mit"
    assert cells(text, "you/bert")[1] == "see its card"
    assert ("No picture was read" in text) == ("its gallery the teacher's embeddings" in text) == (pictures is None)
    assert ("The texts also learned where" in text) == (pictures is not None)
    assert str(tmp_path) not in text


def test_a_card_by_somebody_else_is_left_alone(trained, tmp_path):
    text = card(gather(str(trained.folder)))
    assert MARK in text
    path = tmp_path / "README.md"
    write(text, path)
    write(text, path)  # our own may be written again
    path.write_text("# Mine\n")
    with pytest.raises(UserError, match="somebody else"):
        write(text, path)
    assert path.read_text() == "# Mine\n"


def test_neither_a_run_nor_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="neither a finished run nor a model folder"):
        gather(str(tmp_path))
