"""What tests.faults.hub does at length, briefly."""
import sys

import pytest

from tests.faults import hub

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and a POSIX shell")


def test_killed_under_load(tmp_path, database_url):
    ledger, wrong = hub.killed(tmp_path / "hub", 2, database_url)
    assert wrong == [] and ledger.made and ledger.fields


def test_postgres_restarts_under_load(tmp_path, postgres_server):
    if postgres_server.embedded is None:
        pytest.skip("the server of TEST_DATABASE_URL is not ours to restart")
    ledger, wrong = hub.restarted(tmp_path / "hub", postgres_server, 2)
    assert wrong == [] and ledger.made


def test_workers_that_answer_nonsense(tmp_path):
    assert hub.with_bad_workers(tmp_path, ("garbage", "cut", "huge")) == []
