from typing import ClassVar

import pytest

from clip_italian.evaluate import results


@pytest.mark.parametrize(("own", "named"), [({}, "float32"), ({"precision": "int8"}, "int8")])
def test_every_result_names_the_precision_of_its_model(own, named):
    class Model:
        info: ClassVar[dict] = {}

        def facts(self):
            return {"dim": 2} | own

    assert results.model_facts(Model(), "mini") == {
        "source": "mini", "precision": named, "dim": 2, "training_data": None,
    }  # fmt: skip
