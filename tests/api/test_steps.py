"""Propose, execute, read what ran."""
import json
import signal
import threading
import time

import psutil
import pytest


def test_a_proposal_is_answered_and_runs_nothing(server):
    answer = server.post("/step/propose", json={"prompt": "say hello"}).json()
    assert answer["command"] == "echo hello from ananta" and answer["reason"]
    assert answer["tool_calls"] is None and answer["comparisons"] is None and answer["raw"]
    assert server.get("/logs?task_id=unknown").json() == []


def test_a_model_server_is_asked_with_a_schema(start, model):
    model.answer('{"reason": "look", "command": "`pwd`"}')
    worker = start(LMSTUDIO_URL=model.url)
    answer = worker.post("/step/propose", json={"prompt": "where am I?"}).json()
    assert answer["command"] == "pwd" and answer["decision"]
    asked = model.posts[-1]
    assert asked.body["response_format"]["type"] == "json_schema"
    assert "where am I?" in json.dumps(asked.body["messages"])


def test_a_comparison_shows_each_provider(server):
    server.post("/config", json={"ollama_url": "http://127.0.0.1:1/api/generate"})
    answer = server.post("/step/propose", json={"prompt": "x", "providers": ["ollama:none", "mock"]}).json()
    assert answer["command"] == "echo hello from ananta"
    assert set(answer["comparisons"]) == {"ollama:none", "mock"} and "error" in answer["comparisons"]["ollama:none"]


def test_a_comparison_without_any_answer_is_502(start):
    worker = start(OLLAMA_URL="http://127.0.0.1:1/api/generate", LMSTUDIO_URL="http://127.0.0.1:1/v1", RETRY_COUNT="0")
    answer = worker.post("/step/propose", json={"providers": ["ollama", "lmstudio"]})
    assert (answer.status_code, answer.json()["code"]) == (502, "all_llm_failed")
    answer = worker.post("/step/propose", json={})
    assert (answer.status_code, answer.json()["code"]) == (502, "llm_failed")


@pytest.mark.parametrize(("body", "field"), [
    ({"prompt": 5}, "prompt"), ({"providers": "mock"}, "providers"), ({"providers": ["mock"] * 9}, "providers"),
    ({"task_id": ["x"]}, "task_id"), ({"history": [{"exit_code": "x"}]}, "exit_code")])
def test_wrong_types_in_a_proposal_are_422_and_named(server, body, field):
    answer = server.post("/step/propose", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert field in json.dumps(answer.json()["errors"])


def test_anonymous_proposals_are_limited_and_leave_nothing(start):
    worker = start("limited", "--host", "127.0.0.1", token="a-token-of-some-length", DEFAULT_PROVIDER="mock")
    answers = [worker.post("/step/propose", json={"prompt": "secret plan"}, auth=False) for _ in range(11)]
    assert [each.status_code for each in answers] == [200] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) == answers[-1].json()["retry_after"] > 0
    log = worker.data / "llm_log.jsonl"
    assert not log.exists() or "secret plan" not in log.read_text()
    assert worker.post("/step/propose", json={"prompt": "secret plan"}).status_code == 200
    assert "secret plan" in log.read_text()


def test_a_command_runs_and_is_on_record(server):
    done = server.execute("echo out; echo err >&2; exit 3", task_id="T-run")
    assert done["exit_code"] == 3 and done["status"] == "failed" and done["task_id"] == "T-run"
    assert (done["stdout"], done["stderr"]) == ("out\n", "err\n")
    record = server.get("/logs?task_id=T-run").json()[-1]
    assert record["command"] == "echo out; echo err >&2; exit 3" and record["direction"] == "exec"
    assert record["exit_code"] == record["returncode"] == 3 and record["step"] == 1 and record["agent"] == "default"
    assert "out" in record["output"] and "err" in record["output"]
    assert record["decided_by"] == "local" and abs(record["timestamp"] - time.time()) < 60
    assert record in server.records()


def test_directory_and_variables_carry_over_within_a_session_only(server):
    server.execute("cd /; export COLOR=$'dark\\nblue'; exit 5", task_id="T-a")
    assert server.execute("pwd; echo \"$COLOR\"", task_id="T-a")["stdout"] == "/\ndark\nblue\n"
    assert server.execute("echo \"[$COLOR]\"", task_id="T-b")["output"] == "[]"


