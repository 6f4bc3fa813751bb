"""Tasks: what they are, how they are counted, and what becomes of their state.

    run_state   CREATED → ASSIGNED → PROPOSING → EXECUTING → COMPLETED | FAILED

`status` is the column of the board, set by people and kept as they write it; a run only ever moves it to IN_PROGRESS,
because one command that succeeded does not make a task done. `run_state` is what happened last, set by the program.
"""
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ananta.domain.values import differing

BACKLOG, TODO, IN_PROGRESS, DONE = "backlog", "to-do", "in-progress", "done"
CREATED, ASSIGNED, PROPOSING, EXECUTING = "created", "assigned", "proposing", "executing"
COMPLETED, FAILED = "completed", "failed"
SAME = {"todo": TODO, "created": TODO, "open": TODO, "assigned": IN_PROGRESS, "proposing": IN_PROGRESS, "completed": DONE}
# What a count of tasks is split into; everything else has only its status.
BUCKETS = ("completed", "failed", "todo", "in_progress", "backlog")
_BOARD = {TODO: "todo", IN_PROGRESS: "in_progress", BACKLOG: "backlog"}

TITLE_CHARS, DERIVED_TITLE_CHARS, OUTPUT_BYTES = 500, 100, 64 << 10
RECENT_STEPS, RECENT_CHARS = 5, 500
FIRST_NUMBER = 123456
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# `archived` is a path of its own, and clients resolve paths of dots before they ask.
_NO_ID = re.compile(r"archived|\.+")
_CALLBACK = re.compile(r"https?://[^\s/?#@]+([/?][!-~]*)?", re.ASCII)


@dataclass(frozen=True)
class Task:
    """A task. created_at, updated_at: epoch seconds; steps: how many have run; assigned_agent_token, callback_token:
    sealed; was: the task before the change that this one came out of, None for one that is new or was only read."""

    id: str
    title: str | None = None
    description: str | None = None
    status: str = TODO
    run_state: str = CREATED
    priority: str = "Medium"
    template_id: str | None = None
    tags: tuple[str, ...] = ()
    team_id: str | None = None
    assigned_role_id: str | None = None
    parent_task_id: str | None = None
    assigned_agent_url: str | None = None
    assigned_agent_token: bytes | None = field(default=None, repr=False)
    last_proposal: dict | None = None
    last_output: str | None = None
    last_exit_code: int | None = None
    subtasks: tuple[dict, ...] = ()
    callback_url: str | None = None
    callback_token: bytes | None = field(default=None, repr=False)
    created_at: float = 0.0
    updated_at: float = 0.0
    steps: int = 0
    was: "Task | None" = field(default=None, compare=False, repr=False)

    @property
    def changed(self) -> bool:
        """Whether the change that this task came out of has changed anything."""
        return self.was is None or self.was.updated_at != self.updated_at

    @property
    def moved(self) -> bool:
        """Whether it has changed the status or the run_state, or something has run."""
        return self.was is not None and (self.was.status, self.was.run_state, self.was.steps) != (
            self.status, self.run_state, self.steps)


@dataclass(frozen=True)
class Step:
    """What was asked, proposed and run once in a task. timestamp: epoch seconds."""

    prompt: str | None = None
    reason: str | None = None
    command: str | None = None
    tool_calls: list[dict] | None = None
    output: str | None = None
    exit_code: int | None = None
    timestamp: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """Which tasks a list shows; None: no matter. agent: the URL it is assigned to; since, until: of created_at."""

    status: str | None = None
    agent: str | None = None
    since: float | None = None
    until: float | None = None
    team_id: str | None = None


def spelled(status: str) -> str:
    """Returns the status as it is written by everybody: in lower case, with hyphens."""
    return status.lower().replace("_", "-")


def normalised(status: str) -> str:
    """Returns the status as it is compared and counted: one of the board's four, or another word in lower case."""
    word = spelled(status)
    return SAME.get(word, word)


def bucket(status: str, run_state: str) -> str | None:
    """Returns which of BUCKETS a task counts in, None for one with a status of its own."""
    board = normalised(status)
    if board == DONE:
        return "completed"
    return "failed" if run_state == FAILED else _BOARD.get(board)


