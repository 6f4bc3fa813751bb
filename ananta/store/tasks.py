"""Tasks, and the steps that have run in them.

What is served is made when something changes, not when somebody asks: `document` is the JSON of a task without its
history and its closing brace, `recent` the JSON of its last steps as lists show them. So a list is the rows' texts one
after the other, and a task with two thousand steps costs a list, a change and the next step what an empty one costs.
A list shows last_output and the last steps cut to 500 characters; a task by itself shows them as they are.
"""
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Literal

import msgspec

from ananta.domain import tasks as rules
from ananta.domain.tasks import OUTPUT_BYTES, RECENT_CHARS, RECENT_STEPS, Step, Task, Wanted
from ananta.domain.values import differing
from ananta.errors import Conflict, NotFound
from ananta.store import database
from ananta.store.records import plain, shortened

COUNTER = "tasks"
CHUNK, STEPS_CHUNK = 100, 50
EVERYTHING = 1 << 62
Tables = tuple[str, ...]
BOARD: Tables = ("tasks",)
ARCHIVE: Tables = ("archived_tasks",)
EITHER: Tables = (*BOARD, *ARCHIVE)
MOVING = "archive"  # whoever moves a task has this turn
FIELDS = tuple(field.name for field in fields(Task) if field.name != "was")
AS_JSON = ("tags", "last_proposal", "subtasks")
# A row as lists show it; also of archived_tasks.
LISTED = "document || ',\"history\":' || recent || '}'"
_JSON_PLACES = tuple(FIELDS.index(name) for name in AS_JSON)
_SELECT = f"SELECT {', '.join(FIELDS)}, recent FROM"
COLUMNS = (*FIELDS, "board", "recent", "document")
_INSERT = (f"INSERT INTO tasks ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
           "ON CONFLICT (id) DO NOTHING")
_NEWEST = "ORDER BY updated_at DESC, id DESC"
_SERVED = (f"SELECT 0 AS number, document, CASE WHEN length(last_output) > {RECENT_CHARS} THEN last_output END FROM tasks "
           "WHERE id = ? UNION ALL SELECT id, document, NULL FROM task_history WHERE task_id = ? ORDER BY 1 LIMIT ?")
_STEPS = "SELECT id, document FROM task_history WHERE task_id = ? AND id > ? ORDER BY id LIMIT ?"
_OUTPUT = ',"last_output":'
_FIELDS_OF = msgspec.json.Decoder(dict[str, msgspec.Raw])


def create(task: Task) -> Task:
    """Stores a new task and returns it. An empty id becomes the next number's; of two that ask at once each gets its own.

    Raises Conflict if the id is taken, by an archived task too, and NotFound `template_not_found`."""
    with database.writing():
        _require_template(task.template_id)
        if task.id:
            if not _insert(task):
                raise Conflict(f"There is a task {task.id} already, on the board or in the archive: leave the id out to get "
                               "a new one.", details=task.id)
            return task
        while True:
            numbered = differing(task, id=rules.numbered(_next_number()))
            if _insert(numbered):
                return numbered


def find(task_id: str) -> Task:
    """Returns the task. Raises NotFound."""
    found = database.rows(f"{_SELECT} tasks WHERE id = ?", plain(task_id))
    if not found:
        raise missing(task_id)
    return _task(found[0])


def exists(task_id: str) -> bool:
    return bool(database.rows("SELECT 1 FROM tasks WHERE id = ?", plain(task_id)))


def change(task_id: str, edit: Callable[[Task], Task], now: float, *, template_id: str | None = None,
           tables: Tables = BOARD) -> Task:
    """Stores what edit makes of the task, and returns it; updated_at grows unless nothing has changed. Changes of
    different fields at once all count: edit gets the task as nobody else can change it meanwhile.

    template_id: one that must exist; tables: EITHER for what began before somebody has archived the task. Raises
    NotFound, also `template_not_found`."""
    with database.writing():
        # Before the task: whoever deletes a template takes them in this order, too.
        _require_template(template_id)
        task, _, table = locked(task_id, tables)
        return _store(task, edit(task), now, table=table)


def assign(task_id: str, agent_url: str, token: bytes | None, now: float) -> Task:
    """Gives the task to an agent; token: sealed, what this agent asks for. Raises NotFound."""
    return change(task_id, lambda task: rules.assigned(task, agent_url, token), now)


