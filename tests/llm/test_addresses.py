"""Addresses as people write them."""
import subprocess
import sys

import pytest

from ananta.errors import InvalidInput
from ananta.llm.addresses import base_url, mode_of


@pytest.mark.parametrize(("provider", "url", "base"), [
    *[("lmstudio", f"http://h:1234{path}", "http://h:1234/v1")
      for path in ("", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/completions", "/v1/models")],
    ("lmstudio", "h:1234", "http://h:1234/v1"), ("lmstudio", "https://h/api/v1", "https://h/api/v1"),
    ("lmstudio", "", "http://host.docker.internal:1234/v1"), ("lmstudio", "http://[::1]:1234", "http://[::1]:1234/v1"),
    ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
    ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
    ("anthropic", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
    *[("ollama", f"http://h:11434{path}", "http://h:11434")
      for path in ("", "/", "/api", "/api/generate", "/api/chat", "/api/tags", "/v1")],
    ("ollama", "http://h/proxy/api/generate", "http://h/proxy"),
])
def test_one_form(provider, url, base):
    assert base_url(provider, url) == base


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:x", "http://a b", "file:///etc/passwd", "http://u:p@h",
                                 "http://[::1"])
def test_what_is_no_address(url):
    with pytest.raises(InvalidInput):
        base_url("lmstudio", url)


@pytest.mark.parametrize(("url", "mode", "result"), [
    ("http://h/v1", "chat", "chat"), ("http://h/v1", "completions", "completions"),
    ("http://h/v1/completions", "chat", "completions"), ("http://h/v1/chat/completions", "completions", "chat")])
def test_the_address_decides_the_mode(url, mode, result):
    assert mode_of(url, mode) == result


def test_importing_does_not_load_requests():
    code = "import sys, ananta.llm.catalog; sys.exit('requests' in sys.modules or 'urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
