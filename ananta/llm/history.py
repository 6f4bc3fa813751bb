"""How well each model of LM Studio has worked: data/llm_model_history.json."""
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

log = logging.getLogger(__name__)

MAX_MODELS = 200
MAX_FILE_BYTES = 1024 * 1024
COUNTS = ("success", "fail")
TIMES = ("last_success", "last_fail", "last_used", "first_seen")


class History:
    """{"models": {id: {success, fail, last_success, last_fail, last_used, first_seen}}}, times in epoch seconds.

    path None keeps it in memory only. A damaged file counts as empty. Thread-safe; one process per file."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time):
        self._path, self._now = path, now
        self._lock = threading.Lock()
        self._models: dict[str, dict] | None = None
        self._has_failed = False

    def record(self, model: str, *, success: bool) -> None:
        """Notes one use. A file that cannot be written is logged once, and is no error."""
        with self._lock:
            models, now = self._loaded(), self._now()
            entry = models.setdefault(model, {**dict.fromkeys(COUNTS, 0), **dict.fromkeys(TIMES), "first_seen": now})
            entry["success" if success else "fail"] += 1
            entry["last_success" if success else "last_fail"] = entry["last_used"] = now
            for oldest in sorted(models, key=lambda name: models[name]["last_used"] or 0)[:max(0, len(models) - MAX_MODELS)]:
                del models[oldest]
            self._save(models)

    def rating(self, model: str) -> tuple[float, float]:
        """Returns (share of successes, time of the last success): the larger the better, (0.5, 0) when unknown."""
        with self._lock:
            entry = self._loaded().get(model)
        if entry is None:
            return 0.5, 0.0
        # Counting one success and one failure more keeps a single try from deciding everything.
        return (entry["success"] + 1) / (entry["success"] + entry["fail"] + 2), entry["last_success"] or 0.0

    def entries(self) -> list[dict]:
        """Returns the models, last used first: the fields of the file with id, model, provider and last_seen (ISO)."""
        with self._lock:
            models = {name: dict(entry) for name, entry in self._loaded().items()}
        listed = [{"id": name, "model": name, "provider": "lmstudio", **entry,
                   "last_seen": _iso(entry["last_used"] or entry["first_seen"])} for name, entry in models.items()]
        return sorted(listed, key=lambda entry: entry["last_used"] or 0, reverse=True)

    def _loaded(self) -> dict[str, dict]:
        if self._models is None:
            self._models = {}
            try:
                if self._path is not None and self._path.exists():
                    self._models = _read(self._path)
            except (OSError, ValueError, RecursionError) as error:
                log.warning("%s cannot be read and counts as empty: %s", self._path, error)
        return self._models

    def _save(self, models: dict[str, dict]) -> None:
        if self._path is None:
            return
        try:
            # mkstemp makes files of mode 0600.
            handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"models": models}, file, indent=1)
                os.replace(name, self._path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except (OSError, ValueError) as error:
            if not self._has_failed:
                log.warning("%s cannot be written: %s", self._path, error)
            self._has_failed = True


def _read(path: Path) -> dict[str, dict]:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError("it is larger than 1 MiB")
    value = json.loads(content)
    if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
        raise ValueError("it has no object `models`")
    return {str(name): {**{key: int(_number(entry.get(key)) or 0) for key in COUNTS},
                        **{key: _number(entry.get(key)) for key in TIMES}}
            for name, entry in value["models"].items() if isinstance(entry, dict)}


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11
    return float(value) if is_number else None      # type: ignore[arg-type]


def _iso(epoch_s: float | None) -> str | None:
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, timezone.utc).isoformat(timespec="seconds")