def unassign(task_id: str, now: float) -> Task:
    """Takes the task from its agent, if it has one. Raises NotFound."""
    return change(task_id, rules.unassigned, now)


def set_run_state(task_id: str, run_state: str, now: float) -> Task:
    """Takes the run_state back to what it was, when nothing ran after all, unless it has moved on since. Raises
    NotFound."""
    return change(task_id, lambda task: differing(task, run_state=run_state) if task.run_state == rules.EXECUTING else task,
                  now, tables=EITHER)


def set_proposal(task_id: str, proposal: dict, now: float) -> Task:
    """Stores what was proposed last: {reason, command?, tool_calls?, comparisons?}. Raises NotFound."""
    kept = msgspec.json.decode(_json(proposal))
    return change(task_id, lambda task: rules.proposed(task, kept), now, tables=EITHER)


def begin(task_id: str, now: float) -> Task:
    """Says that a step of the task is about to run. Raises NotFound."""
    return change(task_id, rules.executing, now)


def record(task_id: str, run_id: str, step: Step, now: float) -> Task:
    """Appends what has run to the task's history, also when it was archived meanwhile; texts are cut to 64 KiB, the same
    run_id counts once. What must not be stored, the caller has masked. Raises NotFound."""
    step = _storable(step)
    with database.writing():
        task, recent, table = locked(task_id, EITHER)
        if database.change("INSERT INTO task_history (task_id, run_id, document) VALUES (?, ?, ?) "
                           "ON CONFLICT (run_id) DO NOTHING", task.id, run_id, _json(vars(step)).decode()) == 0:
            return differing(task, was=task)
        shown = [*msgspec.json.decode(recent), rules.short(step)][-RECENT_STEPS:]
        return _store(task, rules.executed(task, step), now, recent=_json(shown).decode(), table=table)


def history(task_id: str) -> list[Step]:
    """Returns all steps of the task, oldest first."""
    return last_steps(task_id, EVERYTHING)


def last_steps(task_id: str, limit: int) -> list[Step]:
    """Returns the newest `limit` steps of the task, oldest first."""
    found = database.rows("SELECT document FROM task_history WHERE task_id = ? ORDER BY id DESC LIMIT ?", plain(task_id),
                          max(0, limit))
    return [msgspec.json.decode(document, type=Step) for (document,) in reversed(found)]


def set_tokens_for_url(url: str, sealed: bytes) -> int:
    """Replaces the token of all assignments to this agent that have one, also of archived tasks, because it has a new
    one; returns how many. Nothing that is shown of a task changes by that."""
    with database.writing():
        database.turn(MOVING)
        return sum(database.change(f"UPDATE {table} SET assigned_agent_token = ? WHERE assigned_agent_url = ? "
                                   "AND assigned_agent_token <> ?", sealed, plain(url), sealed) for table in EITHER)


def clear(column: Literal["template_id", "team_id", "assigned_role_id"], gone: str, now: float) -> list[str]:
    """Takes this template, team or role from all tasks that have it, archived ones too; returns their ids. Only within
    `writing`."""
    cleared: list[str] = []
    for table in EITHER:
        ids = [task_id for (task_id,) in database.locked(f"SELECT id FROM {table} WHERE {column} = ? ORDER BY id",
                                                         plain(gone))]
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start:start + CHUNK]
            found = database.rows(f"SELECT id, updated_at, document FROM {table} WHERE id IN ({', '.join('?' * len(chunk))})",
                                  *chunk)
            at = {task_id: max(now, before + 1e-6) for task_id, before, _ in found}
            database.change_many(f"UPDATE {table} SET {column} = NULL, updated_at = ?, document = ? WHERE id = ?", [
                (at[task_id], _with(document, {column: None, "updated_at": at[task_id]}), task_id)
                for task_id, _, document in found])
        cleared += ids
    return cleared


def counts() -> dict:
    """Returns how many tasks there are: {total, completed, failed, todo, in_progress, backlog, by_status}."""
    return rules.counted(database.rows("SELECT status, run_state, count(*) FROM tasks GROUP BY status, run_state"))


# --- as JSON


