"""Telling whoever asked for it that a task has moved: a POST to its callback_url, in the background.

The address comes from a user, so it is not asked for everything: only http and https, never what answers machines of a
cloud about themselves, no redirects, no proxies; the address that was checked is the one that is connected to.
"""
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from ananta.agent.events import Events
from ananta.domain.addresses import Refused, check_host
from ananta.domain.tasks import Task, callback_document, event, is_callback
from ananta.errors import InvalidInput
from ananta.hub import wire
from ananta.hub.wire import NoAnswer

log = logging.getLogger(__name__)
TIMEOUT_S, STOP_S = 10.0, 1.0
THREADS, WAITING = 2, 256


@dataclass(frozen=True)
class Callback:
    """What is to be sent where. token: sealed."""

    url: str
    token: bytes | None
    body: bytes


class Callbacks:
    """Sends callbacks in the order of each task's changes; threads begin with the first one. open_sealed: a stored token
    as text."""

    def __init__(self, open_sealed: Callable[[bytes], str]):
        self._open = open_sealed
        self._queues: list[queue.Queue[Callback | None]] = [queue.Queue(WAITING) for _ in range(THREADS)]
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def changed(self, task: Task) -> None:
        """Sends what the task is now if it wants that and its status or run_state has just changed. Never waits: with
        too many waiting already, this one is dropped and logged."""
        if task.callback_url is None or not task.moved:
            return
        callback = Callback(task.callback_url, task.callback_token, json.dumps(callback_document(task)).encode())
        if not self._start():
            return
        try:
            # One thread per task, so that the last that is told is the last that was.
            self._queues[hash(task.id) % THREADS].put_nowait(callback)
        except queue.Full:
            log.warning("the callback of task %s to %s is dropped: %d are waiting already", task.id, _shown(task.callback_url),
                        WAITING)

    def close(self) -> None:
        """Gives running callbacks a moment to end, and drops those that wait."""
        with self._lock:
            self._closed = True
            threads = self._threads
        for each in self._queues:
            with suppress(queue.Empty):
                while True:
                    each.get_nowait()
            each.put(None)
        until = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _start(self) -> bool:
        with self._lock:
            if not self._threads and not self._closed:
                self._threads = [threading.Thread(target=self._run, args=(each,), name="callbacks", daemon=True)
                                 for each in self._queues]
                for thread in self._threads:
                    thread.start()
            return not self._closed

    def _run(self, waiting: "queue.Queue[Callback | None]") -> None:
        while (callback := waiting.get()) is not None and not self._closed:
            try:
                status = post(callback.url, callback.body, None if callback.token is None else self._open(callback.token))
                if not 200 <= status < 300:
                    log.warning("the callback to %s was answered with status %d", _shown(callback.url), status)
            except NoAnswer as failure:
                log.warning("the callback to %s failed: %s", _shown(callback.url), failure)
            except Exception:
                log.exception("the callback to %s failed unexpectedly", _shown(callback.url))


class TaskNews:
    """What the rest of the world is told of a changed task: the event streams, and its callback."""

    def __init__(self, events: Events, callbacks: Callbacks):
        self.events, self.callbacks = events, callbacks
        # What else of this hub is told of it; they raise nothing.
        self.also: list[Callable[[Task], None]] = []

    def tell(self, task: Task, *, inside: bool = True) -> None:
        """task: as the change in the store returned it; if that has changed nothing, nobody is told. inside: tell the
        rest of this hub, too."""
        if not task.changed:
            return
        self.events.publish("task_updated", event(task))
        self.callbacks.changed(task)
        if inside:
            for told in self.also:
                told(task)


def check(url: str) -> None:
    """Raises InvalidInput for an address that no callback is ever sent to, as far as that shows without asking for names."""
    if not is_callback(url):
        raise InvalidInput("callback_url must be an http:// or https:// address without a user name.",
                           details="callback_url")
    host = urlsplit(url).hostname or ""
    try:
        check_host(host)
    except Refused as refused:
        raise InvalidInput(f"callback_url is not possible: {refused}", details="callback_url") from refused


def post(url: str, body: bytes, token: str | None, timeout_s: float = TIMEOUT_S) -> int:
    """Returns the status that a JSON body is answered with; everything together takes timeout_s at most, but for the
    look-up of the name. Raises NoAnswer."""
    if not is_callback(url):
        raise NoAnswer("it is not an http or https address", sent=False)
    return wire.once("POST", url, body, token, timeout_s=timeout_s, most_bytes=0)[0]


# ---


def _shown(url: str) -> str:
    """The address without what may be a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"[:200]
