"""The terminal log: what was started, what came of it, and the questions about it.

terminal_log.jsonl and its predecessors are the truth, the table `journal` is their index. A read takes what is
indexed from the table and the rest from the files, so it is right at any moment, whatever the indexer has done so far.
"""
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from ananta.domain.steps import Record
from ananta.domain.values import differing
from ananta.errors import CannotStart, JournalFailed, StoreFailed
from ananta.store import database, records
from ananta.store.files import private_directory
from ananta.store.intents import Intents
from ananta.store.log_archive import LogArchive, contained, forget_rows, oldest_time
from ananta.store.log_files import LogFiles, backwards, repair
from ananta.store.log_index import LogIndex, Position, position
from ananta.store.log_lines import Newest, parse
from ananta.store.log_writer import LogWriter

log = logging.getLogger(__name__)
RETRY_S, LOOK_S, GATHER_S, FAILED_S = 1.0, 5.0, 0.2, 5.0
IMPORT_BYTES = 256 << 10
TASKS = 10_000
DAY_S = 24 * 3600.0


class Journal:
    """Open the database, then `open`, then `start`. May be used from any thread."""

    def __init__(self, data_dir: Path, *, agent: str, mask: Callable[[str], str], rotate_bytes: int = 100 << 20,
                 output_bytes: int = 64 << 10, now: Callable[[], float] = time.time):
        self.data_dir, self.agent, self.mask, self.now = data_dir, agent, mask, now
        self.output_bytes, self.rotate_bytes = output_bytes, rotate_bytes
        self._lock = threading.Lock()
        # Called for every record of a task that is on disk now, in their order, with what is served of it. It must be
        # quick: the next record waits.
        self.on_record: Callable[[Record, bytes], None] | None = None
        # Where several agents have runs of one task: gets its id and the number the next record of it would have here, and
        # returns the one it has among all. Raises StoreFailed.
        self.numbers: Callable[[str, int], int] | None = None
        self._numbered: dict[str, int | None] = {}
        # Recorded in memory only, since the disk is full; in order.
        self._pending: list[Record] = []
        self._steps: OrderedDict[str, int] = OrderedDict()
        self._intents = Intents(data_dir / "started.jsonl")
        self._wake, self._stop = threading.Event(), threading.Event()
        self._indexer: threading.Thread | None = None

    def open(self, on_unknown: Callable[[str], str] | None = None) -> list[Record]:
        """Repairs what a crash left behind and returns a record, already in the log, for every run of which nobody
        knows whether it finished. on_unknown: asked with the run's id for a sentence to add.

        Raises CannotStart if the files cannot be used."""
        private_directory(self.data_dir)
        at = position()
        try:
            self._files = LogFiles(self.data_dir, at_least=at.generation if at else 1)
            repair(self._files.current)
            self._writer, self._index = LogWriter(self._files, self.rotate_bytes), LogIndex(self._files)
            self._writer.open()
            left = self._intents.open()
        except (OSError, JournalFailed) as cause:
            raise CannotStart(f"The log in {self.data_dir} cannot be used: {cause}") from cause
        finished = _finished_since(self._files, left)
        lost = []
        for intent in left:
            if intent["id"] in finished:
                self._intents.done(intent["id"])
                continue
            more = on_unknown(intent["id"]) if on_unknown else ""
            record = records.unknown(intent, agent=self.agent, now=self.now(), more=more)
            try:
                lost.append(self.finished(record))
            except JournalFailed as failure:
                log.warning("%s What happened to run %s is recorded as soon as that is possible.", failure, record.id)
        return lost

    def start(self) -> None:
        """Begins to index, in a thread of its own."""
        self._wake.set()
        self._indexer = threading.Thread(target=self._work, name="log-index", daemon=True)
        self._indexer.start()

    def close(self) -> None:
        """Writes what is pending and indexes what is missing, unless that is much: the next start goes on with it."""
        self._stop.set()
        self._wake.set()
        if self._indexer:
            self._indexer.join()
        with self._lock, suppress(JournalFailed):
            self._write_pending()
        with suppress(StoreFailed, OSError):
            if self._index.missing() < IMPORT_BYTES:
                self._index.catch_up(threading.Event())
        self._writer.close()
        self._intents.close()

    def started(self, record: Record) -> None:
        """Puts on disk that this is about to run. Raises JournalFailed: then it must not run.

        Of what another agent runs, that one's disk says so; what is noted here need outlive this process only."""
        fields = records.intent_of(records.storable(record, self.mask, self.output_bytes))
        if self.numbers is not None and record.task_id is not None:
            # Now, so that nothing has to be asked for between the end of a command and its record.
            self._numbered[record.id] = self._number(record.task_id)
        with self._lock:
            # Nothing new begins while the result of something earlier is not safe.
            self._write_pending()
            # Where the log ends now: a restart looks for the result behind this place only.
            self._intents.add(fields | {"log": self._writer.place()}, for_good=record.forwarded_to is None)

    def finished(self, record: Record) -> Record:
        """Returns the record as it stands in the log now, on disk: masked, cut, its step counted.

        Raises JournalFailed if the disk refuses; the record is kept in memory, and written before the next one or as
        soon as there is room."""
        record = records.storable(record, self.mask, self.output_bytes)
        number = None
        if record.task_id is not None:
            self._look_up_step(record.task_id)
            if self.numbers is not None:
                number = self._numbered.pop(record.id) if record.id in self._numbered else self._number(record.task_id)
        with self._lock:
            if record.task_id is not None:
                known = self._steps.get(record.task_id, 0)
                step = number or known + 1
                self._count(record.task_id, max(step, known))
                record = differing(record, step=step)
            self._pending.append(record)
            try:
                self._write_pending()
            finally:
                self._wake.set()
        return record

    def last(self, limit: int, task_id: str | None = None, *, most_bytes: int | None = None) -> list[bytes]:
        """Returns the last `limit` records, of one task or of all, oldest first: each a JSON object. most_bytes: about as
        much of them as the table adds; None: all."""
        newest = Newest(max(0, limit), None if task_id is None else records.plain(task_id))
        with database.local().reading(), ExitStack() as stack:
            at = position() or Position(self._files.oldest(), 1)
            opened = self._files.open_from(at.generation, stack)
            if opened and opened[0][0] == at.generation and not at.holds(opened[0][1]):
                at = replace(at, offset=0, lines=0)
            for generation, fd in reversed(opened):
                start = at.offset if generation == at.generation else 0
                newest.take(backwards(fd, start, os.fstat(fd).st_size))
            older = [] if newest.full() else self._indexed(newest, at, most_bytes)
        return older + newest.records()

    def count(self) -> int:
        """Returns how many records are indexed."""
        return database.local().rows("SELECT coalesce(sum(records), 0) FROM journal_position")[0][0]

    def knows(self, run_ids: Collection[str]) -> set[str]:
        """Returns which of these runs are indexed, wait to be written, or are in the archive. Looks at all there is."""
        with self._lock:
            waiting = {each.id for each in self._pending}
        found = database.local().rows("SELECT run_id FROM journal WHERE run_id IN (SELECT value FROM json_each(?))",
                              msgspec.json.encode(list(run_ids)).decode())
        known = {run_id for (run_id,) in found} | waiting.intersection(run_ids)
        try:
            return known | contained(self.data_dir, set(run_ids) - known)
        except OSError as cause:
            raise StoreFailed(f"The archive of the log cannot be read: {cause}") from cause

    def archive(self, before: float, stopping: Callable[[], bool] = lambda: False) -> int:
        """Moves full files whose records all ended before this moment (epoch seconds) to the archive, and forgets what the
        index knows of them; returns how many files. So that there are such files, a file is full, too, when its first
        record is a quarter as old as that, but at least a day. Raises StoreFailed: then nothing is lost."""
        age_s = max(DAY_S, (self.now() - before) / 4)
        first = oldest_time(self._files.current)
        if first is not None and first < self.now() - age_s:
            with self._lock:
                self._write_pending()
                self._writer.rotate()
        at = position()
        moved = 0
        # The last line of an empty file's predecessor is what the next record will name.
        if at is not None and self._writer.place()[1] > 0:
            moved = LogArchive(self._files).move_old(before, at.generation, stopping)
        forget_rows(self._files, before, stopping)
        return moved

    def behind(self) -> bool:
        """Whether anything in the files is not indexed yet."""
        return self._index.missing() > 0

    def importing(self) -> bool:
        """Whether there is much in the files that is not indexed yet."""
        return self._index.missing() > IMPORT_BYTES

    # ---

    @staticmethod
    def _indexed(newest: Newest, at: Position, most_bytes: int | None) -> list[bytes]:
        """What the table adds to the records from the files, oldest first. Commands of results that still look for
        theirs are given to newest."""
        where, values = ("AND task_id = ?", (newest.task_id,)) if newest.task_id is not None else ("", ())
        found = _rows("SELECT CAST(record AS BLOB) FROM journal WHERE seq < ? AND record IS NOT NULL "
                      f"{where} ORDER BY seq DESC LIMIT ?", at.next_seq, *values, newest.limit + newest.waiting,
                      most_bytes=most_bytes)
        if newest.waiting:
            for raw in found:
                served = parse(raw)
                if served and not newest.full():
                    newest.add(served)
            return []
        return found[:max(0, newest.limit - len(newest.found))][::-1]

    def _write_pending(self) -> None:
        while self._pending:
            line = self._writer.append(records.fields_of(self._pending[0]))
            record = self._pending.pop(0)
            self._intents.done(record.id)
            if self.on_record is not None and record.task_id is not None:
                try:
                    self.on_record(record, line)
                except Exception:
                    log.exception("what listens to the log failed")

    def _look_up_step(self, task_id: str) -> None:
        if task_id not in self._steps:
            latest = self.last(1, task_id)
            step = msgspec.json.decode(latest[0]).get("step") if latest else 0
            with self._lock:
                if task_id not in self._steps:
                    self._count(task_id, step if isinstance(step, int) and 0 < step < 1 << 53 else 0)

    def _number(self, task_id: str) -> int | None:
        self._look_up_step(task_id)
        with self._lock:
            own = self._steps.get(task_id, 0) + 1
        try:
            return self.numbers(task_id, own) if self.numbers else None
        except StoreFailed as failure:
            log.warning("how many steps task %s has elsewhere cannot be found out: %s", task_id, failure.message)
            return None

    def _count(self, task_id: str, step: int) -> None:
        self._steps[task_id] = step
        self._steps.move_to_end(task_id)
        if len(self._steps) > TASKS:
            self._steps.popitem(last=False)

    def _work(self) -> None:
        failed = False
        while not self._stop.is_set():
            self._wake.wait(RETRY_S if self._pending else LOOK_S)
            self._wake.clear()
            # The records of a moment are indexed together.
            self._stop.wait(GATHER_S)
            with self._lock, suppress(JournalFailed):
                self._write_pending()
            try:
                self._index.catch_up(self._stop)
                failed = False
            except Exception as failure:
                # Reads go on from the files; the index goes on when the database does.
                if not failed:
                    log.warning("The log cannot be indexed for now: %s", failure, exc_info=not isinstance(failure, StoreFailed))
                failed = True
                self._stop.wait(FAILED_S)
        database.close_mine()


