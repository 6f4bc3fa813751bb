"""Agents, statistics, leases and the seal: what is stored of them, on both databases."""
import threading
from dataclasses import replace

import pytest

from ananta.agent.events import Events
from ananta.domain.agents import Agent, by_name
from ananta.errors import CannotStart, NotFound
from ananta.hub.registry import Registry
from ananta.store import agents, database, leases, stats
from ananta.store.vault import Vault

ALPHA = Agent("http://alpha:5000", "alpha", token=b"sealed", last_seen=10.0, registered_at=10.0)


def test_an_agent_is_stored_and_replaced(both):
    assert agents.get(ALPHA.url) is None and agents.everyone() == []
    with pytest.raises(NotFound):
        agents.find(ALPHA.url)
    assert agents.save(ALPHA, None) and agents.find(ALPHA.url) == ALPHA
    changed = replace(ALPHA, name="beta", token=b"new", previous_token=b"sealed", registered_at=99.0)
    assert agents.save(changed, ALPHA)
    assert agents.everyone() == [replace(changed, registered_at=10.0)]
    assert "new" not in repr(agents.find(ALPHA.url))


def test_whoever_looked_before_the_token_changed_stores_nothing(both):
    assert agents.save(ALPHA, None) and not agents.save(replace(ALPHA, name="late"), None)
    assert agents.save(replace(ALPHA, token=b"second"), ALPHA)
    assert not agents.save(replace(ALPHA, token=b"third"), ALPHA)
    assert agents.find(ALPHA.url).token == b"second"


def test_of_two_that_register_one_address_at_once_one_looks_again(both):
    begin, done = threading.Barrier(8), []

    def register(number):
        begin.wait()
        done.append(agents.save(replace(ALPHA, token=b"%d" % number), None))
        database.close_mine()

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 7 + [True] and len(agents.everyone()) == 1


def test_seen_offline_and_expired(both):
    agents.save(ALPHA, None)
    report = {"model": {"provider": "ollama", "name": "small", "context_tokens": 4096}, "commands": None}
    assert agents.seen(ALPHA.url, {"cpu_percent": 1.5, "ram_bytes": 7}, report, 20.0) == ALPHA
    now = agents.find(ALPHA.url)
    assert (now.status, now.last_seen, now.resources, now.report) == ("online", 20.0, {"cpu_percent": 1.5, "ram_bytes": 7}, report)
    assert agents.seen(ALPHA.url, None, None, 15.0) == now and agents.find(ALPHA.url) == now
    assert agents.counts() == {"total": 1, "online": 1, "offline": 0}
    assert agents.set_offline(ALPHA.url) and not agents.set_offline(ALPHA.url)
    assert agents.counts() == {"total": 1, "online": 0, "offline": 1}
    assert agents.seen(ALPHA.url, None, None, 30.0).status == "offline"
    assert agents.expire(30.0) == [] and [each.status for each in agents.expire(30.1)] == ["offline"]
    assert agents.find(ALPHA.url).status == "offline" and agents.seen("http://nobody", None, None, 1.0) is None


def test_the_previous_token_goes_once_the_new_one_has_worked(both):
    agents.save(replace(ALPHA, previous_token=b"old"), None)
    agents.worked(ALPHA.url, b"another")
    assert agents.find(ALPHA.url).previous_token == b"old"
    agents.worked(ALPHA.url, b"sealed")
    assert agents.find(ALPHA.url).previous_token is None and agents.find(ALPHA.url).token == b"sealed"


def test_only_the_newest_snapshots_are_kept_and_come_oldest_first(both):
    for number in range(5):
        stats.add({"timestamp": 1000.0 + number}, keep=3)
    assert stats.newest() == [f'{{"timestamp":{each}.0}}' for each in (1002, 1003, 1004)]
    assert stats.newest(2) == stats.newest()[1:] and stats.newest(2, 1) == stats.newest()[:2] and stats.newest(0) == []


def test_a_lease_is_one_owners_until_it_runs_out(both):
    assert leases.take("poll", "one", until=100.0, now=50.0) and not leases.take("poll", "two", until=150.0, now=99.0)
    assert leases.take("poll", "one", until=120.0, now=90.0) and not leases.take("poll", "two", until=150.0, now=110.0)
    assert leases.take("poll", "two", until=200.0, now=120.0) and not leases.take("poll", "one", until=200.0, now=121.0)
    leases.give_back("poll", "one")
    assert not leases.take("poll", "one", until=200.0, now=121.0)
    leases.give_back("poll", "two")
    assert leases.take("poll", "one", until=200.0, now=121.0)


def test_a_database_belongs_to_the_key_that_sealed_it(both):
    vault = Vault("the-first-secret-key")
    vault.check()
    vault.check()
    with pytest.raises(CannotStart, match=r"SECRET_KEY.*put the old key back"):
        Vault("another-secret-key").check()
    Vault("the-first-secret-key").check()
    assert Vault("the-first-secret-key").open(vault.seal("grüße")) == "grüße"


def test_of_several_agents_of_one_name_the_one_seen_last_has_it():
    shown = by_name([ALPHA, replace(ALPHA, url="http://b", last_seen=20.0), replace(ALPHA, url="http://c", name="c")])
    assert {name: each["url"] for name, each in shown.items()} == {
        "alpha": "http://b", "alpha (http://alpha:5000)": ALPHA.url, "c": "http://c"}
    assert shown["c"] == {"name": "c", "url": "http://c", "role": "worker", "status": "online", "last_seen": 10.0,
                          "resources": None, "model": None, "commands": None, "has_token": True}


class CountingVault(Vault):
    opened = 0

    def open(self, sealed: bytes) -> str:
        self.opened += 1
        return super().open(sealed)


def test_tokens_are_opened_once_however_many_wrong_ones_are_shown(both):
    vault = CountingVault("the secret key")
    registry = Registry(vault=vault, events=Events(), registration_token=None, own_token=lambda token: False, offline_after_s=lambda: 300.0)
    for number in range(10):
        assert agents.save(Agent(f"http://agent-{number}", f"agent-{number}", token=vault.seal(f"token-{number}"),
                                 previous_token=vault.seal(f"before-{number}")), None)
    assert agents.save(Agent("http://open", "open"), None)
    assert [registry.who_has(wrong) for wrong in ("guess", "", "tokén-1", "x" * 600, "before-")] == [None] * 5
    assert (registry.who_has("token-3"), registry.who_has("before-7")) == ("agent-3", "agent-7") and vault.opened == 20
    # A changed token counts at once, an altered one stops nobody else.
    was = agents.find("http://agent-3")
    assert agents.save(replace(was, token=vault.seal("new"), previous_token=None), was)
    was = agents.find("http://agent-4")
    assert agents.save(replace(was, token=b"altered", previous_token=None), was)
    assert [registry.who_has(each) for each in ("new", "token-3", "token-4", "token-5")] == ["agent-3", None, None, "agent-5"]
    assert vault.opened == 22
