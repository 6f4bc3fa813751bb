"""GET /audit-logs, and what it holds."""
import json
import sqlite3

import pytest

from tests.conftest import ananta

TOKEN, PASSWORD = "hub-secret-token-0123", "correct horse battery"


@pytest.fixture
def hub(start, database_url):
    extra = {"DATABASE_URL": database_url} if database_url else {}
    return start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, INITIAL_ADMIN_PASSWORD=PASSWORD,
                 DEFAULT_PROVIDER="mock", **extra)


def test_what_was_done_is_listed_newest_first(hub):
    hub.post("/users", json={"username": "ada", "password": PASSWORD})
    hub.request("PUT", "/users/ada/role", json={"role": "admin"})
    hub.post("/login", json={"username": "ada", "password": "wrong"})
    hub.post("/login", json={"username": "ada", "password": PASSWORD})
    hub.post("/users/ada/reset-password", json={"new_password": "staple of the horse"})
    hub.request("DELETE", "/users/ada")
    hub.post("/config", json={"command_timeout": 5})
    hub.request("PUT", "/policy", json={"rules": []})
    hub.post("/csp-report", json={"csp-report": {}})
    hub.post("/api/sgpt/execute", json={"prompt": "x"})
    listed = hub.get("/audit-logs").json()
    assert [each["action"] for each in reversed(listed)] == [
        "user_created", "user_role_updated", "login_failed", "login_success", "password_reset", "user_deleted", "config_updated",
        "policy_updated", "CSP_VIOLATION", "sgpt_success"]
    assert all(set(each) == {"id", "timestamp", "username", "ip", "action", "details"} for each in listed)
    assert all(each["ip"] == "127.0.0.1" and isinstance(each["details"], dict) for each in listed)
    by = {each["action"]: each for each in listed}
    assert by["user_role_updated"]["details"] == {"user": "ada", "role": "admin"}
    assert by["config_updated"]["details"] == {"keys": ["command_timeout"]}
    assert (by["login_success"]["username"], by["user_deleted"]["username"], by["CSP_VIOLATION"]["username"]) == (
        "ada", "admin_via_token", "system")
    assert hub.get("/api/system/audit-logs?limit=2&offset=1").json() == listed[1:3]
    assert PASSWORD not in json.dumps(listed) and "staple" not in json.dumps(listed)
    assert ananta(hub.folder, "log", "verify", **_database(hub)).stdout.splitlines()[1].startswith("ok    10 audit entries")


def test_entries_are_found_by_their_parts(hub):
    for number in range(12):
        hub.post("/templates", json={"name": f"Name_{number}%", "prompt_template": "x"})
    hub.post("/users", json={"username": "lovelace", "password": PASSWORD})

    def found(**query) -> list[dict]:
        answer = hub.get("/audit-logs", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert {each["action"] for each in found(action="TEMPLATE_")} == {"template_created"} and len(found(action="template")) == 12
    assert [each["details"]["name"] for each in found(text="name_1%")] == ["Name_1%"]
    assert found(text="\0") == [] and found(action="a\0b") == []
    assert found(text="nameX1") == [] and found(text="'; DROP TABLE audit_logs; --") == [] and found(username="nobody") == []
    assert [each["action"] for each in found(text="lovelace")] == ["user_created"] and len(found(username="ADMIN_via")) == 13
    newest, *_, oldest = found()
    assert found(since=newest["timestamp"]) == [newest] and oldest not in found(since=oldest["timestamp"] + 1e-6)
    assert found(until=newest["timestamp"]) == found()[1:]
    assert found(action="template", limit=5, offset=10) == found(action="template")[10:]


def test_the_trail_can_be_verified_here(hub):
    hub.post("/users", json={"username": "ada", "password": PASSWORD})
    count = len(hub.get("/audit-logs").json())
    assert hub.get("/audit-logs/verify").json() == {"good": True, "entries": count, "message": "No entry was altered or removed."}
    assert hub.get("/audit-logs").json()[0]["action"] == "audit_verified"
    if not hub.settings.get("DATABASE_URL"):
        with sqlite3.connect(hub.data / "ananta.db") as database:
            database.execute("UPDATE audit_logs SET username = 'mallory' WHERE action = 'user_created'")
        told = hub.get("/audit-logs/verify").json()
        assert not told["good"] and "user_created" in told["message"] and "altered" in told["message"]


@pytest.mark.parametrize("query", ["since=soon", "until=-1", "username=" + "x" * 201])
def test_odd_filters_are_refused(guarded, query):
    assert guarded.get(f"/audit-logs?{query}").status_code == 400


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "limit=x"])
def test_odd_pages_are_refused(guarded, query):
    assert guarded.get(f"/audit-logs?{query}").status_code == 400


