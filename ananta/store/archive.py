"""Tasks that were put away: out of every list, with all their steps, and back again.

A task is in one of two tables of the same columns; its id belongs to it in both. Its steps stay where they are.
"""
from collections.abc import Iterator

from ananta.domain import tasks as rules
from ananta.domain.tasks import Task
from ananta.domain.values import differing
from ananta.errors import Conflict, NotFound
from ananta.store import database, tasks
from ananta.store.records import plain
from ananta.store.tasks import ARCHIVE, COLUMNS, LISTED, MOVING

# How many are moved or deleted in one transaction: nobody else writes to SQLite meanwhile.
BATCH = 50
_NAMES = ", ".join(COLUMNS)


def archive(task_id: str, now: float) -> Task:
    """Puts a task of the board away and returns it. Raises NotFound."""
    with database.writing():
        database.turn(MOVING)
        task, _, _ = tasks.locked(task_id)
        _put_away([task.id], now)
    return task


def restore(task_id: str, now: float) -> Task:
    """Puts a task back on the board and returns it; it counts as changed now. Raises NotFound for one that is not in the
    archive, and Conflict when another task has got its id."""
    with database.writing():
        database.turn(MOVING)
        try:
            task, recent, _ = tasks.locked(task_id, ARCHIVE)
        except NotFound as missing:
            raise NotFound(f"There is no task {plain(task_id)[:100]} in the archive: GET /tasks/archived lists those there "
                           "are.") from missing
        back = differing(task, status=rules.TODO if rules.normalised(task.status) == "archived" else task.status,
                         updated_at=max(now, task.updated_at + 1e-6))
        if not tasks.insert(back, recent):
            raise Conflict(f"Another task has the id {task.id} now, so the one in the archive cannot be restored.",
                           details=task.id)
        database.change("DELETE FROM archived_tasks WHERE id = ?", task.id)
    return back


def listed(limit: int, offset: int = 0) -> Iterator[bytes]:
    """Gives the JSON array of archived tasks as lists show them, with `archived_at`, last archived first."""
    rows = database.rows(f"SELECT {LISTED}, archived_at FROM archived_tasks ORDER BY archived_at DESC, id DESC "
                         "LIMIT ? OFFSET ?", limit, offset)
    return tasks.array(iter([[f'{text[:-1]},"archived_at":{at!r}}}' for text, at in rows]]))


def known(task_id: str) -> bool:
    """Whether there is such a task, on the board or in the archive."""
    # It may be on its way back.
    return any(database.rows(f"SELECT 1 FROM {table} WHERE id = ?", plain(task_id)) for table in ("tasks", "archived_tasks", "tasks"))


def archive_done(before: float, now: float) -> int:
    """Puts away some of the tasks that are done and have not changed since `before` (epoch seconds); returns how many,
    0: none is left."""
    with database.writing():
        database.turn(MOVING)
        found = [task_id for (task_id,) in database.locked(
            "SELECT id FROM tasks WHERE board = ? AND updated_at < ? ORDER BY updated_at LIMIT ?", rules.DONE, before,
            BATCH)]
        _put_away(found, now)
    return len(found)


def delete_old(before: float) -> int:
    """Deletes some of the tasks that were archived before this moment (epoch seconds), with their steps; returns how
    many, 0: none is left."""
    with database.writing():
        found = [task_id for (task_id,) in database.locked(
            "SELECT id FROM archived_tasks WHERE archived_at < ? ORDER BY archived_at LIMIT ?", before, BATCH)]
        if found:
            marks = _marks(found)
            for table, column in (("task_history", "task_id"), ("delegations", "task_id"), ("archived_tasks", "id")):
                database.change(f"DELETE FROM {table} WHERE {column} IN ({marks})", *found)
    return len(found)


# ---


def _put_away(ids: list[str], now: float) -> None:
    if not ids:
        return
    marks = _marks(ids)
    database.change(f"INSERT INTO archived_tasks ({_NAMES}, archived_at) SELECT {_NAMES}, ? FROM tasks "
                    f"WHERE id IN ({marks})", now, *ids)
    database.change(f"DELETE FROM tasks WHERE id IN ({marks})", *ids)


def _marks(values: list[str]) -> str:
    return ", ".join("?" * len(values))
