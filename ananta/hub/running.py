"""Which tasks execute just now, as the board shows it."""
import threading
import time
from collections.abc import Callable

from ananta.store import database

# A run that is over sooner would only flicker there, and the two changes cost as much as the rest of the step.
SHOWN_AFTER_S = 0.05
STOP_S = 2.0


class Running:
    """Shows of a task that a run of it has begun, unless that ends within a moment. show: gets the id of the task, in a
    thread of its own; it raises nothing."""

    def __init__(self, show: Callable[[str], None], *, after_s: float = SHOWN_AFTER_S):
        self.show, self.after_s = show, after_s
        self._changed = threading.Condition()
        # Of each run that is not shown yet: when it is to be, and of which task it is.
        self._waiting: dict[str, tuple[float, str]] = {}
        self._showing: str | None = None
        self._idle = True
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def began(self, run_id: str, task_id: str) -> None:
        """A run has begun: it is shown soon."""
        with self._changed:
            self._waiting[run_id] = (time.monotonic() + self.after_s, task_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="running", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify_all()

    def ended(self, run_id: str) -> bool:
        """The run has ended: it is not shown from now on. Returns whether it was, or may have been."""
        with self._changed:
            if self._waiting.pop(run_id, None) is not None:
                return False
            # What is shown last must be how it ended.
            self._changed.wait_for(lambda: self._showing != run_id)
            return True

    def close(self) -> None:
        """Ends; what is not shown by now is not shown any more."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._changed:
                self._idle = True
                self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
                self._idle = False
            # All that begins meanwhile wakes nobody.
            self._stop.wait(self.after_s)
            while not self._stop.is_set() and (due := self._next()) is not None:
                try:
                    self.show(due)
                finally:
                    with self._changed:
                        self._showing = None
                        self._changed.notify_all()
        database.close_mine()

    def _next(self) -> str | None:
        """Returns the task of a run that is due to be shown, which from now on counts as being shown."""
        now = time.monotonic()
        with self._changed:
            for run_id, (at, task_id) in self._waiting.items():
                if at <= now:
                    del self._waiting[run_id]
                    self._showing = run_id
                    return task_id
        return None
