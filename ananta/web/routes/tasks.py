"""Tasks: make, list, change, assign."""
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar

from bottle import Bottle, HTTPResponse
from msgspec import UNSET, Meta, UnsetType

from ananta.agent.meter import Meter
from ananta.domain import tasks as rules
from ananta.domain.configuration import is_address, same_host
from ananta.domain.tasks import TITLE_CHARS, Step, Task, Wanted
from ananta.domain.values import differing
from ananta.errors import InvalidInput
from ananta.hub import callbacks
from ananta.hub.callbacks import TaskNews
from ananta.store import tasks
from ananta.web.access import AUTH, READ
from ananta.web.responses import Raw, streamed

# `$` alone would let a line end pass.
NO_NUL, END = r"^[^\x00]*$", r"$(?!\n)"
Title = Annotated[str, Meta(max_length=TITLE_CHARS, pattern=NO_NUL)]
Description = Annotated[str, Meta(max_length=100_000, pattern=NO_NUL)]
Word = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,64}}{END}")]
Reference = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,200}}{END}", description="the id of something else")]
Tags = Annotated[list[Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,100}}{END}")]], Meta(max_length=50)]
Token = Annotated[str, Meta(pattern=rf"^[\x20-\x7e]{{1,4096}}{END}")]
Url = Annotated[str, Meta(max_length=2000)]
REFERENCES = frozenset({"template_id", "team_id", "assigned_role_id", "parent_task_id"})
CALLBACK = frozenset({"callback_url", "callback_token"})


@dataclass
class Assignment:
    agent_url: str
    has_token: bool


@dataclass
class TaskAnswer:
    """A task. status: the board's column; run_state: what happened last; history: its steps, in lists the last five and
    their texts cut to 500 characters, as is last_output there; times in epoch seconds."""

    id: str
    title: str | None
    description: str | None
    status: str
    run_state: str
    priority: str
    template_id: str | None
    tags: list[str]
    team_id: str | None
    assigned_role_id: str | None
    parent_task_id: str | None
    assigned_agent_url: str | None
    assignment: Assignment | None
    last_proposal: dict | None
    last_exit_code: int | None
    subtasks: list[dict]
    callback_url: str | None
    created_at: float
    updated_at: float
    last_output: str | None
    history: list[Step]


@dataclass
class TasksQuery:
    """status: as compared in counts, so that `todo` is `to-do`; agent: the URL it is assigned to; since, until: of
    created_at, in epoch seconds; limit: all without it."""

    status: Word | None = None
    agent: Url | None = None
    since: float | None = None
    until: float | None = None
    team_id: Reference | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    offset: Annotated[int, Meta(ge=0)] = 0


@dataclass
class TaskRequest:
    CLEARS: ClassVar[frozenset[str]] = REFERENCES | CALLBACK | {"id", "priority"}

    title: Title | None = None
    description: Description | None = None
    template_id: Reference | None = None
    tags: Tags = field(default_factory=list)
    status: Word = rules.TODO
    priority: Word | None = None
    team_id: Reference | None = None
    assigned_role_id: Reference | None = None
    parent_task_id: Reference | None = None
    callback_url: Url | None = None
    callback_token: Token | None = None
    id: str | None = None


@dataclass
class TaskChange:
    """What is not named stays as it is. null or "" takes away what a task can be without."""

    CLEARS: ClassVar[frozenset[str]] = REFERENCES | CALLBACK | {"description"}

    title: Title | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    status: Word | UnsetType = UNSET
    priority: Word | UnsetType = UNSET
    template_id: Reference | None | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    team_id: Reference | None | UnsetType = UNSET
    assigned_role_id: Reference | None | UnsetType = UNSET
    parent_task_id: Reference | None | UnsetType = UNSET
    callback_url: Url | None | UnsetType = UNSET
    callback_token: Token | None | UnsetType = UNSET


@dataclass
class AssignRequest:
    CLEARS: ClassVar[frozenset[str]] = frozenset({"agent_url", "token"})

    agent_url: Url | None = None
    token: Token | None = None


@dataclass
class AssignAnswer:
    """status: "assigned", or of the board when the task has no agent any more."""

    status: str
    id: str
    agent_url: str | UnsetType = UNSET
    unassigned: bool | UnsetType = UNSET


