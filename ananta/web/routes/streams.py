"""What happens, as it happens: the events of this agent, and the log of a task."""
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from bottle import Bottle, HTTPResponse, request
from msgspec import Meta

from ananta.agent.live import Live
from ananta.agent.steps import DEFAULT_SESSION
from ananta.domain.events import TASK_RECORD, Event
from ananta.errors import NotFound
from ananta.store.shared_journal import TaskLog
from ananta.web import server
from ananta.web.access import AUTH, READ, Access
from ananta.web.responses import Raw
from ananta.web.routes.steps import LogRecord, TaskId
from ananta.web.streams import EVENTS, Stream, Streams, Topic, head, message

# Of a stream they wait in memory until the client has taken them.
RECORDS, LIST_BYTES, FIRST_BYTES = 10_000, 64 << 20, 16 << 20


class _Streaming:
    def __init__(self, streams: Streams, access: Access):
        self.streams, self.access = streams, access

    def _open(self, topic: Topic) -> Stream:
        shown, check = self.access.again(AUTH, request.environ)
        return self.streams.open(topic, server.caller(), check, shown)


class EventRoutes(_Streaming):
    """The event stream of this agent."""

    def mount(self, app: Bottle) -> None:
        for path in ("/events", "/api/system/events"):
            app.get(path, callback=self.events, access=AUTH, media="text/event-stream")

    def events(self) -> HTTPResponse:
        """A stream of events, each `data: {"type", "data", "timestamp"}`; it never ends by itself. A browser's
        EventSource sends no headers: give it the token as ?token=."""
        if request.environ["REQUEST_METHOD"] == "HEAD":
            return head()
        return self.streams.answer(self._open(EVENTS))


@dataclass
class OutputQuery:
    """task_id: as in /step/execute; without it the commands outside of tasks."""

    task_id: TaskId | None = None


class OutputRoutes(_Streaming):
    """What commands print, while they run."""

    live: Live

    def mount(self, app: Bottle) -> None:
        app.get("/step/stream-output", callback=self.follow, access=AUTH, query=OutputQuery, media="text/event-stream")

    def follow(self, query: OutputQuery) -> HTTPResponse:
        """A stream of what runs in a session, each `data: {"type", "data", "timestamp"}`: `run_started` with the command,
        `run_output` with a text and where it begins (`at`, in characters), `run_ended` with the exit code. What is printed
        faster than one can look at is left out in the middle. First comes what runs already."""
        if request.environ["REQUEST_METHOD"] == "HEAD":
            return head()
        key = query.task_id or DEFAULT_SESSION
        # Before it is asked what runs: what is told in between comes twice then, and `at` says so.
        stream = self._open(output_topic(key))
        return self.streams.answer(stream, [_envelope(type, data) for type, data in self.live.now(key)])

    def tell(self, key: str, type: str, data: dict) -> None:
        """Shows a message to those who look at a session."""
        self.streams.tell(output_topic(key), _envelope(type, data))

    def wanted(self, key: str) -> bool:
        return self.streams.wanted(output_topic(key))


@dataclass
class TaskLogsQuery:
    limit: Annotated[int, Meta(ge=1, le=RECORDS)] = RECORDS


class TaskLogRoutes(_Streaming):
    """The records of a task: as a list, and as a stream. exists: whether there is a task of that id."""

    def __init__(self, log: TaskLog, streams: Streams, access: Access, *, exists: Callable[[str], bool]):
        super().__init__(streams, access)
        self.log, self.exists = log, exists

    def mount(self, app: Bottle) -> None:
        app.get("/tasks/<task_id>/logs", callback=self.logs, access=READ, query=TaskLogsQuery, gives=list[LogRecord],
                fails=(404,))
        app.get("/tasks/<task_id>/stream-logs", callback=self.follow, access=AUTH, media="text/event-stream", fails=(404,))

    def logs(self, task_id: str, query: TaskLogsQuery) -> Raw:
        """The executions of a task, oldest first; of many the last `limit`."""
        found = self.log.last(task_id, query.limit, LIST_BYTES)
        if not found:
            self._must_exist(task_id)
        return Raw(b"[" + b",".join(each.raw for each in found) + b"]")

    def follow(self, task_id: str) -> HTTPResponse:
        """A stream of the executions of a task: first those that are on record, then new ones at once."""
        if request.environ["REQUEST_METHOD"] == "HEAD":
            if not self.log.last(task_id, 1, LIST_BYTES):
                self._must_exist(task_id)
            return head()
        # Before it is read: what is recorded in between then comes with both, and is left out once.
        stream = self._open(topic(task_id))
        try:
            found = self.log.last(task_id, RECORDS, FIRST_BYTES)
            if not found:
                self._must_exist(task_id)
        except BaseException:
            self.streams.forget(stream)
            raise
        return self.streams.answer(stream, (message(each.raw) for each in found),
                                   seen=[each.run_id for each in found if each.run_id is not None])

    def on_event(self, event: Event) -> None:
        """Listens to the events of this process for new records."""
        if event.type != TASK_RECORD or not self.streams.wanted(topic(event.data["task_id"])):
            return
        self.streams.tell(topic(event.data["task_id"]), message(event.data["record"]), identity=event.data["run_id"])

    def _must_exist(self, task_id: str) -> None:
        if not self.exists(task_id):
            raise NotFound(f"There is no task {task_id[:200]}: GET /tasks lists them.")


def _envelope(type: str, data: dict) -> bytes:
    return message(msgspec.json.encode({"type": type, "data": data, "timestamp": time.time()}))


def output_topic(key: str) -> Topic:
    return "output", key


def topic(task_id: str) -> Topic:
    return "task", task_id
