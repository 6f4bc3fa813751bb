"""Who did what: a table whose rows are chained, so that none can be changed or removed without leaving a mark, and a line
for each in audit.log.

A row's hash is the link of chain.py over its columns and the link of the row before. Numbers have no gaps. What is missing
at the end shows by the fact that names the last entry, and by audit.log and the full files before it, which are not in
the database.
"""
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec

from ananta.domain.redaction import masked
from ananta.errors import StoreFailed
from ananta.store import chain, database
from ananta.store.llm_log import LLMLog, files_of
from ananta.store.records import plain

log = logging.getLogger(__name__)
TURN, HEAD, BATCH, LINES = "audit", "audit_head", 1000, 500
_COLUMNS = "id, timestamp, username, ip, action, details, hash"
Rows = Callable[..., list[tuple]]


@dataclass(frozen=True)
class Entry:
    """What somebody did. details: a JSON object; ip: None for what did not come from outside."""

    id: int
    timestamp: float
    username: str
    ip: str | None
    action: str
    details: dict


@dataclass(frozen=True)
class AuditFinding:
    """The first entry that is not as it was written. kind: "altered" or "removed"."""

    kind: str
    id: int
    timestamp: float | None = None
    action: str | None = None


@dataclass(frozen=True)
class AuditVerification:
    """What the audit trail is worth. entries: how many were looked at."""

    entries: int
    finding: AuditFinding | None = None

    @property
    def ok(self) -> bool:
        return self.finding is None