def answer(task: Task) -> Iterator[bytes]:
    """Gives the JSON of a task that has just been read or changed, in pieces."""
    steps = database.rows(_STEPS, task.id, 0, STEPS_CHUNK + 1) if task.steps else []
    return _with_history(task.id, msgspec.json.encode(rules.document(task))[:-1], steps)


def served(task_id: str) -> Iterator[bytes]:
    """Gives the JSON of a task with all of its history, in pieces. Raises NotFound at once."""
    task_id = plain(task_id)
    found = database.rows(_SERVED, task_id, task_id, STEPS_CHUNK + 2)
    if not found or found[0][0] != 0:
        raise missing(task_id)
    _, text, output = found[0]
    if output is not None:
        text = text.rpartition(_OUTPUT)[0] + _OUTPUT + _json(output).decode()
    return _with_history(task_id, text.encode(), [row[:2] for row in found[1:]])


def listed(wanted: Wanted, *, limit: int | None = None, offset: int = 0) -> Iterator[bytes]:
    """Gives the JSON array of the tasks that are wanted, newest change first, in pieces; limit None: all.

    Which tasks these are, and their order, is settled at the beginning: one that changes meanwhile is there once, as it
    is by then. One that is archived meanwhile is left out."""
    where, values = _where(wanted)
    limit = EVERYTHING if limit is None else limit
    if limit <= CHUNK:
        found = database.rows(f"SELECT {LISTED} FROM tasks {where} {_NEWEST} LIMIT ? OFFSET ?", *values, limit, offset)
        return array(iter([[text for (text,) in found]]))
    ids = [task_id for (task_id,) in database.rows(f"SELECT id FROM tasks {where} {_NEWEST} LIMIT ? OFFSET ?", *values,
                                                   limit, offset)]
    return array(_texts(ids[start:start + CHUNK]) for start in range(0, len(ids), CHUNK))


def _texts(ids: list[str]) -> list[str]:
    found = dict(database.rows(f"SELECT id, {LISTED} FROM tasks WHERE id IN ({', '.join('?' * len(ids))})", *ids))
    return [found[each] for each in ids if each in found]


def array(chunks: Iterator[list[str]]) -> Iterator[bytes]:
    """One JSON array of the texts in all chunks."""
    before = "["
    for texts in chunks:
        if texts:
            yield (before + ",".join(texts)).encode()
            before = ","
    yield b"]" if before == "," else b"[]"


def _with_history(task_id: str, head: bytes, steps: list[tuple[int, str]]) -> Iterator[bytes]:
    """head, the first steps, which are at hand, and then the others as they are asked for."""
    first = steps[:STEPS_CHUNK]
    yield head + f',"history":[{",".join(text for _, text in first)}'.encode()
    while len(steps) > STEPS_CHUNK:
        steps = database.rows(_STEPS, task_id, first[-1][0], STEPS_CHUNK + 1)
        first = steps[:STEPS_CHUNK]
        yield "".join(f",{text}" for _, text in first).encode()
    yield b"]}"


def _where(wanted: Wanted) -> tuple[str, list[object]]:
    conditions: list[tuple[str, object]] = []
    if wanted.status == rules.FAILED:
        # As a word, not as a value: only so is it known that the index of failed tasks has them all.
        conditions += [(f"run_state = '{rules.FAILED}' AND board <> ?", rules.DONE)]
    elif wanted.status is not None:
        conditions.append(("board = ?", rules.normalised(wanted.status)))
    conditions += [(condition, value) for condition, value in (
        ("assigned_agent_url = ?", wanted.agent), ("team_id = ?", wanted.team_id), ("created_at >= ?", wanted.since),
        ("created_at <= ?", wanted.until)) if value is not None]
    where = f"WHERE {' AND '.join(condition for condition, _ in conditions)}" if conditions else ""
    return where, [plain(value) if isinstance(value, str) else value for _, value in conditions]


# ---


def missing(task_id: str) -> NotFound:
    return NotFound(f"There is no task {plain(task_id)[:100]}: GET /tasks lists those there are.", code="not_found")


def _next_number() -> int:
    return database.rows("INSERT INTO counters (name, value) VALUES (?, ?) "
                         "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value",
                         COUNTER, rules.FIRST_NUMBER)[0][0]


