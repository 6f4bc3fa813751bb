"""Places for slow work: each kind has its own number, so that no kind takes the threads of the others."""
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ananta.errors import Busy


class Lane:
    """`places` for one kind of work. A taken place is given back at the end of the `with`."""

    def __init__(self, name: str, places: int, *, retry_after_s: int):
        self.name, self.places, self.retry_after_s = name, places, retry_after_s
        self._free = places
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        return self.places - self._free

    @contextmanager
    def take(self, wanted: int = 1) -> Iterator[None]:
        """Takes places at once or raises Busy; never waits."""
        wanted = min(wanted, self.places)
        with self._lock:
            if self._free < wanted:
                raise Busy(f"All {self.places} places for {self.name} are taken: try again in {self.retry_after_s} s.",
                           retry_after=self.retry_after_s)
            self._free -= wanted
        try:
            yield
        finally:
            with self._lock:
                self._free += wanted
