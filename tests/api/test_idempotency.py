"""The same request with the same Idempotency-Key runs once, and has one answer."""
import json
import sqlite3
import threading
import time
from contextlib import closing

import jwt
import pytest
import requests

from tests.conftest import WAIT_S


def send(worker, key: str | bytes, command: str | None = "echo x | tee -a marker", **fields):
    """An execution with this key, over a connection of its own."""
    headers = {"Idempotency-Key": key}
    if worker.token:
        headers["Authorization"] = f"Bearer {worker.token}"
    body = fields if command is None else {"command": command, **fields}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(worker.url + "/step/execute", json=body, headers=headers, timeout=WAIT_S)


def marks(worker, name: str = "marker") -> int:
    path = worker.folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def refused(answer) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code")


def replayed(answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def test_the_same_request_has_the_same_answer_and_runs_once(start):
    worker = start()
    first = send(worker, "key-1", "echo x >> marker; date +%N; echo err >&2; exit 3", task_id="T-1")
    assert first.status_code == 200 and first.json()["exit_code"] == 3 and not replayed(first)
    assert "Idempotency-Replayed" not in first.headers
    for _ in range(3):
        again = send(worker, "key-1", "echo x >> marker; date +%N; echo err >&2; exit 3", task_id="T-1")
        assert (again.status_code, again.content) == (200, first.content) and replayed(again)
        assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert marks(worker) == 1 and [each["id"] for each in worker.records()] == [first.json()["id"]]


def test_another_key_or_none_runs_again(start):
    worker = start()
    answers = [send(worker, "one"), send(worker, "two"), send(worker, "ONE"), worker.post(
        "/step/execute", json={"command": "echo x | tee -a marker"})]
    assert len({each.json()["id"] for each in answers}) == 4 and marks(worker) == 4
    assert not any(replayed(each) for each in answers)


@pytest.mark.parametrize("fields", [{"command": "echo y | tee -a marker"}, {"task_id": "T-1"}, {"retries": 1},
                                    {"autonomous": True}])
def test_another_body_is_refused(start, fields):
    worker = start()
    first = send(worker, "key-1")
    answer = send(worker, "key-1", **{"command": "echo x | tee -a marker", **fields})
    assert refused(answer) == (409, "idempotency_key_reused") and not replayed(answer)
    assert marks(worker) == 1 and len(worker.records()) == 1
    assert send(worker, "key-1").content == first.content


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_answer_survives_a_restart(start, end):
    worker = start("again")
    first = send(worker, "key-1")
    getattr(worker, end)()
    again = start("again")
    answer = send(again, "key-1")
    assert (answer.status_code, answer.content) == (200, first.content) and replayed(answer)
    assert refused(send(again, "key-1", "ls")) == (409, "idempotency_key_reused")
    assert marks(again) == 1 and len(again.records()) == 1


def test_after_a_day_a_key_is_new(start):
    worker = start("day")
    first = send(worker, "key-1")
    worker.stop()
    with closing(sqlite3.connect(worker.data / "ananta.db")) as database, database:
        assert database.execute("UPDATE answers SET begun_at = begun_at - 86401").rowcount == 1
    again = start("day")
    answer = send(again, "key-1")
    assert answer.status_code == 200 and not replayed(answer) and answer.json()["id"] != first.json()["id"]
    assert marks(again) == 2 and send(again, "key-1").content == answer.content


def test_racing_requests_run_once(start):
    worker = start()
    answers: list = [None] * 20
    ready = threading.Barrier(len(answers))

    def one(number: int) -> None:
        ready.wait(WAIT_S)
        answers[number] = send(worker, "key-1", "echo x >> marker; sleep 0.5; echo done")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(answers))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {(each.status_code, each.content) for each in answers} == {(200, answers[0].content)}
    assert [replayed(each) for each in answers].count(False) == 1
    assert answers[0].json()["stdout"] == "done\n" and marks(worker) == 1 and len(worker.records()) == 1


def test_of_different_requests_that_race_with_one_key_one_runs(start):
    worker = start()
    answers: list = [None] * 8
    ready = threading.Barrier(len(answers))

    def one(number: int) -> None:
        ready.wait(WAIT_S)
        answers[number] = send(worker, "key-1", f"echo {number} >> marker; sleep 0.3")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(answers))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each.status_code for each in answers) == [200] + [409] * 7
    assert {each.json().get("code") for each in answers} == {None, "idempotency_key_reused"} and marks(worker) == 1


def test_a_denied_one_frees_the_key(start):
    worker = start()
    (worker.data / "blacklist.txt").write_text("marker\n")
    for _ in range(2):
        answer = send(worker, "key-1")
        assert refused(answer) == (403, "command_denied") and not replayed(answer)
    assert [each["state"] for each in worker.records()] == ["denied"] * 2 and marks(worker) == 0
    (worker.data / "blacklist.txt").unlink()
    answer = send(worker, "key-1")
    assert answer.status_code == 200 and not replayed(answer) and marks(worker) == 1
    assert replayed(send(worker, "key-1")) and marks(worker) == 1


def test_one_that_nobody_decided_about_frees_the_key(start):
    worker = start()
    (worker.folder / "sub").mkdir()
    assert refused(send(worker, "key-1", "touch sub/made", autonomous=True)) == (409, "approval_required")
    rules = {"rules": [{"prefix": ["touch"], "decision": "allow", "reason": "r"}]}
    assert worker.request("PUT", "/policy", json=rules).ok
    answer = send(worker, "key-1", "touch sub/made", autonomous=True)
    assert answer.status_code == 200 and not replayed(answer) and (worker.folder / "sub" / "made").exists()


