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
PRUNED = 1000


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

    def last(self, task_id: str, limit: int, most_bytes: int) -> list[TaskRecord]:
        """Returns the last records of the task, oldest first: at most `limit`, and no more than fit into most_bytes.
        Raises StoreFailed."""
        own = _records(self.journal.last(limit, task_id, most_bytes=most_bytes))
        others = _of_others(task_id, limit, most_bytes) if database.shared() else []
        return _fitting(_merged(own, others)[-limit:], most_bytes)


def share(found: Iterable[TaskRecord]) -> None:
    """Gives records of this data directory to the other hubs; only within `writing`. Those they have stay."""
    place = database.local().place
    database.change_many("INSERT INTO shared_journal (place, run_id, task_id, timestamp, record) VALUES (?, ?, ?, ?, ?) "
                         "ON CONFLICT (place, run_id) DO NOTHING",
                         [(place, each.run_id, each.task_id, each.timestamp, each.raw.decode()) for each in found])


def next_step(task_id: str, own: int) -> int:
    """Returns the number of the next record of the task among those of all hubs, of which each gets another one. own: what
    it would be by the own log alone; the number is not lower. Raises StoreFailed."""
    with database.writing():
        return database.rows(
            "INSERT INTO task_numbers (task_id, step) VALUES (?, ?) ON CONFLICT (task_id) DO UPDATE "
            "SET step = greatest(task_numbers.step + 1, excluded.step) RETURNING step", plain(task_id), own)[0][0]


def prune(before: float) -> int:
    """Forgets some of the records that ended before this moment (epoch seconds), of all hubs; returns how many, 0: none is
    left. They stay in the log of the hub that has them."""
    with database.writing():
        found = database.rows("DELETE FROM shared_journal WHERE (place, run_id) IN (SELECT place, run_id FROM shared_journal "
                              "WHERE timestamp < ? ORDER BY timestamp LIMIT ?) RETURNING task_id", before, PRUNED)
        database.change_many("DELETE FROM task_numbers WHERE task_id = ? AND NOT EXISTS (SELECT 1 FROM shared_journal "
                             "WHERE shared_journal.task_id = task_numbers.task_id)", sorted(set(found)))
        return len(found)


def missing(since: float = 0.0) -> Iterator[list[TaskRecord]]:
    """Gives the records of tasks among the last lines of the own log that the other hubs do not have: newest first, in
    lists of a few; only those that ended at `since` (epoch seconds) or later. Raises StoreFailed."""
    place = database.local().place
    before = database.local().rows("SELECT coalesce(max(seq), 0) + 1 FROM journal")[0][0]
    oldest = before - LOOK_BACK
    while before > oldest:
        rows = database.local().rows(
            "SELECT seq, CAST(record AS BLOB), run_id, task_id, coalesce(timestamp, 0) FROM journal WHERE seq < ? AND seq >= ? "
            "AND run_id IS NOT NULL AND task_id IS NOT NULL AND record IS NOT NULL AND coalesce(timestamp, 0) >= ? "
            "ORDER BY seq DESC LIMIT ?", before, oldest, since, PAGE)
        if not rows:
            return
        before = rows[-1][0]
        marks = ", ".join("?" * len(rows))
        known = {run_id for (run_id,) in database.rows(
            f"SELECT run_id FROM shared_journal WHERE place = ? AND run_id IN ({marks})", place, *(row[2] for row in rows))}
        lacking = [TaskRecord(*row[1:]) for row in rows if row[2] not in known]
        if lacking:
            yield lacking


def _of_others(task_id: str, limit: int, most_bytes: int) -> list[TaskRecord]:
    rows = database.rows(
        "SELECT record, run_id, task_id, timestamp FROM (SELECT record, run_id, task_id, timestamp, "
        "sum(octet_length(record)) OVER (ORDER BY timestamp DESC, place, run_id) AS bytes FROM shared_journal "
        "WHERE task_id = ? AND place <> ?) AS found WHERE bytes <= ? ORDER BY timestamp DESC LIMIT ?",
        plain(task_id), database.local().place, most_bytes, limit)
    return [TaskRecord(record.encode(), *rest) for record, *rest in rows]


def _merged(own: list[TaskRecord], others: list[TaskRecord]) -> list[TaskRecord]:
    """All of them in their order. The own ones stay in that of their log, whatever the clock said meanwhile."""
    if not others:
        return own
    moments = accumulate((each.timestamp for each in own), max)
    both = [*zip(moments, own, strict=True), *((each.timestamp, each) for each in others)]
    return [each for _, each in sorted(both, key=lambda each: each[0])]


def _fitting(found: list[TaskRecord], most_bytes: int) -> list[TaskRecord]:
    for position in range(len(found) - 1, -1, -1):
        most_bytes -= len(found[position].raw)
        if most_bytes < 0:
            return found[position + 1:]
    return found


def _records(lines: list[bytes]) -> list[TaskRecord]:
    found = map(parse, lines)
    return [TaskRecord(each.raw, each.run_id, each.task_id, each.timestamp or 0.0) for each in found if each is not None]
