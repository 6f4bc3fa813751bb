"""Who belongs to a hub: real agents, real hubs, and what happens when one of them goes away in the middle."""

import pytest

from tests.conftest import Ananta

TOKEN, FIRST, SECOND = "hub-secret-token-0123", "first-worker-token-01", "second-worker-token-2"


@pytest.fixture
def hub(start, database_url):
    return start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN,
                 **({"DATABASE_URL": database_url} if database_url else {}))


def begin(start, name: str, token: str | None, *arguments: str, **settings: str) -> Ananta:
    return start(name, "--host", "127.0.0.1", "--agent-name", name, *arguments, token=token, **settings)


def register(hub, url: str, token: str | None, *, name="alpha", shown: str | None = None, **fields):
    return hub.post("/register", auth=False, json={"name": name, "url": url, "token": token, **fields},
                    headers={"Authorization": f"Bearer {shown}"} if shown else {})


def same_place(worker: Ananta) -> tuple[str, str]:
    return ("--port", worker.url.rsplit(":", 1)[1])


def test_who_does_not_know_the_token_of_an_agent_cannot_change_it(hub, start):
    worker = begin(start, "alpha", FIRST)
    assert register(hub, worker.url, FIRST).status_code == 200
    for taken in (register(hub, worker.url, "stolen-token"), register(hub, worker.url, "stolen-token", shown="guess"),
                  register(hub, worker.url, None, name="mallory"), register(hub, worker.url, "stolen-token", name="mallory")):
        assert (taken.status_code, taken.json()["code"]) == (409, "agent_token_mismatch")
        assert FIRST not in taken.text
    assert list(hub.get("/agents").json()) == ["alpha"]
    for fields in ({"token": FIRST, "name": "renamed"}, {"token": None, "name": "renamed"}):
        assert register(hub, worker.url, **fields).status_code == 200
    assert [each["has_token"] for each in hub.get("/agents").json().values()] == [True]


@pytest.mark.parametrize("shown", [FIRST, TOKEN, "team-registration-secret"])
def test_a_new_token_is_taken_from_who_knows_the_old_one_the_hubs_or_the_registration_token(start, shown):
    hub = begin(start, "hub", TOKEN, "--role", "hub", REGISTRATION_TOKEN="team-registration-secret")
    worker = begin(start, "alpha", FIRST)
    for given in ({}, {"registration_token": "wrong"}):
        refused = register(hub, worker.url, FIRST, **given)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    right = {"registration_token": "team-registration-secret"}
    assert register(hub, worker.url, FIRST, **right).status_code == 200
    assert register(hub, worker.url, "announced-token", **right).status_code == 409
    assert register(hub, worker.url, "announced-token", shown=shown, **right).status_code == 200
    # Announced and not in use yet: who knows the one before may still take it back.
    assert register(hub, worker.url, FIRST, shown=FIRST, **right).status_code == 200


def test_an_agent_started_with_another_token_shows_by_accepting_it_that_it_is_its_own(hub, start):
    worker = begin(start, "alpha", FIRST)
    assert register(hub, worker.url, FIRST).status_code == 200
    task = hub.post("/tasks", json={"title": "x"}).json()["id"]
    assert hub.post(f"/tasks/{task}/assign", json={"agent_url": worker.url, "token": FIRST}).status_code == 200
    worker.stop()
    assert register(hub, worker.url, SECOND).json()["code"] == "agent_unreachable"
    again = begin(start, "alpha", SECOND, *same_place(worker))
    assert register(hub, again.url, "stolen-token").status_code == 409
    assert register(hub, again.url, SECOND).status_code == 200
