"""POST /llm/generate: what a model answers, what it asks for, and what runs of that."""
import json
import time

import jwt
import pytest

from tests.conftest import MASK, Ananta
from tests.fake_llm import FakeLLM

TOKEN, PASSWORD = "a-token-of-some-length", "correct horse battery"
CALL = {"name": "read_agent_logs", "args": {"filename": "audit.log", "lines": 1}}


@pytest.fixture
def model():
    with FakeLLM("Good morning.") as fake:
        yield fake


@pytest.fixture
def worker(start, model):
    return start("worker", "--host", "127.0.0.1", token=TOKEN, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=model.openai_url,
                 RETRY_COUNT="0", INITIAL_ADMIN_PASSWORD=PASSWORD)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One worker with a mock model for the tests that only look at single answers."""
    made = Ananta(tmp_path_factory.mktemp("kept"), "--host", "127.0.0.1", token=TOKEN, DEFAULT_PROVIDER="mock")
    yield made
    made.stop()


def user(worker) -> dict:
    """The header of somebody who is no administrator."""
    key = (worker.data / "secrets" / "secret_key").read_text().strip()
    made = jwt.encode({"sub": "eve", "role": "user", "exp": time.time() + 600}, key, algorithm="HS256")
    return {"Authorization": f"Bearer {made}"}


def ask(worker, prompt="Hello?", headers=None, **fields):
    return worker.post("/llm/generate", json={"prompt": prompt, **fields}, headers=headers)


def said(worker, *args, **fields) -> dict:
    answer = ask(worker, *args, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def logged(worker, event=None) -> list[dict]:
    lines = [json.loads(line) for line in (worker.data / "llm_log.jsonl").read_text().splitlines()]
    return [each for each in lines if event in (None, each["event"])]


def audited(worker) -> list[dict]:
    return [json.loads(line) for line in (worker.data / "audit.log").read_text().splitlines()]


def asks_for(*calls, **more) -> str:
    return json.dumps({"thought": "I need to look.", "tool_calls": list(calls), **more})


def test_a_plain_answer_and_what_the_model_is_told(worker, model):
    history = [{"role": "assistant", "content": "How can I help?"}, {"role": "user", "content": "One"}, {"role": "user"}, "x",
               {"role": "system", "content": "Be kind."}, {"role": "assistant", "content": "Two"}]
    assert said(worker, "Three", history=history, context={"roles": ["Owner"]}, config=None) == {"response": "Good morning."}
    told = model.posts[-1].body["messages"]
    assert [each["role"] for each in told] == ["system", "user", "assistant", "user"]
    assert [each["content"] for each in told[1:]] == ["One", "Two", "Three"]
    for part in ("Be kind.", "Owner", "analyze_logs(limit: integer, optional)", "read_agent_logs"):
        assert part in told[0]["content"]
    assert "update_config" not in told[0]["content"]
    assert said(worker, history="none") == {"response": "Good morning."}


def test_what_is_missing_is_named_in_this_order(kept):
    def code(body) -> str:
        answer = kept.request("POST", "/llm/generate", data=body if isinstance(body, bytes) else json.dumps(body))
        assert answer.status_code == 400 and answer.json()["error"] == answer.json()["code"], answer.text
        return answer.json()["code"]

    nobody, openai = {"provider": "nobody"}, {"provider": "openai"}
    assert code(b"{") == code([]) == code("text") == "invalid_json"
    assert code({}) == code({"prompt": ""}) == code({"prompt": " ", "config": nobody}) == "missing_prompt"
    assert code({"tool_calls": [], "config": nobody}) == "missing_prompt"
    assert code({"prompt": "x", "config": nobody, "tool_calls": 5}) == "llm_not_configured"
    assert code({"prompt": "x", "config": openai, "tool_calls": 5}) == "llm_api_key_missing"
    assert code({"prompt": "x", "config": {"provider": "anthropic", "api_key": MASK}}) == "llm_api_key_missing"
    for calls in (5, "x", {}, [1], [{}], [{"name": ""}], [{"name": 1}], [{"name": "a", "args": 1}], [{"name": "a" * 201}],
                  [{"name": "a", "args": "{"}], [{"name": "a"}] * 51,
                  [{"name": "a", "args": {"x": json.loads("[" * 60 + "]" * 60)}}]):
        assert code({"prompt": "x", "tool_calls": calls}) == "invalid_tool_calls"


@pytest.mark.parametrize("fields", [
    {"prompt": 5}, {"config": []}, {"context": json.loads("[" * 60 + "]" * 60)}, {"config": {"timeout": 0}}, {"config": {"timeout": "30"}}, {"confirm_tool_calls": "true"},
    {"config": {"lmstudio_api_mode": "other"}}, {"config": {"model": "a\nb"}}, {"config": {"api_key": "ключ"}}, {"stream": 1},
    {"config": {"provider": "ollama", "base_url": "ftp://x"}}, {"config": {"provider": "ollama", "base_url": "http://u:p@x"}}])
def test_fields_that_are_not_possible(kept, fields):
    answer = ask(kept, **fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value"), answer.text


def test_odd_texts_are_no_failure(kept):
    for body in (b'{"prompt": "a\\u0000b"}', '{"prompt": "\U0001F600", "context": "\u2028"}'.encode(),
                 b'{"prompt": "x", "tool_calls": [{"name": "a\\u0000", "args": {"\\u0000": "\\u0000"}}], "confirmed": true}',
                 b'{"prompt": "x", "history": [{"role": "user", "content": "\\u0000"}], "config": {"timeout": 1e300}}'):
        assert kept.request("POST", "/llm/generate", data=body).status_code == 200, body
    for body in (b'{"prompt": "\\ud800"}', b'{"prompt": "\xff"}', b'{"prompt": "x", "context": ' + b"[" * 100_000):
        assert kept.request("POST", "/llm/generate", data=body).json()["code"] == "invalid_json", body


def test_it_needs_a_token(kept):
    assert kept.post("/llm/generate", json={"prompt": "x"}, auth=False).status_code == 401


# --- whom it asks


def test_the_request_then_the_configuration_then_the_provider_says_whom_to_ask(worker, model):
    said(worker, config={"provider": "", "model": "", "base_url": "", "api_key": "", "timeout": "", "lmstudio_api_mode": ""})
    assert model.posts[-1].body["model"] == "fake-instruct"
    said(worker, config={"provider": "openai", "base_url": model.openai_url, "api_key": "sk-Zwetschge-0001"})
    assert model.posts[-1].headers["authorization"] == "Bearer sk-Zwetschge-0001"
    assert model.posts[-1].body["model"] == "gpt-4o-mini"
    worker.post("/config", json={"openai_url": model.openai_url, "openai_api_key": "sk-Mirabelle-0002"})
    for key in ("", None, MASK):
        said(worker, config={"provider": "openai", "model": "m2", "api_key": key})
        assert model.posts[-1].headers["authorization"] == "Bearer sk-Mirabelle-0002" and model.posts[-1].body["model"] == "m2"
    said(worker, config={"lmstudio_api_mode": "completions"})
    assert model.posts[-1].path == "/v1/completions" and "authorization" not in model.posts[-1].headers
    text = (worker.data / "llm_log.jsonl").read_text() + "".join(worker.errors)
    assert "Zwetschge" not in text and "Mirabelle" not in text and model.openai_url in text


def test_only_administrators_say_where_the_model_is(worker, model):
    worker.post("/config", json={"openai_url": model.openai_url, "openai_api_key": "sk-Mirabelle-0002"})
    with FakeLLM("stolen") as foreign:
        elsewhere = {"provider": "openai", "base_url": foreign.openai_url}
        assert said(worker, headers=user(worker), config=elsewhere) == {"response": "Good morning."}
        assert foreign.requests == []
        assert said(worker, config=elsewhere) == {"response": "stolen"}


@pytest.mark.parametrize("url", ["http://169.254.169.254/v1", "http://[fe80::1]/v1", "http://metadata.google.internal/v1",
                                 "http://100.100.100.200", "http://[::ffff:169.254.169.254]/v1"])
def test_no_model_is_where_a_cloud_tells_its_secrets(kept, url):
    answer = ask(kept, config={"provider": "openai", "base_url": url, "api_key": "sk-Zwetschge-0001"})
    assert (answer.status_code, answer.json()["code"], answer.json()["details"]) == (400, "invalid_value", "base_url")


def test_what_the_model_server_echoes_is_no_key(worker, model):
    model.answer("You called me with sk-Zwetschge-0001.")
    shown = said(worker, config={"provider": "openai", "base_url": model.openai_url, "api_key": "sk-Zwetschge-0001"})
    assert shown == {"response": f"You called me with {MASK}."}
    assert "Zwetschge" not in (worker.data / "llm_log.jsonl").read_text()


def test_a_failing_model_is_502_and_a_time_limit_holds(worker, model):
    model.error(500, times=2)
    assert ask(worker).json()["code"] == "llm_failed"
    model.hang(times=1)
    assert ask(worker, config={"timeout": 0.3}).status_code == 502
    for empty in ("", "  ", '{"answer": "", "tool_calls": []}', '{"answer": " "}'):
        model.answer(empty)
        answer = ask(worker)
        assert (answer.status_code, answer.json()["code"]) == (502, "llm_failed"), answer.text
    assert logged(worker, "llm_error")[-1]["error"] and logged(worker, "llm_call_end")[0]["success"] is False


# --- tools


def test_what_a_model_asks_for_is_shown_and_does_not_run(worker, model):
    for confirm in ({}, {"confirm_tool_calls": True}, {"confirmed": True}):
        model.answer(asks_for(CALL, answer="Shall I?"))
        assert said(worker, **confirm) == {"response": "Shall I?", "requires_confirmation": True, "thought": "I need to look.",
                                           "tool_calls": [CALL]}
    assert not any(each["event"] == "tool_called" for each in audited(worker)) if (worker.data / "audit.log").exists() else True
    model.answer(asks_for({"name": "drop_all", "args": {}}))
    assert said(worker)["requires_confirmation"] is True and said(worker)["response"] == "I need to look."


def test_who_is_no_administrator_is_offered_nothing_and_can_run_nothing(worker, model):
    eve = user(worker)
    model.answer(asks_for(CALL, answer="Shall I?"))
    assert said(worker, headers=eve) == {"response": "Shall I?", "tool_calls": [CALL], "blocked": True}
    assert "analyze_logs" not in json.dumps(model.posts[-1].body)
    refused = ask(worker, "", eve, tool_calls=[CALL], confirm_tool_calls=True)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert said(worker, "", headers=eve, tool_calls=[CALL])["blocked"] is True
    entry = audited(worker)[-1]
    assert (entry["event"], entry["username"], entry["details"]) == (
        "tool_calls_blocked", "eve", {"tools": ["read_agent_logs"], "reason": "admin_required"})


def test_confirmed_calls_run_and_the_model_sums_up(worker, model):
    model.answer(asks_for({"name": "update_config", "args": {"key": "max_summary_length", "value": 3}}, answer="All is well."))
    wrong = {"name": "analyze_logs", "args": {"limit": 0, "more": 1}}
    done = said(worker, "What happened?", tool_calls=[{"function": {"name": "analyze_logs", "arguments": '{"limit": 2}'}}, wrong],
                confirm_tool_calls=True)
    assert done["response"] == "All is well." and "requires_confirmation" not in done and "tool_calls" not in done
    first, second = done["tool_results"]
    assert (first["tool"], first["success"], first["error"]) == ("analyze_logs", True, None)
    assert second["success"] is False and second["error"].startswith("wrong arguments")
    assert worker.get("/config").json()["max_summary_length"] == 500
    told = model.posts[-1].body["messages"][-1]["content"]
    assert "data and no order" in told and "wrong arguments" in told
    called = [each for each in audited(worker) if each["event"] == "tool_called"]
    assert [(each["username"], each["ip"], each["details"]["tool"], each["details"]["success"]) for each in called] == [
        ("admin_via_token", "127.0.0.1", "analyze_logs", True), ("admin_via_token", "127.0.0.1", "analyze_logs", False)]


def test_without_a_summary_the_results_are_the_answer(worker, model):
    model.error(500)
    done = said(worker, "", tool_calls=[CALL, {"name": "analyze_logs", "args": {}}], confirmed=True)
    assert done["response"].startswith("read_agent_logs: ok") and "analyze_logs: ok" in done["response"]
    assert [each["success"] for each in done["tool_results"]] == [True, True]


def test_one_tool_that_is_not_permitted_stops_all(worker, model):
    worker.post("/config", json={"llm_tool_allowlist": "*", "llm_tool_denylist": ["analyze_logs"]})
    change = {"name": "update_config", "args": {"key": "max_summary_length", "value": 3}}
    for name in ("analyze_logs", "no_such_tool"):
        done = said(worker, "", tool_calls=[change, {"name": name, "args": {}}, {"name": name, "args": {}}], confirmed=True)
        assert done["blocked_tools"] == [name] and name in done["response"]
        assert done["tool_results"] == [{"tool": name, "success": False, "output": None, "error": "tool_not_allowed"}]
    assert worker.get("/config").json()["max_summary_length"] == 500 and model.posts == []
    assert audited(worker)[-1]["event"] == "tool_calls_blocked"
    assert audited(worker)[-1]["details"] == {"tools": ["no_such_tool"], "reason": "tool_not_allowed"}
    assert said(worker, "", tool_calls=[change], confirmed=True)["tool_results"][0]["success"] is True
    assert worker.get("/config").json()["max_summary_length"] == 3
    entry = [each for each in audited(worker) if each["event"] == "config_updated"][-1]
    assert entry["details"] == {"keys": ["max_summary_length"]} and entry["username"] == "admin_via_token"


def test_calls_that_nobody_confirmed_do_not_run(worker, model):
    shown = said(worker, "x", tool_calls=[CALL])
    assert shown["requires_confirmation"] is True and shown["tool_calls"] == [CALL] and model.posts == []
    assert said(worker, "x", tool_calls=[], confirm_tool_calls=True) == {"response": "There is nothing to run."}
    assert said(worker, "", tool_calls=[], confirmed=True) == {"response": "There is nothing to run."}
    assert model.posts == []


def test_a_new_secret_in_a_call_is_in_no_log(worker, model):
    worker.post("/config", json={"llm_tool_allowlist": ["update_config"]})
    call = {"name": "update_config", "args": {"key": "openai_api_key", "value": "Stachelbeere-0003"}}
    assert said(worker, "", tool_calls=[call], confirmed=True)["tool_results"][0]["success"] is True
    assert worker.post("/step/execute", json={"tool_calls": [{**call, "args": {**call["args"], "value": "Heidelbeere-0004"}}]}
                       ).json()["exit_code"] == 0
    for path in worker.data.rglob("*"):
        if path.is_file() and path.name != "config.json":
            assert b"beere-000" not in path.read_bytes(), path


# --- streams


def events(body: bytes) -> list[tuple[str, str]]:
    """The events as a parser of the HTML standard sees them."""
    found, name, data = [], "message", []
    for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            found += [(name, "\n".join(data))] if data else []
            name, data = "message", []
        field, _, text = line.partition(":")
        if field == "event":
            name = text.removeprefix(" ")
        elif field == "data":
            data.append(text.removeprefix(" "))
    return found


@pytest.mark.parametrize("text", [
    "Good morning.", "a\n\nb\r\nc", "x" * 79 + "\n" + "y" * 81 + " ", "1\n" * 100 + "end", "data: one\n data: two ü \u2028 \x85 end",
    "```\n" + "line\n" * 30 + "```"])
def test_a_stream_can_be_read_by_both_kinds_of_parsers(worker, model, text):
    model.answer(text)
    answer = ask(worker, stream=True)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
    expected = text.strip().replace("\r\n", "\n")
    *pieces, last = events(answer.content)
    assert last == ("done", "[DONE]") and answer.content.endswith(b"\n\nevent: done\ndata: [DONE]\n\n")
    assert "".join(each for _, each in pieces) == expected and {name for name, _ in pieces} == {"message"}
    blocks = answer.content.decode().split("\n\n")[:-2]
    assert "".join(line.removeprefix("data: ") for block in blocks for line in block.split("\n")).replace("\r", "\n") == expected
    assert all(len(each) <= 80 for _, each in pieces)


def test_what_is_more_than_text_is_not_streamed_and_is_kept_for_the_repetition(worker, model):
    for answered, shown in ((asks_for(CALL, answer="Shall I?"), {"response": "Shall I?", "requires_confirmation": True,
                                                                "thought": "I need to look.", "tool_calls": [CALL]}),
                            ("Try:\n```bash\nls -l\n```", {"response": "Try:\n```bash\nls -l\n```"})):
        model.answer(answered, "another answer")
        before, fields = len(model.posts), {"history": [{"role": "user", "content": answered}], "config": None}
        first = ask(worker, stream=True, **fields)
        assert (first.status_code, first.json()["error"]) == (409, "stream_not_possible")
        assert shown.items() <= first.json().items() and first.json()["message"]
        assert said(worker, **fields) == shown and len(model.posts) == before + 1
        assert said(worker, **fields) == {"response": "another answer"}


def test_a_kept_answer_is_only_for_the_same_question_of_the_same_caller(worker, model):
    eve = user(worker)
    model.answer(asks_for(CALL), "fresh")
    assert ask(worker, stream=True).status_code == 409
    for other in ({"prompt": "Other?"}, {"history": [{"role": "user", "content": "x"}]}, {"headers": eve},
                  {"config": {"model": "m2"}}):
        assert said(worker, **other) == {"response": "fresh"}
    assert said(worker)["tool_calls"] == [CALL]


def test_a_stream_runs_no_tools(worker, model):
    worker.post("/config", json={"llm_tool_allowlist": "*"})
    change = {"name": "update_config", "args": {"key": "max_summary_length", "value": 3}}
    refused = ask(worker, tool_calls=[change], confirmed=True, stream=True)
    assert (refused.status_code, refused.json()["tool_calls"]) == (409, [change])
    assert worker.get("/config").json()["max_summary_length"] == 500
    model.error(500, times=2)
    failed = ask(worker, stream=True)
    assert failed.status_code == 502 and failed.headers["Content-Type"] == "application/json"


# --- the log


def test_every_step_is_in_the_log_of_models(worker, model):
    said(worker, "Plain?")
    answer = ask(worker, "", tool_calls=[CALL], confirmed=True)
    model.answer(asks_for(CALL))
    said(worker, "Tools?")
    by_request = {}
    for each in logged(worker):
        by_request.setdefault(each["request_id"], []).append(each)
    plain, ran, asked = by_request.values()
    assert [each["event"] for each in plain] == ["llm_request", "llm_call_start", "llm_call_end", "llm_no_tool_calls", "llm_response"]
    request, _, end, _, response = plain
    assert (request["prompt"], request["stream"], request["confirm_tool_calls"], request["tool_calls_input"], request["history_len"],
            request["provider"], request["base_url"], request["is_admin"]) == (
        "Plain?", False, False, None, 0, "lmstudio", model.openai_url, True)
    assert (end["success"], end["attempts"], end["response"]) == (True, 1, "Good morning.")
    assert (response["response"], response["tool_calls"], response["status"]) == ("Good morning.", [], "ok")
    assert [each["event"] for each in ran] == ["llm_request", "llm_tool_results", "llm_call_start", "llm_call_end", "llm_response"]
    assert ran[0]["request_id"] == answer.headers["X-Correlation-ID"] and ran[0]["tool_calls_input"] == [CALL]
    assert [each["event"] for each in asked] == ["llm_request", "llm_call_start", "llm_call_end", "llm_requires_confirmation",
                                                 "llm_response"]
    assert asked[3]["tool_calls"] == [CALL]
