import json

import pytest

from ananta.domain.redaction import Redactor
from ananta.domain.steps import Record
from ananta.store import database
from ananta.store.journal import Journal
from tests import conftest
from tests.store import opening


@pytest.fixture
def data(tmp_path):
    """A data directory with an open database."""
    directory = tmp_path / "data"
    database.open(directory / "ananta.db")
    yield directory
    database.close()


@pytest.fixture
def both(tmp_path, database_url):
    """An open main database: tests that take this run on SQLite and on Postgres."""
    directory = tmp_path / "data"
    if database_url:
        directory.mkdir(mode=0o700)
        (directory / "url").write_text(database_url)
        (directory / "url").chmod(0o600)
    opening.open(directory)
    yield directory
    database.close()


@pytest.fixture
def journals(data):
    """Opens a journal as a start of the program does; all are closed at the end."""
    opened = []

    def make(*, start=False, on_unknown=None, **options):
        journal = Journal(data, agent="here", mask=options.pop("mask", Redactor(["known-secret"])), **options)
        journal.lost = journal.open(on_unknown)
        if start:
            journal.start()
        opened.append(journal)
        return journal

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def journal(journals):
    return journals()


@pytest.fixture
def record():
    def make(number, **fields):
        return Record(**{"id": f"run-{number}", "timestamp": 1000.0, "agent": "here", "command": f"echo {number}",
                         "output": str(number), "exit_code": 0} | fields)
    return make


@pytest.fixture
def foreign():
    """Writes lines as another program would."""
    def write(path, *records):
        with path.open("ab") as file:
            for each in records:
                file.write(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n")
    return write


@pytest.fixture
def eventually():
    return conftest.eventually
