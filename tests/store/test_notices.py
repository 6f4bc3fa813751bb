"""What hubs on one Postgres tell each other; a real server, restarted, too."""
import contextlib
import threading

import psycopg
import pytest

from ananta.agent.events import Events
from ananta.domain.events import CONFIG_UPDATED, TOKEN_ROTATED
from ananta.domain.redaction import Redactor
from ananta.store import database
from ananta.store.journal import Journal
from ananta.store.notices import CHANNEL, Notices
from ananta.store.postgres import number


class Hub:
    """What one hub has of this: its events, and what its listeners heard."""

    def __init__(self, journal: Journal, **options):
        self.events, self.heard = Events(), []
        self.notices = Notices(self.events.tell, journal, **options)
        self.events.elsewhere = self.notices.publish
        self.events.listen(self.heard.append)

    def numbers(self) -> list[int]:
        return [each.data["number"] for each in self.heard if "number" in each.data]


@pytest.fixture
def postgres(tmp_path, postgres_server):
    url = postgres_server.database()
    database.open(url, local_path=tmp_path / "data" / "journal.db")
    yield url
    database.close()


@pytest.fixture
def log(tmp_path):
    journal = Journal(tmp_path / "data", agent="here", mask=Redactor([]))
    journal.open()
    journal.start()
    yield journal
    journal.close()


@pytest.fixture
def hubs(postgres, log):
    """Makes hubs that listen already; all are closed at the end."""
    made = []

    def make(**options) -> Hub:
        made.append(Hub(log, **options))
        made[-1].notices.start()
        assert made[-1].notices.listening.wait(30)
        return made[-1]

    yield make
    for each in made:
        each.notices.close()


