"""The scheduler over HTTP: real processes, real seconds."""
import json
from itertools import pairwise

import pytest

from tests.api.test_streams import eventually
from tests.api.test_tasks import refused
from tests.hub.conftest import HUB

FIELDS = {"id", "command", "interval_seconds", "next_run", "last_run", "enabled", "cwd", "decision", "reasons", "digest",
          "approved", "approved_by", "waiting", "running", "misfires", "last_exit_code", "last_run_id", "created_by", "created_at"}


def scheduled(server, command, interval_s=1) -> dict:
    answer = server.post("/schedule", json={"command": command, "interval_seconds": interval_s})
    assert answer.status_code == 201, answer.text
    return answer.json()


def listed(server) -> list[dict]:
    answer = server.get("/schedule")
    assert answer.status_code == 200, answer.text
    return answer.json()


def only(server) -> dict:
    found, = listed(server)
    return found


def approve(server, entry, **fields):
    return server.post(f"/schedule/{entry['id']}/approve", json={"digest": entry["digest"], **fields})


def runs(server, entry) -> list[dict]:
    path = server.data / "terminal_log.jsonl"
    return [each for each in (server.records() if path.exists() else []) if each.get("scheduled_id") == entry["id"]]


@pytest.mark.parametrize("role", ["worker", "hub"])
def test_what_only_reads_runs_again_and_again(start, role):
    server = start("one", "--role", role, "--host", "127.0.0.1", token=HUB)
    entry = scheduled(server, "pwd")
    assert set(entry) == FIELDS and entry["next_run"] == entry["created_at"] + 1 and entry["created_by"] == "admin_via_token"
    assert (entry["decision"], entry["waiting"], entry["approved"], entry["last_run"], entry["enabled"]) == (
        "allow", False, False, None, True)
    eventually(lambda: len(runs(server, entry)) >= 2)
    eventually(lambda: only(server)["last_exit_code"] == 0 and not only(server)["running"])
    first = runs(server, entry)[0]
    assert first["output"] == str(server.folder) == first["cwd"] == entry["cwd"] and first["reason"] == "scheduled"
    assert first["decided_by"] == "policy" and first["decision"] == "allow" and first["task_id"] is None
    now = only(server)
    assert now["next_run"] >= now["last_run"] + 1 and now["last_run_id"] in {each["id"] for each in runs(server, entry)}
    gone = server.request("DELETE", f"/schedule/{entry['id']}")
    assert (gone.status_code, gone.json()) == (200, {"status": "deleted"}) and listed(server) == []
    for call in (server.request("DELETE", f"/schedule/{entry['id']}"), approve(server, entry)):
        assert refused(call) == (404, "not_found")
    actions = [json.loads(line)["event"] for line in (server.data / "audit.log").read_text().splitlines()]
    assert actions.count("schedule_created") == 1 == actions.count("schedule_deleted")


def test_what_the_policy_asks_about_waits_for_a_person_once(start):
    server = start("one", "--host", "127.0.0.1", token=HUB)
    marker = server.folder / "marker"
    entry = scheduled(server, f"touch {marker}; echo x >> {marker}")
    other = scheduled(server, "pwd")
    assert entry["decision"] == "ask" and entry["waiting"] and entry["reasons"] and not entry["approved"]
    # Until the other one has run twice this one was due, too.
    eventually(lambda: len(runs(server, other)) >= 2)
    assert not marker.exists() and runs(server, entry) == [] and listed(server)[0]["misfires"] == 0
    assert refused(approve(server, entry, digest="0" * 64)) == (409, "schedule_changed")
    done = approve(server, entry)
    assert done.status_code == 200 and done.json()["approved"] and done.json()["approved_by"] == "admin_via_token"
    eventually(lambda: len(runs(server, entry)) >= 2)
    first = runs(server, entry)[0]
    assert first["decision"] == "ask" and first["decided_by"] == "admin_via_token" and first["exit_code"] == 0
    server.stop()
    again = start("one", "--host", "127.0.0.1", token=HUB)
    before = len(runs(again, entry))
    eventually(lambda: len(runs(again, entry)) > before)
    # Another folder: that is not what was approved.
    again.stop()
    elsewhere = again.folder / "elsewhere"
    elsewhere.mkdir()
    moved = start("one", "--host", "127.0.0.1", token=HUB, WORK_DIR=str(elsewhere))
    shown, reads = listed(moved)
    assert shown["waiting"] and not shown["approved"] and shown["approved_by"] is None and shown["digest"] != entry["digest"]
    before, reading = len(runs(moved, entry)), len(runs(moved, reads))
    eventually(lambda: len(runs(moved, reads)) >= reading + 2)
    assert len(runs(moved, entry)) == before


