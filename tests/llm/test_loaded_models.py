"""Which models are there, asked by many and answered from what is remembered."""
import json
import socket
import time
from dataclasses import dataclass

from ananta.agent.loaded_models import REMEMBERED_S, LoadedModels
from ananta.domain.configuration import ModelSetting
from ananta.llm.catalog import LanguageModels

LIMIT_S = 20.0  # a guard against hanging, never a measurement


@dataclass
class Configured:
    """Where the two local servers are."""

    urls: dict[str, str]

    def model(self, provider: str) -> ModelSetting:
        return ModelSetting(provider, "auto", self.urls[provider], None, "chat", explicit=True)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_that_did_not_answer_is_not_waited_for_again(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, clock = taken.getsockname()[1], Clock()
    models = LanguageModels(retries=0)
    loaded = LoadedModels(lambda: models, Configured({
        "lmstudio": model.openai_url, "ollama": f"http://127.0.0.1:{port}"}), clock, limit_s=LIMIT_S)
    assert loaded.ids() == ["lmstudio:fake-instruct"]
    clock.now += REMEMBERED_S
    model.models.append("second")
    with socket.create_server(("127.0.0.1", port)) as slow:
        slow.settimeout(LIMIT_S)
        # The one that is there is asked anew; the other one answers only after this.
        assert loaded.ids() == ["lmstudio:fake-instruct", "lmstudio:second"]
        asked, _ = slow.accept()
        with asked:
            answer = json.dumps({"models": [{"name": "qwen"}]}).encode()
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                          b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
            until = time.monotonic() + LIMIT_S
            while "ollama:qwen" not in loaded.ids():
                assert time.monotonic() < until, "the answer that came late is lost"
                time.sleep(0.02)
