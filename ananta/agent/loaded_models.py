"""Which models the servers near us have now."""
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ananta.agent.configuration import LiveConfiguration
from ananta.domain.configuration import ModelSetting
from ananta.errors import AnantaError

if TYPE_CHECKING:
    from ananta.llm.catalog import LanguageModels

log = logging.getLogger(__name__)
LOCAL = ("lmstudio", "ollama")
LIMIT_S, WAIT_S, REMEMBERED_S, NAMES = 1.5, 0.12, 10.0, 100


class _Look:
    """One look at a server, in a thread of its own. before: what the last one found."""

    def __init__(self, setting: ModelSetting, until: float, before: list[str]):
        self.setting, self.until, self.names, self.begun = setting, until, before, time.monotonic()
        self.done = threading.Event()


class LoadedModels:
    """Asks them all at once, limit_s seconds at most, and remembers the answer for REMEMBERED_S seconds: many clients ask
    for a list of choices. Nobody waits beyond wait_s seconds after a look began, since a server that is not there takes long to say
    nothing: of one that is late, what it had the last time is shown, and what it says the next time. Thread-safe."""

    def __init__(self, models: Callable[[], "LanguageModels"], configuration: LiveConfiguration,
                 clock: Callable[[], float] = time.monotonic, *, limit_s: float = LIMIT_S, wait_s: float = WAIT_S):
        self.models, self.configuration, self.clock, self.limit_s, self.wait_s = models, configuration, clock, limit_s, wait_s
        self._lock = threading.Lock()
        self._looks: dict[str, _Look] = {}

    def ids(self) -> list[str]:
        """Returns what is there as "provider:model", NAMES of each server at most; [] while none answers."""
        settings = [self.configuration.model(each) for each in LOCAL]
        with self._lock:
            looks = [self._current(each) for each in settings]
        for each in looks:
            each.done.wait(max(0.0, each.begun + self.wait_s - time.monotonic()))
        return [name for each in looks for name in each.names]

    def _current(self, setting: ModelSetting) -> _Look:
        last = self._looks.get(setting.provider)
        same = last is not None and last.setting == setting
        if last is not None and same and (not last.done.is_set() or self.clock() < last.until):
            return last
        before = last.names if last is not None and same else []
        look = _Look(setting, self.clock() + REMEMBERED_S, before)
        self._looks[setting.provider] = look
        threading.Thread(target=self._run, args=(look,), name="loaded-models", daemon=True).start()
        return look

    def _run(self, look: _Look) -> None:
        try:
            look.names = self._of(look.setting)
        finally:
            look.done.set()

    def _of(self, setting: ModelSetting) -> list[str]:
        from ananta.llm.provider import Target

        until = time.monotonic() + self.limit_s
        target = Target(setting.provider, setting.model, setting.url, setting.key, setting.mode)
        try:
            target = self.models().locate(target, explicit=setting.explicit, timeout_s=self.limit_s).target
            if target.provider != setting.provider:
                return []
            names = self.models().models(target, max(0.1, until - time.monotonic()))
        except AnantaError as error:
            log.debug("%s says nothing about its models: %s", setting.provider, error.message)
            return []
        return [f"{setting.provider}:{name}" for name in names[:NAMES]]
