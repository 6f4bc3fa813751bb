"""A log of events as JSON lines, llm_log.jsonl first of all: what was asked of models and what came back.

Of use, not of record: it never stops the work.
"""
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ananta.domain.redaction import masked
from ananta.store import files

log = logging.getLogger(__name__)


class LLMLog:
    """May be used from any thread. Keeps the current file and `keep` full ones (<name>.1.<suffix> is the latest)."""

    def __init__(self, path: Path, *, mask: Callable[[str], str], rotate_bytes: int = 50 << 20, keep: int = 4,
                 now: Callable[[], float] = time.time):
        self.path, self.mask, self.rotate_bytes, self.keep, self.now = path, mask, rotate_bytes, keep, now
        self._lock = threading.Lock()
        self._warned = False

    def write(self, event: str, **fields: object) -> None:
        """Appends a line, masked. A failure is logged once and is nobody's problem."""
        try:
            head = {"timestamp": self.now(), "event": event, "request_id": fields.pop("request_id", None)}
            line = msgspec.json.encode(head | masked(fields, self._masked)) + b"\n"  # type: ignore[operator]
            with self._lock:
                self._append(line)
            self._warned = False
        except Exception as failure:
            if not self._warned:
                log.warning("The log %s cannot be written: %s", self.path, failure)
            self._warned = True

    def _masked(self, text: str) -> str:
        return self.mask(text.encode("utf-8", "replace").decode())

    def _append(self, line: bytes) -> None:
        fd = os.open(self.path, files.APPEND, files.PRIVATE_FILE)
        try:
            size = os.fstat(fd).st_size
            if size and size + len(line) > self.rotate_bytes:
                os.close(fd)
                fd = -1
                self._rotate()
                fd = os.open(self.path, files.APPEND, files.PRIVATE_FILE)
                size = 0
            if os.write(fd, line) != len(line):
                os.ftruncate(fd, size)
                raise OSError("the disk is full")
        finally:
            if fd >= 0:
                os.close(fd)

    def _rotate(self) -> None:
        for number in range(self.keep, 0, -1):
            old = self.path if number == 1 else self._full(number - 1)
            if old.exists():
                os.replace(old, self._full(number))

    def _full(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")


def files_of(path: Path) -> list[Path]:
    """Returns the files of a log, the current one first and the oldest last: read in this order, a line that moves to
    another file meanwhile may be seen twice, but is not missed."""
    shape = re.compile(rf"{re.escape(path.stem)}\.([0-9]+){re.escape(path.suffix)}")
    numbers = [int(found[1]) for name in (os.listdir(path.parent) if path.parent.is_dir() else ()) if (found := shape.fullmatch(name))]
    return [path, *(path.with_name(f"{path.stem}.{number}{path.suffix}") for number in sorted(numbers))]
