"""Who belongs to a hub: real agents, real hubs, and what happens when one of them goes away in the middle."""

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ananta.hub.membership import Identity, Membership, is_due, is_same_place
from tests.conftest import WAIT_S, Ananta, ananta, eventually

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


def test_every_call_counts_also_one_that_says_nothing(hub):
    codes = [hub.post("/register", json={"name": "x"}, auth=False).status_code for _ in range(21)]
    assert codes == [422] * 20 + [429]


def test_an_address_is_the_same_however_its_host_is_written(hub, start):
    worker = start("alpha", "--host", "127.0.0.1", token="token-of-alpha-0123")
    url = worker.url.replace("127.0.0.1", "localhost")
    known = hub.post("/register", json={"name": "alpha", "url": url, "token": worker.token})
    assert known.status_code == 200, known.text
    taken = hub.post("/register", json={"name": "evil", "url": url.replace("localhost", "LocalHost"), "token": "another-token"}, auth=False)
    assert taken.status_code == 409, taken.text
    assert [each["name"] for each in hub.get("/agents?format=list").json()] == ["alpha"]


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


# --- workers that know their hub


def joined(hub, *names: str) -> dict:
    return eventually(lambda: (shown := hub.get("/agents").json()) and set(names) <= set(shown) and shown)


def test_a_worker_registers_once_it_listens(hub, start):
    worker = begin(start, "alpha", FIRST, HUB_URL=hub.url + "/")
    entry = joined(hub, "alpha")["alpha"]
    assert entry["url"] == worker.url.replace("127.0.0.1", "localhost") and entry["has_token"]
    assert worker.get("/ready").json()["checks"]["hub"]["status"] == "ok" and worker.get("/ready").status_code == 200
    worker.stop()
    again = begin(start, "alpha", SECOND, "--port", worker.url.rsplit(":", 1)[1], CONTROLLER_URL=hub.url)
    eventually(lambda: [each for each in audited(hub) if each["details"]["name"] == "alpha"][1:])
    assert again.post("/rotate-token").status_code == 200  # so the hub takes the token it was started with for its own


def audited(hub) -> list[dict]:
    lines = [json.loads(line) for line in (hub.data / "audit.log").read_text().splitlines()]
    return [each for each in lines if each["event"] == "agent_registered"]


def test_a_rotated_token_is_known_to_the_hub_and_survives_a_restart(hub, start):
    worker = begin(start, "alpha", FIRST, HUB_URL=hub.url)
    url = joined(hub, "alpha")["alpha"]["url"]
    new = worker.post("/rotate-token").json()["new_token"]
    assert worker.get("/stats").status_code == 401
    eventually(lambda: len(audited(hub)) == 3)  # once more, after the new one counts: so the old one has no power any more
    assert register(hub, url, FIRST, shown=FIRST).json()["code"] == "agent_token_mismatch"
    worker.token = new
    assert worker.get("/stats").status_code == 200
    worker.stop()
    again = begin(start, "alpha", FIRST, "--port", worker.url.rsplit(":", 1)[1], HUB_URL=hub.url)
    assert again.get("/stats").status_code == 401
    again.token = new
    assert again.get("/stats").status_code == 200 and again.post("/rotate-token").status_code == 200


def test_without_its_hub_the_token_stays_as_it_is(hub, start):
    worker = begin(start, "alpha", FIRST, HUB_URL=hub.url)
    joined(hub, "alpha")
    hub.stop()
    refused = worker.post("/rotate-token")
    assert (refused.status_code, refused.json()["code"]) == (400, "rotation_failed") and "hub" in refused.json()["message"]
    assert worker.get("/stats").status_code == 200 and not (worker.data / "secrets" / "agent_token.json").exists()
    eventually(lambda: worker.get("/ready").status_code == 503)
    checks = worker.get("/ready").json()["checks"]
    assert (checks["hub"]["code"], checks["database"]["status"]) == ("hub_unreachable", "ok")


def test_a_worker_that_is_started_before_its_hub_registers_later(start, tmp_path):
    first = begin(start, "hub", TOKEN, "--role", "hub")
    first.stop()
    worker = begin(start, "alpha", FIRST, HUB_URL=first.url)
    assert worker.get("/ready").status_code == 503
    hub = begin(start, "hub", TOKEN, "--role", "hub", *same_place(first))
    joined(hub, "alpha")
    assert not loud(worker)


def test_a_worker_without_a_hub_is_ready_and_says_nothing(start):
    worker = begin(start, "alpha", FIRST, LOG_LEVEL="DEBUG")
    assert "hub" not in worker.get("/ready").json()["checks"] and worker.get("/ready").status_code == 200
    assert worker.post("/rotate-token").status_code == 200
    eventually(lambda: [line for line in worker.errors if "ananta.hub.membership" in line])
    assert not loud(worker)


def loud(worker) -> list[str]:
    return [line for line in worker.errors if " WARNING " in line or " ERROR " in line]


def test_a_hub_that_nobody_named_is_shown_no_secret(fake):
    member = Membership(fake.url, Identity("alpha", "http://alpha:5000", "worker", "team-registration-secret"), explicit=False,
                        token=lambda: FIRST, adopt=lambda token: None, lock=threading.Lock())
    fake.answer = (200, {"status": "registered", "agent_token": SECOND})
    assert member.register(FIRST, shown=FIRST) is None
    assert fake.seen.get(timeout=WAIT_S) == ({"name": "alpha", "url": "http://alpha:5000", "role": "worker"}, None)


