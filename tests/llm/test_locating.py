"""Finding a model server that nobody has named."""
import socket

import pytest

from ananta.errors import LLMUnreachable
from ananta.llm.catalog import Candidate, LanguageModels, Target
from tests.fake_llm import FakeLLM

GONE = "http://no-such-host.invalid:1234/v1"


@pytest.fixture
def finder():
    made = []

    def make(*candidates, **named):
        made.append(LanguageModels(candidates=candidates, retries=0, **named))
        return made[-1]
    yield make
    for each in made:
        each.close()


@pytest.fixture
def fake():
    with FakeLLM("hi") as server:
        yield server


def test_an_address_that_answers_is_kept(finder, fake):
    llm = finder()
    target = Target("lmstudio", "auto", fake.openai_url)
    assert llm.locate(target, explicit=False, timeout_s=2).target == target


def test_an_address_that_was_set_is_never_replaced(finder, fake):
    llm = finder(Candidate("lmstudio", fake.url))
    target = Target("lmstudio", "auto", GONE)
    assert llm.locate(target, explicit=True, timeout_s=2).target == target and not fake.requests


def test_looking_can_be_switched_off(finder, fake):
    llm = finder(Candidate("lmstudio", fake.url), locate_local=False)
    assert llm.locate(Target("lmstudio", "auto", GONE), explicit=False, timeout_s=2).target.url == GONE


def test_a_server_nearby_is_found_and_remembered(finder, fake):
    llm = finder(Candidate("lmstudio", fake.url))
    target = Target("lmstudio", "some", GONE, "key")
    located = llm.locate(target, explicit=False, timeout_s=2)
    assert located.target == Target("lmstudio", "some", fake.openai_url, None)
    assert fake.openai_url in located.how and GONE in located.how
    llm.locate(target, explicit=False, timeout_s=2)
    assert len(fake.requests) == 1 and "authorization" not in fake.requests[0].headers


def test_another_provider_is_better_than_none(finder):
    with FakeLLM(kinds=("ollama",)) as fake:
        llm = finder(Candidate("lmstudio", fake.url), Candidate("ollama", fake.url))
        located = llm.locate(Target("lmstudio", "some", GONE), explicit=False, timeout_s=2)
        assert (located.target.provider, located.target.model) == ("ollama", "auto")
        assert llm.locate(Target("lmstudio", "some", GONE), explicit=False, timeout_s=2) == located


def test_a_server_with_a_model_is_better_than_one_without(finder, fake):
    with FakeLLM(models=()) as bare:
        llm = finder(Candidate("lmstudio", bare.url), Candidate("ollama", fake.url))
        assert llm.locate(Target("lmstudio", "auto", GONE), explicit=False, timeout_s=2).target.provider == "ollama"


def test_a_program_on_the_same_port_is_passed_over(finder, fake):
    with FakeLLM(kinds=()) as other, socket.create_server(("127.0.0.1", 0)) as silent:
        places = [Candidate("lmstudio", url) for url in
                  (other.url, f"http://127.0.0.1:{silent.getsockname()[1]}", fake.url)]
        llm = finder(*places)
        located = llm.locate(Target("lmstudio", "auto", other.openai_url), explicit=False, timeout_s=0.5)
        assert located.target.url == fake.openai_url and "no model server" in located.how


def test_nothing_found_names_all_that_was_tried(finder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{unused.getsockname()[1]}"
        llm = finder(Candidate("ollama", place))
        with pytest.raises(LLMUnreachable) as caught:
            llm.locate(Target("lmstudio", "auto", GONE), explicit=False, timeout_s=2)
    message = caught.value.message
    assert f"LM Studio at {GONE} (name not known)" in message and f"Ollama at {place} (refused)" in message
    assert "LMSTUDIO_URL" in message


def test_a_find_that_has_gone_is_looked_for_again(finder, fake):
    with FakeLLM("first") as first:
        llm = finder(Candidate("lmstudio", first.url), Candidate("lmstudio", fake.url))
        target = Target("lmstudio", "auto", GONE)
        found = llm.locate(target, explicit=False, timeout_s=2).target
        assert found.url == first.openai_url
    with pytest.raises(LLMUnreachable):
        llm.complete(found, [], budget_s=5)
    assert llm.locate(target, explicit=False, timeout_s=2).target.url == fake.openai_url


def test_paid_services_are_never_looked_for(finder, fake):
    llm = finder(Candidate("lmstudio", fake.url))
    target = Target("openai", "auto", "http://no-such-host.invalid")
    assert llm.locate(target, explicit=False, timeout_s=2).target == target
