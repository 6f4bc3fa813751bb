"""One door to all providers: models, forms, history, breaker. The servers are real ones."""
import json

import pytest

from ananta.domain.prompts import PROPOSAL_SCHEMA, Message
from ananta.errors import BreakerOpen, InvalidInput, LLMBadAnswer, LLMFailed, LLMNoModel, LLMRefused
from ananta.llm.catalog import DEFAULT_MODELS, DEFAULT_URLS, PROVIDERS, LanguageModels, Target
from tests.fake_llm import FakeLLM

HELLO = [Message("system", "be brief"), Message("user", "hello")]
KINDS = ("lmstudio", "ollama", "openai", "anthropic")


@pytest.fixture
def fake():
    with FakeLLM("hi") as server:
        yield server


@pytest.fixture
def llm():
    models = LanguageModels(retries=1, backoff=0.0)
    yield models
    models.close()


def ask(llm, fake, provider="lmstudio", model="m", *, url=None, mode="chat", **named):
    return llm.complete(Target(provider, model, url or fake.url, None, mode), HELLO, budget_s=10, **named)


@pytest.mark.parametrize("provider", KINDS)
def test_every_provider_answers(llm, fake, provider):
    reply = ask(llm, fake, provider)
    assert (reply.text, reply.model, reply.provider, reply.attempts) == ("hi", "m", provider, 1)


def test_the_request_of_lm_studio(llm, fake):
    ask(llm, fake, temperature=0.0)
    assert fake.posts[0].path == "/v1/chat/completions"
    assert fake.posts[0].body == {
        "model": "m", "stream": False, "max_tokens": 1024, "temperature": 0.0,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]}


def test_the_request_of_completions(llm, fake):
    ask(llm, fake, mode="completions")
    assert fake.posts[0].path == "/v1/completions"
    assert fake.posts[0].body["prompt"] == "System: be brief\n\nUser: hello\n\nAssistant:"


def test_the_request_of_openai(llm, fake):
    ask(llm, fake, "openai", schema=PROPOSAL_SCHEMA)
    body = fake.posts[0].body
    assert body["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": PROPOSAL_SCHEMA}
    assert "max_tokens" not in body


def test_the_request_of_ollama(llm, fake):
    ask(llm, fake, "ollama", schema=PROPOSAL_SCHEMA)
    body = fake.posts[0].body
    assert fake.posts[0].path == "/api/generate" and body["stream"] is False and body["format"] == PROPOSAL_SCHEMA
    assert "be brief" in body["prompt"] and "hello" in body["prompt"]


def test_the_request_of_anthropic(llm, fake):
    ask(llm, fake, "anthropic", schema=PROPOSAL_SCHEMA)
    seen = fake.posts[0]
    assert seen.path == "/v1/messages" and seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.body["system"] == "be brief" and seen.body["messages"] == [{"role": "user", "content": "hello"}]
    assert seen.body["max_tokens"] == 4096


