"""The API keeps what its own OpenAPI description promises, whatever it is asked."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")


def test_answers_are_as_described(start):
    schema = schemathesis.openapi.from_asgi("/openapi.json", start(names=["localhost", "testserver"]).app)
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) == 10
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def check(case):
            case.call_and_validate()

        check()