def counted(groups: Iterable[tuple[str, str, int]]) -> dict:
    """Returns how many tasks there are: total, per bucket, and by_status, in which a status stands however it was written.
    groups: (status, run_state, how many)."""
    counts: dict = {"total": 0, **dict.fromkeys(BUCKETS, 0)}
    by_status: dict[str, int] = {}
    for status, run_state, number in groups:
        counts["total"] += number
        name = spelled(status)
        by_status[name] = by_status.get(name, 0) + number
        place = bucket(status, run_state)
        if place is not None:
            counts[place] += number
    return {**counts, "by_status": by_status}


def is_id(text: str) -> bool:
    """Whether a client may name a task so."""
    return _ID.fullmatch(text) is not None and _NO_ID.fullmatch(text) is None


def numbered(number: int) -> str:
    return f"T-{number}"


def is_callback(url: str) -> bool:
    """Whether this is an http or https address that can be told of a task; without user name and fragment."""
    if len(url) > 2000 or not url.isascii() or not url.isprintable() or _CALLBACK.fullmatch(url) is None or "#" in url:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def title_from(description: str | None) -> str | None:
    """Returns a title made of the first line of a description, None if there is none."""
    line = next((line.strip() for line in (description or "").splitlines() if line.strip()), None)
    return line if line is None or len(line) <= DERIVED_TITLE_CHARS else line[:DERIVED_TITLE_CHARS - 1] + "…"


# --- what becomes of a task


def assigned(task: Task, agent_url: str, token: bytes | None) -> Task:
    return differing(task, assigned_agent_url=agent_url, assigned_agent_token=token, run_state=ASSIGNED)


def unassigned(task: Task) -> Task:
    """The task without its assignment; one that has none stays as it is."""
    if task.assigned_agent_url is None:
        return task
    return differing(task, assigned_agent_url=None, assigned_agent_token=None, run_state=CREATED)


def proposed(task: Task, proposal: dict) -> Task:
    return differing(task, last_proposal=proposal, status=IN_PROGRESS, run_state=PROPOSING)


def executing(task: Task) -> Task:
    return differing(task, run_state=EXECUTING)


def executed(task: Task, step: Step) -> Task:
    """The task after a step; its output as it is to be kept."""
    return differing(task, status=IN_PROGRESS, run_state=COMPLETED if step.exit_code == 0 else FAILED,
                   last_output=step.output, last_exit_code=step.exit_code, steps=task.steps + 1)


# --- what is shown of a task


def document(task: Task) -> dict:
    """Returns the task as it is served, without its history and never with a token. last_output stands last."""
    url = task.assigned_agent_url
    return {
        "id": task.id, "title": task.title, "description": task.description, "status": task.status,
        "run_state": task.run_state, "priority": task.priority, "template_id": task.template_id, "tags": task.tags,
        "team_id": task.team_id, "assigned_role_id": task.assigned_role_id, "parent_task_id": task.parent_task_id,
        "assigned_agent_url": url,
        "assignment": None if url is None else {"agent_url": url, "has_token": task.assigned_agent_token is not None},
        "last_proposal": task.last_proposal, "last_exit_code": task.last_exit_code, "subtasks": task.subtasks,
        "callback_url": task.callback_url, "created_at": task.created_at, "updated_at": task.updated_at,
        "last_output": task.last_output}


def callback_document(task: Task) -> dict:
    """Returns what a callback tells of the task."""
    told = {"id": task.id, "status": task.status, "parent_task_id": task.parent_task_id}
    outcome = {"last_output": task.last_output, "last_exit_code": task.last_exit_code}
    return told | {name: value for name, value in outcome.items() if value is not None}


def event(task: Task) -> dict:
    """Returns what the event `task_updated` tells of the task."""
    return {"id": task.id, "status": task.status, "run_state": task.run_state}


def short(step: Step) -> dict:
    """Returns the step as lists show it: every text cut to RECENT_CHARS, and tool calls left out when they are longer."""
    shown = dict(vars(step))
    calls = step.tool_calls
    return {**{name: _cut(value) if isinstance(value, str) else value for name, value in shown.items()},
            "tool_calls": calls if calls and len(repr(calls)) <= RECENT_CHARS else None}


def _cut(text: str) -> str:
    return text if len(text) <= RECENT_CHARS else text[:RECENT_CHARS - 1] + "…"
