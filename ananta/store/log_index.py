"""The index of the log: the table `journal`, filled from the files and from nothing else.

There is one way in, `catch_up`: it goes on where the table ends. That serves a record of a moment ago, what a crash
left unindexed, a foreign file of a million lines, and a file that was replaced.
"""
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice

from ananta.store import chain, database
from ananta.store.log_files import LogFiles, forwards, pread
from ananta.store.log_lines import Served, merge, parse

LINES, BYTES = 5000, 8 << 20
# After so many lines the other threads get a turn.
YIELD_LINES, YIELD_S = 100, 0.0002
OUTS = 10_000

Row = tuple[int, str | None, str | None, float | None, int | None, str, str | None]


@dataclass(frozen=True)
class Position:
    """How far a file is indexed; see tables.JournalPosition."""

    generation: int
    first_seq: int
    lines: int = 0
    records: int = 0
    offset: int = 0
    last_line: int = 0
    link: str = chain.FIRST

    @property
    def next_seq(self) -> int:
        return self.first_seq + self.lines

    def holds(self, fd: int) -> bool:
        """Says whether the file still continues from here: nobody cut or replaced it."""
        if not self.offset:
            return True
        line = pread(fd, self.offset - self.last_line, self.last_line)
        return len(line) == self.offset - self.last_line and line.endswith(b"\n") and chain.link_of(line[:-1]) == self.link


def position() -> Position | None:
    """Returns where the index ends, or None if it is empty."""
    found = database.local().rows('SELECT generation, first_seq, lines, records, "offset", last_line, link '
                          "FROM journal_position ORDER BY generation DESC LIMIT 1")
    return Position(*found[0]) if found else None


