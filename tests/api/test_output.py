"""What commands print, while they run: GET /step/stream-output."""
import json
import threading

import pytest

from ananta.agent.live import KEPT_CHARS, Live
from ananta.domain.steps import Record
from tests.conftest import WAIT_S, eventually


class Listener:
    def __init__(self, server, task_id):
        self.answer = server.get(f"/step/stream-output?task_id={task_id}", stream=True, timeout=20)
        assert self.answer.status_code == 200, self.answer.text
        self.lines = self.answer.iter_lines(chunk_size=1)
        assert next(self.lines) == b": open"

    def messages(self, until="run_ended"):
        for line in self.lines:
            if line.startswith(b"data: "):
                found = json.loads(line[6:])
                yield found["type"], found["data"]
                if found["type"] == until:
                    return


def running(server, command, task_id):
    done = []
    thread = threading.Thread(target=lambda: done.append(server.execute(command, task_id=task_id)))
    thread.start()
    return thread, done


def test_output_comes_while_the_command_runs(server, tmp_path):
    gate = tmp_path / "gate"
    listener = Listener(server, "live")
    thread, done = running(server, f"echo first; while [ ! -e {gate} ]; do sleep 0.05; done; echo second", "live")
    told = listener.messages()
    kind, started = next(told)
    assert kind == "run_started" and started["task_id"] == "live" and started["command"].startswith("echo first")
    kind, piece = next(told)
    assert (kind, piece["text"], piece["at"]) == ("run_output", "first\n", 0) and not done
    gate.touch()
    rest = list(told)
    thread.join(WAIT_S)
    assert rest[0][1]["text"] == "second\n" and rest[0][1]["at"] == 6
    assert rest[-1][0] == "run_ended" and rest[-1][1]["exit_code"] == 0 and rest[-1][1]["run_id"] == done[0]["id"]


def test_who_comes_later_sees_what_was_printed(server, tmp_path):
    gate = tmp_path / "gate"
    thread, _ = running(server, f"echo early; touch {gate}.begun; while [ ! -e {gate} ]; do sleep 0.05; done", "later")
    eventually(gate.with_name("gate.begun").exists)
    told = []
    for kind, data in Listener(server, "later").messages():
        told.append((kind, data.get("text")))
        if kind == "run_output":
            gate.touch()
    thread.join(WAIT_S)
    assert told[0][0] == "run_started" and ("run_output", "early\n") in told


def test_a_flood_is_cut_and_the_stream_survives_it(server):
    listener = Listener(server, "flood")
    thread, done = running(server, "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the end", "flood")
    told = list(listener.messages())
    thread.join(WAIT_S)
    text = "".join(data["text"] for kind, data in told if kind == "run_output")
    assert text.endswith("the end\n") and "left out here" in text and len(text) < 12_000_000
    assert done[0]["exit_code"] == 0


def test_another_session_hears_nothing_and_secrets_are_masked(guarded):
    other, listener = Listener(guarded, "other"), Listener(guarded, "mine")
    half = len(guarded.token) // 2
    guarded.execute(f"printf %s {guarded.token[:half]}; sleep 0.3; echo {guarded.token[half:]}", task_id="mine")
    told = list(listener.messages())
    shown = json.dumps([each for each in told if each[0] == "run_output"])
    assert guarded.token not in shown and "********" in shown and guarded.token[half:] not in shown
    guarded.execute("echo mine", task_id="other")
    assert [kind for kind, _ in other.messages()].count("run_started") == 1


@pytest.mark.parametrize("query", ["?task_id=" + "x" * 201, "?task_id=a%00b"])
def test_odd_sessions_are_refused(server, query):
    assert server.get(f"/step/stream-output{query}").status_code == 400


def test_without_credentials_there_is_no_stream(guarded):
    assert guarded.get("/step/stream-output", auth=False).status_code == 401


def record(number=1):
    return Record(id=f"r{number}", timestamp=1.0, agent="a", command="c", output="", exit_code=0, task_id="t")


def test_nothing_is_worked_out_while_nobody_looks_and_memory_is_bounded():
    told = []
    live = Live(lambda text: told.append("masked") or text, lambda *message: told.append(message), lambda key: False)
    feed = live.began("t", record())
    for _ in range(2000):
        feed("x" * 10_000 + "\n")
    run = live._runs["r1"]
    assert not told and run.pending_chars < 1_000_000
    (_, _), (kind, data) = live.now("t")
    assert kind == "run_output" and len(data["text"]) <= KEPT_CHARS
    live.ended(record())
    assert not live._runs and live.now("t") == []


def test_a_secret_is_not_told_in_two_halves_at_the_end_of_a_long_line():
    told = []
    live = Live(lambda text: text.replace("SECRET-VALUE", "***"), lambda key, kind, data: told.append(data), lambda key: True)
    feed = live.began("t", record())
    feed("a" * 20_000 + "SECRET-")
    live.now("t")
    feed("VALUE" + "b" * 20_000 + "\n")
    live.ended(record())
    text = "".join(data.get("text", "") for data in told)
    assert "***" in text and "SECRET-" not in text
