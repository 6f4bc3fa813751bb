"""Jobs that are done again and again in the background, each in a thread of its own."""
import logging
import threading
from collections.abc import Callable

from ananta.errors import AnantaError
from ananta.store import database

log = logging.getLogger(__name__)
STOP_S = 2.0


class Repeated:
    """Does a job every every_s seconds, the first time after first_s. A job that fails is logged, and done again the
    next time; `stopping` is set when it should end early."""

    def __init__(self, name: str, job: Callable[[], None], *, every_s: float, first_s: float):
        self.name, self.job, self.every_s, self.first_s = name, job, every_s, first_s
        self.stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; a job that does not hear of that is waited for two seconds at most."""
        self.stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        wait_s = self.first_s
        while not self.stopping.wait(wait_s):
            wait_s = self.every_s
            try:
                self.job()
            except Exception as failure:
                if self.stopping.is_set():
                    break
                if isinstance(failure, AnantaError):
                    log.warning("%s: %s", self.name, failure.message)
                else:
                    log.exception("%s failed unexpectedly", self.name)
        database.close_mine()
