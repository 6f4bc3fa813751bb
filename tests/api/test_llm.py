"""GET /providers and GET /llm/history; the ids of the one are understood by a proposal."""
import json
import time

import pytest

from tests.conftest import WAIT_S
from tests.fake_llm import FakeLLM


@pytest.fixture
def ollama():
    with FakeLLM(models=["qwen2.5:7b", "nomic-embed-text"], kinds=["ollama"]) as fake:
        yield fake


@pytest.fixture
def worker(start, model, ollama):
    return start("worker", DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=model.openai_url, OLLAMA_URL=ollama.ollama_url)


def ids(worker, having: str | None = None) -> list[str]:
    """Returns the ids of the list; having: as soon as this one is among them, for a list waits for no server that is late."""
    until = time.monotonic() + WAIT_S
    while True:
        listed = worker.get("/providers").json()
        if having is None or having in {each["id"] for each in listed}:
            break
        assert time.monotonic() < until, listed
        time.sleep(0.05)
    assert all(set(each) == {"id", "name", "selected"} and each["name"] for each in listed)
    assert len({each["id"] for each in listed}) == len(listed) and sum(each["selected"] for each in listed) == 1
    return [each["id"] for each in listed]


def test_what_is_loaded_can_be_chosen(worker, model, ollama):
    ids(worker, "lmstudio:fake-instruct")
    assert ids(worker, "ollama:qwen2.5:7b") == ["lmstudio:auto", "lmstudio:fake-instruct", "ollama:qwen2.5:7b", "ollama:llama3", "ollama:mistral"]
    asked = len(model.requests), len(ollama.requests)
    model.models.append("second")
    assert "lmstudio:second" not in ids(worker) and (len(model.requests), len(ollama.requests)) == asked
    worker.post("/config", json={"lmstudio_url": model.url, "openai_api_key": "sk-Quitte-0001"})
    # Another address is asked at once, whatever was remembered.
    assert {"openai:gpt-4o", "openai:gpt-4-turbo"} <= set(ids(worker, "lmstudio:second"))
    assert worker.get("/providers").text.count('"selected":true') == 1


def test_a_proposal_takes_every_id(worker, model, ollama):
    model.answer(json.dumps({"reason": "a", "command": "ls"}))
    ollama.answer(json.dumps({"reason": "b", "command": "df"}))
    ids(worker, "lmstudio:fake-instruct")
    wanted = ids(worker, "ollama:qwen2.5:7b")
    answer = worker.post("/step/propose", json={"prompt": "x", "providers": wanted})
    assert answer.status_code == 200, answer.text
    assert {name: each["command"] for name, each in answer.json()["comparisons"].items()} == {
        name: "ls" if name.startswith("lmstudio") else "df" for name in wanted}
    assert {each.body["model"] for each in ollama.posts} == {"qwen2.5:7b", "llama3", "mistral"}


def test_the_list_is_there_without_any_server(start):
    worker = start("worker", DEFAULT_PROVIDER="mock", LMSTUDIO_URL="http://127.0.0.1:9/v1", OLLAMA_URL="http://127.0.0.1:9")
    assert ids(worker) == ["mock:auto", "ollama:llama3", "ollama:mistral", "lmstudio:auto"]


def test_a_server_that_never_answers_does_not_hold_up_the_list(start, model):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = start("worker", DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=model.openai_url,
                       OLLAMA_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "lmstudio:fake-instruct" in ids(worker, "lmstudio:fake-instruct")


def test_how_models_have_worked(worker, model):
    assert worker.get("/llm/history").json() == []
    worker.post("/llm/generate", json={"prompt": "x"})
    entry, = worker.get("/llm/history").json()
    assert (entry["id"], entry["model"], entry["provider"], entry["success"], entry["fail"]) == (
        "fake-instruct", "fake-instruct", "lmstudio", 1, 0)
    assert entry["last_fail"] is None and entry["last_used"] == entry["last_success"] and entry["last_seen"].startswith("2")
    assert json.loads((worker.data / "llm_model_history.json").read_text())["models"]["fake-instruct"]["success"] == 1


def test_both_need_a_token(guarded):
    for path in ("/providers", "/llm/history"):
        assert guarded.get(path, auth=False).status_code == 401 and guarded.get(path).status_code == 200