def test_the_trail_is_for_administrators(start):
    guarded = start("guarded", "--host", "127.0.0.1", token=TOKEN, INITIAL_ADMIN_PASSWORD=PASSWORD)
    guarded.post("/users", json={"username": "ada", "password": PASSWORD})
    token = guarded.post("/login", json={"username": "ada", "password": PASSWORD}).json()["access_token"]
    for path in ("/audit-logs", "/api/system/audit-logs"):
        assert guarded.get(path, auth=False).status_code == 401
        assert guarded.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 403
        assert guarded.get(path).status_code == 200
    insecure = start("insecure")
    assert insecure.get("/audit-logs").status_code == 401


def test_a_changed_entry_is_found(start):
    worker = start("worker", "--host", "127.0.0.1", token=TOKEN)
    for number in range(3):
        worker.post("/config", json={"command_timeout": number + 5})
    worker.stop()
    good = ananta(worker.folder, "log", "verify", "--json")
    assert good.returncode == 0 and json.loads(good.stdout)["audit"] == {"ok": True, "entries": 3, "finding": None}
    with sqlite3.connect(worker.data / "ananta.db") as connection:
        connection.execute("UPDATE audit_logs SET username = 'somebody else' WHERE id = 2")
    connection.close()
    bad = ananta(worker.folder, "log", "verify")
    assert bad.returncode == 1 and "ALTERED  audit: entry 2 (config_updated)" in bad.stdout
    assert bad.stdout.startswith("ok    0 records")
    facts = json.loads(ananta(worker.folder, "log", "verify", "--json").stdout)
    assert not facts["ok"] and facts["broken"] == ["audit"]


def test_the_chain_that_is_broken_is_named(hub):
    for number in range(3):
        hub.execute(f"echo line {number}")
    hub.post("/config", json={"command_timeout": 5})
    # The index is complete when the agent has stopped; on a Postgres it is in a file of its own.
    hub.stop()
    good = ananta(hub.folder, "log", "verify", "--json", **_database(hub))
    assert good.returncode == 0 and json.loads(good.stdout)["broken"] == []
    log = hub.data / "terminal_log.jsonl"
    whole = log.read_bytes()
    # The last line is missed by nothing but the index.
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    bad = ananta(hub.folder, "log", "verify", **_database(hub))
    assert bad.returncode == 1 and bad.stdout.startswith("REMOVED  journal: terminal_log.jsonl") and "echo line 2" in bad.stdout
    assert bad.stdout.splitlines()[1].startswith("ok    1 audit entries")
    facts = json.loads(ananta(hub.folder, "log", "verify", "--json", **_database(hub)).stdout)
    assert facts["broken"] == ["journal"] and not facts["ok"] and facts["audit"]["ok"]


def _database(hub):
    return {"DATABASE_URL": hub.settings["DATABASE_URL"]} if "DATABASE_URL" in hub.settings else {}


def test_a_model_looks_at_the_trail(start, model):
    model.answer("<think>hm</think>Somebody guesses passwords.")
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, INITIAL_ADMIN_PASSWORD=PASSWORD,
                LMSTUDIO_URL=model.openai_url, RETRY_COUNT="0")
    empty = hub.post("/audit/analyze")
    assert empty.status_code == 200 and "empty" in empty.json()["analysis"] and model.posts == []
    for name in ("ada", "eve"):
        hub.post("/login", json={"username": name, "password": "wrong"})
    for path in ("/audit/analyze?limit=1", "/api/system/audit/analyze"):
        assert hub.post(path, data="ignored").json() == {"analysis": "Somebody guesses passwords."}
    one, all_of_them = [each.body["messages"][-1]["content"] for each in model.posts]
    assert one.count("login_failed") == 1 and "audit_analyzed" not in one
    assert "login_failed by eve from 127.0.0.1" in all_of_them and "audit_analyzed by admin_via_token" in all_of_them
    model.error(500)
    failed = hub.post("/audit/analyze")
    assert (failed.status_code, failed.json()["error"]) == (502, "llm_failed")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x"])
def test_odd_limits_of_an_analysis_are_refused(guarded, query):
    assert guarded.post(f"/audit/analyze?{query}").status_code == 400


def test_an_analysis_is_for_administrators(start):
    insecure, guarded = start("insecure", DEFAULT_PROVIDER="mock"), start("guarded", "--host", "127.0.0.1", token=TOKEN)
    for path in ("/audit/analyze", "/api/system/audit/analyze"):
        assert insecure.post(path).status_code == guarded.post(path, auth=False).status_code == 401