def test_a_changed_rule_makes_it_wait_again(start):
    server = start("one", "--host", "127.0.0.1", token=HUB)
    marker, other = server.folder / "marker", scheduled(server, "pwd")
    entry = scheduled(server, f"echo x >> {marker}")
    assert approve(server, entry).status_code == 200
    eventually(lambda: len(runs(server, entry)) >= 1)
    (server.data / "blacklist.txt").write_text("marker\n")
    eventually(lambda: listed(server)[1]["decision"] == "deny" and listed(server)[1]["waiting"])
    eventually(lambda: runs(server, entry)[-1]["state"] == "denied")
    count, ran = len(runs(server, entry)), len(runs(server, other))
    eventually(lambda: len(runs(server, other)) >= ran + 2)
    assert len(runs(server, entry)) == count
    assert refused(approve(server, entry)) == (403, "command_denied")
    assert refused(server.post("/schedule", json={"command": "cat marker", "interval_seconds": 1})) == (403, "command_denied")


@pytest.mark.parametrize("on_postgres", [False, True])
def test_what_a_removed_user_had_approved_waits_for_somebody_else(start, on_postgres, request):
    extra = {"DATABASE_URL": request.getfixturevalue("postgres_server").database()} if on_postgres else {}
    hub = start("one", "--role", "hub", "--host", "127.0.0.1", token=HUB, **extra)
    hub.post("/users", json={"username": "ada", "password": "correct horse battery", "role": "user"})
    token = hub.post("/login", json={"username": "ada", "password": "correct horse battery"}, auth=False).json()["access_token"]
    marker = hub.folder / "marker"
    hers, other = scheduled(hub, f"echo x >> {marker}"), scheduled(hub, f"echo y >> {marker}")
    assert approve(hub, other).ok
    path, body = f"/schedule/{hers['id']}/approve", {"digest": hers["digest"]}
    done = hub.post(path, json=body, auth=False, headers={"Authorization": f"Bearer {token}"})
    assert done.status_code == 200 and done.json()["approved_by"] == "ada"
    eventually(lambda: runs(hub, hers))
    assert hub.request("DELETE", "/users/ada").ok
    entry, approved = listed(hub)
    assert (entry["approved"], entry["approved_by"], entry["waiting"]) == (False, None, True)
    assert approved["approved"] and not approved["waiting"]
    eventually(lambda: not listed(hub)[0]["running"])
    before = len(runs(hub, hers)), len(runs(hub, other))
    eventually(lambda: len(runs(hub, other)) >= before[1] + 2)
    assert len(runs(hub, hers)) == before[0]


def test_it_never_overlaps_with_itself_and_counts_what_it_missed(start, tmp_path):
    server = start("one", "--host", "127.0.0.1", token=HUB)
    gate = tmp_path / "gate"
    entry = scheduled(server, f"until [ -e {gate} ]; do sleep 0.1; done; echo through")
    assert approve(server, entry).status_code == 200 or not entry["waiting"]
    other = scheduled(server, "pwd")
    eventually(lambda: listed(server)[0]["running"])
    eventually(lambda: len(runs(server, other)) >= 3)
    assert runs(server, entry) == []
    gate.touch()
    eventually(lambda: len(runs(server, entry)) >= 1)
    eventually(lambda: listed(server)[0]["misfires"] >= 2)
    assert runs(server, entry)[0]["output"] == "through"