def _require_template(template_id: str | None) -> None:
    if template_id is not None and not database.locked("SELECT id FROM templates WHERE id = ?", plain(template_id)):
        raise NotFound(f"There is no template {plain(template_id)[:100]}: GET /templates lists those there are.",
                       code="template_not_found", template_id=template_id)


def _insert(task: Task) -> bool:
    """Says whether the id was free; otherwise nothing has been stored."""
    if not insert(task):
        return False
    # Only now: on Postgres the insert may have waited for somebody who was just archiving a task of this id.
    if not database.rows("SELECT 1 FROM archived_tasks WHERE id = ?", task.id):
        return True
    database.change("DELETE FROM tasks WHERE id = ?", task.id)
    return False


def insert(task: Task, recent: str = "[]") -> bool:
    """Says whether no task of the board has the id; then this one does now. recent: its last steps, as lists show them.
    Only within `writing`."""
    return database.change(_INSERT, *(_column(task, name) for name in FIELDS), rules.normalised(task.status), recent,
                           text_of(task)) == 1


def locked(task_id: str, tables: Tables = BOARD) -> tuple[Task, str, str]:
    """Returns the task, its recent steps and its table; nobody else can change it until this transaction ends. Raises
    NotFound."""
    found = database.locked(f"{_SELECT} {tables[0]} WHERE id = ?", plain(task_id))
    if found:
        return _task(found[0]), found[0][-1], tables[0]
    if len(tables) > 1:
        # It may be on its way from one to the other: from now on it is not.
        database.turn(MOVING)
        for table in tables:
            found = database.locked(f"{_SELECT} {table} WHERE id = ?", plain(task_id))
            if found:
                return _task(found[0]), found[0][-1], table
    raise missing(task_id)


def _store(before: Task, after: Task, now: float, *, recent: str | None = None, table: str = "tasks") -> Task:
    old, new = vars(before), vars(after)
    changed = [name for name in FIELDS if new[name] is not old[name] and new[name] != old[name]]
    if not changed:
        return differing(before, was=before)
    # Also when the clock was set back, or has not moved on since.
    after = differing(after, updated_at=max(now, before.updated_at + 1e-6), was=before)
    columns = {name: _column(after, name) for name in (*changed, "updated_at")} | {"document": text_of(after)}
    if "status" in columns:
        columns["board"] = rules.normalised(after.status)
    if recent is not None:
        columns["recent"] = recent
    database.change(f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?", *columns.values(),
                    after.id)
    return after


def _task(row: tuple) -> Task:
    values = list(row[:len(FIELDS)])
    for place in _JSON_PLACES:
        if values[place] is not None:
            values[place] = msgspec.json.decode(values[place])
    task = dict(zip(FIELDS, values, strict=True))
    for name in ("assigned_agent_token", "callback_token"):
        if task[name] is not None:
            task[name] = bytes(task[name])
    return Task(**task | {"tags": tuple(task["tags"]), "subtasks": tuple(task["subtasks"])})


def _column(task: Task, name: str) -> object:
    value = getattr(task, name)
    return _json(value).decode() if name in AS_JSON and value is not None else value


def text_of(task: Task) -> str:
    document = rules.document(task)
    if task.last_output is not None and len(task.last_output) > RECENT_CHARS:
        document["last_output"] = task.last_output[:RECENT_CHARS - 1] + "…"
    return _json(document)[:-1].decode()


def _with(document: str, values: dict[str, object]) -> str:
    """Returns the document with these values in place of its own; everything else is the same text as before."""
    fields = _FIELDS_OF.decode(document + "}")
    return msgspec.json.encode(fields | {name: msgspec.Raw(_json(value)) for name, value in values.items()})[:-1].decode()


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # From a model or a path; JSON has no word for half a character.
        return msgspec.json.encode(_whole(value))


def _whole(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(str(name)): _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, (list, tuple)) else value


def _storable(step: Step) -> Step:
    def text(value: str | None) -> str | None:
        # A NUL would end the text for some functions of SQLite; Postgres has none.
        return None if value is None else shortened(plain(value).replace("\0", "\N{REPLACEMENT CHARACTER}"), OUTPUT_BYTES)[0]

    calls = None if step.tool_calls is None else msgspec.json.decode(_json(step.tool_calls))
    return differing(step, prompt=text(step.prompt), reason=text(step.reason), command=text(step.command),
                   output=text(step.output), tool_calls=calls)
