"""The records of a task from the logs of all hubs on one Postgres; on SQLite those of the own log."""
import json

import psycopg
import pytest

from ananta.domain.redaction import Redactor
from ananta.store import database, shared_journal
from ananta.store.journal import Journal
from ananta.store.notices import Notices
from ananta.store.shared_journal import TaskLog, TaskRecord
from tests.store.test_notices import nobody_can_send


@pytest.fixture
def log(both):
    """A journal on either database, indexed as it goes."""
    journal = Journal(both, agent="here", mask=Redactor(["known-secret"]))
    journal.open()
    journal.start()
    yield journal
    journal.close()


def foreign(run_id: str, task_id: str, at: float, place: str = "elsewhere") -> None:
    """A record of another hub."""
    raw = json.dumps({"id": run_id, "task_id": task_id, "timestamp": at, "output": run_id})
    with database.writing():
        database.change("INSERT INTO shared_journal (place, run_id, task_id, timestamp, record) VALUES (?, ?, ?, ?, ?)",
                        place, run_id, task_id, at, raw)


def ids(found: list[TaskRecord]) -> list[str | None]:
    return [each.run_id for each in found]


def shared() -> list[tuple]:
    return database.rows("SELECT run_id, task_id, timestamp FROM shared_journal WHERE place = ? ORDER BY timestamp, run_id",
                         database.local().place)


def test_the_records_of_all_hubs_are_in_the_order_of_their_time(log, record):
    for number in (1, 3, 5):
        log.finished(record(number, task_id="T-1", timestamp=1000.0 + number))
    for number in (2, 4, 6):
        foreign(f"run-{number}", "T-1", 1000.0 + number)
    foreign("other", "T-2", 1003.5)
    found = TaskLog(log).last("T-1", 100, 1 << 20)
    if database.shared():
        assert ids(found) == [f"run-{number}" for number in range(1, 7)]
        assert ids(TaskLog(log).last("T-1", 2, 1 << 20)) == ["run-5", "run-6"]
        assert [json.loads(each.raw)["output"] for each in found] == ["1", "run-2", "3", "run-4", "5", "run-6"]
        assert ids(TaskLog(log).last("T-2", 9, 1 << 20)) == ["other"]
    else:
        assert ids(found) == ["run-1", "run-3", "run-5"] and TaskLog(log).last("T-2", 9, 1 << 20) == []
    assert TaskLog(log).last("T-3", 9, 1 << 20) == []


def test_no_more_is_read_than_fits(log, record, eventually):
    for number in range(6):
        log.finished(record(number, task_id="T-1", timestamp=1000.0 + number, output="x" * 1000))
        foreign(f"foreign-{number}", "T-1", 1000.5 + number)
    for _ in range(2):
        found = TaskLog(log).last("T-1", 100, 4000)
        assert 0 < sum(len(each.raw) for each in found) <= 4000
        assert ids(found)[-1] == ("foreign-5" if database.shared() else "run-5")
        assert len(found) >= (4 if database.shared() else 2)
        eventually(lambda: not log.behind())
    assert TaskLog(log).last("T-1", 100, 10) == []


def test_own_records_stay_in_the_order_of_the_log(log, record):
    for number, at in ((1, 1000.0), (2, 900.0), (3, 1100.0)):
        log.finished(record(number, task_id="T-1", timestamp=at))
    foreign("between", "T-1", 1050.0)
    expected = ["run-1", "run-2", "between", "run-3"] if database.shared() else ["run-1", "run-2", "run-3"]
    assert ids(TaskLog(log).last("T-1", 100, 1 << 20)) == expected


def test_the_own_records_are_those_of_the_log_whatever_the_table_says(log, record):
    log.finished(record(1, task_id="T-1"))
    foreign("run-1", "T-1", 1000.0, place=database.local().place)
    foreign("planted", "T-1", 1000.0, place=database.local().place)
    assert ids(TaskLog(log).last("T-1", 100, 1 << 20)) == ["run-1"]


def test_what_is_shared_is_what_the_log_serves(log, record, eventually):
    notices = Notices(lambda event: None, log)
    log.on_record = notices.share
    notices.start()
    log.finished(record(1, task_id="T-1", output="a known-secret and \N{SNOWMAN}"))
    log.finished(record(2))
    log.finished(record(3, task_id="T-1"))
    if database.shared():
        eventually(lambda: len(shared()) == 2)
        assert shared() == [("run-1", "T-1", 1000.0), ("run-3", "T-1", 1000.0)]
        kept = [raw.encode() for (raw,) in database.rows("SELECT record FROM shared_journal ORDER BY run_id")]
        assert kept == log.last(9, "T-1") and b"known-secret" not in kept[0]
    else:
        assert shared() == []
    notices.close()


def test_a_start_gives_the_others_what_they_lack(log, record, eventually):
    for number in range(450):
        log.finished(record(number, task_id=f"T-{number % 3}" if number % 5 else None))
    expected = {f"run-{number}" for number in range(450) if number % 5}
    notices = Notices(lambda event: None, log)
    notices.start()
    if database.shared():
        eventually(lambda: {run_id for run_id, _, _ in shared()} == expected)
        assert list(shared_journal.missing()) == []
    else:
        assert shared() == []
    notices.close()


def test_records_that_did_not_fit_while_the_database_was_away_are_given_later(postgres_server, tmp_path, record, eventually):
    url = postgres_server.database()
    database.open(url, local_path=tmp_path / "data" / "journal.db")
    journal = Journal(tmp_path / "data", agent="here", mask=Redactor([]))
    journal.open()
    journal.start()
    notices = Notices(lambda event: None, journal, waiting=3)
    journal.on_record = notices.share
    notices.start()
    with nobody_can_send(url):
        for number in range(20):
            journal.finished(record(number, task_id="T-1"))
    eventually(lambda: len(shared()) == 20)
    notices.close()
    journal.close()
    database.close()


def test_other_hubs_hear_of_a_record_with_its_text(postgres_server, tmp_path, record, eventually):
    database.open(postgres_server.database(), local_path=tmp_path / "data" / "journal.db")
    journal = Journal(tmp_path / "data", agent="here", mask=Redactor([]))
    journal.open()
    heard: list = []
    here, there = Notices(lambda event: None, journal), Notices(heard.append, journal)
    journal.on_record = here.share
    for each in (here, there):
        each.start()
        assert each.listening.wait(30)
    journal.finished(record(1, task_id="T-1"))
    eventually(lambda: heard)
    assert heard[0].type == "task_record"
    assert heard[0].data == {"task_id": "T-1", "run_id": "run-1", "record": journal.last(1, "T-1")[0]}
    with psycopg.connect(database.main()._url) as connection:
        assert "echo 1" not in connection.execute("SELECT string_agg(document, '') FROM events").fetchone()[0]
    for each in (here, there):
        each.close()
    journal.close()
    database.close()


def test_listeners_of_the_log_hear_of_what_is_on_disk_in_order_and_cannot_break_it(log, record):
    heard: list[tuple[str, bytes]] = []

    def listener(done, line):
        heard.append((done.id, line))
        raise ValueError("a fault of the listener")

    log.on_record = listener
    for number in range(3):
        log.finished(record(number, task_id="T-1"))
    log.finished(record(9))
    assert [run_id for run_id, _ in heard] == ["run-0", "run-1", "run-2"]
    assert [line for _, line in heard] == log.last(9, "T-1")
