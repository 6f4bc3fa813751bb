"""The configuration as it counts now: defaults from the settings, changes from data/config.json."""
import threading
from collections.abc import Callable, Mapping

from ananta.domain import configuration as rules
from ananta.errors import FileDamaged, InvalidInput
from ananta.store.configuration import ConfigFile


class LiveConfiguration:
    """Reads are lock-free: every change replaces the whole mapping."""

    def __init__(self, file: ConfigFile, defaults: Mapping, given: frozenset[str]):
        self._file, self._defaults, self._given = file, defaults, given
        self._lock = threading.Lock()
        try:
            self._stored: dict = rules.checked(file.load())
        except InvalidInput as cause:
            raise FileDamaged(f"{file.path} holds a value that is not possible: {cause.message} Correct it or remove "
                              "the key.") from cause
        self._whole = rules.effective(self._stored, defaults)
        self.listeners: list[Callable[[list[str]], None]] = []

    def __getitem__(self, key: str):
        return self._whole[key]

    def shown(self) -> dict:
        """What GET /config answers: everything, secrets as a mask."""
        return rules.masked(self._whole)

    def defaults(self) -> dict:
        """What would count if nobody had changed anything, secrets as a mask."""
        return rules.masked(rules.effective({}, self._defaults))

    def changed(self) -> frozenset[str]:
        """The keys that somebody has changed."""
        return frozenset(self._stored)

    def secrets(self) -> list[str]:
        """The values that must never be stored or shown."""
        return [self._whole[key] for key in self._whole if key.endswith("_api_key") and self._whole[key]]

    def model(self, provider: str | None = None, model: str | None = None) -> rules.ModelSetting:
        return rules.model_setting(self._stored, self._defaults, self._given, provider=provider, model=model)

    def change(self, posted: object) -> list[str]:
        """Stores the change and makes it count. Returns the names of the changed keys; raises InvalidInput or
        StoreFailed, then nothing has changed."""
        with self._lock:
            new, changed = rules.merge(self._stored, posted, self._defaults)
            if new != self._stored:
                self._file.save(new)
                self._stored, self._whole = new, rules.effective(new, self._defaults)
        for listener in self.listeners if changed else ():
            listener(changed)
        return changed
