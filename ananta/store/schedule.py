"""Commands that run again and again. Of all who see that one is due, one gets it."""
from dataclasses import fields

from ananta.domain.schedule import Entry, missed
from ananta.errors import Conflict, NotFound
from ananta.store import database
from ananta.store.records import plain

ENTRIES = 500
COLUMNS = tuple(field.name for field in fields(Entry))
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM scheduled_tasks"


def add(entry: Entry) -> None:
    """Stores a new entry. Raises Conflict `too_many_schedules`."""
    values = vars(entry) | {"enabled": int(entry.enabled), "created_by": plain(entry.created_by)}
    with database.writing():
        database.turn("schedule")
        if database.rows("SELECT count(*) FROM scheduled_tasks WHERE scope = ?", entry.scope)[0][0] >= ENTRIES:
            raise Conflict(f"There are {ENTRIES} scheduled commands already: delete one first.", code="too_many_schedules")
        database.change(f"INSERT INTO scheduled_tasks ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",
                        *(values[name] for name in COLUMNS))


def everything(scope: str) -> list[Entry]:
    """Returns all entries, oldest first."""
    return [_entry(row) for row in database.rows(f"{_SELECT} WHERE scope = ? ORDER BY created_at, id", scope)]


def find(scope: str, entry_id: str) -> Entry:
    """Returns the entry. Raises NotFound."""
    found = database.rows(f"{_SELECT} WHERE id = ? AND scope = ?", plain(entry_id), scope)
    if not found:
        raise _missing(entry_id)
    return _entry(found[0])


def delete(scope: str, entry_id: str) -> None:
    """Removes the entry; a run of it goes on to its end. Raises NotFound."""
    with database.writing():
        if database.change("DELETE FROM scheduled_tasks WHERE id = ? AND scope = ?", plain(entry_id), scope) == 0:
            raise _missing(entry_id)


def approve(entry_id: str, digest: str, by: str, now: float) -> None:
    """Stores what a person has approved; what was due meanwhile is due now. Raises NotFound."""
    with database.writing():
        if database.change("UPDATE scheduled_tasks SET approved_digest = ?, approved_by = ?, approved_at = ?, held = NULL, "
                           "next_run = CASE WHEN next_run < ? THEN ? ELSE next_run END WHERE id = ?", digest, plain(by), now,
                           now, now, plain(entry_id)) == 0:
            raise _missing(entry_id)


def withdraw(by: str) -> int:
    """Takes back what this person has approved; returns how many entries that were. Only within `writing`."""
    return database.change("UPDATE scheduled_tasks SET approved_digest = NULL, approved_by = NULL, approved_at = NULL "
                           "WHERE approved_by = ?", by)


def due(scope: str, now: float) -> list[Entry]:
    """Returns the entries that should run and that nobody runs, longest due first."""
    return [_entry(row) for row in database.rows(
        f"{_SELECT} WHERE scope = ? AND next_run <= ? AND enabled = 1 AND (owner IS NULL OR busy_until <= ?) "
        "ORDER BY next_run, id", scope, now, now)]


def hold(entry: Entry, decision: str) -> bool:
    """Remembers that an entry is not run although it is due. Says whether that was not known."""
    if entry.held == decision:
        return False
    with database.writing():
        return database.change("UPDATE scheduled_tasks SET held = ? WHERE id = ? AND next_run = ? AND owner IS NULL AND "
                               "(held IS NULL OR held <> ?)", decision, entry.id, entry.next_run, decision) == 1


def claim(entry: Entry, owner: str, busy_until: float, now: float) -> bool:
    """Takes the run that is due, for the owner: of all who ask, one gets it. What was missed before is counted, unless it
    was waiting; the next run is an interval from now. It is on disk when this returns True."""
    late = 0 if entry.held else missed(entry.next_run, entry.interval_seconds, now)
    with database.writing(for_good=True):
        return database.change(
            "UPDATE scheduled_tasks SET owner = ?, busy_until = ?, last_run = ?, next_run = ?, misfires = misfires + ?, "
            "held = NULL WHERE id = ? AND next_run = ? AND enabled = 1 AND (owner IS NULL OR busy_until <= ?)",
            owner, busy_until, now, now + entry.interval_seconds, late, entry.id, entry.next_run, now) == 1


def give_back(entry: Entry, owner: str) -> None:
    """Makes an entry what it was before the owner took it: nothing has run."""
    with database.writing():
        database.change("UPDATE scheduled_tasks SET owner = NULL, busy_until = NULL, last_run = ?, next_run = ?, misfires = ?, "
                        "held = ? WHERE id = ? AND owner = ?", entry.last_run, entry.next_run, entry.misfires, entry.held,
                        entry.id, owner)


def finish(entry_id: str, owner: str, exit_code: int, run_id: str | None, now: float) -> None:
    """Stores how a run ended, unless the entry is gone; the times that it ran through are counted as missed."""
    with database.writing():
        found = database.locked("SELECT next_run, interval_seconds FROM scheduled_tasks WHERE id = ? AND owner = ?", entry_id,
                                owner)
        if not found:
            return
        due_at, interval_s = found[0]
        over = 0 if now < due_at else missed(due_at, interval_s, now) + 1
        database.change("UPDATE scheduled_tasks SET owner = NULL, busy_until = NULL, last_exit_code = ?, last_run_id = ?, "
                        "misfires = misfires + ?, next_run = ? WHERE id = ?", exit_code, run_id, over,
                        due_at + over * interval_s, entry_id)


def reclaim(owner: str) -> int:
    """Takes entries from an owner that has ended without a word; returns how many. What became of their runs is unknown,
    and they are not repeated."""
    with database.writing():
        return database.change("UPDATE scheduled_tasks SET owner = NULL, busy_until = NULL, last_exit_code = -1 WHERE owner = ?",
                               owner)


# ---


def _missing(entry_id: str) -> NotFound:
    return NotFound(f"There is no scheduled command {plain(entry_id)[:100]}: GET /schedule lists those there are.")


def _entry(row: tuple) -> Entry:
    values = dict(zip(COLUMNS, row, strict=True))
    return Entry(**values | {"enabled": bool(values["enabled"])})