def test_what_was_wrong_frees_the_key(start):
    worker = start()
    assert refused(send(worker, "key-1", "")) == (400, "command_required")
    assert refused(send(worker, "key-1", "ls", timeout=0)) == (400, "invalid_value")
    assert refused(send(worker, "key-1", None, proposal_id="P-none")) == (404, "proposal_not_found")
    assert send(worker, "key-1").status_code == 200 and marks(worker) == 1


def test_no_free_place_frees_the_key(start):
    worker = start(MAX_COMMANDS="1")
    thread = threading.Thread(target=send, args=(worker, "long", "touch begun; until test -e go; do sleep 0.02; done"),
                              kwargs={"task_id": "T-1"})
    thread.start()
    while not (worker.folder / "begun").exists():
        time.sleep(0.02)
    assert refused(send(worker, "key-1", task_id="T-2")) == (503, "busy") and marks(worker) == 0
    (worker.folder / "go").touch()
    thread.join()
    answer = send(worker, "key-1", task_id="T-2")
    assert answer.status_code == 200 and not replayed(answer) and marks(worker) == 1


def test_a_proposal_with_a_key_answers_twice_and_runs_once(start, model):
    model.answer(json.dumps({"reason": "r", "command": "echo x >> marker"}))
    worker = start(LMSTUDIO_URL=model.url)
    shown = worker.post("/step/propose", json={"prompt": "x"}).json()
    first, again = (send(worker, "key-1", None, proposal_id=shown["id"]) for _ in range(2))
    assert first.status_code == 200 and again.content == first.content and replayed(again) and marks(worker) == 1
    for _ in range(2):
        answer = send(worker, "key-2", None, proposal_id=shown["id"])
        assert refused(answer) == (409, "proposal_used") and not replayed(answer)


def test_killed_in_the_middle_the_outcome_is_unknown_and_it_is_not_run_again(start):
    worker = start("killed")
    thread = threading.Thread(target=_ignore_failure, args=(
        lambda: send(worker, "key-1", "echo x >> marker; sleep 60", task_id="T-1"),))
    thread.start()
    while not marks(worker):
        time.sleep(0.02)
    worker.kill()
    thread.join()
    for _ in range(2):
        again = start("killed")
        record = again.get("/logs?task_id=T-1").json()[-1]
        assert record["state"] == "unknown"
        for _ in range(2):
            answer = send(again, "key-1", "echo x >> marker; sleep 60", task_id="T-1")
            assert refused(answer) == (409, "outcome_unknown") and answer.json()["run_id"] == record["id"]
        assert refused(send(again, "key-1", "ls")) == (409, "idempotency_key_reused")
        assert marks(again) == 1 and len(again.records()) == 1
        again.stop()


def test_stopped_in_the_middle_the_answer_is_there_or_not_known(start):
    worker = start("stopped")
    answers: list = []
    thread = threading.Thread(target=_ignore_failure, args=(
        lambda: answers.append(send(worker, "key-1", "echo x >> marker; sleep 1; echo done", task_id="T-1")),))
    thread.start()
    while not marks(worker):
        time.sleep(0.02)
    worker.stop()
    thread.join()
    again = start("stopped")
    answer = send(again, "key-1", "echo x >> marker; sleep 1; echo done", task_id="T-1")
    assert answer.status_code == 200 and replayed(answer) and answer.content == answers[0].content
    assert answer.json()["stdout"] == "done\n" and marks(again) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, b"\xc3\xbc", b"\xff", b"a\tb", b"a\x7fb", b"a\x01b"])
def test_a_key_that_is_none_is_400_and_nothing_runs(start, key):
    worker = start()
    answer = send(worker, key)
    assert answer.status_code == 400, answer.text
    assert marks(worker) == 0 and worker.get("/logs").json() == []


@pytest.mark.parametrize("key", ["k", "k" * 255, "a b, \"c\"; d=~!", "8e03978e-40d5-43dd-bc93-6894a57f9324"])
def test_any_printable_text_is_a_key(start, key):
    worker = start()
    first, again = send(worker, key), send(worker, key)
    assert first.status_code == 200 and again.content == first.content and replayed(again) and marks(worker) == 1


def test_a_key_belongs_to_its_caller(start):
    worker = start("shared", "--host", "127.0.0.1", token="a-token-of-some-length-for-hs256-keys")
    first = send(worker, "key-1")
    secret_key = (worker.data / "secrets" / "secret_key").read_text().strip()
    person = jwt.encode({"sub": "ada", "exp": time.time() + 600}, secret_key, algorithm="HS256")
    answer = worker.post("/step/execute", json={"command": "echo x | tee -a marker"},
                         headers={"Authorization": f"Bearer {person}", "Idempotency-Key": "key-1"})
    assert answer.status_code == 200 and not replayed(answer) and answer.json()["id"] != first.json()["id"]
    assert marks(worker) == 2
    worker.token = "wrong"
    assert refused(send(worker, "key-1")) == (401, "unauthorized") and marks(worker) == 2


def test_a_secret_is_in_no_stored_answer(start):
    worker = start("secret", "--host", "127.0.0.1", token="token-Gurkenglas-1")
    first = send(worker, "key-1", "echo token-Gurkenglas-1 | tee -a marker")
    assert "Gurkenglas" not in first.text
    assert send(worker, "key-1", "echo token-Gurkenglas-1 | tee -a marker").content == first.content
    worker.stop()
    for path in worker.data.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert b"Gurkenglas" not in path.read_bytes(), path


def test_reading_takes_no_notice_of_a_key(server):
    for _ in range(2):
        answer = server.get("/logs", headers={"Idempotency-Key": "x" * 300})
        assert answer.status_code == 200 and not replayed(answer)


def _ignore_failure(call) -> None:
    try:
        call()
    except Exception:
        return