def _rows(sql: str, *values: object, most_bytes: int | None) -> list[bytes]:
    if most_bytes is None:
        return [raw for (raw,) in database.local().rows(sql, *values)]
    found, size = [], 0
    for (raw,) in database.local().execute_sql(sql, values):
        found.append(raw)
        size += len(raw)
        if size > most_bytes:
            break
    return found


def _finished_since(log_files: LogFiles, intents: list[dict]) -> set[str]:
    """Which of these runs have a record, looking no further back than when the first of them began."""
    wanted, places = {each["id"] for each in intents}, []
    for each in intents:
        place = each.get("log")
        places.append(tuple(place) if isinstance(place, list) and len(place) == 2
                      and all(isinstance(number, int) for number in place) else (1, 0))
    found: set[str] = set()
    if not wanted:
        return found
    with ExitStack() as stack:
        for generation, fd in reversed(log_files.open_from(min(places)[0], stack)):
            size = os.fstat(fd).st_size
            start = min(places)[1] if generation == min(places)[0] else 0
            # A file shorter than it was is read whole: its lines stand elsewhere now.
            for line in backwards(fd, start if start <= size else 0, size):
                served = parse(line)
                if served and served.run_id is not None and served.run_id in wanted:
                    found.add(served.run_id)
                    if found == wanted:
                        return found
    return found


def unfinished(data_dir: Path) -> int:
    """Returns how many runs were begun and have no record yet: those of a running service, or what a stopped one left
    to be looked into at the next start. Changes nothing."""
    intents = []
    with suppress(OSError):
        for line in (data_dir / "started.jsonl").read_bytes().splitlines():
            with suppress(msgspec.MsgspecError, RecursionError):
                intents.append(msgspec.json.decode(line, type=dict))
    intents = [each for each in intents if isinstance(each.get("id"), str)]
    return len({each["id"] for each in intents} - _finished_since(LogFiles(data_dir), intents)) if intents else 0


def tail(data_dir: Path, limit: int, task_id: str | None = None) -> list[bytes]:
    """Returns the last `limit` records, of one task or of all, oldest first, from the files alone; changes nothing."""
    newest = Newest(limit, task_id)
    found = LogFiles(data_dir)
    with ExitStack() as stack:
        for _, fd in reversed(found.open_from(found.oldest(), stack)):
            newest.take(backwards(fd, 0, os.fstat(fd).st_size))
    return newest.records()
