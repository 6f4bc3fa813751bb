"""Looks whether the model server answers: once at the start, then every five minutes."""
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ananta.agent.configuration import LiveConfiguration
from ananta.errors import AnantaError

if TYPE_CHECKING:
    from ananta.llm.catalog import LanguageModels

log = logging.getLogger(__name__)
EVERY_S, SLOW_S, LIMIT_S, FIRST_S = 300.0, 2.0, 3.0, 0.3


@dataclass(frozen=True)
class ModelInUse:
    """The model that an agent asks. context_tokens: None where its server does not say."""

    provider: str
    name: str
    context_tokens: int | None


class ModelWatch:
    """`report()` is a sentence about the model in use; changes are logged. in_use: what the last look found, None before
    the first one and where no model can be used."""

    def __init__(self, models: Callable[[], "LanguageModels"], configuration: LiveConfiguration, *, enabled: bool):
        self.models, self.configuration, self.enabled = models, configuration, enabled
        self.in_use: ModelInUse | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, tell: Callable[[str], None]) -> None:
        self._thread = threading.Thread(target=self._run, args=(tell,), name="model-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            # A look that waits for a name server must not hold up the stop.
            self._thread.join(0.1)

    def report(self) -> tuple[bool, str, float]:
        """Returns whether a model can be used, which or the cure, and the seconds it took to find out."""
        start = time.monotonic()
        self.in_use, text = self._look()
        return self.in_use is not None, text, time.monotonic() - start

    def _look(self) -> tuple[ModelInUse | None, str]:
        from ananta.llm.provider import Target

        setting, models = self.configuration.model(), self.models()
        target = Target(setting.provider, setting.model, setting.url, setting.key, setting.mode)
        try:
            found = models.locate(target, explicit=setting.explicit, timeout_s=LIMIT_S)
            probe = models.probe(found.target, timeout_s=LIMIT_S)
        except AnantaError as error:
            return None, error.message
        if probe.status != "ok" or probe.message:
            return None, probe.message or f"the model server answers {probe.status}"
        names = [each.name for each in probe.models]
        name = setting.model if setting.model != "auto" or not names else names[0]
        context = next((each.context_tokens for each in probe.models if each.name == name), None)
        where = "in this process" if setting.provider == "mock" else f"at {found.target.url}"
        return ModelInUse(found.target.provider, name, context), f"{found.target.provider}: {name} {where}"

    def _run(self, tell: Callable[[str], None]) -> None:
        # The first requests come first.
        if self._stop.wait(FIRST_S):
            return
        good, text, _ = self.report()
        if not self._stop.is_set():
            tell(text)
        while self.enabled and not self._stop.wait(EVERY_S):
            before, (good, text, seconds) = good, self.report()
            if good != before:
                log.warning("model %s: %s", "found" if good else "lost", text)
            elif good and seconds > SLOW_S:
                log.warning("the model server took %.1f s to say what it has", seconds)
