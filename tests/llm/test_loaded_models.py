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


def until_shown(loaded: LoadedModels, wanted: list[str]) -> None:
    until = time.monotonic() + LIMIT_S
    while loaded.ids() != wanted:
        assert time.monotonic() < until, f"not {wanted} but {loaded.ids()}"
        time.sleep(0.02)


def test_a_server_that_is_late_holds_up_nobody_and_is_shown_as_soon_as_it_has_answered(model):
    with socket.create_server(("127.0.0.1", 0)) as slow:
        slow.settimeout(LIMIT_S)
        clock, models = Clock(), LanguageModels(retries=0)
        loaded = LoadedModels(lambda: models, Configured({
            "lmstudio": model.openai_url, "ollama": f"http://127.0.0.1:{slow.getsockname()[1]}"}), clock, limit_s=LIMIT_S)
        # The one answers only after the other has been shown.
        until_shown(loaded, ["lmstudio:fake-instruct"])
        asked, _ = slow.accept()
        with asked:
            answer = json.dumps({"models": [{"name": "qwen"}]}).encode()
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                          b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
            until_shown(loaded, ["lmstudio:fake-instruct", "ollama:qwen"])
        # It says nothing from now on: what it had is shown while it is asked anew.
        clock.now += REMEMBERED_S
        model.models.append("second")
        until_shown(loaded, ["lmstudio:fake-instruct", "lmstudio:second", "ollama:qwen"])
