"""Is the log what was written? Reads all files once, in order, and names the first line that is not.

The chain alone shows that something is wrong; the table, which remembers the link of every indexed line, says what
was there before, also for lines of other programs and at the end of the file, where no chain can.
"""
import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import msgspec

from ananta.errors import StoreFailed
from ananta.store import chain, log_archive
from ananta.store.log_files import ARCHIVE, forwards
from ananta.store.log_lines import parse

ALTERED, REMOVED, INSERTED = "altered", "removed", "inserted"
AROUND = 256
UNNUMBERED = 1 << 50


@dataclass(frozen=True)
class Finding:
    """The first record that is not as it was written.

    file, line: where it stands, or stood; for a removed one the line that follows. The rest as far as it is known."""

    kind: str
    file: str
    line: int
    id: str | None = None
    timestamp: float | None = None
    command: str | None = None


@dataclass(frozen=True)
class Verification:
    """What was found. lines: all that were read; chained: ours, in an unbroken chain; unchained: of other programs,
    compared with the index where there is one; missing: older files that were moved away and could not be checked."""

    lines: int
    chained: int
    unchained: int
    missing: tuple[str, ...] = ()
    finding: Finding | None = None

    @property
    def ok(self) -> bool:
        return self.finding is None


def verify(data_dir: Path, database: Path | None = None) -> Verification:
    """Returns what the log is worth; changes nothing, and may run beside the service. database: the SQLite file, by
    default the one in data_dir; without one only the chain is looked at. Raises StoreFailed."""
    try:
        with ExitStack() as stack:
            facts = _Facts(database or data_dir / "ananta.db", stack)
            # The table first: then the files hold at least what it knows.
            return _Reader(data_dir, facts, stack).read()
    except (OSError, sqlite3.Error) as cause:
        raise StoreFailed(f"The log in {data_dir} cannot be read: {cause}") from cause


@dataclass(slots=True, frozen=True)
class _Line:
    seq: int
    file: str
    number: int
    raw: bytes
    link: str
    chained: bool
    # What preceded it is not there.
    first: bool = False


class _Facts:
    """What the table remembers, at one moment."""

    def __init__(self, path: Path, stack: ExitStack):
        self._connection = None
        self.first_seq: dict[int, int] = {}
        self.breaks: dict[str, str | None] = {}
        if not path.exists():
            return
        connection = stack.enter_context(closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)))
        connection.isolation_level = None
        connection.execute("BEGIN")
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_break'").fetchone():
            self._connection = connection
            self.first_seq = dict(self._rows("SELECT generation, first_seq FROM journal_position"))
            self.breaks = dict(self._rows("SELECT link, record FROM journal_break ORDER BY noticed"))

    def _rows(self, sql: str, *values: object) -> Iterator[tuple]:
        return self._connection.execute(sql, values) if self._connection else iter(())

    def links(self, first: int) -> Iterator[tuple[int, str]]:
        return self._rows("SELECT seq, hash FROM journal WHERE seq >= ? ORDER BY seq", first)

    def link(self, seq: int) -> str | None:
        return next((each[0] for each in self._rows("SELECT hash FROM journal WHERE seq = ?", seq)), None)

    def place(self, link: str, first: int, last: int) -> int | None:
        """Where between first and last the table has the line with this link."""
        return next((each[0] for each in self._rows(
            "SELECT seq FROM journal WHERE seq BETWEEN ? AND ? AND hash = ? LIMIT 1", first, last, link)), None)

    def record(self, seq: int) -> str | None:
        return next((each[0] for each in self._rows("SELECT record FROM journal WHERE seq = ?", seq)), None)

    def after(self, link: str) -> int | None:
        """Where the line stood that followed the one with this link. Looks at the whole table, once."""
        return next((each[0] + 1 for each in self._rows("SELECT seq FROM journal WHERE hash = ? LIMIT 1", link)), None)