@pytest.mark.parametrize(("body", "code"), [
    ({}, "command_required"), ({"command": ""}, "command_required"), ({"command": "  "}, "command_required"),
    ({"tool_calls": []}, "command_required"), ({"command": "a\0b"}, "invalid_value"), ({"command": 5}, "invalid_value"),
    ({"command": "true", "timeout": 0}, "invalid_value"), ({"command": "true", "timeout": 3601}, "invalid_value"),
    ({"command": "true", "timeout": 1.5}, "invalid_value"), ({"command": "true", "retries": 6}, "invalid_value"),
    ({"command": "true", "retry_delay": 31}, "invalid_value"), ({"tool_calls": [{}]}, "invalid_tool_calls"),
    ({"command": "true", "task_id": "a\nb"}, "invalid_value")])
def test_wrong_input_to_execute_is_400(server, body, code):
    answer = server.post("/step/execute", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


def test_a_command_is_ended_at_its_time_limit_with_all_it_started(server, tmp_path):
    beat = tmp_path / "beat"
    done = server.execute(f"trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do echo x >> {beat}; sleep 0.05; done' &"
                          " echo begun; wait", timeout=1)
    assert done["exit_code"] == -1 and done["status"] == "failed" and "begun" in done["output"]
    assert "limit" in done["output"]
    assert beat.stat().st_size and not [each for each in psutil.process_iter(["cmdline"]) if str(beat) in " ".join(each.info["cmdline"] or ())]


def test_a_failing_command_is_repeated_and_recorded_once(server):
    done = server.execute("echo x >> tries; test $(wc -l < tries) -ge 3", retries=5, retry_delay=0, task_id="T-retry")
    assert done["exit_code"] == 0 and (server.folder / "tries").read_text() == "x\n" * 3
    assert len(server.get("/logs?task_id=T-retry").json()) == 1


def test_sessions_run_side_by_side_and_more_than_the_places_are_503(start):
    worker = start(MAX_COMMANDS="2")
    done = []
    threads = [threading.Thread(target=lambda number=number: done.append(
        worker.execute("sleep 3", task_id=f"T-{number}"))) for number in range(2)]
    for each in threads:
        each.start()
    while "shell_pool_busy 2.0" not in worker.get("/metrics").text:
        time.sleep(0.02)
    answer = worker.post("/step/execute", json={"command": "echo three", "task_id": "T-3"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy") and "Retry-After" in answer.headers
    assert worker.get("/health").status_code == 200
    for each in threads:
        each.join()
    assert [each["exit_code"] for each in done] == [0, 0]
    assert not any(each["command"] == "echo three" for each in worker.records())


def test_a_running_command_can_be_stopped(server):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.execute("echo begun; sleep 60", task_id="T-stop")))
    thread.start()
    while not server.post("/step/stop", json={"task_id": "T-stop"}).json()["stopped"]:
        time.sleep(0.02)
    thread.join(30)
    assert answers[0]["exit_code"] == -1
    assert server.get("/logs?task_id=T-stop").json()[-1]["state"] == "interrupted"
    assert server.post("/step/stop", json={"task_id": "T-stop"}).json() == {"stopped": False}


def test_the_blacklist_denies_and_counts_as_soon_as_it_changes(start):
    worker = start()
    assert worker.execute("echo kraken")["exit_code"] == 0
    (worker.data / "blacklist.txt").write_text("# nothing with\nKRAK[EA]N\n[broken\n")
    marker = worker.folder / "ran"
    for command in (f"touch {marker}; echo kraken", f"touch {marker}; echo '[broken'"):
        answer = worker.post("/step/execute", json={"command": command, "task_id": "T-no", "retries": 3})
        assert (answer.status_code, answer.json()["code"]) == (403, "command_denied")
        assert answer.json()["reasons"]
    assert not marker.exists()
    records = worker.get("/logs?task_id=T-no").json()
    assert [(each["state"], each["exit_code"]) for each in records] == [("denied", -1)] * 2
    (worker.data / "blacklist.txt").unlink()
    assert worker.execute("echo kraken")["exit_code"] == 0


def test_tool_calls_run_first_and_only_what_is_permitted(server):
    done = server.post("/step/execute", json={
        "tool_calls": [{"name": "read_agent_logs", "args": {"filename": "terminal_log.jsonl", "lines": 1}},
                       {"function": {"name": "update_config", "arguments": "{\"key\": \"a\", \"value\": 1}"}}],
        "command": "echo then"}).json()
    assert "update_config: failed\ntool_not_allowed" in done["output"] and done["output"].endswith("---\nthen")
    assert done["exit_code"] == 1
    assert "a" not in server.get("/config").json()


def test_secrets_are_in_no_environment_and_no_record(start):
    worker = start("secret", "--host", "127.0.0.1", token="token-Gurkenglas-1", OPENAI_API_KEY="sk-Petersilie-9876")
    seen = worker.execute("env; python3 -c \"import os; print(open('/pr' + f'oc/{os.getppid()}/environ').read())\";"
                          " tr x y < /proc/1/cmdline")["output"]
    assert "Gurkenglas" not in seen and "Petersilie" not in seen
    worker.execute("echo token-Gurkenglas-1 and $(printf 'sk-%s' Petersilie-9876)")
    worker.stop()
    for path in worker.data.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            content = path.read_bytes()
            assert b"token-Gurkenglas-1" not in content and b"sk-Petersilie-9876" not in content, path
    assert not any("Gurkenglas" in line for line in worker.lines + worker.errors)


def test_logs_answer_the_last_ones_in_order(start):
    worker = start()
    assert worker.get("/logs").json() == []
    for number in range(5):
        worker.execute(f"echo {number}", task_id=f"T-{number % 2}")
    assert [each["output"] for each in worker.get("/logs?limit=3").json()] == ["2", "3", "4"]
    assert [each["output"] for each in worker.get("/logs?task_id=T-1").json()] == ["1", "3"]
    assert [each["step"] for each in worker.get("/logs?task_id=T-0").json()] == [1, 2, 3]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1.0", "limit=%D9%A3",
                                   "limit=9999999999999999999999"])
