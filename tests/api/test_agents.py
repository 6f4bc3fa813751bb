"""POST /register and GET /agents: what a hub takes and shows. Who may change what: tests/hub/test_registration.py."""
import json

import pytest

TOKEN = "hub-secret-token-0123"


@pytest.fixture
def hub(start, database_url):
    return start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN,
                 **({"DATABASE_URL": database_url} if database_url else {}))


@pytest.fixture
def worker(start):
    return start("alpha", "--host", "127.0.0.1", token="worker-token-0123456")


def register(hub, worker, prefix="", **fields):
    return hub.post(f"{prefix}/register", auth=False, json={"name": "alpha", "url": worker.url, "token": worker.token, **fields})


def test_an_agent_registers_and_is_shown_without_its_token(hub, worker):
    answer = register(hub, worker, url=worker.url + "/")
    assert (answer.status_code, answer.json()) == (200, {"status": "registered"})
    shown = hub.get("/agents")
    entry = shown.json()["alpha"]
    assert set(entry) == {"name", "url", "role", "status", "last_seen", "resources", "model", "commands", "has_token"}
    assert (entry["url"], entry["role"], entry["status"], entry["resources"], entry["model"], entry["commands"], entry["has_token"]) == (
        worker.url, "worker", "online", None, None, None, True)
    assert hub.get("/agents?format=list").json() == [entry] and hub.get("/api/system/agents").json() == {"alpha": entry}
    assert worker.token not in shown.text and worker.token.encode() not in (hub.data / "audit.log").read_bytes()
    assert hub.get("/agents", auth=False).status_code == 401
    assert hub.get("/stats").json()["agents"] == {"total": 1, "online": 1, "offline": 0}
    audited = [json.loads(line) for line in (hub.data / "audit.log").read_text().splitlines()]
    assert [each["details"] for each in audited if each["event"] == "agent_registered"] == [
        {"name": "alpha", "url": worker.url, "role": "worker"}]


def test_of_two_agents_of_one_name_the_one_seen_last_has_it(hub, worker, start):
    other = start("beta", "--host", "127.0.0.1", token="another-token-0123456")
    assert register(hub, worker).status_code == register(hub, other, prefix="/api/system").status_code == 200
    assert {name: each["url"] for name, each in hub.get("/agents").json().items()} == {
        "alpha": other.url, f"alpha ({worker.url})": worker.url}


@pytest.mark.parametrize("fields", [{"name": "data"}, {"name": "status"}, {"name": ""}, {"name": " "}, {"name": "a" * 65},
                                    {"name": "a\nb"}, {"role": "boss"}, {"token": "with space"}, {"token": "end\n"},
                                    {"name": 7}])
def test_what_does_not_fit_is_422(hub, fields):
    answer = hub.post("/register", auth=False, json={"name": "a", "url": "http://127.0.0.1:9", **fields})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["loc"][0] == "body"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:5000", "http://", "http://user@127.0.0.1", "http://127.0.0.1:0",
                                 "http://127.0.0.1:9", "http://169.254.169.254", "http://metadata.google.internal/x"])
def test_an_agent_that_does_not_answer_is_not_registered(hub, url):
    answer = hub.post("/register", auth=False, json={"name": "a", "url": url})
    assert (answer.status_code, answer.json()["code"]) == (400, "agent_unreachable")
    assert hub.get("/agents").json() == {}


def test_one_address_registers_twenty_times_a_minute(hub):
    answers = [hub.post("/register", auth=False, json={"name": "a", "url": "http://127.0.0.1:9"}) for _ in range(21)]
    assert [each.status_code for each in answers] == [400] * 20 + [429] and int(answers[-1].headers["Retry-After"]) > 0


def test_a_worker_has_no_agents(worker):
    for method, path in (("GET", "/agents"), ("POST", "/register"), ("GET", "/api/system/agents")):
        assert worker.request(method, path, json={}).status_code == 404


def test_an_administrator_removes_an_agent_which_may_come_back(hub, worker):
    register(hub, worker)
    task_id = hub.post("/tasks", json={"title": "stays"}).json()["id"]
    hub.post(f"/tasks/{task_id}/assign", json={"agent_url": worker.url})
    assert hub.request("DELETE", "/agents", params={"url": worker.url}, auth=False).status_code == 401
    assert hub.request("DELETE", "/agents").status_code == 400 and hub.get("/agents").json()
    answer = hub.request("DELETE", "/agents", params={"url": worker.url + "/"})
    assert (answer.status_code, answer.json()) == (200, {"status": "removed"})
    assert hub.get("/agents").json() == {} and hub.get(f"/tasks/{task_id}").json()["assigned_agent_url"] == worker.url
    again = hub.request("DELETE", "/api/system/agents", params={"url": worker.url})
    assert (again.status_code, again.json()["code"]) == (404, "agent_not_found")
    audited = [json.loads(line) for line in (hub.data / "audit.log").read_text().splitlines()]
    assert [each["details"] for each in audited if each["event"] == "agent_removed"] == [{"name": "alpha", "url": worker.url}]
    assert register(hub, worker).status_code == 200 and list(hub.get("/agents").json()) == ["alpha"]