@contextlib.contextmanager
def nobody_can_send(url: str):
    """While this holds, whoever sends waits for the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (number(CHANNEL),))
        yield


def test_an_event_reaches_the_listeners_of_other_hubs_as_it_was_and_its_own_once(hubs, eventually):
    here, there = hubs(), hubs()
    here.events.publish("task_updated", {"id": "T-1", "status": "Größe \N{SNOWMAN}", "odd": "\0"}, admins=True)
    eventually(lambda: there.heard)
    there.events.publish("done", {})
    eventually(lambda: len(here.heard) == 2)
    assert there.heard[0] == here.heard[0] and there.heard[0].admins
    assert [each.type for each in there.heard] == [each.type for each in here.heard] == ["task_updated", "done"]


def test_every_hub_hears_all_others_completely_and_in_their_order(hubs, eventually):
    many = [hubs() for _ in range(4)]

    def publish(hub: Hub, name: int) -> None:
        for each in range(150):
            hub.events.publish("task_updated", {"number": each, "from": name})

    threads = [threading.Thread(target=publish, args=(hub, name)) for name, hub in enumerate(many)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    eventually(lambda: all(len(hub.heard) >= 600 for hub in many))
    for hub in many:
        for name in range(4):
            assert [each.data["number"] for each in hub.heard if each.data["from"] == name] == list(range(150))


def test_nothing_is_lost_when_the_server_is_restarted(hubs, eventually, postgres_server):
    if postgres_server.embedded is None:
        pytest.skip("only the embedded Postgres can be restarted")
    here, there = hubs(), hubs()
    for each in range(20):
        here.events.publish("task_updated", {"number": each})
    eventually(lambda: there.numbers() == list(range(20)))
    postgres_server.restart("immediate")
    for each in range(20, 40):
        here.events.publish("task_updated", {"number": each})
    # A commit whose answer is lost is sent again.
    eventually(lambda: list(dict.fromkeys(there.numbers())) == list(range(40)))
    there.events.publish("task_updated", {"number": 40})
    eventually(lambda: here.numbers()[-1] == 40)


def test_a_hub_that_lost_its_connection_reads_what_it_missed(hubs, eventually, postgres):
    here, there = hubs(), hubs()
    with psycopg.connect(postgres, autocommit=True) as connection:
        cut = connection.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> "
                                 "pg_backend_pid() AND datname = current_database()").fetchone()[0]
        assert cut >= 2
    for each in range(10):
        here.events.publish("task_updated", {"number": each})
    eventually(lambda: there.numbers() == list(range(10)))


def test_who_publishes_never_waits_for_the_database(hubs, eventually, postgres):
    here, there = hubs(), hubs()
    with nobody_can_send(postgres):
        for each in range(100):
            here.events.publish("task_updated", {"number": each})
        assert here.numbers() == list(range(100)) and there.heard == []
    eventually(lambda: there.numbers() == list(range(100)))


def test_only_the_newest_wait_while_the_database_is_away(hubs, eventually, postgres):
    here, there = hubs(waiting=10), hubs()
    with nobody_can_send(postgres):
        for each in range(1000):
            here.events.publish("task_updated", {"number": each})
    eventually(lambda: there.numbers() and there.numbers()[-1] == 999)
    assert len(there.numbers()) < 1000 and there.numbers()[-10:] == list(range(990, 1000))


def test_a_token_is_told_in_its_own_process_and_nowhere_else(hubs, eventually, postgres):
    here, there = hubs(), hubs()
    here.events.publish(TOKEN_ROTATED, {"new_token": "the-new-token"}, admins=True)
    here.events.publish(CONFIG_UPDATED, {"keys": ["default_model"]})
    here.events.publish("task_updated", {"id": "T-1"})
    eventually(lambda: there.heard)
    assert [each.type for each in there.heard] == ["task_updated"]
    assert [each.type for each in here.heard] == [TOKEN_ROTATED, CONFIG_UPDATED, "task_updated"]
    with psycopg.connect(postgres) as connection:
        kept = str(connection.execute("SELECT * FROM events").fetchall())
    assert "T-1" in kept and "the-new-token" not in kept


def test_a_hub_that_starts_does_not_hear_of_what_was_before(hubs, eventually):
    here, there = hubs(), hubs()
    here.events.publish("old", {})
    eventually(lambda: there.heard)
    late = hubs()
    here.events.publish("new", {})
    eventually(lambda: late.heard)
    assert [each.type for each in late.heard] == ["new"]


def test_what_cannot_be_read_is_passed_over(hubs, eventually, postgres):
    there, here = hubs(), hubs()
    with psycopg.connect(postgres, autocommit=True) as connection:
        for document in ("no JSON", '{"type": 5}', "[]"):
            connection.execute("INSERT INTO events (at, origin, document) VALUES (1e12, 'x', %s)", (document,))
    here.events.publish("task_updated", {"number": 1})
    eventually(lambda: there.numbers() == [1])
    assert len(there.heard) == 1


def test_old_events_are_forgotten(hubs, eventually, postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        for age_s in (5000, 700, 100):
            connection.execute("INSERT INTO events (at, origin, document) VALUES (extract(epoch FROM now()) - %s, %s, '')",
                               (age_s, str(age_s)))
        hubs(keep_s=600)
        eventually(lambda: connection.execute("SELECT origin FROM events").fetchall() == [("100",)])


def test_a_failing_listener_keeps_no_event_from_the_next(hubs, eventually):
    here, there = hubs(), hubs()
    there.events.listen(lambda event: {}["missing"])
    heard = []
    there.events.listen(heard.append)
    for each in range(3):
        here.events.publish("task_updated", {"number": each})
    eventually(lambda: len(heard) == 3)


def test_on_sqlite_nobody_is_told_and_nothing_is_started(data, log):
    hub = Hub(log)
    before = threading.active_count()
    hub.notices.start()
    hub.events.publish("task_updated", {"id": "T-1"})
    assert threading.active_count() == before and len(hub.heard) == 1
    assert database.rows("SELECT count(*) FROM events") == [(0,)]
    hub.notices.close()
