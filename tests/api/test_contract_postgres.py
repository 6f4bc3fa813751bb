"""Beside test_contract_sqlite.py: requests by chance, with a Postgres."""
from tests.bench import contract


def test_a_hub_answers_as_its_openapi_document_says(postgres_server, tmp_path):
    cases, printed, code = contract.run(tmp_path, postgres_server.database(), examples=6, phases="fuzzing")
    assert code == 0, printed
    assert cases > 300
