"""Rounds of a hub's heartbeat over real agents."""
import threading
import time
from dataclasses import replace

import pytest

from ananta.agent.events import Events
from ananta.domain.tasks import Task
from ananta.hub.heartbeat import Heartbeat, _report, _resources
from ananta.hub.registry import Announcement, Registry
from ananta.store import agents, database, leases, tasks
from ananta.store.vault import Vault
from tests.conftest import eventually
from tests.fake_llm import FakeLLM
from tests.store import opening

TOKEN = "first-worker-token-01"


@pytest.fixture
def both(tmp_path, database_url):
    """An open main database, SQLite and Postgres."""
    directory = tmp_path / "hub-data"
    directory.mkdir(mode=0o700)
    if database_url:
        (directory / "url").write_text(database_url)
    opening.open(directory)
    yield directory
    database.close()


class Team:
    """A registry, its heartbeat, and what it has told."""

    def __init__(self):
        self.told, events, self.time = [], Events(), time.time()
        events.listen(lambda event: self.told.append((event.type, event.data["name"], event.data["status"])))
        self.registry = Registry(vault=Vault("a-secret-key-of-the-hub"), events=events, registration_token=None,
                                 own_token=lambda credential: credential == "hub", offline_after_s=lambda: 300,
                                 now=lambda: self.time)
        self.heart = Heartbeat(self.registry, now=lambda: self.time)

    def add(self, worker, name="alpha", token=TOKEN, shown=None):
        return self.registry.register(Announcement(name, worker.url, token=token), shown)

    def round(self):
        self.time += 60
        self.heart.round()


@pytest.fixture
def team(both):
    return Team()


def begin(start, name="alpha", token=TOKEN):
    return start(name, "--host", "127.0.0.1", "--agent-name", name, token=token)


def test_agents_go_and_come(team, start):
    first, second = begin(start), begin(start, "beta")
    team.add(first)
    team.add(second, "beta")
    team.round()
    for each in agents.everyone():
        assert each.status == "online" and each.last_seen == team.time and each.resources["ram_bytes"] > 1 << 20
    second.stop()
    team.round()
    assert [each.status for each in sorted(agents.everyone(), key=lambda each: each.name)] == ["online", "offline"]
    again = start("beta", "--host", "127.0.0.1", "--port", second.url.rsplit(":", 1)[1], token="another-token-since-then")
    team.round()
    assert agents.find(again.url).status == "online"  # it does not take the token, and it is there
    assert team.told == [("agent_registered", "alpha", "online"), ("agent_registered", "beta", "online"),
                         ("agent_status", "beta", "offline"), ("agent_status", "beta", "online")]


def test_an_agent_says_which_model_it_asks_and_what_runs_there(team, start):
    with FakeLLM() as model:
        model.models = [{"id": "small-instruct", "loaded_context_length": 8192}]
        worker = start("alpha", "--host", "127.0.0.1", token=TOKEN, LMSTUDIO_URL=model.url)
        eventually(lambda: worker.get("/stats").json()["model"])
        team.add(worker)
        team.round()
        known = {"model": {"provider": "lmstudio", "name": "small-instruct", "context_tokens": 8192},
                 "commands": {"busy": 0, "total": 8}}
        assert agents.find(worker.url).report == known
    worker.get("/ready?verbose=1")  # looks anew
    team.round()
    assert agents.find(worker.url).report == {**known, "model": None}
    worker.stop()
    team.round()
    assert agents.find(worker.url).report == {**known, "model": None}  # what was known stays


def test_an_announced_token_that_is_not_in_use_yet_locks_nobody_out(team, start):
    worker = begin(start)
    team.add(worker)
    team.add(worker, token="announced-token-0001", shown=TOKEN)
    assert team.registry.credentials(worker.url)[1] == ["announced-token-0001", TOKEN]
    team.round()
    assert agents.find(worker.url).resources is not None
    assert team.registry.credentials(worker.url)[1] == ["announced-token-0001", TOKEN]
    # Announced anew by the same agent, which still uses the first one: that one stays.
    team.add(worker, token="announced-token-0002", shown=TOKEN)
    assert team.registry.credentials(worker.url)[1] == ["announced-token-0002", TOKEN]
    team.add(worker, token="announced-token-0003", shown="hub")
    assert team.registry.credentials(worker.url)[1] == ["announced-token-0003", TOKEN]
    worker.stop()
    start("alpha", "--host", "127.0.0.1", "--port", worker.url.rsplit(":", 1)[1], token="announced-token-0003")
    team.round()
    assert team.registry.credentials(worker.url)[1] == ["announced-token-0003"]
    assert team.registry.credentials(worker.url + "/")[0] == "alpha"
    assert team.registry.credentials("http://nobody") == ("http://nobody", [])