def test_a_run_goes_on_when_its_entry_is_deleted(start, tmp_path):
    server = start("one", "--host", "127.0.0.1", token=HUB)
    gate = tmp_path / "gate"
    entry = scheduled(server, f"until [ -e {gate} ]; do sleep 0.1; done; echo through")
    approve(server, entry)
    eventually(lambda: only(server)["running"])
    assert server.request("DELETE", f"/schedule/{entry['id']}").status_code == 200
    gate.touch()
    eventually(lambda: len(runs(server, entry)) == 1)
    assert runs(server, entry)[0]["exit_code"] == 0 and listed(server) == []
    other = scheduled(server, "pwd")
    eventually(lambda: len(runs(server, other)) >= 2)
    assert len(runs(server, entry)) == 1


def test_a_killed_agent_does_not_repeat_what_it_ran(start, tmp_path):
    server = start("one", "--host", "127.0.0.1", token=HUB)
    started = tmp_path / "started"
    entry = scheduled(server, f"echo x >> {started}; sleep 60", interval_s=600)
    approve(server, entry)
    import sqlite3

    with sqlite3.connect(server.data / "ananta.db") as database:
        database.execute("UPDATE scheduled_tasks SET next_run = 1000")
    eventually(started.exists)
    server.kill()
    again = start("one", "--host", "127.0.0.1", token=HUB)
    assert [each["state"] for each in runs(again, entry)] == ["unknown"]
    other = scheduled(again, "pwd")
    eventually(lambda: len(runs(again, other)) >= 2)
    shown = listed(again)[0]
    assert started.read_text() == "x\n" and not shown["running"] and shown["last_exit_code"] == -1
    # It had been due since the beginning of time: counted, and run once.
    assert shown["misfires"] > 1000 and len(runs(again, entry)) == 1


def test_a_run_does_not_move_the_next_one(start):
    server = start("one", "--host", "127.0.0.1", token=HUB)
    entry = scheduled(server, "cd /; pwd")
    approve(server, entry)
    eventually(lambda: len(runs(server, entry)) >= 2)
    assert {each["cwd"] for each in runs(server, entry)} == {str(server.folder)} and not only(server)["waiting"]
    assert server.execute("pwd")["output"] == str(server.folder)


def test_several_hubs_run_each_time_once(start, postgres_server):
    url = postgres_server.database()
    common = {"DATABASE_URL": url, "SECRET_KEY": "a-secret-key-of-both-hubs"}
    hubs = [start(name, "--role", "hub", "--host", "127.0.0.1", token=HUB, **common) for name in ("one", "two")]
    entry = scheduled(hubs[0], "pwd")
    assert only(hubs[1])["id"] == entry["id"]
    eventually(lambda: sum(len(runs(each, entry)) for each in hubs) >= 5)
    # One that is killed in the middle of a run keeps that command until the time limit of the run is over.
    hubs[0].stop()
    before = len(runs(hubs[1], entry))
    eventually(lambda: len(runs(hubs[1], entry)) >= before + 2)
    times = sorted(each["timestamp"] - each["duration"] for hub in hubs for each in runs(hub, entry))
    # One occurrence is due a whole interval after the one before, whoever ran that.
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times)), times


@pytest.mark.parametrize(("body", "code"), [
    ({}, "missing_command"), ({"command": "pwd"}, "missing_interval_seconds"), ({"interval_seconds": 1}, "missing_command"),
    ({"command": " \n", "interval_seconds": 1}, "missing_command"), ({"command": "a\0", "interval_seconds": 1}, "invalid_value"),
    ({"command": 5, "interval_seconds": 1}, "invalid_value"), ({"command": "x" * 100_001, "interval_seconds": 1}, "invalid_value"),
    ({"command": "pwd", "interval_seconds": 0}, "invalid_value"), ({"command": "pwd", "interval_seconds": 1.5}, "invalid_value"),
    ({"command": "pwd", "interval_seconds": True}, "invalid_value"), ({"command": "pwd", "interval_seconds": "1"}, "invalid_value"),
    ({"command": "pwd", "interval_seconds": 10**9}, "invalid_value")])
def test_schedules_that_are_not_possible(server, body, code):
    assert refused(server.post("/schedule", json=body)) == (400, code)
    assert listed(server) == []


def test_a_token_is_needed(guarded):
    for method, path in (("GET", "/schedule"), ("POST", "/schedule"), ("DELETE", "/schedule/S-1"), ("POST", "/schedule/S-1/approve")):
        assert refused(guarded.request(method, path, json={}, auth=False)) == (401, "unauthorized")