class _Reader:
    def __init__(self, data_dir: Path, facts: _Facts, stack: ExitStack):
        self.facts = facts
        whole = log_archive.open_all(data_dir, stack, at_least=max(facts.first_seq, default=1))
        self.files, self.opened, self.archived, self.archive = whole.files, whole.opened, whole.state, whole.archive
        self.first = self.opened[0][0] if self.opened else self.files.newest
        self.recent: deque[_Line] = deque(maxlen=AROUND)
        self.lines = self.chained = 0

    def read(self) -> Verification:
        finding = self._first_finding()
        missing = tuple(self.files.path(each).name for each in range(self.archived.generation + 1 if self.archive else 1, self.first))
        return Verification(self.lines, self.chained, self.lines - self.chained, missing, finding)

    def _all(self) -> Iterator[_Line]:
        number = 0
        for number, (at, raw) in enumerate(log_archive.lines(*self.archive) if self.archive else (), 1):
            # The index knows nothing of them any more.
            yield _Line(number - UNNUMBERED, ARCHIVE, number, raw, chain.link_of(raw), chain.chained(raw),
                        at in self.archived.gaps)
        seq, first = 1, number > 0 and self.archived.generation + 1 != self.first
        for generation, fd in self.opened:
            seq = self.facts.first_seq.get(generation, seq)
            name = os.path.basename(self.files.path(generation))
            for number, raw in enumerate(forwards(fd), 1):
                yield _Line(seq, name, number, raw, chain.link_of(raw), chain.chained(raw), first)
                seq, first = seq + 1, False

    def _first_finding(self) -> Finding | None:
        stream = self._all()
        known = self.facts.links(self.facts.first_seq.get(self.first, 1))
        row = next(known, None)
        last: _Line | None = None
        for line in stream:
            while row and row[0] < line.seq:
                # A whole file between two others is gone.
                return self._removed(row[0], line)
            if line.chained and not chain.intact(line.raw):
                return self._named(ALTERED, line, self.facts.record(line.seq) if row and row[0] == line.seq else None)
            if line.chained and not self._continues(line, last):
                return self._broken_chain(line, last, stream)
            if row and row[0] == line.seq:
                if row[1] != line.link:
                    return self._not_as_indexed(line, row[1], stream)
                row = next(known, None)
            if not line.chained and self.chained:
                # Lines of other programs stand before our first; behind it somebody has added one.
                return self._named(INSERTED, line)
            self.facts.breaks.pop(line.link, None)
            self.recent.append(line)
            self.lines += 1
            self.chained += line.chained
            last = line
        if row:
            return self._removed(row[0], last)
        for record in self.facts.breaks.values():
            return self._named(REMOVED, last, record or "")
        return None

    def _continues(self, line: _Line, last: _Line | None) -> bool:
        prev = chain.prev_of(line.raw)
        if last is None or line.first:
            # What preceded the oldest file that is here cannot be known.
            return line.first or self.first > 1 or prev == chain.FIRST
        return prev == last.link

    def _broken_chain(self, line: _Line, last: _Line | None, stream: Iterator[_Line]) -> Finding:
        prev, expected = chain.prev_of(line.raw), last.link if last else chain.FIRST
        if any(each.link == line.link for each in self.recent):
            return self._named(INSERTED, line)
        if any(each.chained and chain.prev_of(each.raw) == expected for each in islice(stream, AROUND)):
            return self._named(INSERTED, line)
        for before, after in pairwise(self.recent):
            if before.link == prev:
                return self._named(INSERTED, after)
        if last and self.facts.link(last.seq) == prev != last.link:
            # Altered, and given a new hash that fits.
            return self._named(ALTERED, last, self.facts.record(last.seq))
        seq = self.facts.after(expected) if last else None
        return self._removed(seq if seq is not None else line.seq if self.facts.link(line.seq) != line.link else None, line)

    def _not_as_indexed(self, line: _Line, indexed: str, stream: Iterator[_Line]) -> Finding:
        if any(each.link == indexed for each in islice(stream, AROUND)):
            return self._named(INSERTED, line)
        if self.facts.place(line.link, line.seq + 1, line.seq + AROUND) is not None:
            return self._removed(line.seq, line)
        return self._named(ALTERED, line, self.facts.record(line.seq))

    def _removed(self, seq: int | None, where: _Line | None) -> Finding:
        return self._named(REMOVED, where, (self.facts.record(seq) if seq is not None else None) or "")

    def _named(self, kind: str, line: _Line | None, record: str | None = None) -> Finding:
        """record: what the table says of it; None: what stands in the line."""
        raw = record.encode() if record is not None else line.raw if line else b""
        served = parse(raw)
        command = msgspec.json.decode(served.raw).get("command") if served else None
        return Finding(kind, line.file if line else self.files.current.name, line.number if line else 1,
                       served.run_id if served else None, served.timestamp if served else None,
                       command if isinstance(command, str) else None)
