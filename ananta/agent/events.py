"""What happens, told to whoever listens: streams of browsers, and other hubs on the same database."""
import logging
import threading
import time
from collections.abc import Callable

from ananta.domain.events import OF_ONE_HUB, Event

log = logging.getLogger(__name__)


class Events:
    """The one place where events of this process pass. A listener must be quick, and may be called in any thread.

    elsewhere: hands an event on to other hubs; it must be quick, too."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()
        self.elsewhere: Callable[[Event], None] | None = None

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Calls listener for every event from now on; returns what ends that."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def end() -> None:
            with self._lock:
                self._listeners = [each for each in self._listeners if each is not listener]

        return end

    def publish(self, type: str, data: dict, *, admins: bool = False) -> None:
        """Tells all listeners, here first and then those of other hubs on the same database, unless it is true of this
        one only; a failing listener is logged and keeps nobody from hearing it."""
        event = Event(type, data, time.time(), admins)
        self.tell(event)
        if self.elsewhere is not None and type not in OF_ONE_HUB:
            self._call(self.elsewhere, event)

    def tell(self, event: Event) -> None:
        """Tells the listeners of this process."""
        for listener in self._listeners:
            self._call(listener, event)

    @staticmethod
    def _call(listener: Callable[[Event], None], event: Event) -> None:
        try:
            listener(event)
        except Exception:
            log.exception("a listener failed at the event %s", event.type)
