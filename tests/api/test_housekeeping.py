"""What an agent puts away and removes by itself, as its users see it."""
import json
import os
import sqlite3
import time

import pytest

from tests.api.test_archive import archived
from tests.api.test_streams import eventually
from tests.api.test_tasks import TOKEN, begin, create, get, ids, refused

JOB = {"name", "interval", "last_run", "duration", "error", "next_run", "running", "elsewhere"}
DAY_S = 24 * 3600


def jobs(server) -> dict[str, dict]:
    answer = server.get("/stats?jobs=1")
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["jobs"]}


@pytest.mark.parametrize("role", ["worker", "hub"])
def test_the_jobs_are_shown_on_request(start, role):
    server = start("one", "--role", role, "--host", "127.0.0.1", token=TOKEN)
    assert "jobs" not in server.get("/stats").json() and "jobs" not in server.get("/stats?jobs=0").json()
    found = jobs(server)
    common = {"token age", "statistics", "sign-ins", "answers", "proposals", "backups", "terminal log archive"}
    assert set(found) == common | ({"task archive", "archive clean-up", "heartbeat", "task history"} if role == "hub" else set())
    assert all(set(each) == JOB for each in found.values())
    eventually(lambda: jobs(server)["backups"]["last_run"] is not None)
    done = jobs(server)["backups"]
    assert done["error"] is None and done["duration"] >= 0 and done["interval"] == 600
    assert abs(done["next_run"] - done["last_run"] - 600) < 60
    for query in ("jobs=2", "jobs=x", "jobs=-1"):
        assert refused(server.get(f"/stats?{query}")) == (400, "invalid_value")
    schema = server.get("/openapi.json").json()["paths"]["/stats"]["get"]
    assert [each["name"] for each in schema["parameters"]] == ["jobs"]


def test_what_is_old_goes(start, database_url):
    hub = begin(start, database_url)
    done, open_, gone = create(hub, status="done"), create(hub), create(hub)
    hub.post(f"/tasks/{done['id']}/step/execute", json={"command": "echo kept"})
    assert hub.request("PATCH", f"/tasks/{done['id']}", json={"status": "done"}).status_code == 200
    hub.post(f"/tasks/{gone['id']}/archive")
    old = time.time() - 100 * DAY_S
    changes = [("UPDATE tasks SET updated_at = %s", old), ("UPDATE archived_tasks SET archived_at = %s", old),
               ("INSERT INTO refresh_tokens (token_hash, username, expires_at) VALUES ('old', 'x', %s)", old),
               ("INSERT INTO answers (caller, idempotency_key, fingerprint, begun_at, owner, status) VALUES ('a', 'b', 'c', %s, 'd', 200)",
                old)]
    backup = hub.data / "backups" / "old.db"
    backup.parent.mkdir()
    backup.write_text("x")
    os.utime(backup, (old, old))
    (backup.parent / "new.db").write_text("x")
    if database_url:
        import psycopg

        with psycopg.connect(database_url, autocommit=True) as connection:
            for sql, *values in changes:
                connection.execute(sql, values)
    else:
        with sqlite3.connect(hub.data / "ananta.db") as connection:
            for sql, *values in changes:
                connection.execute(sql.replace("%s", "?"), values)
        connection.close()
    eventually(lambda: all(jobs(hub)[name]["last_run"] for name in ("task archive", "archive clean-up", "answers", "sign-ins", "backups")))
    assert [each["id"] for each in archived(hub)] == [done["id"]] and ids(hub.get("/tasks")) == [open_["id"]]
    assert not backup.exists() and (backup.parent / "new.db").exists()
    question = "SELECT (SELECT count(*) FROM refresh_tokens), (SELECT count(*) FROM answers WHERE caller = 'a')"
    if database_url:
        with psycopg.connect(database_url) as connection:
            assert connection.execute(question).fetchone() == (0, 0)
    else:
        with sqlite3.connect(hub.data / "ananta.db") as connection:
            assert connection.execute(question).fetchone() == (0, 0)
        connection.close()
    assert hub.post(f"/tasks/archived/{done['id']}/restore").status_code == 200
    assert [each["output"] for each in get(hub, done["id"])["history"]] == ["kept"]
    assert all(each["error"] is None for each in jobs(hub).values())


def test_a_job_that_fails_says_why(start):
    server = start("one", "--host", "127.0.0.1", token=TOKEN)
    server.execute("echo x")
    server.stop()
    log = server.data / "terminal_log.jsonl"
    record = json.loads(log.read_text())
    # As a file that somebody else has left: full, and all of it old.
    (server.data / "terminal_log.000001.jsonl").write_text(json.dumps({"command": "old", "timestamp": 1.0}) + "\n")
    log.write_text(json.dumps({**record, "timestamp": time.time()}) + "\n")
    (server.data / "ananta.db").unlink()
    (server.data / "terminal_log_archive.jsonl").mkdir()
    again = start("one", "--host", "127.0.0.1", token=TOKEN)
    eventually(lambda: jobs(again)["terminal log archive"]["error"] is not None)
    failed = jobs(again)["terminal log archive"]
    assert "terminal_log_archive.jsonl" in failed["error"] and failed["next_run"] - time.time() < 60
    (server.data / "terminal_log_archive.jsonl").rmdir()
    eventually(lambda: jobs(again)["terminal log archive"]["error"] is None)
    assert (server.data / "terminal_log_archive.jsonl").read_text().startswith('{"command": "old"')
