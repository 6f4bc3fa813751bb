"""The archive over HTTP, on a hub with SQLite and one with Postgres."""
import threading

import pytest

from tests.api.test_streams import eventually, listen, records_of  # noqa: F401  (fixtures)
from tests.api.test_tasks import FIELDS, TOKEN, begin, create, get, hub, ids, kept, patch, refused  # noqa: F401
from tests.conftest import WAIT_S


def archived(hub, **query) -> list[dict]:  # noqa: F811
    answer = hub.get("/tasks/archived", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_task_is_put_away_and_brought_back(hub):  # noqa: F811
    first, second = create(hub, title="first", status="done", tags=["a"]), create(hub)
    done = hub.post(f"/tasks/{first['id']}/step/execute", json={"command": "echo hello"}).json()
    before = get(hub, first["id"])
    answer = hub.post(f"/tasks/{first['id']}/archive")
    assert (answer.status_code, answer.json()) == (200, {"status": "archived", "id": first["id"]})
    assert ids(hub.get("/tasks")) == [second["id"]] and archived(hub)[0]["archived_at"] > before["updated_at"]
    assert set(archived(hub)[0]) == FIELDS | {"archived_at"} and archived(hub)[0]["title"] == "first"
    for call in (hub.get(f"/tasks/{first['id']}"), patch(hub, first["id"], title="x"), hub.post(f"/tasks/{first['id']}/archive"),
                 hub.post(f"/tasks/{first['id']}/assign", json={"agent_url": "http://a"}),
                 hub.post(f"/tasks/{first['id']}/step/execute", json={"command": "echo no"}),
                 hub.post(f"/tasks/archived/{second['id']}/restore"), hub.post("/tasks/nothing/archive")):
        assert refused(call) == (404, "not_found")
    assert refused(hub.post("/tasks", json={"title": "again", "id": first["id"]})) == (409, "conflict")
    assert [each["id"] for each in hub.get(f"/tasks/{first['id']}/logs").json()] == [done["id"]]
    back = hub.post(f"/tasks/archived/{first['id']}/restore")
    assert (back.status_code, back.json()) == (200, {"status": "restored", "id": first["id"]})
    after = get(hub, first["id"])
    assert {**after, "updated_at": before["updated_at"]} == before and after["updated_at"] > before["updated_at"]
    assert archived(hub) == [] and ids(hub.get("/tasks"))[0] == first["id"]


def test_the_archive_is_read_in_pages(kept):  # noqa: F811
    made = [create(kept)["id"] for _ in range(4)]
    for each in made:
        assert kept.post(f"/tasks/{each}/archive").status_code == 200
    assert [each["id"] for each in archived(kept, limit=2)] == made[:1:-1]
    assert [each["id"] for each in archived(kept, limit=2, offset=2)] == made[1::-1]
    assert kept.request("HEAD", "/tasks/archived").status_code == 200
    assert kept.get(f"/tasks/{made[0]}/logs").json() == []
    assert all(kept.post(f"/tasks/archived/{each}/restore").status_code == 200 for each in made)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": "x"}, {"limit": 1001}, {"offset": -1}, {"offset": 10**17}])
def test_pages_that_are_not_possible(kept, query):  # noqa: F811
    assert refused(kept.get("/tasks/archived", params=query)) == (400, "invalid_value")


def test_the_archive_needs_a_token(kept):  # noqa: F811
    task = create(kept)["id"]
    for method, path in (("GET", "/tasks/archived"), ("POST", f"/tasks/{task}/archive"), ("POST", f"/tasks/archived/{task}/restore")):
        assert refused(kept.request(method, path, auth=False)) == (401, "unauthorized")


def test_a_worker_has_no_archive(server):
    for method, path in (("GET", "/tasks/archived"), ("POST", "/tasks/T-1/archive"), ("POST", "/tasks/archived/T-1/restore")):
        assert refused(server.request(method, path)) == (404, "not_found")


def test_what_runs_at_a_worker_is_not_lost_with_the_task(start, listen, tmp_path):  # noqa: F811
    hub, worker = begin(start), start("alpha", "--host", "127.0.0.1", token="a-token-of-a-worker")  # noqa: F811
    task = create(hub)["id"]
    hub.post(f"/tasks/{task}/assign", json={"agent_url": worker.url, "token": worker.token})
    client = listen(hub.url, f"/tasks/{task}/stream-logs?token={TOKEN}").opened()
    gate, answers = tmp_path / "gate", []
    command = f"echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo through"
    runs = threading.Thread(target=lambda: answers.append(hub.post(f"/tasks/{task}/step/execute", json={"command": command})))
    runs.start()
    eventually(lambda: get(hub, task)["run_state"] == "executing")
    assert hub.post(f"/tasks/{task}/archive").status_code == 200
    gate.touch()
    runs.join(WAIT_S)
    assert answers[0].status_code == 200 and answers[0].json()["output"] == "begun\nthrough"
    assert "through" in records_of(client, 1)[0]
    assert archived(hub)[0]["last_output"] == "begun\nthrough" and archived(hub)[0]["run_state"] == "completed"
    assert hub.post(f"/tasks/archived/{task}/restore").status_code == 200
    assert [each["output"] for each in get(hub, task)["history"]] == ["begun\nthrough"]
