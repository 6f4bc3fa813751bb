"""Which models the servers near us have now."""
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ananta.agent.configuration import LiveConfiguration
from ananta.errors import AnantaError

if TYPE_CHECKING:
    from ananta.llm.catalog import LanguageModels

log = logging.getLogger(__name__)
LOCAL = ("lmstudio", "ollama")
LIMIT_S, REMEMBERED_S, NAMES = 1.5, 10.0, 100


class LoadedModels:
    """Asks them all at once, LIMIT_S seconds at most, and remembers the answer for REMEMBERED_S seconds: many clients ask
    for a list of choices, and a server that is not there takes long to say nothing. Thread-safe."""

    def __init__(self, models: Callable[[], "LanguageModels"], configuration: LiveConfiguration,
                 clock: Callable[[], float] = time.monotonic):
        self.models, self.configuration, self.clock = models, configuration, clock
        self._lock = threading.Lock()
        self._known: tuple[object, float, list[str]] = (None, 0.0, [])

    def ids(self) -> list[str]:
        """Returns what is there as "provider:model", NAMES of each server at most; [] while none answers."""
        settings = [self.configuration.model(each) for each in LOCAL]
        with self._lock:
            asked, until, found = self._known
            if asked != settings or self.clock() >= until:
                found = self._look(settings)
                self._known = settings, self.clock() + REMEMBERED_S, found
        return found

    def _look(self, settings: list) -> list[str]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(settings), "loaded-models") as pool:
            return [each for names in pool.map(self._of, settings) for each in names]

    def _of(self, setting) -> list[str]:
        from ananta.llm.provider import Target

        until = time.monotonic() + LIMIT_S
        target = Target(setting.provider, setting.model, setting.url, setting.key, setting.mode)
        try:
            target = self.models().locate(target, explicit=setting.explicit, timeout_s=LIMIT_S).target
            if target.provider != setting.provider:
                return []
            names = self.models().models(target, max(0.1, until - time.monotonic()))
        except AnantaError as error:
            log.debug("%s says nothing about its models: %s", setting.provider, error.message)
            return []
        return [f"{setting.provider}:{name}" for name in names[:NAMES]]
