"""Addresses that came with a request are looked at once more when they are connected to."""
import ipaddress
import socket
from contextlib import closing

import pytest

from ananta.domain.addresses import Refused, check_address, check_host
from ananta.errors import LLMFailed
from ananta.llm.calls import Call
from ananta.llm.sessions import Sessions


def test_a_guarded_call_goes_where_it_may(model):
    with closing(Sessions()) as sessions:
        assert Call(sessions, budget_s=10, guarded=True).get(f"{model.openai_url}/models")["data"]
        assert Call(sessions, budget_s=10, guarded=True).post(f"{model.openai_url}/chat/completions", {"model": "m"})["choices"]


def test_what_a_name_turns_out_to_mean_counts(model):
    def check(address) -> None:
        assert address == ipaddress.ip_address("127.0.0.1")
        raise Refused(f"{address} is not for us.")

    url = f"http://localhost:{model.port}/v1/chat/completions"
    with closing(Sessions(check)) as sessions:
        # Also where a connection to that server is kept from a call that was not guarded.
        assert Call(sessions, budget_s=10).post(url, {"model": "m"})["choices"]
        for call in (lambda: Call(sessions, budget_s=10, guarded=True).post(url, {"model": "m"}),
                     lambda: Call(sessions, budget_s=10, guarded=True).get(f"{model.openai_url}/models"),
                     lambda: Call(sessions, budget_s=10, guarded=True).shorter(5).get(f"{model.openai_url}/models")):
            with pytest.raises(LLMFailed, match=r"is not called: 127\.0\.0\.1 is not for us"):
                call()
    assert len(model.requests) == 1


@pytest.mark.parametrize("host", ["0xa9fea9fe", "2852039166", "169.254.43518"])
def test_odd_spellings_pass_as_names_and_are_found_by_their_address(host):
    check_host(host)
    found = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)[0][4][0]
    with pytest.raises(Refused):
        check_address(ipaddress.ip_address(found))
