"""The same as test_contract_sqlite.py with a Postgres; in a file of its own, since it takes a minute and files run side by side."""
from tests.bench import contract


def test_a_hub_answers_as_its_openapi_document_says(postgres_server, tmp_path):
    cases, printed, code = contract.run(tmp_path, postgres_server.database(), examples=2)
    assert code == 0, printed
    assert cases > 1000
