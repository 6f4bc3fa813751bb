"""A call of a model server: its time, its retries, and what failures become. The servers are real ones."""
import socket
import threading

import pytest

from ananta.domain.prompts import Message
from ananta.errors import LLMBadAnswer, LLMFailed, LLMRefused, LLMTimeout, LLMUnreachable, ShuttingDown
from ananta.llm.catalog import LanguageModels, Target
from tests.fake_llm import FakeLLM

HELLO = [Message("user", "hello")]
KEY = "sk-secretsecret1234"


@pytest.fixture
def fake():
    with FakeLLM("hi") as server:
        yield server


@pytest.fixture
def llm():
    models = LanguageModels(retries=2, backoff=0.0)
    yield models
    models.close()


def target(url, model="m", key=None, provider="lmstudio", mode="chat"):
    return Target(provider, model, url, key, mode)


def test_an_answer_comes_back(llm, fake):
    reply = llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert (reply.text, reply.model, reply.provider, reply.attempts) == ("hi", "m", "lmstudio", 1)


def test_connections_are_kept(llm, fake):
    for _ in range(3):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert fake.connections == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again_with_one_key(llm, fake, status):
    fake.error(status, times=2)
    assert llm.complete(target(fake.openai_url), HELLO, budget_s=10).attempts == 3
    assert len({seen.headers["idempotency-key"] for seen in fake.posts}) == 1


def test_every_call_has_its_own_key(llm, fake):
    for _ in range(2):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert len({seen.headers["idempotency-key"] for seen in fake.posts}) == 2


def test_retries_end(llm, fake):
    fake.error(500, times=10)
    with pytest.raises(LLMRefused, match="failed \\(500\\): fake error 500"):
        llm.complete(target(fake.ollama_url, provider="ollama"), HELLO, budget_s=10)
    assert len(fake.posts) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_not_repeated(llm, fake, status):
    fake.error(status)
    with pytest.raises(LLMRefused, match=f"fake error {status}"):
        llm.complete(target(fake.openai_url, provider="openai"), HELLO, budget_s=10)
    assert len(fake.posts) == 1


def test_pauses_stay_within_the_budget(fake):
    fake.error(500)
    llm = LanguageModels(retries=3, backoff=100.0)
    with pytest.raises(LLMRefused):
        llm.complete(target(fake.ollama_url, provider="ollama"), HELLO, budget_s=5)
    llm.close()
    assert len(fake.posts) == 1


def test_a_wish_to_wait_longer_than_the_budget_is_told(llm, fake):
    fake.error(429, headers={"Retry-After": "30"})
    with pytest.raises(LLMRefused, match="Ask again in 30 s"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=5)
    assert len(fake.posts) == 1


def test_a_loading_model_is_waited_for_beyond_the_retries(llm, fake):
    fake.loading_503(6)
    assert llm.complete(target(fake.openai_url), HELLO, budget_s=10).attempts == 7


def test_a_model_that_loads_too_long(fake):
    fake.loading_503()
    llm = LanguageModels(retries=0, backoff=0.2)
    with pytest.raises(LLMTimeout, match="still loading"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=0.3)
    llm.close()


@pytest.mark.parametrize("fault", ["hang", "drip", "drip_headers"])
def test_the_budget_holds_whatever_the_server_does(llm, fake, fault):
    fake.drip(headers_too=True) if fault == "drip_headers" else getattr(fake, fault)()
    with pytest.raises(LLMTimeout, match="within 0"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=0.3)
    assert len(fake.posts) == 1


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_call_can_be_stopped(llm, fake, fault):
    getattr(fake, fault)()
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(ShuttingDown):
        llm.complete(target(fake.openai_url), HELLO, budget_s=60, stop=stop)


def test_a_server_works_again_after_a_call_was_cut(llm, fake):
    fake.hang(1)
    with pytest.raises(LLMTimeout):
        llm.complete(target(fake.openai_url), HELLO, budget_s=0.2)
    assert llm.complete(target(fake.openai_url), HELLO, budget_s=10).text == "hi"