class Audit:
    """Writes the trail and reads it. May be used from any thread."""

    def __init__(self, path: Path, *, mask: Callable[[str], str], now: Callable[[], float] = time.time):
        self.file = LLMLog(path, mask=mask, now=now)
        self.mask, self.now = mask, now
        self._warned = False

    def write(self, action: str, *, username: str, ip: str | None = None, details: dict | None = None, **more: object) -> None:
        """Keeps that somebody did something, masked. more: further details. A failure is logged and is nobody's problem:
        what is told here has happened."""
        told = {**(details or {}), **more}
        row: dict = {}
        try:
            row = self._add(action, username, ip, told)
            self._warned = False
        except Exception as failure:
            if not self._warned:
                log.warning("The audit table cannot be written: %s", failure)
            self._warned = True
        self.file.write(action, **{"timestamp": row.get("timestamp", self.now()), "username": username, "ip": ip, "details": told},
                        **{name: row[name] for name in ("id", "hash") if name in row})

    def _add(self, action: str, username: str, ip: str | None, told: dict) -> dict:
        details = msgspec.json.encode(masked(told, self._masked)).decode()  # type: ignore[arg-type]
        # For good: the line in audit.log must not outlive its row.
        with database.writing(for_good=True):
            database.turn(TURN)
            # Behind the last one that was written, also if that is not there any more: its gap stays.
            number, prev = max(_head(database.rows), _newest())
            row = {"id": number + 1, "timestamp": self.now(), "username": self._masked(username),
                   "ip": None if ip is None else self._masked(ip), "action": self._masked(action), "details": details}
            row["hash"] = chain.seal(row, prev)[1]
            database.change(f"INSERT INTO audit_logs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", *row.values())
            database.change("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = "
                            "excluded.value", HEAD, f"{row['id']} {row['hash']}")
        return row

    def _masked(self, text: str) -> str:
        # Postgres has no NUL in texts, and the link must be that of what is stored.
        return self.mask(plain(text)).replace("\0", "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True)
class Wanted:
    """Which entries are wanted. username, action, text: parts of these, in any case; text also looks into the details and the
    address. since, until: epoch seconds."""

    username: str = ""
    action: str = ""
    text: str = ""
    since: float | None = None
    until: float | None = None


def entries(limit: int, offset: int, wanted: Wanted | None = None) -> list[Entry]:
    """Returns the newest entries that are wanted, newest first, without the first `offset` of them."""
    wanted = wanted or Wanted()
    conditions: list[str] = []
    values: list[object] = []
    for columns, part in ((("username",), wanted.username), (("action",), wanted.action),
                          (("username", "action", "details", "ip"), wanted.text)):
        if part:
            conditions.append("(" + " OR ".join(f"lower({name}) LIKE ? ESCAPE '!'" for name in columns) + ")")
            values += ["%" + re.sub("([%_!])", r"!\1", plain(part).replace("\0", "\N{REPLACEMENT CHARACTER}").lower()) + "%"] * len(columns)
    for comparison, moment in (("timestamp >= ?", wanted.since), ("timestamp < ?", wanted.until)):
        if moment is not None:
            conditions.append(comparison)
            values.append(moment)
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return [Entry(number, timestamp, username, ip, action, msgspec.json.decode(details))
            for number, timestamp, username, ip, action, details, _ in database.rows(
                f"SELECT {_COLUMNS} FROM audit_logs {where}ORDER BY id DESC LIMIT ? OFFSET ?", *values, limit, offset)]


# --- is it what was written?


def verify(path: Path, url: str | Path) -> AuditVerification:
    """Returns what the trail in the database is worth, compared with itself and with the lines of the audit.log at `path`
    and of the full files before it; changes nothing, and may run beside the service. url: as for database.open. Raises
    StoreFailed."""
    if database.is_shared(str(url)):
        from ananta.store.postgres import Postgres

        shared = Postgres(str(url))
        try:
            return _verify(shared.rows, path)
        finally:
            shared.close_all()
    file = Path(str(url).removeprefix("sqlite:///")).absolute()
    if not file.exists():
        return _verify(lambda sql, *values: [], path)
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit_logs'").fetchone():
                return _verify(lambda sql, *values: [], path)
            return _verify(lambda sql, *values: connection.execute(sql, values).fetchall(), path)
    except sqlite3.Error as cause:
        raise StoreFailed(f"The audit trail in {file} cannot be read: {cause}") from cause


def _verify(rows: Rows, path: Path) -> AuditVerification:
    # The lines first: then the table holds at least what they tell.
    otherwise, last = _against_the_lines(rows, path)
    count, prev = 0, chain.FIRST
    for row in _in_order(rows):
        number, timestamp, username, ip, action, details, link = row
        if number != count + 1:
            return AuditVerification(count, _removed(count + 1, path))
        fields = {"id": number, "timestamp": timestamp, "username": username, "ip": ip, "action": action, "details": details}
        if chain.seal(fields, prev)[1] != link or number == otherwise:
            return AuditVerification(count, AuditFinding("altered", number, timestamp, action))
        count, prev = number, link
    return AuditVerification(count, _removed(count + 1, path) if max(last, _head(rows)[0]) > count else None)


def _against_the_lines(rows: Rows, path: Path) -> tuple[int | None, int]:
    """Returns the number of the first entry that a line tells otherwise than the table, or None, and the highest number
    that a line tells of. Some lines at a time: the files may be large."""
    otherwise, last = None, 0
    lines = _lines(path)
    while batch := list(islice(lines, LINES)):
        numbers = [number for number, _ in batch]
        kept = dict(rows(f"SELECT id, hash FROM audit_logs WHERE id IN ({', '.join('?' * len(numbers))})", *numbers))
        wrong = [number for number, (link, _, _) in batch if kept.get(number, link) != link]
        otherwise = min([*wrong, *([] if otherwise is None else [otherwise])], default=None)
        last = max(last, *numbers)
    return otherwise, last


def _head(rows: Rows) -> tuple[int, str]:
    """The number and the link of the last entry that was written, also of one that is not there any more."""
    found = rows("SELECT value FROM facts WHERE name = ?", HEAD)
    number, link = found[0][0].split(" ") if found else ("0", chain.FIRST)
    return int(number), link


def _newest() -> tuple[int, str]:
    found = database.rows("SELECT id, hash FROM audit_logs ORDER BY id DESC LIMIT 1")
    return (found[0][0], found[0][1]) if found else (0, chain.FIRST)


def _removed(number: int, path: Path) -> AuditFinding:
    """What is missing in the table, with what the files tell of it."""
    _, timestamp, action = next((told for each, told in _lines(path) if each == number), ("", None, None))
    return AuditFinding("removed", number, timestamp, action)


def _in_order(rows: Rows) -> Iterator[tuple]:
    last = 0
    while batch := rows(f"SELECT {_COLUMNS} FROM audit_logs WHERE id > ? ORDER BY id LIMIT ?", last, BATCH):
        yield from batch
        last = batch[-1][0]


def _lines(path: Path) -> Iterator[tuple[int, tuple[str, float, str]]]:
    """The entries that audit.log and the full files before it tell of, by number: link, time and action."""
    for each in files_of(path):
        try:
            with each.open("rb") as file:
                for line in file:
                    if told := _told(line):
                        yield told
        except FileNotFoundError:
            continue
        except OSError as cause:
            raise StoreFailed(f"{each} cannot be read: {cause.strerror}.") from cause


def _told(line: bytes) -> tuple[int, tuple[str, float, str]] | None:
    """Returns number, link, time and action; None for a line of the time when the table did not answer, or of nobody."""
    try:
        told = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return told.id, (told.hash, told.timestamp, told.event)


@dataclass(frozen=True)
class _Line:
    id: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    hash: str
    timestamp: float
    event: str