@pytest.mark.parametrize(("hub_url", "same"), [
    ("http://localhost:5000", True), ("http://127.0.0.1:5000/", True), ("http://[::1]:5000", True), ("http://Team.example", True),
    ("http://localhost:5001", False), ("http://other:5000", False), ("https://localhost", False)])
def test_an_agent_knows_its_own_address(hub_url, same):
    assert is_same_place(hub_url, {"http://team.example/"}, 5000) is same


@pytest.mark.parametrize(("age_days", "days", "due"), [(6.9, 7, False), (7.1, 7, True), (7.1, 0, False), (1.1, 1, True)])
def test_when_a_token_is_too_old(age_days, days, due):
    assert is_due(1e9 - age_days * 86400, days, 1e9) is due


def test_an_old_kept_token_is_replaced_by_itself(start):
    folder = start("aged", "--host", "127.0.0.1", token=FIRST)
    kept = folder.post("/rotate-token").json()["new_token"]
    folder.stop()
    file = folder.data / "secrets" / "agent_token.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "last_rotation": time.time() - 8 * 86400}))
    again = start("aged", "--host", "127.0.0.1", token=FIRST)
    eventually(lambda: json.loads(file.read_text())["agent_token"] != kept)
    again.token = kept
    eventually(lambda: again.get("/stats").status_code == 401)
    again.token = json.loads(file.read_text())["agent_token"]
    assert again.get("/stats").status_code == 200
    eventually(lambda: "token_rotated" in (again.data / "audit.log").read_text())


# --- a hub that can be held up in the middle


class FakeHub(ThreadingHTTPServer):
    """Takes registrations; `answers` says what to do with each: (status, body), or an Event to wait for first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Registration)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: queue.Queue[tuple[dict, str | None]] = queue.Queue()
        self.held, self.answer = threading.Event(), (200, {"status": "registered"})
        self.held.set()


class _Registration(BaseHTTPRequestHandler):
    server: FakeHub

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.put((body, self.headers.get("Authorization")))
        assert self.server.held.wait(WAIT_S)
        status, answer = self.server.answer
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.held.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_a_worker_says_of_itself(fake, start):
    worker = begin(start, "alpha", FIRST, HUB_URL=fake.url, REGISTRATION_TOKEN="team-registration-secret",
                   AGENT_URL="http://alpha.example:5001/")
    said, shown = fake.seen.get(timeout=WAIT_S)
    assert said == {"name": "alpha", "url": "http://alpha.example:5001", "role": "worker", "token": FIRST,
                    "registration_token": "team-registration-secret"} and shown == f"Bearer {FIRST}"
    new = worker.post("/rotate-token").json()["new_token"]
    said, shown = fake.seen.get(timeout=WAIT_S)
    assert said["token"] == new and shown == f"Bearer {FIRST}"


@pytest.mark.parametrize("answer", [(409, {"code": "agent_token_mismatch", "message": "no"}), (500, {}), (302, {})])
def test_a_hub_that_refuses_stops_a_rotation(fake, start, answer):
    worker = begin(start, "alpha", FIRST, HUB_URL=fake.url)
    fake.seen.get(timeout=WAIT_S)
    fake.answer = answer
    refused = worker.post("/rotate-token")
    assert (refused.status_code, refused.json()["code"]) == (400, "rotation_failed")
    assert worker.get("/stats").status_code == 200
    fake.seen.get(timeout=WAIT_S)
    assert fake.seen.get(timeout=WAIT_S)[0]["token"] == FIRST  # told once more which token counts


def test_a_token_that_the_hub_assigns_is_taken_and_kept(fake, start):
    fake.answer = (200, {"status": "registered", "agent_token": SECOND})
    worker = begin(start, "alpha", FIRST, HUB_URL=fake.url)
    worker.token = SECOND
    eventually(lambda: worker.get("/stats").status_code == 200)
    worker.stop()
    fake.answer = (200, {"status": "registered"})
    again = begin(start, "alpha", FIRST, HUB_URL=fake.url)
    assert again.get("/stats").status_code == 401
    again.token = SECOND
    assert again.get("/stats").status_code == 200


def test_killed_between_telling_the_hub_and_using_the_new_token(fake, hub, start):
    """The fake hub holds the answer back, and the real one is told what it was told."""
    worker = begin(start, "alpha", FIRST, HUB_URL=fake.url)
    first, _ = fake.seen.get(timeout=WAIT_S)
    assert hub.post("/register", json=first).status_code == 200
    fake.held.clear()
    rotating = threading.Thread(target=lambda: _quietly(worker.post, "/rotate-token"))
    rotating.start()
    said, shown = fake.seen.get(timeout=WAIT_S)
    assert hub.post("/register", json=said, headers={"Authorization": shown}).status_code == 200
    worker.kill()
    rotating.join()
    fake.held.set()
    again = begin(start, "alpha", FIRST, *same_place(worker), HUB_URL=hub.url)
    assert again.get("/stats").status_code == 200  # nobody was told of the new one
    eventually(lambda: len(audited(hub)) == 3)
    assert register(hub, first["url"], said["token"], shown=said["token"]).status_code == 409
    assert again.post("/rotate-token").status_code == 200


def _quietly(call, *arguments):
    import requests

    with pytest.raises(requests.RequestException):
        call(*arguments)


def test_a_hub_with_another_secret_key_does_not_start(hub, database_url):
    hub.stop()
    extra = {"DATABASE_URL": database_url} if database_url else {}
    refused = ananta(hub.folder, "--role", "hub", "--port", "0", SECRET_KEY="another-secret-key-than-before", **extra)
    assert refused.returncode == 2 and "SECRET_KEY" in refused.stderr and "put the old key back" in refused.stderr
