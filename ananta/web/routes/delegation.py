"""Handing a part of a task on to another agent."""
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bottle import Bottle, request
from msgspec import Meta

from ananta.domain.delegation import Report
from ananta.domain.steps import EXIT_CODES
from ananta.errors import NotFound
from ananta.hub.delegation import Delegation, Wanted
from ananta.store import delegations
from ananta.store.audit import Audit
from ananta.web import server
from ananta.web.access import AUTH, Access, Caller
from ananta.web.routes.tasks import Reference, Token, Url, Word, address

# What shows a callback token calls as this.
CALLBACK = "callback"
SubtaskDescription = Annotated[str, Meta(max_length=100_000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$",
                                         description="what is to be done there")]


@dataclass
class DelegateRequest:
    """agent_token: what that agent asks for; without one, what it has registered with."""

    CLEARS: ClassVar[frozenset[str]] = frozenset({"agent_token"})

    agent_url: Url
    subtask_description: SubtaskDescription
    agent_token: Token | None = None
    priority: Word = "Medium"


@dataclass
class DelegateAnswer:
    """response: the task as another hub has it, null from a worker."""

    status: str
    subtask_id: str
    agent_url: str
    response: dict | None


@dataclass
class SubtaskReport:
    """How a subtask stands, as a task's callback tells it."""

    REFUSED_AS: ClassVar[str] = "invalid_payload"

    id: Reference
    status: Word
    last_output: str | None = None
    last_exit_code: Annotated[int, Meta(ge=EXIT_CODES.start, lt=EXIT_CODES.stop)] | None = None


@dataclass
class ReportAnswer:
    status: str


class DelegationRoutes:
    """POST /tasks/{id}/delegate and /tasks/{id}/subtask-callback."""

    def __init__(self, delegation: Delegation, access: Access, audit: Audit):
        self.delegation, self.access, self.audit = delegation, access, audit

    def mount(self, app: Bottle) -> None:
        app.post("/tasks/<task_id>/delegate", callback=self.delegate, access=AUTH, body=DelegateRequest,
                 gives=DelegateAnswer, schema=True, fails=(404, 409, 422, 502, 503), idempotent=True, creates=True)
        app.post("/tasks/<task_id>/subtask-callback", callback=self.report, access=AUTH, otherwise=self.by_token,
                 body=SubtaskReport, gives=ReportAnswer, fails=(404,))

    def delegate(self, task_id: str, body: DelegateRequest) -> DelegateAnswer:
        """Makes a subtask for another agent; one that is a hub is given the task."""
        done = self.delegation.delegate(task_id, Wanted(address(body.agent_url), body.subtask_description, body.priority,
                                                        body.agent_token))
        self.audit.write("task_delegated", username=server.caller().name, ip=self.access.address(request.environ),
                         details={"task_id": task_id, "subtask_id": done.subtask_id, "agent_url": done.agent_url})
        return DelegateAnswer("delegated", done.subtask_id, done.agent_url, done.response)

    def report(self, task_id: str, body: SubtaskReport) -> ReportAnswer:
        """Takes how a subtask stands. Its agent may show the token it was given for this, until it says that it is done."""
        caller = server.caller()
        if caller.kind == CALLBACK and caller.name != body.id:
            raise NotFound("This token is for another subtask.", code="subtask_not_found")
        self.delegation.report(task_id, Report(body.id, body.status, body.last_output, body.last_exit_code))
        return ReportAnswer("updated")

    def by_token(self, environ: dict, task_id: str) -> Caller | None:
        """Returns the subtask that the token in the header belongs to, as a caller."""
        try:
            presented = self.access.credential(environ)
        except ValueError:  # several that are not the same
            return None
        if presented is None or presented[1] != "header" or not presented[0]:
            return None
        subtask_id = delegations.subtask_of(task_id, presented[0])
        return None if subtask_id is None else Caller(CALLBACK, subtask_id, False, "header")
