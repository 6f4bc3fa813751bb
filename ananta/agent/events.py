"""What happens, told to whoever listens: streams of browsers, and other hubs on the same database."""
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """type: such as "task_updated"; data: what the event stream shows; admins: only they may see it; timestamp: epoch
    seconds."""

    type: str
    data: dict
    admins: bool = False
    timestamp: float = field(default_factory=time.time)


class Events:
    """The one place where events of this process pass. A listener must be quick, and may be called in any thread."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Calls listener for every event from now on; returns what ends that."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def end() -> None:
            with self._lock:
                self._listeners = [each for each in self._listeners if each is not listener]

        return end

    def publish(self, type: str, data: dict, *, admins: bool = False) -> None:
        """Tells all listeners; a failing one is logged and keeps nobody from hearing it."""
        self.tell(Event(type, data, admins))

    def tell(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed at the event %s", event.type)