def test_a_web_page_is_named(llm, fake):
    fake.html()
    with pytest.raises(LLMBadAnswer, match="web page"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert len(fake.posts) == 1


@pytest.mark.parametrize("fault", ["cut_off", "close_midway"])
def test_half_an_answer_is_asked_for_again(llm, fake, fault):
    getattr(fake, fault)(1)
    assert llm.complete(target(fake.openai_url), HELLO, budget_s=10).attempts == 2


@pytest.mark.parametrize("fault", ["cut_off", "close_midway"])
def test_half_an_answer_each_time(llm, fake, fault):
    getattr(fake, fault)()
    with pytest.raises(LLMBadAnswer, match=r"ends too early|broke its answer off"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert len(fake.posts) == 3


@pytest.mark.parametrize("content", [b"", b"[1]", b"hello", b"\xff\xfe", b'"text"', b"[" * 100_000, b"{}",
                                     b'{"choices": []}', b'{"choices": [5]}', b'{"choices": {}}'])
def test_what_is_no_answer(llm, fake, content):
    fake.raw(200, content)
    with pytest.raises(LLMBadAnswer):
        llm.complete(target(fake.openai_url, provider="openai"), HELLO, budget_s=10)


def test_an_answer_without_end_is_not_kept(llm, fake):
    fake.raw(200, b" " * (9 * 1024 * 1024))
    with pytest.raises(LLMBadAnswer, match="more than 8 MiB"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)


def test_an_empty_text_is_asked_for_once_more(llm, fake):
    fake.empty(1)
    assert llm.complete(target(fake.openai_url), HELLO, budget_s=10).text == "hi"
    fake.empty()
    with pytest.raises(LLMBadAnswer, match="empty"):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert len(fake.posts) == 4


def test_redirects_are_not_followed(llm, fake):
    with FakeLLM("stolen") as other:
        fake.error(307, {}, headers={"Location": f"{other.openai_url}/chat/completions"})
        with pytest.raises(LLMBadAnswer, match="another address"):
            llm.complete(target(fake.openai_url, key=KEY), HELLO, budget_s=10)
        assert not other.requests


def test_no_proxy_and_no_netrc_is_used(llm, fake, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert llm.complete(target(fake.openai_url), HELLO, budget_s=10).text == "hi"
    assert "authorization" not in fake.posts[0].headers


def test_cookies_are_not_kept(llm, fake):
    fake.raw(200, b'{"choices": [{"message": {"content": "x"}}]}', times=1, headers={"Set-Cookie": "id=1; Path=/"})
    for _ in range(2):
        llm.complete(target(fake.openai_url), HELLO, budget_s=10)
    assert "cookie" not in fake.posts[1].headers


def test_nobody_listens(llm):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(LLMUnreachable, match="refuses the connection"):
            llm.complete(target(f"http://127.0.0.1:{unused.getsockname()[1]}"), HELLO, budget_s=10)


def test_a_name_that_does_not_exist(llm):
    with pytest.raises(LLMUnreachable, match="name is not known"):
        llm.complete(target("http://no-such-host.invalid:1234"), HELLO, budget_s=10)


def test_a_server_of_something_else(llm):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def greet():
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"220 mail.example ESMTP\r\n")
        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(LLMBadAnswer, match="does not speak HTTP"):
            llm.complete(target(f"http://127.0.0.1:{server.getsockname()[1]}"), HELLO, budget_s=10)
        thread.join()


@pytest.mark.parametrize(("provider", "header"), [("lmstudio", "authorization"), ("openai", "authorization"),
                                                  ("ollama", "authorization"), ("anthropic", "x-api-key")])
def test_the_key_is_sent_and_never_told(llm, fake, provider, header, caplog):
    caplog.set_level("DEBUG")
    fake.error(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    with pytest.raises(LLMRefused, match=f"(?i){provider}_api_key") as caught:
        llm.complete(target(fake.url, provider=provider, key=KEY), HELLO, budget_s=10)
    assert KEY in fake.posts[0].headers[header]
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert not any(KEY in repr(each) or KEY in str(each) for each in chain)
    assert KEY not in caplog.text and KEY not in repr(target("u", key=KEY))


@pytest.mark.parametrize("key", ["a\r\nX-Other: 1", "schlüssel", "a ", "\x00"])
def test_a_key_that_cannot_be_one(llm, fake, key):
    with pytest.raises(LLMFailed) as caught:
        llm.complete(target(fake.openai_url, key=key), HELLO, budget_s=10)
    assert key not in str(caught.value) and not fake.requests