def test_a_wrong_limit_is_400(server, query):
    answer = server.get(f"/logs?{query}")
    assert answer.status_code == 400 and answer.json()["details"] == "limit"


def test_after_a_kill_a_run_is_unknown_and_not_repeated(start):
    worker = start("killed")
    marker = worker.folder / "marks"
    answers = threading.Thread(target=lambda: _ignore_failure(
        lambda: worker.execute(f"echo mark >> {marker}; sleep 30", task_id="T-killed")))
    answers.start()
    while not marker.exists():
        time.sleep(0.02)
    worker.kill()
    answers.join()
    again = start("killed")
    assert again.line_with("unknown")
    record = again.get("/logs?task_id=T-killed").json()[-1]
    assert record["state"] == "unknown" and record["exit_code"] == record["returncode"] == -1
    assert "unknown" in record["output"] or "not known" in record["output"]
    assert marker.read_text() == "mark\n"
    again.stop()
    third = start("killed")
    assert len(third.get("/logs?task_id=T-killed").json()) == 1


def test_a_stop_lets_work_finish_for_a_moment_and_records_the_rest(start):
    worker = start("stopping")
    answers: dict[str, object] = {}

    def run(name: str, command: str) -> None:
        try:
            answers[name] = worker.post("/step/execute", json={"command": command, "task_id": name}).json()
        except Exception as failure:
            answers[name] = failure

    threads = [threading.Thread(target=run, args=each) for each in
               (("short", "touch begun-1; sleep 1; echo done"), ("long", "touch begun-2; sleep 60"))]
    for each in threads:
        each.start()
    while not all((worker.folder / f"begun-{number}").exists() for number in (1, 2)):
        time.sleep(0.02)
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    for each in threads:
        each.join()
    assert answers["short"]["output"] == "done"
    states = {each["task_id"]: each["state"] for each in worker.records()}
    assert states == {"short": "finished", "long": "interrupted"}
    assert not any("Traceback" in line for line in worker.errors)


def _ignore_failure(call) -> None:
    try:
        call()
    except Exception:
        return


def test_a_vanished_directory_is_named_and_the_command_does_not_run_elsewhere(server):
    server.execute("mkdir gone; cd gone; rmdir ../gone", task_id="T-gone")
    answer = server.post("/step/execute", json={"command": "touch ran-elsewhere", "task_id": "T-gone"})
    assert (answer.status_code, answer.json()["code"]) == (409, "cwd_gone") and "gone" in answer.json()["message"]
    assert not (server.folder / "ran-elsewhere").exists()
    assert server.execute("pwd", task_id="T-gone")["output"] == str(server.folder)


def test_while_stopping_the_server_still_says_so(start):
    worker = start("leaving")
    thread = threading.Thread(target=lambda: _ignore_failure(lambda: worker.execute("touch begun; sleep 60")))
    thread.start()
    while not (worker.folder / "begun").exists():
        time.sleep(0.02)
    worker.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        answer = worker.get("/config")
        if answer.status_code == 503:
            break
    assert answer.json()["code"] == "shutdown_in_progress" and "Retry-After" in answer.headers
    assert worker.get("/health").json() == {"status": "ok"} and worker.get("/logs").status_code == 200
    assert worker.wait() == 0
    thread.join()


def test_an_address_that_is_none_is_refused_before_it_can_fail(server):
    for address in ("http://[::1/v1", "http://x:99999/v1", "http:///v1"):
        answer = server.post("/config", json={"lmstudio_url": address})
        assert (answer.status_code, answer.json()["details"]) == (400, "lmstudio_url")
