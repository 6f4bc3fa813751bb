"""A bounded run of tests/bench/contract.py: what the document's limits allow and forbid; `build/dev.py bench contract` sends more."""
from tests.bench import contract


def test_a_hub_answers_as_its_openapi_document_says(tmp_path):
    cases, printed, code = contract.run(tmp_path, None, examples=2, phases="coverage")
    assert code == 0, printed
    assert cases > 1000