class TaskRoutes:
    """Tasks: make, list, change, assign. seal: a token as it may be stored."""

    def __init__(self, news: TaskNews, meter: Meter, seal: Callable[[str], bytes]):
        self.news, self.meter, self.seal = news, meter, seal

    def mount(self, app: Bottle) -> None:
        app.get("/tasks", callback=self.board, access=READ, query=TasksQuery, gives=list[TaskAnswer])
        app.post("/tasks", callback=self.create, access=AUTH, body=TaskRequest, gives=TaskAnswer, status=201,
                 fails=(404, 409), idempotent=True, creates=True)
        app.get("/tasks/<task_id>", callback=self.find, access=READ, gives=TaskAnswer, fails=(404,))
        app.route("/tasks/<task_id>", "PATCH", callback=self.change, access=AUTH, body=TaskChange, gives=TaskAnswer,
                  fails=(404,))
        app.post("/tasks/<task_id>/assign", callback=self.assign, access=AUTH, body=AssignRequest, gives=AssignAnswer,
                 fails=(404,))
        app.post("/tasks/<task_id>/unassign", callback=self.unassign, access=AUTH, gives=AssignAnswer, fails=(404,))

    def board(self, query: TasksQuery) -> Raw | HTTPResponse:
        """Tasks, newest change first; all of them unless `limit` is given."""
        wanted = Wanted(query.status, query.agent and query.agent.rstrip("/"), query.since, query.until, query.team_id)
        return streamed(tasks.listed(wanted, limit=query.limit, offset=query.offset))

    def find(self, task_id: str) -> Raw | HTTPResponse:
        """One task with its whole history."""
        return streamed(tasks.served(task_id))

    def create(self, body: TaskRequest) -> Raw:
        """Makes a task; without an id it gets the next number."""
        now = time.time()
        _other_parent(body.parent_task_id, body.id)
        task = tasks.create(Task(
            id=_own_id(body.id), title=_title(body), description=body.description, status=body.status,
            priority=body.priority or "Medium", template_id=body.template_id, tags=tuple(body.tags), team_id=body.team_id,
            assigned_role_id=body.assigned_role_id, parent_task_id=body.parent_task_id,
            callback_url=_callback(body.callback_url), callback_token=self._sealed(body.callback_token), created_at=now,
            updated_at=now))
        self.meter.count("task_received")
        self.news.tell(task)
        return Raw(b"".join(tasks.answer(task)))

    def change(self, task_id: str, body: TaskChange) -> Raw | HTTPResponse:
        """Changes the named fields."""
        values = {each.name: getattr(body, each.name) for each in fields(body) if getattr(body, each.name) is not UNSET}
        if "title" in values and not values["title"].strip():
            raise _title_required()
        _other_parent(values.get("parent_task_id"), task_id)
        _callback(values.get("callback_url"))
        if "callback_token" in values:
            values["callback_token"] = self._sealed(values["callback_token"])
        if "tags" in values:
            values["tags"] = tuple(values["tags"])
        task = tasks.change(task_id, lambda task: differing(task, **values), time.time(), template_id=values.get("template_id"))
        self.news.tell(task)
        return streamed(tasks.answer(task))

    def assign(self, task_id: str, body: AssignRequest) -> AssignAnswer:
        """Gives the task to an agent. Without an address the task is taken from the one that has it."""
        if body.agent_url is None:
            if tasks.find(task_id).assigned_agent_url is None:
                raise InvalidInput("agent_url is missing: it is the address of the agent that gets the task.",
                                   code="agent_url_required", details="agent_url")
            return self.unassign(task_id)
        url = address(body.agent_url)
        task = tasks.assign(task_id, url, self._sealed(body.token), time.time())
        self.news.tell(task)
        return AssignAnswer("assigned", task.id, agent_url=url)

    def unassign(self, task_id: str) -> AssignAnswer:
        """Takes the task from its agent; one that has none stays as it is."""
        task = tasks.unassign(task_id, time.time())
        self.news.tell(task)
        return AssignAnswer(task.status, task.id, unassigned=True)

    def _sealed(self, token: str | None) -> bytes | None:
        return None if token is None else self.seal(token)


def _own_id(given: str | None) -> str:
    if given is not None and not rules.is_id(given):
        raise InvalidInput("id may have 1 to 64 letters, digits, dots, dashes and underscores, not only dots, and cannot be "
                           "`archived`: leave it out to get the next number.", details="id")
    return given or ""


def _other_parent(parent_id: str | None, task_id: str | None) -> None:
    if parent_id is not None and parent_id == task_id:
        raise InvalidInput("A task cannot be its own parent.", details="parent_task_id")


def _title(body: TaskRequest) -> str:
    title = body.title
    if body.parent_task_id is not None and not (title or "").strip():
        title = rules.title_from(body.description)
    if title is None or not title.strip():
        raise _title_required()
    return title


def _title_required() -> InvalidInput:
    return InvalidInput("title is missing: say in a few words what is to be done.", code="title_required", details="title")


def _callback(url: str | None) -> str | None:
    if url is not None:
        callbacks.check(url)
    return url


def address(url: str) -> str:
    url = url.rstrip("/")
    if not is_address(url) or not url.isprintable():
        raise InvalidInput(f"{url[:100]!r} is not the address of an agent: write it like http://localhost:5001.",
                           details="agent_url")
    return same_host(url)
