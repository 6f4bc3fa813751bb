"""Two hubs on one Postgres behave as one."""
import json

import pytest
import requests

from tests.conftest import WAIT_S, in_parallel
from tests.hub.conftest import HUB, proposes, task

KEY = "a-secret-key-that-both-hubs-share"


@pytest.fixture
def hubs(start, model, postgres_server):
    """Two hubs with data directories of their own, and one worker."""
    url = postgres_server.database()
    return [start(name, "--role", "hub", "--host", "127.0.0.1", token=HUB, DATABASE_URL=url, SECRET_KEY=KEY,
                  LMSTUDIO_URL=model.url, INITIAL_ADMIN_PASSWORD="the-first-password") for name in ("one", "two")]


@pytest.fixture
def worker(start, model):
    return start("worker", "--host", "127.0.0.1", token="a-worker-token", LMSTUDIO_URL=model.url)


def test_ids_are_given_out_once(hubs):
    answers = in_parallel([lambda hub=hubs[number % 2]: hub.post("/tasks", json={"title": "x"}) for number in range(40)])
    assert {each.status_code for each in answers} == {201}
    assert sorted(each.json()["id"] for each in answers) == [f"T-{number}" for number in range(123456, 123496)]
    assert [len(hub.get("/tasks").json()) for hub in hubs] == [40, 40]


def test_changes_of_different_fields_both_survive(hubs):
    task_id = task(hubs[0])
    in_parallel([lambda: [hubs[0].request("PATCH", f"/tasks/{task_id}", json={"title": f"t{n}"}) for n in range(20)],
             lambda: [hubs[1].request("PATCH", f"/tasks/{task_id}", json={"priority": f"p{n}"}) for n in range(20)]])
    assert [(shown["title"], shown["priority"]) for shown in (hub.get(f"/tasks/{task_id}").json() for hub in hubs)] == [
        ("t19", "p19")] * 2


def test_a_proposal_runs_once_whoever_is_asked(hubs, worker, model):
    task_id = task(hubs[0], worker)
    proposes(model, "echo x >> ran")
    shown = hubs[0].post(f"/tasks/{task_id}/step/propose", json={"prompt": "x"}).json()
    assert [each["id"] for each in hubs[1].get("/proposals").json()] == [shown["id"]]
    answers = in_parallel([lambda hub=hubs[number % 2]: hub.post("/step/execute", json={"proposal_id": shown["id"]})
                         for number in range(20)])
    assert sorted(each.status_code for each in answers) == [200] + [409] * 19
    assert (worker.folder / "ran").read_text() == "x\n"
    assert len(hubs[1].get(f"/tasks/{task_id}").json()["history"]) == 1


def test_a_key_is_one_key_for_both(hubs, worker):
    task_id = task(hubs[0], worker)
    answers = in_parallel([lambda hub=hubs[number % 2]: hub.post(
        f"/tasks/{task_id}/step/execute", json={"command": "echo x >> ran"}, headers={"Idempotency-Key": "k"})
        for number in range(10)])
    assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
    assert (worker.folder / "ran").read_text() == "x\n"


def test_the_log_of_a_task_is_the_same_at_both(hubs, worker):
    task_id = task(hubs[0], worker)
    for number, hub in enumerate([*hubs, *hubs]):
        assert hub.post(f"/tasks/{task_id}/step/execute", json={"command": f"echo {number}"}).status_code == 200
    logs = [hub.get(f"/tasks/{task_id}/logs").json() for hub in hubs]
    assert logs[0] == logs[1] and [each["output"] for each in logs[0]] == ["0", "1", "2", "3"]


def test_the_steps_of_a_task_are_numbered_once(hubs, worker):
    task_id = task(hubs[0], worker)

    def run(number: int, command: str = "echo x") -> int:
        answer = hubs[number % 2].post(f"/tasks/{task_id}/step/execute", json={"command": command})
        return answer.status_code

    assert [run(number) for number in range(5)] == [200] * 5 and run(0, "rm -rf /") == 403
    for hub in hubs:
        assert [each["step"] for each in hub.get(f"/tasks/{task_id}/logs").json()] == [1, 2, 3, 4, 5, 6]
    assert set(in_parallel([lambda number=number: run(number) for number in range(12)])) == {200}
    assert sorted(each["step"] for each in hubs[0].get(f"/tasks/{task_id}/logs").json()) == list(range(1, 19))


def test_a_user_is_known_and_locked_out_at_both(hubs):
    def login(hub, password):
        return hub.post("/login", json={"username": "admin", "password": password}, auth=False)

    good = login(hubs[0], "the-first-password")
    assert good.status_code == 200
    mine = {"Authorization": f"Bearer {good.json()['access_token']}"}
    assert [hub.get("/me", headers=mine).json()["username"] for hub in hubs] == ["admin", "admin"]
    for number in range(5):
        assert login(hubs[number % 2], "wrong").status_code == 401
    assert [login(hub, "the-first-password").status_code for hub in hubs] == [403, 403]


def test_a_deleted_user_is_gone_at_both_at_once(hubs):
    admin = hubs[0].post("/login", json={"username": "admin", "password": "the-first-password"}, auth=False).json()
    headers = {"Authorization": f"Bearer {admin['access_token']}"}
    made = hubs[0].post("/users", json={"username": "eve", "password": "a long password 1"}, headers=headers)
    assert made.status_code == 200, made.text
    eve = hubs[1].post("/login", json={"username": "eve", "password": "a long password 1"}, auth=False).json()
    hers = {"Authorization": f"Bearer {eve['access_token']}"}
    assert hubs[0].get("/me", headers=hers).status_code == 200
    assert hubs[1].request("DELETE", "/users/eve", headers=headers).status_code == 200
    assert [hub.get("/me", headers=hers).status_code for hub in hubs] == [401, 401]


def test_login_attempts_are_counted_together(hubs):
    statuses = [hubs[number % 2].post("/login", json={"username": f"nobody{number}", "password": "x"}, auth=False).status_code
                for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2


def test_events_cross(hubs):
    task_id = task(hubs[0])
    with requests.get(f"{hubs[1].url}/events", params={"token": HUB}, stream=True, timeout=WAIT_S) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines(chunk_size=1)
        next(lines)
        hubs[0].request("PATCH", f"/tasks/{task_id}", json={"status": "done"})
        for line in lines:
            told = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if told.get("type") == "task_updated" and told["data"]["status"] == "done":
                assert told["data"] == {"id": task_id, "status": "done", "run_state": "created"}
                break


def test_a_hub_with_another_key_does_not_start(start, hubs):
    url = open_url(hubs[0])
    with pytest.raises(AssertionError, match="SECRET_KEY"):
        start("three", "--role", "hub", "--host", "127.0.0.1", token=HUB, DATABASE_URL=url,
              SECRET_KEY="another-key-than-the-others-have")


def open_url(hub) -> str:
    return hub.settings["DATABASE_URL"]
