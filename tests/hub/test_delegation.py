"""Subtasks at other agents: real hubs and workers, and strangers that misbehave."""
import json

import pytest

from tests.api.test_tasks import FIELDS, get, patch, refused
from tests.conftest import in_parallel
from tests.hub.conftest import HUB, task, team  # noqa: F401  (fixtures)
from tests.hub.stranger import Stranger, reply
from tests.hub.test_callbacks import eventually


@pytest.fixture
def hub(start, database_url):
    extra = {"DATABASE_URL": database_url} if database_url else {}
    return start("hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, **extra)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    from tests.conftest import Ananta

    running = Ananta(tmp_path_factory.mktemp("kept"), "--role", "hub", "--host", "127.0.0.1", token=HUB)
    yield running
    running.stop()


@pytest.fixture
def stranger():
    made = []

    def begin(answer):
        made.append(Stranger(answer))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def delegate(hub, parent, url, **fields):
    return hub.post(f"/tasks/{parent}/delegate", json={"agent_url": url, "subtask_description": "look into it", **fields})


def delegated(hub, parent, url, **fields) -> dict:
    answer = delegate(hub, parent, url, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def report(hub, parent, token=None, **fields):
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return hub.post(f"/tasks/{parent}/subtask-callback", json=fields, headers=headers)


def entry(hub, parent) -> dict:
    found, = get(hub, parent)["subtasks"]
    return found


def test_a_worker_gets_a_subtask_that_is_carried_out_as_any_other(team):  # noqa: F811
    hub, worker, _ = team
    parent = task(hub)
    done = delegated(hub, parent, worker.url + "/", agent_token=worker.token, priority="High")
    assert done["status"] == "delegated" and done["agent_url"] == worker.url and done["response"] is None
    subtask = get(hub, done["subtask_id"])
    assert set(subtask) == FIELDS and subtask["id"].startswith("sub-") and subtask["parent_task_id"] == parent
    assert (subtask["title"], subtask["description"], subtask["priority"], subtask["status"], subtask["run_state"]) == (
        "look into it", "look into it", "High", "to-do", "assigned")
    assert subtask["assignment"] == {"agent_url": worker.url, "has_token": True}
    assert entry(hub, parent) == {"id": done["subtask_id"], "agent_url": worker.url, "description": "look into it",
                                  "status": "to-do"}
    assert hub.post(f"/tasks/{done['subtask_id']}/step/execute", json={"command": "echo there; exit 3"}).status_code == 200
    assert worker.records()[-1]["task_id"] == done["subtask_id"]
    assert entry(hub, parent) == {"id": done["subtask_id"], "agent_url": worker.url, "description": "look into it",
                                  "status": "in-progress", "last_output": "there", "last_exit_code": 3}
    patch(hub, done["subtask_id"], status="done")
    assert entry(hub, parent)["status"] == "done"
    audited = hub.get("/audit-logs").json()[0]
    assert audited["action"] == "task_delegated" and audited["details"]["subtask_id"] == done["subtask_id"]


def test_a_worker_that_does_not_take_the_token_is_told_of_at_once(team):  # noqa: F811
    hub, worker, _ = team
    parent = task(hub)
    answer = delegate(hub, parent, worker.url, agent_token="not-its-token-0123456789")
    assert refused(answer) == (502, "delegation_failed") and "401" in answer.json()["details"] and "token" in answer.json()["message"]
    assert get(hub, parent)["subtasks"] == []


def test_the_registered_token_is_used_where_none_is_given(hub, stranger):
    other = stranger(lambda number, request, connection: reply({"id": "x", "status": "to-do"}, 201))
    registered = hub.post("/register", json={"name": "other", "url": other.url, "token": "registered-token"})
    assert registered.status_code == 200, registered.text
    delegated(hub, task(hub), other.url)
    asked = [each for each in other.requests if each["path"] == "/tasks"]
    assert [each["headers"]["authorization"] for each in asked] == ["Bearer registered-token"]


def test_another_hub_carries_it_out_and_tells_how_it_stands(start, database_url):
    extra = {"DATABASE_URL": database_url} if database_url else {}
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, **extra)
    other = start("other", "--role", "hub", "--host", "127.0.0.1", token="the-token-of-the-other")
    parent = task(hub)
    done = delegated(hub, parent, other.url, agent_token=other.token)
    there = get(other, done["subtask_id"])
    assert done["response"]["id"] == there["id"] and there["title"] == "look into it" and there["parent_task_id"] == parent
    assert there["callback_url"] == f"{hub.url.replace('127.0.0.1', 'localhost')}/tasks/{parent}/subtask-callback"
    assert other.post(f"/tasks/{there['id']}/step/execute", json={"command": "echo done there"}).status_code == 200
    eventually(lambda: entry(hub, parent).get("last_output") == "done there")
    assert entry(hub, parent)["last_exit_code"] == 0
    patch(other, there["id"], status="done")
    eventually(lambda: entry(hub, parent)["status"] == "done")
    mine = get(hub, done["subtask_id"])
    assert (mine["status"], mine["run_state"], mine["last_output"], mine["last_exit_code"]) == ("done", "completed", "done there", 0)


def test_the_callback_token_opens_this_path_for_this_subtask_alone(hub, stranger):
    told = []
    other = stranger(lambda number, request, connection: told.append(request["body"]) or reply(request["body"], 201))
    parent, second = task(hub), task(hub)
    first = delegated(hub, parent, other.url, agent_token="agent-token")["subtask_id"]
    foreign = delegated(hub, parent, other.url)["subtask_id"]
    token = told[0]["callback_token"]
    assert len(token) >= 43 and token != told[1]["callback_token"]
    for call in (lambda: report(hub, parent, token, id=first, status="in-progress"),
                 lambda: report(hub, parent, token, id=first, status="in-progress", last_output="x", last_exit_code=None)):
        answer = call()
        assert (answer.status_code, answer.json()) == (200, {"status": "updated"})
    assert refused(report(hub, parent, token, id=foreign, status="done")) == (404, "subtask_not_found")
    assert refused(report(hub, second, token, id=first, status="done")) == (401, "unauthorized")
    assert refused(report(hub, parent, token[:-1], id=first, status="done")) == (401, "unauthorized")
    assert refused(hub.post(f"/tasks/{parent}/subtask-callback?token={token}", auth=False, json={
        "id": first, "status": "done"})) == (401, "unauthorized")
    for method, path in (("GET", "/tasks"), ("GET", f"/tasks/{parent}"), ("POST", f"/tasks/{parent}/delegate"), ("GET", "/stats"),
                         ("PATCH", f"/tasks/{parent}"), ("POST", f"/tasks/{parent}/step/execute"), ("GET", "/schedule")):
        answer = hub.request(method, path, json={}, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code in (401, 404) and "subtasks" not in answer.text, path
    for path in ("/tasks", f"/tasks/{parent}", f"/tasks/{first}"):
        shown = hub.get(path).text
        assert token not in shown and "agent-token" not in shown
    stored = b"".join(path.read_bytes() for path in hub.data.glob("*") if path.is_file())
    assert token.encode() not in stored and b"agent-token" not in stored
    # Once it has said that it is done, there is nothing more to tell.
    assert report(hub, parent, token, id=first, status="Completed").status_code == 200
    assert refused(report(hub, parent, token, id=first, status="in-progress")) == (401, "unauthorized")
    assert {each["id"]: each["status"] for each in get(hub, parent)["subtasks"]} == {first: "Completed", foreign: "to-do"}
    assert get(hub, first)["status"] == "done"
    assert report(hub, parent, id=first, status="in-progress").status_code == 200


def test_what_another_hub_answers_is_shown_without_tokens(hub, stranger):
    other = stranger(lambda number, request, connection: reply(
        {"status": "success", "data": {**request["body"], "echo": request["headers"]["authorization"], "token": "theirs"}}, 201))
    done = delegated(hub, task(hub), other.url, agent_token="agent-token-0123")
    assert done["response"]["description"] == "look into it" and done["response"]["echo"] == "Bearer ***"
    assert other.requests[0]["body"]["callback_token"] not in json.dumps(done) and "theirs" not in json.dumps(done)
    large = stranger(lambda number, request, connection: reply({"id": "x", "status": "to-do", "more": "y" * 100_000}, 201))
    assert delegated(hub, task(hub), large.url)["response"] == {"id": "x", "status": "to-do"}


@pytest.mark.parametrize(("answer", "details"), [
    (reply({"error": "conflict", "code": "conflict", "message": "m"}, 409), "409 conflict"),
    (reply({"error": "no", "code": "unauthorized", "message": "agent-token-0123"}, 401), "401 unauthorized"),
    (reply({}, 307, ("Location: http://127.0.0.1:1/",)), "307"), (reply(b"<html>", 500), "500"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", None), (None, None)])
def test_an_agent_that_does_not_take_it_leaves_nothing_behind(kept, stranger, answer, details):
    other = stranger(lambda number, request, connection: answer)
    parent = task(kept)
    before = len(kept.get("/tasks").json())
    failed = delegate(kept, parent, other.url, agent_token="agent-token-0123")
    assert refused(failed) == (502, "delegation_failed") and "agent-token-0123" not in failed.text
    assert details is None or failed.json()["details"] == details
    assert get(kept, parent)["subtasks"] == [] and len(kept.get("/tasks").json()) == before
    token = other.requests[0]["body"]["callback_token"]
    assert refused(report(kept, parent, token, id=other.requests[0]["body"]["id"], status="done")) == (401, "unauthorized")


def test_nobody_there_leaves_nothing_behind(kept):
    parent = task(kept)
    assert refused(delegate(kept, parent, "http://127.0.0.1:1")) == (502, "delegation_failed")
    assert refused(delegate(kept, parent, "http://no-such-host.invalid")) == (502, "delegation_failed")
    assert get(kept, parent)["subtasks"] == []


def test_a_lost_answer_is_asked_for_again(kept, stranger):
    other = stranger(lambda number, request, connection: None if number == 0 else reply(
        {"error": "conflict", "code": "conflict", "message": "it is there"}, 409))
    parent = task(kept)
    done = delegated(kept, parent, other.url)
    first, second = other.requests
    assert first["body"] == second["body"] and first["headers"]["idempotency-key"] == second["headers"]["idempotency-key"]
    assert entry(kept, parent)["id"] == done["subtask_id"] == first["body"]["id"]


def test_a_worker_of_another_make_need_not_know_tasks(kept, stranger):
    for status in (404, 405):
        other = stranger(lambda number, request, connection, status=status: reply(b"no", status))
        assert delegated(kept, task(kept), other.url)["response"] is None


def test_a_subtask_of_this_hub_itself_is_no_call(kept):
    parent = task(kept)
    done = delegated(kept, parent, kept.url)
    assert done["response"] is None
    assert kept.post(f"/tasks/{done['subtask_id']}/step/execute", json={"command": "echo here"}).json()["output"] == "here"
    assert entry(kept, parent)["last_output"] == "here"


@pytest.mark.parametrize(("fields", "expected"), [
    ({"agent_url": None}, (422, "validation_failed")), ({"agent_url": 5}, (422, "validation_failed")),
    ({"subtask_description": None}, (422, "validation_failed")), ({"subtask_description": " \n"}, (422, "validation_failed")),
    ({"subtask_description": "a\0b"}, (422, "validation_failed")), ({"subtask_description": "x" * 100_001}, (422, "validation_failed")),
    ({"agent_token": "a\nb"}, (422, "validation_failed")), ({"agent_token": ["x"]}, (422, "validation_failed")),
    ({"priority": ""}, (422, "validation_failed")), ({"priority": "x" * 65}, (422, "validation_failed")),
    ({"agent_url": "ftp://a"}, (400, "invalid_value")), ({"agent_url": "http://a b"}, (400, "invalid_value")),
    ({"agent_url": "http://169.254.169.254/latest"}, (400, "invalid_value")),
    ({"agent_url": "http://metadata.google.internal"}, (400, "invalid_value"))])
def test_delegations_that_are_not_possible(kept, fields, expected):
    parent = task(kept)
    assert refused(delegate(kept, parent, **{"url": "http://127.0.0.1:1", **{
        "url" if name == "agent_url" else name: value for name, value in fields.items()}})) == expected
    assert get(kept, parent)["subtasks"] == []


@pytest.mark.parametrize("fields", [{}, {"id": "x"}, {"status": "done"}, {"id": 5, "status": "done"}, {"id": "x", "status": ""},
                                    {"id": "x", "status": ["done"]}, {"id": "x", "status": "a\nb"},
                                    {"id": "x", "status": "done", "last_exit_code": "0"},
                                    {"id": "x", "status": "done", "last_exit_code": 1 << 40},
                                    {"id": "x", "status": "done", "last_output": 5}])
def test_reports_that_are_not_possible(kept, fields):
    assert refused(report(kept, task(kept), **fields)) == (400, "invalid_payload")


def test_many_tokens_at_once_are_none(kept):
    answer = kept.post("/tasks/x/subtask-callback?" + "&".join(f"token={number}" for number in range(200)), json={"id": "x", "status": "y"}, auth=False)
    assert answer.status_code == 401


def test_unknown_parents_and_subtasks(kept):
    parent = task(kept)
    assert refused(delegate(kept, "T-0", "http://127.0.0.1:1")) == (404, "parent_task_not_found")
    assert refused(report(kept, "T-0", id="x", status="done")) == (404, "parent_task_not_found")
    assert refused(report(kept, parent, id="x", status="done")) == (404, "subtask_not_found")
    assert refused(kept.post(f"/tasks/{parent}/delegate", json={}, auth=False)) == (401, "unauthorized")
    assert refused(kept.post(f"/tasks/{parent}/subtask-callback", json={}, auth=False)) == (401, "unauthorized")


def test_a_report_reaches_an_archived_parent(hub):
    parent = task(hub)
    done = delegated(hub, parent, hub.url)["subtask_id"]
    assert hub.post(f"/tasks/{parent}/archive").status_code == 200 == hub.post(f"/tasks/{done}/archive").status_code
    long = "ü" * 100_000
    assert report(hub, parent, id=done, status="failed", last_output=long + HUB + "\0", last_exit_code=2).status_code == 200
    assert refused(delegate(hub, parent, hub.url)) == (404, "parent_task_not_found")
    for each in (parent, done):
        hub.post(f"/tasks/archived/{each}/restore")
    found, subtask = entry(hub, parent), get(hub, done)
    assert found["status"] == "failed" and len(found["last_output"]) == 500 and found["last_exit_code"] == 2
    assert (subtask["status"], subtask["run_state"]) == ("in-progress", "failed") and HUB not in subtask["last_output"]
    assert len(subtask["last_output"].encode()) <= 64 << 10


def test_reports_at_once_all_count(hub):
    parent = task(hub)
    made = [delegated(hub, parent, hub.url)["subtask_id"] for _ in range(6)]
    in_parallel([lambda each=each: report(hub, parent, id=each, status="done", last_output=each) for each in made])
    assert {each["id"]: (each["status"], each["last_output"]) for each in get(hub, parent)["subtasks"]} == {
        each: ("done", each) for each in made}


def test_the_subtasks_of_a_task_are_limited(kept):
    parent = task(kept)
    for _ in range(100):
        delegated(kept, parent, kept.url)
    assert refused(delegate(kept, parent, kept.url)) == (409, "too_many_subtasks")


def test_a_hub_is_called_by_the_name_it_gives_itself(start):
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, AGENT_URL="http://hub.example:5000")
    parent = task(hub)
    for host, status in (("hub.example:5000", 401), ("other.example", 403)):
        assert hub.post(f"/tasks/{parent}/subtask-callback", json={}, auth=False, headers={"Host": host}).status_code == status
