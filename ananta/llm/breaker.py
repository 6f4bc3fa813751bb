"""Leaves a server alone that fails again and again."""
import threading
import time
from collections.abc import Callable

from ananta.errors import BreakerOpen

FAILURES = 5
PAUSE_S = 60.0


class Breaker:
    """Per name: after FAILURES failures in a row, PAUSE_S seconds without calls. Then each call is let through until
    one fails again. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}
        self._open_until: dict[str, float] = {}

    def check(self, name: str) -> None:
        """Raises BreakerOpen, with the seconds left as retry_after."""
        with self._lock:
            left = self._open_until.get(name, 0.0) - self._clock()
        if left > 0:
            seconds = int(left) + 1
            raise BreakerOpen(f"{name} failed {FAILURES} times in a row and is left alone for {seconds} s more.",
                              retry_after=seconds)

    def succeeded(self, name: str) -> None:
        with self._lock:
            self._failures.pop(name, None)
            self._open_until.pop(name, None)

    def failed(self, name: str) -> None:
        with self._lock:
            self._failures[name] = self._failures.get(name, 0) + 1
            if self._failures[name] >= FAILURES:
                self._open_until[name] = self._clock() + PAUSE_S
