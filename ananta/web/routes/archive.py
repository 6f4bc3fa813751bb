"""Tasks that were put away: list them, put one away, bring one back."""
import time
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle, HTTPResponse
from msgspec import Meta

from ananta.hub.callbacks import TaskNews
from ananta.store import archive
from ananta.web.access import AUTH
from ananta.web.responses import Raw, streamed
from ananta.web.routes.tasks import TaskAnswer


@dataclass
class ArchivedTask(TaskAnswer):
    """A task of the archive, as lists show tasks; archived_at: epoch seconds."""

    archived_at: float


@dataclass
class ArchivedQuery:
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


@dataclass
class ArchiveAnswer:
    """status: "archived" or "restored"."""

    status: str
    id: str


class ArchiveRoutes:
    """GET /tasks/archived, POST /tasks/{id}/archive, POST /tasks/archived/{id}/restore."""

    def __init__(self, news: TaskNews):
        self.news = news

    def mount(self, app: Bottle) -> None:
        app.get("/tasks/archived", callback=self.listed, access=AUTH, query=ArchivedQuery, gives=list[ArchivedTask])
        app.post("/tasks/<task_id>/archive", callback=self.archive, access=AUTH, gives=ArchiveAnswer, fails=(404,))
        app.post("/tasks/archived/<task_id>/restore", callback=self.restore, access=AUTH, gives=ArchiveAnswer,
                 fails=(404, 409))

    def listed(self, query: ArchivedQuery) -> Raw | HTTPResponse:
        """Archived tasks, last archived first."""
        return streamed(archive.listed(query.limit, query.offset))

    def archive(self, task_id: str) -> ArchiveAnswer:
        """Puts a task away, with its steps; what runs in it goes on, and is still added to it."""
        task = archive.archive(task_id, time.time())
        self.news.tell(task)
        return ArchiveAnswer("archived", task.id)

    def restore(self, task_id: str) -> ArchiveAnswer:
        """Puts an archived task back on the board."""
        task = archive.restore(task_id, time.time())
        self.news.tell(task)
        return ArchiveAnswer("restored", task.id)
