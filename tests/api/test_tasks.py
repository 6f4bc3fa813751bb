"""Tasks over HTTP, on a hub with SQLite and one with Postgres."""
import json
import threading

import pytest
import requests

from tests.conftest import WAIT_S, Ananta

TOKEN = "hub-secret-token-0123"
FIELDS = {"id", "title", "description", "status", "run_state", "priority", "template_id", "tags", "team_id",
          "assigned_role_id", "parent_task_id", "assigned_agent_url", "assignment", "last_proposal", "last_output",
          "last_exit_code", "history", "subtasks", "callback_url", "created_at", "updated_at"}


def begin(start, database_url=None, **environment) -> Ananta:
    extra = {"DATABASE_URL": database_url} if database_url else {}
    return start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, **extra, **environment)


@pytest.fixture
def hub(start, database_url):
    return begin(start, database_url)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One hub for the tests of this module that only look at single answers."""
    made = Ananta(tmp_path_factory.mktemp("kept"), "--role", "hub", "--host", "127.0.0.1", token=TOKEN)
    yield made
    made.stop()


def create(hub, **fields) -> dict:
    answer = hub.post("/tasks", json={"title": "a task", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def get(hub, task_id) -> dict:
    answer = hub.get(f"/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def patch(hub, task_id, **fields):
    return hub.request("PATCH", f"/tasks/{task_id}", json=fields)


def refused(answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/json", answer.text
    body = answer.json()
    assert isinstance(body.get("details", ""), str) and body["message"] and body["error"] == body["code"]
    return answer.status_code, body["code"]


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()]


def test_the_first_tasks_of_a_fresh_hub(hub):
    first = create(hub, title="Repo-Analyse")
    assert set(first) == FIELDS and first["id"] == "T-123456" and first["status"] == "to-do"
    assert (first["run_state"], first["priority"], first["tags"], first["history"], first["assignment"]) == (
        "created", "Medium", [], [], None)
    second = create(hub, description="what", tags=["a", "ä"], status="backlog", priority="High", team_id="t",
                    assigned_role_id="r", parent_task_id="T-123456", callback_url="http://127.0.0.1:1/x")
    assert second["id"] == "T-123457" and second["tags"] == ["a", "ä"] and second["status"] == "backlog"
    assert get(hub, "T-123456") == first and hub.get("/tasks").json() == [second, first]
    assert hub.request("HEAD", "/tasks/T-123456").status_code == 200
    assert "task_received_total 2.0" in hub.get("/metrics").text


def test_whoever_may_read_and_whoever_may_write(kept):
    task = create(kept, callback_token="cb-token", callback_url="http://127.0.0.1:1/")
    kept.post(f"/tasks/{task['id']}/assign", json={"agent_url": "http://127.0.0.1:1", "token": "worker-token"})
    for path in ("/tasks", f"/tasks/{task['id']}"):
        answer = kept.get(path, auth=False)
        assert answer.status_code == 200 and "worker-token" not in answer.text and "cb-token" not in answer.text
        assert kept.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    for method, path in (("POST", "/tasks"), ("PATCH", f"/tasks/{task['id']}"), ("POST", f"/tasks/{task['id']}/assign"),
                         ("POST", f"/tasks/{task['id']}/unassign")):
        assert refused(kept.request(method, path, json={"title": "x"}, auth=False)) == (401, "unauthorized")
    stored = b"".join(path.read_bytes() for path in kept.data.glob("ananta.db*"))
    assert b"worker-token" not in stored and b"cb-token" not in stored


def test_a_worker_has_no_tasks(server):
    for method, path in (("GET", "/tasks"), ("POST", "/tasks"), ("GET", "/tasks/T-1"), ("GET", "/templates"),
                         ("PATCH", "/tasks/T-1"), ("POST", "/tasks/T-1/assign")):
        assert refused(server.request(method, path, json={})) == (404, "not_found")


def test_old_and_other_paths_are_not_there(kept):
    task_id = create(kept)["id"]
    for path in ("propose", "execute", "nothing"):
        assert refused(kept.post(f"/tasks/{task_id}/{path}", json={})) == (404, "not_found")
    assert refused(kept.get("/tasks/T-0")) == (404, "not_found") == refused(patch(kept, "T-0", title="x"))
    assert refused(kept.post("/tasks/T-0/assign", json={"agent_url": "http://a"})) == (404, "not_found")
    assert refused(kept.post("/tasks/T-0/assign", json={})) == (404, "not_found")
    assert refused(kept.post("/tasks/T-0/unassign")) == (404, "not_found")
    assert kept.request("DELETE", f"/tasks/{task_id}").status_code == 405
    assert get(kept, task_id + "/")["id"] == task_id


# --- titles, ids


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": None}, {"title": " \n\t"}, {"description": "only this"},
                                  {"parent_task_id": "T-1"}, {"parent_task_id": "T-1", "description": " "},
                                  {"parent_task_id": "", "description": "x"}])
def test_a_title_is_needed(kept, body):
    assert refused(kept.post("/tasks", json=body)) == (400, "title_required")


def test_titles(kept):
    assert create(kept, title="x" * 500)["title"] == "x" * 500 and create(kept, title="\U0001f600\n")["title"] == "\U0001f600\n"
    derived = kept.post("/tasks", json={"parent_task_id": "T-1", "description": "\n look \nhere"}).json()
    assert derived["title"] == "look" and derived["parent_task_id"] == "T-1"
    assert refused(patch(kept, derived["id"], title=" ")) == (400, "title_required")
    assert patch(kept, derived["id"], title=None).json()["title"] == "look"


def test_an_own_id_is_taken_once(hub):
    assert create(hub, id="my.task_1-x")["id"] == "my.task_1-x" and create(hub, id="")["id"] == "T-123456"
    again = hub.post("/tasks", json={"title": "other", "id": "my.task_1-x"})
    assert refused(again) == (409, "conflict") and get(hub, "my.task_1-x")["title"] == "a task"
    assert create(hub, id="T-123457")["id"] == "T-123457" and create(hub)["id"] == "T-123458"


@pytest.mark.parametrize("task_id", ["a b", "a/b", "ä", "a\n", "a\0", ".", "..", "archived", "x" * 65, 5, True, ["a"]])
def test_ids_that_are_none(kept, task_id):
    answer = kept.post("/tasks", json={"title": "t", "id": task_id})
    assert refused(answer) == (400, "invalid_value") and answer.json()["details"] == "id"


# --- hostile values


@pytest.mark.parametrize("fields", [
    {"title": "x" * 501}, {"title": "x" * 1_000_000}, {"title": "a\0b"}, {"title": 5}, {"title": True}, {"title": ["x"]},
    {"title": {"a": 1}}, {"description": "x" * 100_001}, {"description": "\0"}, {"description": 1.5},
    {"status": ""}, {"status": "x" * 65}, {"status": "a\nb"}, {"status": "done\n"}, {"status": 1}, {"priority": 3},
    {"priority": "x" * 65}, {"tags": "a"}, {"tags": [1]}, {"tags": [None]}, {"tags": ["x" * 101]}, {"tags": ["a"] * 51},
    {"tags": [""]}, {"tags": {"a": 1}}, {"team_id": 5}, {"team_id": "x" * 201}, {"parent_task_id": "a\0"},
    {"template_id": False}, {"assigned_role_id": []}, {"callback_url": "ftp://x/"}, {"callback_url": "javascript:x"},
    {"callback_url": "http://u:p@h/"}, {"callback_url": "http://169.254.169.254/latest"}, {"callback_url": "http://h/\r\nX: y"},
    {"callback_url": "http://[fe80::1]/"}, {"callback_url": "http://metadata.google.internal/"}, {"callback_url": 5},
    {"callback_token": "a\r\nX: y"}, {"callback_token": "ü"}, {"callback_token": "x" * 4097}])
def test_values_that_are_not_possible(kept, fields):
    before, task_id = len(kept.get("/tasks").json()), create(kept)["id"]
    for answer in (kept.post("/tasks", json={"title": "t", **fields}), patch(kept, task_id, **fields)):
        assert refused(answer) == (400, "invalid_value") and len(answer.text) < 2000
        assert answer.json()["details"].split(".")[0] == next(iter(fields))
    assert len(kept.get("/tasks").json()) == before + 1 and get(kept, task_id)["title"] == "a task"


@pytest.mark.parametrize("body", [b"[", b"[]", b"5", b'"x"', b'{"title": "\\ud800"}', b'{"title": "\xff"}', b'{"title": NaN}',
                                  b'{"title": "a"} x', b"{'title': 1}", b"null", b'{"x":' * 5000, b"[" * 100_000])
def test_bodies_that_are_no_json_object(kept, body):
    for method, path in (("POST", "/tasks"), ("PATCH", "/tasks/T-123456"), ("POST", "/tasks/T-123456/assign")):
        assert refused(kept.request(method, path, data=body)) == (400, "invalid_json")


def test_what_nobody_knows_is_ignored(kept):
    body = {"title": "t", "run_state": "failed", "history": [1], "last_output": "x", "assignment": {"agent_url": "http://x"},
            "created_at": 1, "steps": 9, "extra": {"deep": [[[[2**70]]]]}, "assigned_agent_url": "http://x", "subtasks": 5}
    task = create(kept, **body)
    assert task["run_state"] == "created" and task["assignment"] is None and task["created_at"] > 1e9
    changed = patch(kept, task["id"], **{**body, "id": "other", "updated_at": 0, "title": "new"}).json()
    assert changed["id"] == task["id"] and {**changed, "title": "t", "updated_at": 0} == {**task, "updated_at": 0}


@pytest.mark.parametrize(("query", "details"), [
    ("limit=0", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"), ("limit=1e3", "limit"),
    ("limit=9223372036854775808", "limit"), ("limit=%D9%A3", "limit"), ("limit=1_0", "limit"), ("offset=-1", "offset"),
    ("offset=true", "offset"), ("since=abc", "since"), ("since=nan", "since"), ("until=inf", "until"), ("since=1e400", "since"),
    ("until=0x10", "until"), ("status=a%00b", "status"), ("status=" + "x" * 65, "status"), ("team_id=a%0A", "team_id")])
def test_queries_that_are_not_possible(kept, query, details):
    answer = kept.get(f"/tasks?{query}")
    assert refused(answer) == (400, "invalid_value") and answer.json()["details"] == details


@pytest.mark.parametrize("query", [
    "limit=999999999999999999", "offset=999999999999999999", "limit=1&limit=2", "status=&agent=&since=&limit=", "x=y",
    "status=%27%20OR%201=1%20--", "agent=%00", "agent=%F0%9F%98%80", "since=-1.5&until=99999999999", "team_id=%25"])
def test_queries_that_are_only_odd(hub, query):
    create(hub)
    assert hub.get(f"/tasks?{query}").status_code == 200
    assert hub.get("/tasks/%F0%9F%98%80").status_code == 404


# --- changing


def test_changes(hub):
    template = hub.post("/templates", json={"name": "n", "prompt_template": "p"}).json()["id"]
    task = create(hub, description="d", team_id="t", template_id=template, callback_url="http://127.0.0.1:1/")
    assert task["template_id"] == template
    moved = patch(hub, task["id"], status="In_Progress").json()
    assert moved == get(hub, task["id"]) and moved["status"] == "In_Progress" and moved["run_state"] == "created"
    assert moved["updated_at"] > task["updated_at"] and moved["created_at"] == task["created_at"]
    whole = patch(hub, task["id"], title="new", description="e", priority="Low", tags=["x"], team_id="u",
                  assigned_role_id="r", parent_task_id="p").json()
    assert [whole[name] for name in ("title", "description", "priority", "tags", "team_id", "assigned_role_id",
                                     "parent_task_id")] == ["new", "e", "Low", ["x"], "u", "r", "p"]
    same = patch(hub, task["id"], title="new", tags=["x"])
    assert same.json() == whole == hub.request("PATCH", f"/tasks/{task['id']}", data=b"").json()


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_blank_take_away(kept, nothing):
    names = ("description", "team_id", "assigned_role_id", "parent_task_id", "callback_url", "template_id")
    template = kept.post("/templates", json={"name": "n", "prompt_template": "p"}).json()["id"]
    task = create(kept, description="d", team_id="t", assigned_role_id="r", parent_task_id="p", priority="High",
                  callback_url="http://127.0.0.1:1/", callback_token="x", template_id=template, tags=["x"])
    changed = patch(kept, task["id"], callback_token=nothing, **dict.fromkeys(names, nothing)).json()
    assert all(task[name] for name in names) and not any(changed[name] for name in names)
    kept_still = patch(kept, task["id"], title=None, status=None, priority=None, tags=None).json()
    assert (kept_still["title"], kept_still["priority"], kept_still["tags"]) == ("a task", "High", ["x"])


def test_templates_must_exist(kept):
    answer = kept.post("/tasks", json={"title": "t", "template_id": "none"})
    assert refused(answer) == (404, "template_not_found") and answer.json()["template_id"] == "none"
    task = create(kept)
    assert refused(patch(kept, task["id"], title="x", template_id="none")) == (404, "template_not_found")
    assert get(kept, task["id"]) == task


def test_a_task_is_not_its_own_parent(kept):
    task_id = create(kept)["id"]
    assert refused(patch(kept, task_id, parent_task_id=task_id)) == (400, "invalid_value")
    assert refused(kept.post("/tasks", json={"title": "t", "id": "self", "parent_task_id": "self"})) == (400, "invalid_value")


def test_changes_of_two_fields_at_once_both_count(hub):
    task_id = create(hub)["id"]

    def change(name):
        with requests.Session() as session:
            session.trust_env = False
            for number in range(20):
                assert session.patch(f"{hub.url}/tasks/{task_id}", json={name: f"{name}-{number}"}, timeout=WAIT_S,
                                     headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200

    threads = [threading.Thread(target=change, args=(name,)) for name in ("title", "description", "status", "team_id")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    task = get(hub, task_id)
    assert [task[name] for name in ("title", "description", "status", "team_id")] == [
        "title-19", "description-19", "status-19", "team_id-19"]


# --- assigning


def test_assigning_and_taking_back(hub):
    task_id = create(hub, status="backlog")["id"]
    for body in ({}, {"agent_url": None}, {"agent_url": ""}, {"token": "x"}):
        assert refused(hub.post(f"/tasks/{task_id}/assign", json=body)) == (400, "agent_url_required")
    answer = hub.post(f"/tasks/{task_id}/assign", json={"agent_url": "http://localhost:5001/", "token": "worker-token"})
    assert (answer.status_code, answer.json()) == (200, {"status": "assigned", "agent_url": "http://localhost:5001",
                                                         "id": task_id})
    task = get(hub, task_id)
    assert task["assignment"] == {"agent_url": "http://localhost:5001", "has_token": True} and task["status"] == "backlog"
    assert task["run_state"] == "assigned" and task["assigned_agent_url"] == "http://localhost:5001"
    assert ids(hub.get("/tasks", params={"agent": "http://localhost:5001/"})) == [task_id]
    for body in ({}, {"agent_url": None}, {"agent_url": ""}):
        hub.post(f"/tasks/{task_id}/assign", json={"agent_url": "http://localhost:5001"})
        assert get(hub, task_id)["assignment"]["has_token"] is False
        answer = hub.post(f"/tasks/{task_id}/assign", json=body)
        assert (answer.status_code, answer.json()) == (200, {"status": "backlog", "unassigned": True, "id": task_id})
        assert get(hub, task_id)["assignment"] is None and get(hub, task_id)["run_state"] == "created"
    again = hub.post(f"/tasks/{task_id}/unassign")
    assert (again.status_code, again.json()) == (200, {"status": "backlog", "unassigned": True, "id": task_id})


@pytest.mark.parametrize("fields", [{"agent_url": each} for each in (
    "localhost:5001", "ftp://x", "javascript:x", "http://", "http://u:p@h", "http://h:99999", "http://a b", "http://h\0",
    "http://h\n", "x" * 2001, 5, True, ["http://h"])] + [{"agent_url": "http://h", "token": each} for each in (
        "a\r\nX: y", "ü", 5, "x" * 4097)])
def test_assignments_that_are_not_possible(kept, fields):
    task_id = create(kept)["id"]
    assert refused(kept.post(f"/tasks/{task_id}/assign", json=fields)) == (400, "invalid_value")
    assert get(kept, task_id)["assignment"] is None


# --- lists


def test_lists(hub):
    for number, status in enumerate(("to-do", "todo", "backlog", "in_progress", "completed", "odd")):
        create(hub, id=f"t{number}", status=status, team_id=f"team-{number % 2}")
    patch(hub, "t0", title="changed")
    assert ids(hub.get("/tasks")) == ["t0", "t5", "t4", "t3", "t2", "t1"]
    for query, found in (("status=to-do", "t0 t1"), ("status=TODO", "t0 t1"), ("status=done", "t4"), ("status=failed", ""),
                         ("status=in-progress&team_id=team-1", "t3"), ("limit=2", "t0 t5"), ("limit=2&offset=5", "t1"),
                         ("offset=4", "t2 t1"), ("until=5", ""), ("since=5&limit=1", "t0")):
        assert ids(hub.get(f"/tasks?{query}")) == found.split(), query
    middle = get(hub, "t2")["created_at"]
    assert set(ids(hub.get(f"/tasks?since={middle!r}"))) == {"t2", "t3", "t4", "t5"}
    assert set(ids(hub.get(f"/tasks?until={middle!r}"))) == {"t0", "t1", "t2"}


def test_a_long_list_is_sent_as_it_is_read(hub):
    text = "x" * 4000
    for number in range(250):
        create(hub, id=f"t{number:03}", description=text)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(hub.url + "/tasks", timeout=WAIT_S, stream=True)
        assert answer.headers["Transfer-Encoding"] == "chunked" and answer.headers["Content-Type"] == "application/json"
        assert [each["id"] for each in answer.json()] == [f"t{number:03}" for number in reversed(range(250))]
    assert "Content-Length" in hub.get("/tasks?limit=10").headers
    assert hub.request("HEAD", "/tasks").status_code == 200
    assert hub.get("/health").json() == {"status": "ok"} and "Traceback" not in "".join(hub.errors)


# --- the same request twice


def keyed(hub, key, **fields):
    return hub.post("/tasks", json={"title": "once", **fields}, headers={"Idempotency-Key": key})


def test_the_same_request_with_a_key_makes_one_task(hub):
    first, again = keyed(hub, "key-1"), keyed(hub, "key-1")
    assert first.status_code == again.status_code == 201 and first.content == again.content
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    assert refused(keyed(hub, "key-1", description="other")) == (409, "idempotency_key_reused")
    assert keyed(hub, "key-2").json()["id"] == "T-123457" and len(hub.get("/tasks").json()) == 2


def test_the_key_of_a_refused_task_is_free_again(hub):
    assert refused(hub.post("/tasks", json={}, headers={"Idempotency-Key": "k"})) == (400, "title_required")
    assert refused(keyed(hub, "k", template_id="none")) == (404, "template_not_found")
    create(hub, id="mine")
    assert refused(keyed(hub, "k", id="mine")) == (409, "conflict")
    assert keyed(hub, "k").status_code == 201 and len(hub.get("/tasks").json()) == 2


def test_racing_requests_with_a_key_make_one_task(hub):
    answers: list = [None] * 12

    def one(number):
        with requests.Session() as session:
            session.trust_env = False
            answers[number] = session.post(hub.url + "/tasks", json={"title": "once"}, timeout=WAIT_S, headers={
                "Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "key"})

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(answers))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {(each.status_code, each.content) for each in answers} == {(201, answers[0].content)}
    assert len(hub.get("/tasks").json()) == 1


def test_the_answer_to_a_key_survives_a_restart(start, database_url):
    hub = begin(start, database_url)
    first = keyed(hub, "key")
    hub.kill()
    again = keyed(begin(start, database_url), "key")
    assert (again.status_code, again.content) == (201, first.content) and again.headers["Idempotency-Replayed"] == "true"


# --- many, and later


def test_many_clients_at_once(hub):
    made = []

    def one(number):
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {TOKEN}"
            task = session.post(hub.url + "/tasks", json={"title": f"t{number}"}, timeout=WAIT_S).json()
            made.append(task["id"])
            for status in ("in-progress", "done"):
                assert session.patch(f"{hub.url}/tasks/{task['id']}", json={"status": status}, timeout=WAIT_S).ok
            assert session.get(f"{hub.url}/tasks/{task['id']}", timeout=WAIT_S).json()["status"] == "done"

    threads = [threading.Thread(target=one, args=(number,)) for number in range(64)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(made) == [f"T-{number}" for number in range(123456, 123456 + 64)]
    assert len(ids(hub.get("/tasks?status=done"))) == 64


def test_tasks_outlive_the_hub(start, database_url):
    hub = begin(start, database_url)
    task = create(hub, title="kept")
    hub.post(f"/tasks/{task['id']}/assign", json={"agent_url": "http://127.0.0.1:1", "token": "t"})
    hub.kill()
    again = begin(start, database_url)
    assert get(again, task["id"])["assignment"]["has_token"] is True and create(again)["id"] == "T-123457"


def test_openapi_describes_what_is_answered(kept):
    document = kept.get("/openapi.json").json()
    assert set(document["components"]["schemas"]["TaskAnswer"]["properties"]) == FIELDS
    assert {"since", "until", "limit"} <= {each["name"] for each in document["paths"]["/tasks"]["get"]["parameters"]}
    assert json.dumps(document).count("assigned_agent_token") == 0