def test_a_parameter_that_is_refused_is_left_out_from_then_on(llm, fake):
    fake.error(400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.2"}}, times=1)
    for _ in range(2):
        assert ask(llm, fake, "openai").text == "hi"
    assert ["temperature" in seen.body for seen in fake.posts] == [True, False, False]


def form(seen):
    given = seen.body.get("response_format") or seen.body.get("format")
    return given.get("type") if isinstance(given, dict) else given


@pytest.mark.parametrize(("provider", "forms"), [
    ("lmstudio", ["json_schema", "json_object", "json_object"]), ("ollama", ["object", "json", "json"])])
def test_what_a_server_supports_is_found_out_once(llm, fake, provider, forms):
    fake.json_schema_unsupported()
    for _ in range(2):
        assert ask(llm, fake, provider, schema=PROPOSAL_SCHEMA).text == "hi"
    assert [form(seen) for seen in fake.posts] == forms


@pytest.mark.parametrize("provider", ["lmstudio", "ollama", "openai"])
def test_plain_text_is_the_last_form(llm, fake, provider):
    fake.json_schema_unsupported(json_object_too=True)
    for _ in range(2):
        ask(llm, fake, provider, schema=PROPOSAL_SCHEMA)
    assert len(fake.posts) == 4 and form(fake.posts[-1]) is None
    assert len({seen.headers["idempotency-key"] for seen in fake.posts}) == 4


def test_each_model_has_its_own_abilities(llm, fake):
    fake.json_schema_unsupported()
    ask(llm, fake, model="a", schema=PROPOSAL_SCHEMA)
    fake.well()
    ask(llm, fake, model="b", schema=PROPOSAL_SCHEMA)
    assert form(fake.posts[-1]) == "json_schema"


def test_another_refusal_does_not_lower_the_form(llm, fake):
    fake.error(400, {"error": "bad message"}, times=2)
    with pytest.raises(LLMRefused):
        ask(llm, fake, "openai", schema=PROPOSAL_SCHEMA)
    fake.well()
    ask(llm, fake, "openai", schema=PROPOSAL_SCHEMA)
    assert form(fake.posts[-1]) == "json_schema"


@pytest.mark.parametrize(("provider", "models", "chosen"), [
    ("lmstudio", ["text-embedding-nomic", "base", "some-instruct"], "some-instruct"),
    ("lmstudio", ["nomic-embed", "base"], "base"),
    ("lmstudio", [{"id": "a-instruct", "context_length": 256}, {"id": "b", "context_length": 8192}], "b"),
    ("lmstudio", [{"id": "vectors", "type": "embeddings"}, {"id": "b"}], "b"),
    ("ollama", ["first", "second-chat"], "first"),
    ("ollama", ["nomic-embed-text", "second"], "second"),
    ("openai", ["x"], DEFAULT_MODELS["openai"]), ("anthropic", ["x"], DEFAULT_MODELS["anthropic"])])
def test_auto(llm, provider, models, chosen):
    with FakeLLM("hi", models=models) as fake:
        assert ask(llm, fake, provider, "auto").model == chosen


def test_the_list_of_models_is_remembered_for_a_while(llm, fake):
    for _ in range(3):
        ask(llm, fake, model="auto")
    assert [seen.method for seen in fake.requests] == ["GET", "POST", "POST", "POST"]


def test_auto_prefers_what_has_worked(llm):
    with FakeLLM("hi", models=["a-chat", "b-chat"]) as fake:
        ask(llm, fake, model="b-chat")
        assert ask(llm, fake, model="auto").model == "b-chat"


def test_auto_tries_three_models(llm):
    with FakeLLM("hi", models=["a", "b", "c", "d"]) as fake:
        fake.error(400, {"error": "model not found: it has been removed"}, times=2)
        assert ask(llm, fake, model="auto").text == "hi"
        assert [seen.body["model"] for seen in fake.posts] == ["a", "b", "c"]
        fake.error(400, {"error": "model not found: it has been removed"})
        with pytest.raises(LLMRefused):
            ask(llm, fake, model="auto")
        assert len(fake.posts) == 6


def test_chat_falls_back_to_completions_once(llm, fake):
    fake.error(404, {"error": "no chat here"}, times=1)
    for _ in range(2):
        assert ask(llm, fake).text == "hi"
    assert [seen.path for seen in fake.posts] == ["/v1/chat/completions", "/v1/completions", "/v1/completions"]


def test_when_both_fail_the_first_failure_is_told(llm, fake):
    fake.error(400, {"error": "broken template"}, times=1)
    fake.error(500)
    with pytest.raises(LLMRefused, match="broken template"):
        ask(llm, fake)
    assert len(fake.posts) == 2


@pytest.mark.parametrize("model", ["auto", "m"])
def test_no_model_is_loaded(llm, fake, model):
    fake.no_models()
    with pytest.raises(LLMNoModel) as caught:
        ask(llm, fake, model=model)
    assert caught.value.message == (f"LM Studio answers at {fake.openai_url} but has no model loaded: load one, "
                                    "or set DEFAULT_MODEL.")


def test_ollama_without_a_model(llm, fake):
    fake.models = []
    with pytest.raises(LLMNoModel, match="ollama pull"):
        ask(llm, fake, "ollama", "auto")


def test_an_unknown_model_is_answered_with_what_is_there(llm, fake):
    fake.error(404, {"error": "model 'm' not found"})
    with pytest.raises(LLMRefused, match=r"does not know the model m\. It has: fake-instruct"):
        ask(llm, fake, "ollama")


@pytest.mark.parametrize("said", ["the request exceeds the available context size", "This model's maximum context length is"])
def test_a_prompt_that_is_too_long(llm, fake, said):
    fake.error(400, {"error": {"message": said}})
    with pytest.raises(LLMRefused, match="longer context"):
        ask(llm, fake, schema=PROPOSAL_SCHEMA)
    assert len(fake.posts) == 1


def test_an_error_within_a_good_status(llm, fake):
    fake.raw(200, b'{"error": "Unexpected endpoint or method. (POST /v1/messages)"}')
    with pytest.raises(LLMRefused, match="Unexpected endpoint"):
        ask(llm, fake, "anthropic")


def test_messages_are_cut_to_the_context(fake):
    llm = LanguageModels(max_context_tokens=2048)
    messages = [Message("system", "s"), Message("user", "old" * 5000), Message("assistant", "a"), Message("user", "now")]
    llm.complete(Target("lmstudio", "m", fake.url), messages, budget_s=10)
    llm.close()
    sent = fake.posts[0].body
    assert sum(len(each["content"]) for each in sent["messages"]) <= (2048 - sent["max_tokens"] - 256) * 4
    assert sent["messages"][-1]["content"] == "now" and sent["messages"][0]["content"] == "s"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_the_breaker(fake):
    clock = Clock()
    llm = LanguageModels(retries=0, clock=clock)
    fake.error(500)
    for _ in range(5):
        with pytest.raises(LLMRefused):
            ask(llm, fake, "ollama")
    with pytest.raises(BreakerOpen, match="5 times") as caught:
        ask(llm, fake, "ollama")
    assert 1 <= caught.value.extras["retry_after"] <= 61 and len(fake.posts) == 5
    clock.now += 61
    fake.well()
    assert ask(llm, fake, "ollama").text == "hi"
    llm.close()


def test_one_success_in_between_keeps_the_breaker_closed(llm, fake):
    for _ in range(3):
        fake.raw(200, b"no", times=4)
        for _ in range(4):
            with pytest.raises(LLMBadAnswer):
                ask(llm, fake, "ollama")
        assert ask(llm, fake, "ollama").text == "hi"


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_is_our_fault_does_not_open_the_breaker(llm, fake, status):
    fake.error(status)
    for _ in range(7):
        with pytest.raises(LLMRefused):
            ask(llm, fake, "openai")


def test_probe(llm, fake):
    target = Target("lmstudio", "auto", fake.url)
    probe = llm.probe(target, 5)
    assert (probe.status, [each.name for each in probe.models], probe.message) == ("ok", ["fake-instruct"], "") and probe.latency_s >= 0
    fake.models = []
    assert "load one" in llm.probe(target, 5).message
    assert llm.probe(Target("lmstudio", "auto", "http://127.0.0.1:9"), 5).status == "unreachable"
    assert llm.probe(Target("lmstudio", "auto", "ftp://x"), 5).status == "error"
    assert llm.probe(Target("mock", "auto", ""), 5).status == "ok"


def test_models(llm, fake):
    assert llm.models(Target("ollama", "auto", fake.url), 5) == ["fake-instruct"]
    with FakeLLM(kinds=("openai",)) as other, pytest.raises(LLMFailed):
        llm.models(Target("ollama", "auto", other.url), 5)


def test_mock_answers_in_turn():
    llm = LanguageModels(mock_answers=["a", "b"])
    target = Target("mock", "auto", "")
    assert [llm.complete(target, HELLO, budget_s=1).text for _ in range(3)] == ["a", "b", "a"]
    llm.close()


def test_mock_without_answers_proposes_a_greeting(llm):
    reply = llm.complete(Target("mock", "auto", ""), HELLO, budget_s=1)
    assert json.loads(reply.text)["command"] == "echo hello from ananta" and reply.model == "mock"


@pytest.mark.parametrize("target", [Target("other", "m", "http://x"), Target("lmstudio", "m", "ftp://x"),
                                    Target("lmstudio", "m", "http://user:pw@x"), Target("ollama", "m", "http://x:99999")])
def test_a_target_that_cannot_be(llm, target):
    with pytest.raises(InvalidInput) as caught:
        llm.complete(target, HELLO, budget_s=1)
    assert "pw" not in caught.value.message


def test_every_provider_has_its_defaults():
    assert set(PROVIDERS) == set(DEFAULT_URLS) == set(DEFAULT_MODELS)