class LogIndex:
    """One thread at a time may call `catch_up`."""

    def __init__(self, files: LogFiles):
        self.files = files
        # Commands that wait for their result, by task and step; None: not looked up yet.
        self._outs: dict[tuple, list[tuple[int, Served]]] | None = None
        self._break_noted = False

    def catch_up(self, stop: threading.Event) -> None:
        """Indexes all there is, unless told to stop. Raises StoreFailed."""
        while not stop.is_set() and self._batch():
            pass

    def missing(self) -> int:
        """Returns how many bytes of the files are not indexed."""
        at = position() or Position(self.files.oldest(), 1)
        with ExitStack() as stack:
            sizes = {generation: os.fstat(fd).st_size for generation, fd in self.files.open_from(at.generation, stack)}
        return sum(sizes.values()) - min(at.offset, sizes.get(at.generation, 0))

    def _batch(self) -> bool:
        """Indexes some lines in one transaction. Returns False when nothing is left."""
        at = position() or Position(self.files.oldest(), 1)
        with ExitStack() as stack:
            opened = dict(self.files.open_from(at.generation, stack))
            fd = opened.pop(at.generation, None)
            if fd is not None and not at.holds(fd):
                at = Position(at.generation, at.first_seq, link=chain.FIRST)
                with database.local().writing():
                    _save(at)
            lines = self._lines(fd, at.offset) if fd is not None else []
            if lines:
                try:
                    self._store(at, lines)
                except BaseException:
                    # The transaction is undone: what is remembered of it is wrong.
                    self._outs = None
                    raise
                return True
            if not opened:
                self._drop_rest(at)
                return False
            with database.local().writing():
                _save(Position(min(opened), at.next_seq))
            return True

    @staticmethod
    def _lines(fd: int, offset: int) -> list[bytes]:
        lines, size = [], 0
        for line in islice(forwards(fd, offset), LINES):
            lines.append(line)
            size += len(line)
            if size > BYTES:
                break
        return lines

    def _store(self, at: Position, lines: list[bytes]) -> None:
        if self._outs is None:
            self._outs = _stored_outs(at.next_seq)
        rows: list[Row] = []
        merged: list[tuple[int]] = []
        link = at.link
        for seq, line in enumerate(lines, at.next_seq):
            link = chain.link_of(line)
            served = parse(line)
            if served and served.direction == "in" and (waiting := self._outs.get(served.key)):
                out_seq, out = waiting.pop()
                served = merge(out, served)
                if out_seq >= at.next_seq:
                    rows[out_seq - at.next_seq] = (out_seq, *(None,) * 4, rows[out_seq - at.next_seq][5], None)
                else:
                    merged.append((out_seq,))
            elif served and served.direction == "out":
                self._outs.setdefault(served.key, []).append((seq, served))
            rows.append(_row(seq, link, served))
            if len(rows) % YIELD_LINES == 0:
                time.sleep(YIELD_S)
        if len(self._outs) > OUTS:
            self._outs.clear()
        self._compare(rows)
        size = sum(map(len, lines)) + len(lines)
        new = replace(at, lines=at.lines + len(lines), offset=at.offset + size, link=link,
                      last_line=at.offset + size - len(lines[-1]) - 1,
                      records=at.records + sum(row[6] is not None for row in rows) - len(merged))
        with database.local().writing():
            database.local().change_many("INSERT OR REPLACE INTO journal (seq, run_id, task_id, timestamp, step, hash, record) "
                                 "VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            if merged:
                database.local().change_many("UPDATE journal SET record = NULL, task_id = NULL WHERE seq = ?", merged)
            _save(new)

    def _compare(self, rows: list[Row]) -> None:
        """Notes the first line that is not what was indexed at its place before the file was replaced."""
        if self._break_noted or not _indexed_from(rows[0][0]):
            return
        before = {seq: (link, record) for seq, link, record in database.local().rows(
            "SELECT seq, hash, record FROM journal WHERE seq BETWEEN ? AND ?", rows[0][0], rows[-1][0])}
        for row in rows:
            if row[0] in before and before[row[0]][0] != row[5]:
                self._note(*before[row[0]])
                return

    def _drop_rest(self, at: Position) -> None:
        """Forgets what the table knew of a longer file."""
        if _indexed_from(at.next_seq):
            link, record = database.local().rows("SELECT hash, record FROM journal WHERE seq >= ? ORDER BY seq LIMIT 1", at.next_seq)[0]
            if not self._break_noted:
                self._note(link, record)
            with database.local().writing():
                database.local().change("DELETE FROM journal WHERE seq >= ?", at.next_seq)
        self._break_noted = False

    def _note(self, link: str, record: str | None) -> None:
        self._break_noted = True
        with database.local().writing():
            database.local().change("INSERT OR IGNORE INTO journal_break (link, noticed, record) VALUES (?, ?, ?)",
                            link, time.time(), record)


def _row(seq: int, link: str, served: Served | None) -> Row:
    if served is None:
        return (seq, None, None, None, None, link, None)
    return (seq, served.run_id, served.task_id, served.timestamp, served.step, link, served.raw.decode())


def _indexed_from(seq: int) -> bool:
    return bool(database.local().rows("SELECT 1 FROM journal WHERE seq >= ? LIMIT 1", seq))


def _stored_outs(before: int) -> dict[tuple, list[tuple[int, Served]]]:
    """The commands among the last indexed lines that still wait for their result."""
    outs: dict[tuple, list[tuple[int, Served]]] = {}
    for seq, record in database.local().rows("SELECT seq, record FROM journal WHERE seq >= ? AND seq < ? AND record IS NOT NULL "
                                     "ORDER BY seq", before - 1000, before):
        served = parse(record.encode())
        if served and served.direction == "out":
            outs.setdefault(served.key, []).append((seq, served))
    return outs


def _save(at: Position) -> None:
    database.local().change('INSERT OR REPLACE INTO journal_position (generation, first_seq, lines, records, "offset", last_line, '
                    "link) VALUES (?, ?, ?, ?, ?, ?, ?)", at.generation, at.first_seq, at.lines, at.records, at.offset,
                    at.last_line, at.link)
