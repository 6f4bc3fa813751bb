"""Subtasks that other agents carry out, and what these show when they tell how a subtask stands.

A token is known here by its hash only; it is 256 random bits, so a plain SHA-256 tells nobody what it was.
"""
import hashlib
import hmac

from ananta.domain import delegation as rules
from ananta.domain.delegation import Report
from ananta.domain.tasks import OUTPUT_BYTES, Task
from ananta.domain.values import differing
from ananta.errors import Conflict, NotFound
from ananta.store import database, tasks
from ananta.store.records import plain, shortened
from ananta.store.tasks import EITHER, MOVING


def add(parent_id: str, subtask: Task, token: str, now: float) -> tuple[Task, Task]:
    """Stores a subtask and that its parent has it; returns both. token: what its agent will show.

    Raises NotFound `parent_task_not_found`, and Conflict `too_many_subtasks`."""
    def edit(parent: Task) -> Task:
        if len(parent.subtasks) >= rules.SUBTASKS:
            raise Conflict(f"This task has {rules.SUBTASKS} subtasks already: delegate from one of these.",
                           code="too_many_subtasks")
        return rules.with_entry(parent, rules.entry(subtask))

    with database.writing():
        parent = _parent(parent_id, lambda: tasks.change(parent_id, edit, now))
        made = tasks.create(subtask)
        database.change("INSERT INTO delegations (subtask_id, task_id, token_hash, created_at) VALUES (?, ?, ?, ?)",
                        made.id, parent.id, _hash(token), now)
    return parent, made


def take_back(parent_id: str, subtask_id: str, now: float) -> Task | None:
    """Forgets a subtask that nobody has taken, unless something has run in it; returns its parent, if that is there."""
    with database.writing():
        database.turn(MOVING)
        if database.change("DELETE FROM tasks WHERE id = ? AND steps = 0", subtask_id) == 0:
            return None
        database.change("DELETE FROM delegations WHERE subtask_id = ?", subtask_id)
        try:
            return tasks.change(parent_id, lambda parent: rules.without_entry(parent, subtask_id), now, tables=EITHER)
        except NotFound:
            return None


def subtask_of(parent_id: str, token: str) -> str | None:
    """Returns the subtask of this parent that the token belongs to, None if there is none, or the token is used up."""
    shown, found = _hash(token), None
    for subtask_id, kept in database.rows("SELECT subtask_id, token_hash FROM delegations WHERE task_id = ? "
                                          "AND ended_at IS NULL", plain(parent_id)):
        if hmac.compare_digest(bytes(kept), shown):
            found = subtask_id
    return found


def report(parent_id: str, said: Report, now: float) -> tuple[Task, Task | None]:
    """Stores how a subtask stands, here and at its parent; returns the parent and, if it is still there, the subtask.
    Once it is done, its token is used up.

    Raises NotFound: `parent_task_not_found`, `subtask_not_found`."""
    said = differing(said, last_output=None if said.last_output is None else shortened(
        plain(said.last_output).replace("\0", "\N{REPLACEMENT CHARACTER}"), OUTPUT_BYTES)[0])

    def edit(parent: Task) -> Task:
        if not rules.has_entry(parent, said.id):
            raise NotFound(f"The task {parent.id} has no subtask {plain(said.id)[:100]}.", code="subtask_not_found")
        return rules.told(parent, said)

    with database.writing():
        # Before the rows: whoever moves one of them takes it first, too.
        database.turn(MOVING)
        parent = _parent(parent_id, lambda: tasks.change(parent_id, edit, now, tables=EITHER))
        try:
            subtask = tasks.change(said.id, lambda task: rules.reported(task, said), now, tables=EITHER)
        except NotFound:
            subtask = None
        if rules.is_over(said):
            database.change("UPDATE delegations SET ended_at = ? WHERE subtask_id = ? AND ended_at IS NULL", now, said.id)
    return parent, subtask


def follow(subtask: Task, now: float) -> Task:
    """Stores at its parent how a subtask stands, and returns the parent. Raises NotFound if there is none."""
    return tasks.change(subtask.parent_task_id or "", lambda parent: rules.told(parent, rules.standing(subtask)), now,
                        tables=EITHER)


# ---


def _parent(task_id: str, change) -> Task:
    try:
        return change()
    except NotFound as missing:
        if missing.code != NotFound.code:
            raise
        raise NotFound(f"There is no task {plain(task_id)[:100]}: GET /tasks lists those there are.",
                       code="parent_task_not_found") from missing


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
