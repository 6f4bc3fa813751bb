"""Proposals that bind: what was shown is what runs, once, or not at all."""
import hashlib
import json
import sqlite3
import threading
import time
from contextlib import closing

import pytest
import requests

from tests.conftest import WAIT_S, in_parallel


@pytest.fixture
def worker(start, model):
    return start(LMSTUDIO_URL=model.url)


def propose(worker, model, command: str, **fields) -> dict:
    """A proposal of exactly this command."""
    model.answer(json.dumps({"reason": "because", "command": command}))
    answer = worker.post("/step/propose", json={"prompt": "do it", **fields})
    assert answer.status_code == 200 and answer.json()["command"] == command, answer.text
    return answer.json()


def run(worker, shown: dict, **fields):
    return worker.post("/step/execute", json={"proposal_id": shown["id"], **fields})


def refused(answer) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code")


def stored(worker, shown: dict) -> dict:
    return worker.get(f"/proposals/{shown['id']}").json()


def lines(path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def alone(worker, path: str, body: dict):
    """A call with a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        return session.post(worker.url + path, json=body, timeout=WAIT_S)


def prompts_sent(model) -> str:
    return json.dumps(model.posts[-1].body["messages"])


# --- propose


def test_a_proposal_says_what_it_is_bound_to(worker, model):
    before = time.time()
    shown = propose(worker, model, "touch made", task_id="T-1")
    bound = json.dumps(["touch made", str(worker.folder), "T-1", "default"], separators=(",", ":"))
    assert shown["digest"] == hashlib.sha256(bound.encode()).hexdigest()
    assert shown["id"] and shown["decision"] == "ask" and shown["reasons"] and shown["model"]
    assert before + 86400 <= shown["expires_at"] <= time.time() + 86400
    kept = stored(worker, shown)
    assert {name: kept[name] for name in ("id", "digest", "command", "decision", "reasons", "expires_at", "reason")} == {
        name: shown[name] for name in ("id", "digest", "command", "decision", "reasons", "expires_at", "reason")}
    assert kept["state"] == "open" and kept["task_id"] == "T-1" and kept["cwd"] == str(worker.folder)
    assert kept["prompt"] == "do it" and kept["decided_by"] is kept["run_id"] is kept["replaces"] is None
    assert not (worker.folder / "made").exists() and worker.get("/logs").json() == []


def test_the_lifetime_is_a_setting(start, model):
    worker = start(LMSTUDIO_URL=model.url, PROPOSAL_LIFETIME="600")
    kept = stored(worker, propose(worker, model, "ls"))
    assert kept["expires_at"] == kept["created_at"] + 600


def test_two_equal_proposals_are_two(worker, model):
    first, second = propose(worker, model, "ls"), propose(worker, model, "ls")
    assert first["digest"] == second["digest"] and first["id"] != second["id"]
    assert run(worker, first).status_code == run(worker, second).status_code == 200


def test_a_proposal_without_a_command_is_not_kept(worker, model):
    model.answer("I do not know.")
    answer = worker.post("/step/propose", json={"prompt": "x"}).json()
    assert answer["command"] is answer["id"] is answer["digest"] is answer["expires_at"] is answer["decision"] is None
    assert worker.get("/proposals").json() == []


def test_an_anonymous_proposal_shows_the_verdict_and_leaves_nothing(start, model):
    worker = start("guarded", "--host", "127.0.0.1", token="a-token-of-some-length", LMSTUDIO_URL=model.url)
    shown = propose(worker, model, "touch only-looked-at", task_id="T-1")
    assert shown["id"]
    model.answer('{"reason": "r", "command": "touch made-by-nobody"}')
    answer = worker.post("/step/propose", json={"prompt": "a nameless wish", "task_id": "T-1"}, auth=False)
    assert answer.status_code == 200
    told = answer.json()
    assert told["command"] == "touch made-by-nobody" and told["decision"] == "ask" and told["reasons"]
    assert told["id"] is told["digest"] is told["expires_at"] is None
    assert [each["id"] for each in worker.get("/proposals").json()] == [shown["id"]]
    worker.stop()
    for path in worker.data.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"a nameless wish" not in content and b"made-by-nobody" not in content, path


def test_an_anonymous_prompt_does_not_hear_what_was_refused(start, model):
    worker = start("guarded", "--host", "127.0.0.1", token="a-token-of-some-length", LMSTUDIO_URL=model.url)
    shown = propose(worker, model, "touch x", task_id="T-1")
    assert worker.post("/step/reject", json={"proposal_id": shown["id"], "reason": "a private thought"}).ok
    assert worker.post("/step/propose", json={"prompt": "x", "task_id": "T-1"}, auth=False).ok
    assert "a private thought" not in prompts_sent(model)
    assert worker.post("/step/propose", json={"prompt": "x", "task_id": "T-1"}).ok
    assert "a private thought" in prompts_sent(model)


@pytest.mark.parametrize(("method", "path"), [("GET", "/proposals"), ("GET", "/proposals/P-1"), ("POST", "/step/reject"),
                                              ("POST", "/step/edit")])
def test_decisions_need_credentials(guarded, method, path):
    answer = guarded.request(method, path, auth=False, json={"proposal_id": "P-1", "command": "ls"})
    assert refused(answer) == (401, "unauthorized")


# --- run


def test_exactly_what_was_shown_runs(worker, model):
    command = "printf '%s\\n' \"$PWD\" 'a  b\tc' $'\\x41' ü; echo x >> marker"
    shown = propose(worker, model, command, task_id="T-1")
    done = run(worker, shown)
    assert done.status_code == 200, done.text
    done = done.json()
    assert done["stdout"] == f"{worker.folder}\na  b\tc\nA\nü\n" and done["task_id"] == "T-1" and done["exit_code"] == 0
    record = worker.get("/logs?task_id=T-1").json()[-1]
    assert record["command"] == command and record["proposal_id"] == shown["id"] and record["id"] == done["id"]
    assert record["reason"] == "because" and record["decided_by"] == "local" and record["decision"] == "ask"
    kept = stored(worker, shown)
    assert (kept["state"], kept["run_id"], kept["decided_by"]) == ("run", done["id"], "local")
    assert kept["created_at"] <= kept["decided_at"] <= time.time() and kept["decide_reason"] is None


def test_it_runs_once_and_then_says_which_run_it_was(worker, model):
    shown = propose(worker, model, "echo x >> marker; exit 3")
    done = run(worker, shown).json()
    assert done["exit_code"] == 3 and done["status"] == "failed"
    again = run(worker, shown)
    assert refused(again) == (409, "proposal_used") and again.json()["run_id"] == done["id"]
    assert refused(worker.post("/step/reject", json={"proposal_id": shown["id"]})) == (409, "proposal_used")
    assert refused(worker.post("/step/edit", json={"proposal_id": shown["id"], "command": "ls"})) == (409, "proposal_used")
    assert lines(worker.folder / "marker") == ["x"] and len(worker.records()) == 1


def test_what_is_sent_with_it_must_be_the_same(worker, model):
    shown = propose(worker, model, "echo x >> marker", task_id="T-1")
    for fields in ({"command": "echo y >> marker"}, {"command": "echo x >> marker "}, {"task_id": "T-2"},
                   {"command": "echo x >> marker", "task_id": "default"},
                   {"tool_calls": [{"name": "read_agent_logs", "args": {}}]}):
        assert refused(run(worker, shown, **fields)) == (409, "proposal_changed"), fields
    assert not (worker.folder / "marker").exists() and worker.get("/logs").json() == []
    assert stored(worker, shown)["state"] == "open"
    assert run(worker, shown, command="echo x >> marker", task_id="T-1").status_code == 200
    assert lines(worker.folder / "marker") == ["x"]


def test_a_proposal_of_no_task_runs_in_no_other(worker, model):
    shown = propose(worker, model, "touch made")
    assert refused(run(worker, shown, task_id="T-1")) == (409, "proposal_changed")
    assert not (worker.folder / "made").exists()
    assert run(worker, shown).json()["task_id"] is None and (worker.folder / "made").exists()


def test_a_session_that_has_moved_is_a_change(worker, model):
    (worker.folder / "elsewhere").mkdir()
    shown = propose(worker, model, "touch made", task_id="T-1")
    other = propose(worker, model, "touch other", task_id="T-2")
    worker.execute("cd elsewhere", task_id="T-1")
    answer = run(worker, shown)
    assert refused(answer) == (409, "proposal_changed") and "folder" in answer.json()["message"]
    assert not list(worker.folder.rglob("made")) and stored(worker, shown)["state"] == "open"
    assert run(worker, other).status_code == 200  # another session has not moved
    worker.execute("cd ..", task_id="T-1")
    assert run(worker, shown).status_code == 200 and (worker.folder / "made").exists()


def test_a_session_that_moves_while_it_is_waited_for_is_a_change(worker, model):
    (worker.folder / "elsewhere").mkdir()
    shown = propose(worker, model, "touch made", task_id="T-1")
    moving = threading.Thread(target=alone, args=(worker, "/step/execute", {
        "command": "touch moving; until test -e go; do sleep 0.02; done; cd elsewhere", "task_id": "T-1"}))
    moving.start()
    while not (worker.folder / "moving").exists():
        time.sleep(0.02)
    answers: list = []
    waiting = threading.Thread(target=lambda: answers.append(alone(worker, "/step/execute", {"proposal_id": shown["id"]})))
    waiting.start()
    (worker.folder / "go").touch()
    moving.join()
    waiting.join()
    assert refused(answers[0]) == (409, "proposal_changed") and not list(worker.folder.rglob("made"))


def test_a_changed_blacklist_is_a_change(worker, model):
    shown = propose(worker, model, "touch kraken")
    (worker.data / "blacklist.txt").write_text("krak[ea]n\n")
    answer = run(worker, shown)
    assert refused(answer) == (409, "proposal_changed") and "deny" in answer.json()["message"]
    assert not (worker.folder / "kraken").exists() and stored(worker, shown)["state"] == "open"
    (worker.data / "blacklist.txt").unlink()
    assert run(worker, shown).status_code == 200 and (worker.folder / "kraken").exists()


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_a_changed_rule_is_a_change(worker, model, decision):
    shown = propose(worker, model, "touch made")
    assert shown["decision"] == "ask"
    rules = {"rules": [{"prefix": ["touch"], "decision": decision, "reason": "new"}]}
    assert worker.request("PUT", "/policy", json=rules).status_code == 200
    answer = run(worker, shown)
    assert refused(answer) == (409, "proposal_changed") and decision in answer.json()["message"]
    assert not (worker.folder / "made").exists()
    fresh = propose(worker, model, "touch made")
    assert fresh["decision"] == decision
    assert run(worker, fresh).status_code == (200 if decision == "allow" else 403)


def test_a_rule_about_something_else_is_none(worker, model):
    shown = propose(worker, model, "touch made")
    rules = {"rules": [{"prefix": ["mkdir"], "decision": "deny", "reason": "none"}]}
    assert worker.request("PUT", "/policy", json=rules).status_code == 200
    assert run(worker, shown).status_code == 200


def test_one_altered_in_the_store_does_not_run(start, model):
    worker = start("altered", LMSTUDIO_URL=model.url)
    shown = propose(worker, model, "touch made")
    worker.stop()
    change(worker, "UPDATE proposals SET command = ? WHERE id = ?", b"touch evil", shown["id"])
    again = start("altered", LMSTUDIO_URL=model.url)
    assert refused(run(again, shown)) == (409, "proposal_changed")
    assert not (again.folder / "made").exists() and not (again.folder / "evil").exists()


def test_another_agent_does_not_run_it(start, model):
    worker = start("named", LMSTUDIO_URL=model.url, AGENT_NAME="alpha")
    shown = propose(worker, model, "touch made")
    worker.stop()
    again = start("named", LMSTUDIO_URL=model.url, AGENT_NAME="beta")
    assert refused(run(again, shown)) == (409, "proposal_changed") and not (again.folder / "made").exists()


def test_a_denied_one_is_refused_with_its_reasons_and_on_record(worker, model):
    (worker.data / "blacklist.txt").write_text("kraken\n")
    shown = propose(worker, model, "touch made; echo kraken", task_id="T-1")
    assert shown["decision"] == "deny"
    answer = run(worker, shown)
    assert refused(answer) == (403, "command_denied") and answer.json()["reasons"] == shown["reasons"]
    record = worker.get("/logs?task_id=T-1").json()[-1]
    assert (record["state"], record["exit_code"], record["proposal_id"]) == ("denied", -1, shown["id"])
    assert not (worker.folder / "made").exists() and stored(worker, shown)["run_id"] is None


def test_nobody_runs_what_has_to_be_asked_and_then_a_person_does(worker, model):
    shown = propose(worker, model, "touch made")
    answer = run(worker, shown, autonomous=True)
    assert refused(answer) == (409, "approval_required") and answer.json()["reasons"] == shown["reasons"]
    assert not (worker.folder / "made").exists() and stored(worker, shown)["state"] == "open"
    assert run(worker, shown).status_code == 200 and (worker.folder / "made").exists()


def test_one_of_a_hundred_requests_runs_it(worker, model):
    shown = propose(worker, model, "echo x >> marker; sleep 0.2")
    answers = in_parallel([lambda: alone(worker, "/step/execute", {"proposal_id": shown["id"]})] * 100)
    told = [(each.status_code, each.json().get("code")) for each in answers]
    assert told.count((200, None)) == 1, told
    assert set(told) <= {(200, None), (409, "proposal_used"), (503, "busy")}
    assert lines(worker.folder / "marker") == ["x"] and len(worker.records()) == 1
    assert refused(run(worker, shown)) == (409, "proposal_used")


def test_of_run_refuse_and_edit_at_once_one_counts(worker, model):
    for number in range(5):
        shown = propose(worker, model, f"echo x >> marker-{number}")
        calls = [lambda: alone(worker, "/step/execute", {"proposal_id": shown["id"]}),  # noqa: B023  (called in this round)
                 lambda: alone(worker, "/step/reject", {"proposal_id": shown["id"], "reason": "no"}),  # noqa: B023
                 lambda: alone(worker, "/step/edit", {"proposal_id": shown["id"], "command": "ls"})] * 4  # noqa: B023
        answers = in_parallel(calls)
        assert [each.status_code for each in answers].count(200) == 1, [each.text for each in answers]
        state, ran = stored(worker, shown)["state"], lines(worker.folder / f"marker-{number}")
        assert (state, ran) in (("run", ["x"]), ("refused", []))
        assert ran == (["x"] if 200 in [each.status_code for each in answers[::3]] else [])


# --- edit and reject


def test_an_edit_is_a_new_proposal_that_remembers_the_old_one(worker, model):
    shown = propose(worker, model, "touch first", task_id="T-1")
    edited = worker.post("/step/edit", json={"proposal_id": shown["id"], "command": "cat second || touch second"})
    assert edited.status_code == 200
    new = edited.json()
    assert new["replaces"] == shown["id"] != new["id"] and new["digest"] != shown["digest"]
    assert new["command"] == "cat second || touch second" and new["state"] == "open" and new["task_id"] == "T-1"
    assert new["decision"] == "ask" and new["reasons"] and new["decided_by"] is None and new["run_id"] is None
    old = stored(worker, shown)
    assert (old["state"], old["decide_reason"], old["decided_by"]) == ("refused", "edited", "local")
    assert old["command"] == "touch first"
    assert refused(run(worker, shown)) == (409, "proposal_refused")
    assert refused(worker.post("/step/edit", json={"proposal_id": shown["id"], "command": "ls"})) == (409, "proposal_refused")
    assert [each["id"] for each in worker.get("/proposals").json()] == [new["id"]]
    assert run(worker, new).status_code == 200
    assert (worker.folder / "second").exists() and not (worker.folder / "first").exists()


def test_an_edit_is_judged_anew(worker, model):
    shown = propose(worker, model, "touch x")
    reader = worker.post("/step/edit", json={"proposal_id": shown["id"], "command": "ls"}).json()
    assert reader["decision"] == "allow"
    wiped = worker.post("/step/edit", json={"proposal_id": reader["id"], "command": "rm -r -f /"}).json()
    assert wiped["decision"] == "deny" and wiped["replaces"] == reader["id"]
    assert refused(run(worker, wiped)) == (403, "command_denied")


@pytest.mark.parametrize(("body", "code"), [({"command": ""}, "missing_command"), ({"command": " \n"}, "missing_command"),
                                            ({"command": "a\0b"}, "missing_command"), ({}, "missing_command"),
                                            ({"command": 5}, "invalid_value")])
def test_an_edit_needs_a_command(worker, model, body, code):
    shown = propose(worker, model, "touch x")
    assert refused(worker.post("/step/edit", json={"proposal_id": shown["id"], **body})) == (400, code)
    assert stored(worker, shown)["state"] == "open"


def test_the_reason_of_a_refusal_is_in_the_next_prompt_of_its_task(worker, model):
    shown = propose(worker, model, "touch wrong-file", task_id="T-1")
    answer = worker.post("/step/reject", json={"proposal_id": shown["id"], "reason": "not here, in \"docs\""})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["state"], told["decide_reason"], told["decided_by"]) == ("refused", "not here, in \"docs\"", "local")
    assert told["run_id"] is None and told["decided_at"]
    assert refused(run(worker, shown)) == (409, "proposal_refused") and "docs" in run(worker, shown).json()["message"]
    assert not (worker.folder / "wrong-file").exists()
    propose(worker, model, "ls", task_id="T-2")
    assert "not here" not in prompts_sent(model)
    propose(worker, model, "ls")
    assert "not here" not in prompts_sent(model)
    propose(worker, model, "ls", task_id="T-1")
    contents = [each["content"] for each in model.posts[-1].body["messages"]]
    assert any('not here, in "docs"' in each for each in contents)
    assert any("touch wrong-file" in each for each in contents)


def test_an_edited_one_is_no_refusal_to_the_model(worker, model):
    shown = propose(worker, model, "touch draft-of-it")
    worker.post("/step/edit", json={"proposal_id": shown["id"], "command": "ls"})
    propose(worker, model, "ls")
    assert "draft-of-it" not in prompts_sent(model)


def test_a_refusal_without_a_reason_is_one(worker, model):
    shown = propose(worker, model, "touch x")
    answer = worker.post("/step/reject", json={"proposal_id": shown["id"]})
    assert answer.status_code == 200 and answer.json()["state"] == "refused" and answer.json()["decide_reason"]
    assert refused(worker.post("/step/reject", json={"proposal_id": shown["id"]})) == (409, "proposal_refused")
    assert refused(run(worker, shown)) == (409, "proposal_refused")


# --- reading


def test_those_that_wait_are_listed_oldest_first(worker, model):
    shown = [propose(worker, model, f"touch f{number}", task_id=f"T-{number % 2}") for number in range(5)]
    run(worker, shown[1])
    worker.post("/step/reject", json={"proposal_id": shown[3]["id"]})
    waiting = worker.get("/proposals").json()
    assert [each["id"] for each in waiting] == [shown[number]["id"] for number in (0, 2, 4)]
    assert [each["created_at"] for each in waiting] == sorted(each["created_at"] for each in waiting)
    assert {each["state"] for each in waiting} == {"open"}
    assert [each["id"] for each in worker.get("/proposals?limit=1").json()] == [shown[0]["id"]]
    for query in ("limit=0", "limit=1001", "limit=x"):
        assert worker.get(f"/proposals?{query}").status_code == 400


def test_an_unknown_one_is_404(server):
    for answer in (server.get("/proposals/P-none"), server.post("/step/execute", json={"proposal_id": "P-none"}),
                   server.post("/step/execute", json={"proposal_id": "P-none", "command": "ls"}),
                   server.post("/step/reject", json={"proposal_id": "P-none", "reason": "x"}),
                   server.post("/step/edit", json={"proposal_id": "P-none", "command": "ls"})):
        assert refused(answer) == (404, "proposal_not_found")
    assert server.post("/step/reject", json={}).status_code == server.post("/step/edit", json={}).status_code == 400


# --- restarts


def change(worker, statement: str, *values) -> None:
    with closing(sqlite3.connect(worker.data / "ananta.db")) as database, database:
        assert database.execute(statement, values).rowcount > 0


def expire(worker, shown: dict) -> None:
    change(worker, "UPDATE proposals SET expires_at = ? WHERE id = ?", time.time() - 1, shown["id"])


def test_run_refused_and_unanswered_are_three_things(start, model):
    worker = start("ends", LMSTUDIO_URL=model.url)
    ran, turned_down, unanswered = (propose(worker, model, f"echo x >> {name}") for name in ("a", "b", "c"))
    run(worker, ran)
    worker.post("/step/reject", json={"proposal_id": turned_down["id"], "reason": "no"})
    worker.stop()
    for each in (ran, turned_down, unanswered):
        expire(worker, each)
    again = start("ends", LMSTUDIO_URL=model.url)
    assert [stored(again, each)["state"] for each in (ran, turned_down, unanswered)] == ["run", "refused", "expired"]
    assert stored(again, unanswered)["decided_by"] is stored(again, unanswered)["decided_at"] is None
    for each, code in ((ran, "proposal_used"), (turned_down, "proposal_refused"), (unanswered, "proposal_expired")):
        assert refused(run(again, each)) == (409, code)
        assert refused(again.post("/step/reject", json={"proposal_id": each["id"], "reason": "late"})) == (409, code)
        assert refused(again.post("/step/edit", json={"proposal_id": each["id"], "command": "ls"})) == (409, code)
    assert again.get("/proposals").json() == []
    assert lines(again.folder / "a") == ["x"] and not (again.folder / "b").exists() and not (again.folder / "c").exists()
    propose(again, model, "ls")
    assert "No reason" not in prompts_sent(model) and "late" not in prompts_sent(model)


def test_one_that_runs_out_while_the_worker_runs_is_over_at_once(worker, model):
    shown = propose(worker, model, "touch made")
    expire(worker, shown)
    assert worker.get("/proposals").json() == []
    assert refused(run(worker, shown)) == (409, "proposal_expired") and not (worker.folder / "made").exists()
    assert stored(worker, shown)["state"] == "expired"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_everything_is_there_after_a_restart(start, model, end):
    worker = start("again", LMSTUDIO_URL=model.url)
    waiting, ran, turned_down, edited = (
        propose(worker, model, f"echo x >> {name}", task_id="T-1") for name in ("a", "b", "c", "d"))
    done = run(worker, ran).json()
    worker.post("/step/reject", json={"proposal_id": turned_down["id"], "reason": "think of tomorrow"})
    new = worker.post("/step/edit", json={"proposal_id": edited["id"], "command": "echo x >> e"}).json()
    everything = (waiting, ran, turned_down, edited, new)
    before = [stored(worker, each) for each in everything]
    listed = worker.get("/proposals").json()
    getattr(worker, end)()
    again = start("again", LMSTUDIO_URL=model.url)
    assert [stored(again, each) for each in everything] == before and again.get("/proposals").json() == listed
    assert refused(run(again, ran)) == (409, "proposal_used") and run(again, ran).json()["run_id"] == done["id"]
    assert refused(run(again, turned_down)) == refused(run(again, edited)) == (409, "proposal_refused")
    propose(again, model, "ls", task_id="T-1")
    assert "think of tomorrow" in prompts_sent(model)
    assert run(again, waiting).status_code == run(again, new).status_code == 200
    assert {name: lines(again.folder / name) for name in "abcde"} == {"a": ["x"], "b": ["x"], "c": [], "d": [], "e": ["x"]}


def test_one_that_was_running_at_a_kill_is_not_run_again(start, model):
    worker = start("killed", LMSTUDIO_URL=model.url)
    shown = propose(worker, model, "echo x >> marker; sleep 60", task_id="T-1")
    thread = threading.Thread(target=_ignore_failure, args=(lambda: run(worker, shown),))
    thread.start()
    while not lines(worker.folder / "marker"):
        time.sleep(0.02)
    worker.kill()
    thread.join()
    again = start("killed", LMSTUDIO_URL=model.url)
    record = again.get("/logs?task_id=T-1").json()[-1]
    assert (record["state"], record["proposal_id"]) == ("unknown", shown["id"])
    assert stored(again, shown)["state"] == "run" and stored(again, shown)["run_id"] == record["id"]
    assert refused(run(again, shown)) == (409, "proposal_used")
    assert lines(again.folder / "marker") == ["x"] and len(again.records()) == 1


def _ignore_failure(call) -> None:
    try:
        call()
    except Exception:
        return
