"""What a command prints at another agent, shown here while it runs there.

The agent is asked for it only while somebody looks, on a connection of its own beside the one that waits for the outcome. It is
for looking at: when it fails, nothing is said, and the record of the run has the output all the same.
"""
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from ananta.agent.live import Live
from ananta.domain.events import RUN_ENDED, RUN_OUTPUT, RUN_STARTED
from ananta.domain.steps import Record
from ananta.hub import wire
from ananta.hub.wire import Connection

log = logging.getLogger(__name__)
CONNECT_S, LINE_BYTES, FOLLOWED = 5.0, 1 << 20, 64


@dataclass
class _Run:
    url: str
    tokens: tuple[str | None, ...]
    record: Record
    feed: Callable[[str], None]
    until: float
    connection: Connection | None = None
    followed: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class Relay:
    """The runs of this hub at other agents. live: who looks here, and at what."""

    def __init__(self, live: Live):
        self.live = live
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        live.on_look.append(self._look)

    @contextmanager
    def shown(self, url: str, tokens: tuple[str | None, ...], record: Record, timeout_s: float) -> Iterator[None]:
        """Shows what the run prints at that agent for as long as this lasts."""
        key = record.task_id or ""
        run = _Run(url, tokens, record, self.live.began(key, record), time.monotonic() + timeout_s)
        with self._lock:
            self._runs[record.id] = run
        try:
            if self.live.wanted(key):
                self._follow(run)
            yield
        finally:
            with self._lock:
                del self._runs[record.id]
                run.over.set()
                if run.connection is not None:
                    run.connection.cut()

    def _look(self, key: str) -> None:
        with self._lock:
            runs = [each for each in self._runs.values() if each.record.task_id == key]
        for each in runs:
            self._follow(each)

    def _follow(self, run: _Run) -> None:
        with self._lock:
            if run.followed or sum(each.followed for each in self._runs.values()) >= FOLLOWED:
                return
            run.followed = True
        threading.Thread(target=self._read, args=(run,), name="relay", daemon=True).start()

    def _read(self, run: _Run) -> None:
        try:
            for token in run.tokens or (None,):
                if self._read_with(run, token):
                    return
        except wire.FAILURES as failure:
            if not run.over.is_set():
                log.info("what run %s prints at %s cannot be shown: %s", run.record.id, run.url, wire.reason(failure))
        except Exception:
            log.exception("what run %s prints at %s cannot be shown", run.record.id, run.url)

    def _read_with(self, run: _Run, token: str | None) -> bool:
        """Returns False when the agent does not take the token."""
        path = f"/step/stream-output?task_id={quote(run.record.task_id or '', safe='')}"
        connection = Connection(run.url, min(run.until, time.monotonic() + CONNECT_S))
        try:
            with self._lock:
                if run.over.is_set():
                    return True
                run.connection = connection
            status, lines = connection.lines(run.url + path, wire.headers(None, token), run.until, line_bytes=LINE_BYTES)
            if status != 200:
                return status != 401
            self._pass_on(run, lines)
            return True
        finally:
            with self._lock:
                run.connection = None
            connection.close()

    @staticmethod
    def _pass_on(run: _Run, lines: Iterator[bytes]) -> None:
        theirs, at = None, 0
        for line in lines:
            message = wire.json_object(line[6:]) if line.startswith(b"data: ") else None
            data = (message or {}).get("data")
            if run.over.is_set():
                return
            if message is None or not isinstance(data, dict):
                continue
            # Its number of the run is told only here; in the session of a task one command runs at a time.
            if theirs is None and message.get("type") == RUN_STARTED and data.get("command") == run.record.command:
                theirs = data.get("run_id")
            if theirs is None or data.get("run_id") != theirs:
                continue
            if message.get("type") == RUN_ENDED:
                return
            begins, text = data.get("at"), data.get("text")
            if message.get("type") == RUN_OUTPUT and isinstance(begins, int) and isinstance(text, str):
                # What had been printed before may come twice.
                fresh = text[max(0, at - begins):]
                at = max(at, begins + len(text))
                if fresh:
                    run.feed(fresh)
