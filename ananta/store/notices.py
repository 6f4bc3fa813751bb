"""What hubs on one Postgres tell each other: events, and the records of tasks.

An event is a row of the table `events`, and a notification that wakes the others. Every hub listens on a connection of
its own, and reads what it has not seen yet; after a lost connection it goes on where it was. On SQLite there is nobody
to tell, and nothing here is ever started.
"""
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ananta.domain.events import TASK_RECORD, Event
from ananta.domain.steps import Record
from ananta.errors import StoreFailed
from ananta.store import database, shared_journal
from ananta.store.journal import Journal
from ananta.store.shared_journal import TaskRecord

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)
CHANNEL = "ananta_events"
KEEP_S, PRUNE_S, LOOK_S, INDEX_S = 600.0, 60.0, 60.0, 0.5
RETRY_S, RETRY_MOST_S, STOP_S = 0.2, 10.0, 2.0
FLUSH_S, GATHER_S = 1.0, 0.03
BATCH, WAITING = 200, 5000


@dataclass(frozen=True)
class _Told:
    """What is on its way to the other hubs. record: to be shared together with it."""

    event: Event
    record: TaskRecord | None = None


class Notices:
    """Sends and receives, each in a thread of its own; nobody who has something to tell waits for the database.

    tell: what an event of another hub is given to; keep_s: how long a hub may be away without missing anything;
    waiting: how much may wait here while the database is away; records_s: how old a record may be that the others are
    given, 0: however old."""

    def __init__(self, tell: Callable[[Event], None], journal: Journal, *, keep_s: float = KEEP_S, waiting: int = WAITING,
                 records_s: float = 0.0):
        self.tell, self.journal, self.keep_s, self.waiting = tell, journal, keep_s, waiting
        self.records_s = records_s
        self.origin = os.urandom(8).hex()
        self.listening = threading.Event()
        self._outbox: deque[_Told] = deque()
        self._lock = threading.Lock()
        # How much was handed in, and how much of that is written or given up.
        self._in = self._out = 0
        self._progress = threading.Condition(self._lock)
        self._wake, self._stop = threading.Event(), threading.Event()
        self._wanted = threading.Event()
        # Records of the log may be missing from the shared table: at the start nobody knows.
        self._behind = True
        self._pruned_at = -PRUNE_S
        # The number of the last event that was read; None: nobody has listened yet.
        self._last: int | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins, where several hubs can share the database."""
        if not database.shared():
            return
        self._woken, self._waker = socket.socketpair()
        self._threads = [threading.Thread(target=self._receive, name="notices-in", daemon=True),
                         threading.Thread(target=self._send, name="notices-out", daemon=True)]
        for each in self._threads:
            each.start()

    def close(self) -> None:
        """Sends what waits, if the database answers, and ends."""
        if not self._threads:
            return
        self._stop.set()
        self._wanted.set()
        self._wake.set()
        self._waker.send(b"x")
        for each in self._threads:
            each.join(STOP_S)
        self._woken.close()
        self._waker.close()

    def publish(self, event: Event) -> None:
        """Hands an event on to the other hubs, soon."""
        self._put(_Told(event))

    def share(self, record: Record, line: bytes) -> None:
        """Gives a record of a task to the other hubs, soon. line: its JSON."""
        if self._threads:
            self._put(_of(TaskRecord(line, record.id, record.task_id, record.timestamp)))

    def _put(self, told: _Told) -> None:
        if not self._threads:
            return
        with self._lock:
            self._outbox.append(told)
            self._in += 1
            if len(self._outbox) > self.waiting:
                # Records can be found again.
                self._behind |= self._outbox.popleft().record is not None
                self._out += 1
        self._wake.set()

    def flush(self, wait_s: float = FLUSH_S) -> None:
        """Waits until the other hubs can see what was handed in before, at most wait_s seconds."""
        with self._progress:
            until = self._in
            if self._out >= until:
                return
            self._wanted.set()
            self._progress.wait_for(lambda: self._out >= until, timeout=wait_s)

    # --- sending

    def _send(self) -> None:
        delay_s = 0.0
        while not self._stop.is_set():
            self._wake.wait(INDEX_S if self._behind else PRUNE_S)
            self._wake.clear()
            # What is told within a moment is told together, unless somebody waits for it.
            self._wanted.wait(GATHER_S)
            self._wanted.clear()
            try:
                self._send_waiting()
                if self._behind:
                    self._share_missing()
                self._prune()
                delay_s = 0.0
            except Exception as failure:
                if not delay_s:
                    log.warning("other hubs are not told anything for now: %s", failure,
                                exc_info=not isinstance(failure, StoreFailed))
                delay_s = min(RETRY_MOST_S, delay_s * 2 or RETRY_S)
                self._stop.wait(delay_s)
                self._wake.set()
        if not delay_s:
            with suppress(Exception):
                self._send_waiting()
        database.close_mine()

    def _send_waiting(self) -> None:
        while self._outbox:
            with self._lock:
                batch = [self._outbox.popleft() for _ in range(min(BATCH, len(self._outbox)))]
            try:
                self._write(batch)
            except BaseException:
                with self._lock:
                    self._outbox.extendleft(reversed(batch))
                raise
            with self._progress:
                self._out += len(batch)
                self._progress.notify_all()

    def _write(self, batch: list[_Told]) -> None:
        from ananta.store.postgres import number

        with database.writing():
            # Numbers become visible in their order only if one writes after the other.
            database.rows("SELECT pg_advisory_xact_lock(?)", number(CHANNEL))
            records = [each.record for each in batch if each.record is not None]
            if records:
                shared_journal.share(records)
            # By the clock of the server: those of the hubs may differ.
            database.rows("WITH added AS (INSERT INTO events (at, origin, document) SELECT extract(epoch FROM now()), ?, "
                          "document FROM unnest(?::text[]) WITH ORDINALITY AS told (document, place) ORDER BY place "
                          "RETURNING id) SELECT pg_notify(?, max(id)::text) FROM added", self.origin,
                          [msgspec.json.encode(each.event).decode() for each in batch], CHANNEL)

    def _share_missing(self) -> None:
        # First of all: what gets lost from now on is looked for again.
        self._behind = False
        try:
            if self.journal.behind():
                self._behind = True
                return
            for lacking in shared_journal.missing(time.time() - self.records_s if self.records_s else 0.0):
                self._write([_of(each) for each in lacking])
                # What happens now does not wait for what was.
                self._send_waiting()
                if self._stop.is_set():
                    return
        except BaseException:
            self._behind = True
            raise

    def _prune(self) -> None:
        if time.monotonic() - self._pruned_at >= PRUNE_S:
            with database.writing():
                database.change("DELETE FROM events WHERE at < extract(epoch FROM now()) - ?", self.keep_s)
            self._pruned_at = time.monotonic()

    # --- receiving

    def _receive(self) -> None:
        import psycopg

        delay_s = 0.0
        while not self._stop.is_set():
            try:
                with database.main().own_connection() as connection:  # type: ignore[union-attr]
                    delay_s = 0.0
                    self._follow(connection)
            except Exception as failure:
                if not delay_s:
                    log.warning("other hubs are not heard for now: %s", failure,
                                exc_info=not isinstance(failure, psycopg.Error))
                delay_s = min(RETRY_MOST_S, delay_s * 2 or RETRY_S)
                self._stop.wait(delay_s)

    def _follow(self, connection: "Connection") -> None:
        heard = threading.Event()
        connection.add_notify_handler(lambda notice: heard.set())
        connection.execute(f"LISTEN {CHANNEL}")
        if self._last is None:
            found = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
            self._last = found[0] if found else 0
        self.listening.set()
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stop.is_set():
                heard.clear()
                self._read(connection)
                # One that came while we read was taken in with the answer; its row may not have been.
                if not heard.is_set():
                    selector.select(LOOK_S)

    def _read(self, connection: "Connection") -> None:
        while True:
            rows = connection.execute("SELECT id, CASE WHEN origin <> %s THEN document END FROM events WHERE id > %s "
                                      "ORDER BY id LIMIT %s", (self.origin, self._last, BATCH)).fetchall()
            foreign = [(number, None if document is None else _event(document)) for number, document in rows]
            records = _records(connection, [event for _, event in foreign if event and event.type == TASK_RECORD])
            for number, event in foreign:
                if event is not None and event.type == TASK_RECORD:
                    event = _with_record(event, records)
                if event is not None:
                    self.tell(event)
                self._last = number
            if len(rows) < BATCH:
                return


def _of(record: TaskRecord) -> _Told:
    """What says that there is a new record; its text stands in the table of records."""
    data = {"task_id": record.task_id, "place": database.local().place, "run_id": record.run_id}
    return _Told(Event(TASK_RECORD, data, record.timestamp), record)


def _event(document: str) -> Event | None:
    try:
        return msgspec.json.decode(document, type=Event)
    except msgspec.MsgspecError:
        log.warning("an event of another hub cannot be read: is it of another version?")
        return None


def _records(connection: "Connection", events: list[Event]) -> dict[tuple, bytes]:
    if not events:
        return {}
    places, run_ids = ([each.data.get(name) for each in events] for name in ("place", "run_id"))
    return {(place, run_id): record.encode() for place, run_id, record in connection.execute(
        "SELECT place, run_id, record FROM shared_journal WHERE place = ANY(%s) AND run_id = ANY(%s)", (places, run_ids))}


def _with_record(event: Event, records: dict[tuple, bytes]) -> Event | None:
    data = event.data
    record = records.get((data.get("place"), data.get("run_id")))
    if record is None:
        return None
    return Event(event.type, {"task_id": data["task_id"], "run_id": data["run_id"], "record": record}, event.timestamp)