def test_the_tasks_of_an_agent_get_its_new_token(team, start):
    worker, vault = begin(start), team.registry.vault
    team.add(worker)
    for task_id, url, token in (("a", worker.url, TOKEN), ("b", "http://other", TOKEN), ("c", worker.url, None)):
        tasks.create(Task(id=task_id, title="x"))
        tasks.assign(task_id, url, None if token is None else vault.seal(token), team.time)
    team.add(worker, token="announced-token-0001", shown=TOKEN)
    found = {each: tasks.find(each).assigned_agent_token for each in "abc"}
    assert {each: sealed and vault.open(sealed) for each, sealed in found.items()} == {
        "a": "announced-token-0001", "b": TOKEN, "c": None}


def test_only_one_of_several_hubs_asks(both, start):
    one, two = Team(), Team()
    one.add(begin(start))
    one.round()
    agents.set_offline(agents.everyone()[0].url)
    two.round()
    assert agents.everyone()[0].status == "offline"
    one.heart.close()
    two.round()
    assert agents.everyone()[0].status == "online"


def test_who_was_not_seen_for_long_is_offline(team, start):
    worker = begin(start)
    team.add(worker)
    agents.save(replace(agents.find(worker.url), last_seen=team.time - 301), agents.find(worker.url))
    assert [each.status for each in team.registry.everyone()] == ["offline"]
    assert team.told[-1] == ("agent_status", "alpha", "offline")


def test_an_agent_that_drips_does_not_hold_up_the_stop(team, dripping):
    agents.save(replace(agents.Agent(dripping.url, "slow"), last_seen=team.time), None)
    round = threading.Thread(target=team.round)
    round.start()
    assert dripping.asked.wait(30)
    team.heart.close()
    round.join(30)
    assert not round.is_alive() and agents.find(dripping.url).status == "online"
    assert leases.take("heartbeat", "another", team.time + 1, team.time)


@pytest.fixture
def dripping():
    """A server that sends its answer byte by byte, without an end."""
    import socket

    class Server:
        asked, over = threading.Event(), threading.Event()

        def serve(self):
            while True:
                try:
                    connection, _ = self.socket.accept()
                except OSError:
                    return
                with connection:
                    self.asked.set()
                    try:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                        while not self.over.wait(0.05):
                            connection.sendall(b"x")
                    except OSError:
                        continue

    server = Server()
    server.socket = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.over.set()
    server.socket.shutdown(socket.SHUT_RDWR)
    server.socket.close()
    thread.join()


@pytest.mark.parametrize("figures", [{"cpu_percent": 1, "ram_bytes": 1 << 80}, {"cpu_percent": True, "ram_bytes": 1}, [],
                                     {"cpu_percent": -1, "ram_bytes": 1}, {"cpu_percent": "1", "ram_bytes": 1}, None])
def test_figures_that_are_none_are_left_out(figures):
    assert _resources({"resources": figures}) is None
    assert _resources({"resources": {"cpu_percent": 1.5, "ram_bytes": 2, "more": 3}}) == {"cpu_percent": 1.5, "ram_bytes": 2}


@pytest.mark.parametrize(("said", "kept"), [
    ({}, None),
    ({"model": "x", "shell_pool": []}, {"model": None, "commands": None}),
    ({"model": {"provider": "p", "name": 7}}, {"model": None, "commands": None}),
    ({"model": {"provider": "p", "name": "n" * 999, "context_tokens": "8192"}, "shell_pool": {"busy": 1, "total": 8, "free": 7}},
     {"model": {"provider": "p", "name": "n" * 200, "context_tokens": None}, "commands": {"busy": 1, "total": 8}}),
    ({"model": {"provider": "p", "name": "n", "context_tokens": -1}}, {"model": {"provider": "p", "name": "n", "context_tokens": None},
                                                                       "commands": None})])
def test_what_an_agent_says_is_taken_only_where_it_fits(said, kept):
    assert _report(said) == kept
