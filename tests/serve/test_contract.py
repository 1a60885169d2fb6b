"""The API keeps what its own OpenAPI description promises, whatever it is asked."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.checks")
openapi = pytest.importorskip("schemathesis.specs.openapi.checks")


def test_answers_are_as_described(start):
    schema = schemathesis.openapi.from_asgi("/openapi.json", start(names=["localhost", "testserver"]).app)
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) == 11
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def check(case):
            answer = case.call()
            # What a schema cannot say is refused as well: bytes that are no picture, and nothing to look for.
            case.validate_response(answer, excluded_checks=[openapi.positive_data_acceptance])

        check()
