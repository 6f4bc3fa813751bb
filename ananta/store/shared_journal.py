"""The records of a task from the logs of all hubs on one Postgres: the table `shared_journal`.

Each hub's own log is the truth about what ran there. The table has copies of its records of tasks for the other hubs,
and nothing is ever read from it about the own ones. On SQLite there is only the own log.
"""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from ananta.store import database
from ananta.store.journal import Journal
from ananta.store.log_lines import parse
from ananta.store.records import plain

# How far back a start looks for records that the others do not have, and how many it looks at together.
LOOK_BACK, PAGE = 50_000, 200


@dataclass(frozen=True)
class TaskRecord:
    """A record as it is served. raw: its JSON; run_id: None in lines of other programs."""

    raw: bytes
    run_id: str | None
    task_id: str | None
    timestamp: float


class TaskLog:
    """The records of a task, wherever it ran."""

    def __init__(self, journal: Journal):
        self.journal = journal

    def last(self, task_id: str, limit: int) -> list[TaskRecord]:
        """Returns the last `limit` records of the task, oldest first. Raises StoreFailed."""
        own = _records(self.journal.last(limit, task_id))
        others = _of_others(task_id, limit) if database.shared() else []
        if not others:
            return own
        # The own ones stay in the order of their log, whatever the clock said meanwhile.
        moments = accumulate((each.timestamp for each in own), max)
        merged = sorted([*zip(moments, own, strict=True), *((each.timestamp, each) for each in others)],
                        key=lambda each: each[0])
        return [each for _, each in merged[-limit:]]


def share(found: Iterable[TaskRecord]) -> None:
    """Gives records of this data directory to the other hubs; only within `writing`. Those they have stay."""
    place = database.local().place
    database.change_many("INSERT INTO shared_journal (place, run_id, task_id, timestamp, record) VALUES (?, ?, ?, ?, ?) "
                         "ON CONFLICT (place, run_id) DO NOTHING",
                         [(place, each.run_id, each.task_id, each.timestamp, each.raw.decode()) for each in found])


def missing() -> Iterator[list[TaskRecord]]:
    """Gives the records of tasks among the last lines of the own log that the other hubs do not have: newest first, in
    lists of a few. Raises StoreFailed."""
    place = database.local().place
    before = database.local().rows("SELECT coalesce(max(seq), 0) + 1 FROM journal")[0][0]
    oldest = before - LOOK_BACK
    while before > oldest:
        rows = database.local().rows(
            "SELECT seq, CAST(record AS BLOB), run_id, task_id, coalesce(timestamp, 0) FROM journal WHERE seq < ? AND seq >= ? "
            "AND run_id IS NOT NULL AND task_id IS NOT NULL AND record IS NOT NULL ORDER BY seq DESC LIMIT ?",
            before, oldest, PAGE)
        if not rows:
            return
        before = rows[-1][0]
        marks = ", ".join("?" * len(rows))
        known = {run_id for (run_id,) in database.rows(
            f"SELECT run_id FROM shared_journal WHERE place = ? AND run_id IN ({marks})", place, *(row[2] for row in rows))}
        lacking = [TaskRecord(*row[1:]) for row in rows if row[2] not in known]
        if lacking:
            yield lacking


def _of_others(task_id: str, limit: int) -> list[TaskRecord]:
    rows = database.rows(
        "SELECT record, run_id, task_id, timestamp FROM shared_journal WHERE task_id = ? AND place <> ? "
        "ORDER BY timestamp DESC LIMIT ?", plain(task_id), database.local().place, limit)
    return [TaskRecord(record.encode(), *rest) for record, *rest in rows]


def _records(lines: list[bytes]) -> list[TaskRecord]:
    found = map(parse, lines)
    return [TaskRecord(each.raw, each.run_id, each.task_id, each.timestamp or 0.0) for each in found if each is not None]
