"""Which model "auto" means."""
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ananta.llm import cures
from ananta.llm.addresses import DEFAULT_MODELS, base_url
from ananta.llm.calls import Call
from ananta.llm.history import History
from ananta.llm.provider import Model, Provider, Target

AUTO = "auto"
CANDIDATES = 3
REMEMBERED_S = 60.0
FOR_CHAT = re.compile(r"chat|instruct|-it\b|assistant", re.IGNORECASE)


class Chooser:
    """Knows each server's models for REMEMBERED_S seconds. Thread-safe."""

    def __init__(self, history: History, clock: Callable[[], float] = time.monotonic):
        self._history, self._clock = history, clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, list[Model]]] = {}

    def candidates(self, target: Target, provider: Provider, call: Call, *, needed_tokens: int) -> list[Model]:
        """Returns the models to try in turn, best first, at most CANDIDATES; never empty.

        needed_tokens: models that are known to have less context are left out unless there is no other.
        Raises LLMNoModel when the server has none, and LLMFailed when it does not say."""
        if target.model.strip().lower() not in (AUTO, ""):
            return [Model(target.model)]
        if target.provider not in ("lmstudio", "ollama"):
            return [Model(DEFAULT_MODELS[target.provider])]
        models = self._models(target, provider, call)
        if not models:
            raise cures.no_model(target)
        if target.provider == "ollama":
            return models[:1]
        large = [model for model in models if model.context_tokens is None or model.context_tokens >= needed_tokens]
        return self._ranked(large or models)[:CANDIDATES]

    def forget(self, target: Target) -> None:
        """Lets the next call ask the server again what it has."""
        with self._lock:
            self._known.pop(base_url(target.provider, target.url), None)

    def _models(self, target: Target, provider: Provider, call: Call) -> list[Model]:
        url = base_url(target.provider, target.url)
        with self._lock:
            until, models = self._known.get(url, (0.0, []))
        if models and self._clock() < until:
            return models
        models = provider.models(replace(target, model=AUTO), call)
        with self._lock:
            self._known[url] = self._clock() + REMEMBERED_S, models
        return models

    def _ranked(self, models: Sequence[Model]) -> list[Model]:
        def worth(model: Model) -> tuple:
            return bool(FOR_CHAT.search(model.name)), *self._history.rating(model.name)
        return sorted(models, key=worth, reverse=True)
