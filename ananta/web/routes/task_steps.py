"""Propose and execute for a task, here or at the agent that has it."""
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.steps import Decider
from ananta.domain.steps import Proposal
from ananta.hub.task_steps import TaskProposal, TaskSteps
from ananta.web import server
from ananta.web.access import AUTH, READ, Access
from ananta.web.routes.steps import (
    ComparisonAnswer,
    ExecuteAnswer,
    ExecuteRequest,
    HistoryItem,
    ProposeAnswer,
    ProposeRequest,
    ToolCallItem,
    executed_answer,
    execution_of,
    order_of,
)


@dataclass
class TaskProposeRequest:
    """prompt: empty means the task's description, else its title."""

    prompt: Annotated[str, Meta(max_length=1_000_000)] | None = None
    provider: str | None = None
    model: str | None = None
    providers: Annotated[list[str], Meta(max_length=8)] | None = None
    history: Annotated[list[HistoryItem], Meta(max_length=50)] | None = None


@dataclass
class TaskProposeAnswer(ProposeAnswer):
    status: str = "proposing"


@dataclass
class TaskExecuteRequest:
    """With neither command nor tool_calls nor proposal_id: what was proposed last."""

    command: Annotated[str, Meta(max_length=1_000_000)] | None = None
    tool_calls: Annotated[list[dict], Meta(max_length=50)] | None = None
    timeout: Annotated[int, Meta(ge=1, le=3600, description="seconds; default: command_timeout")] | None = None
    retries: Annotated[int, Meta(ge=0, le=5)] = 0
    retry_delay: Annotated[int, Meta(ge=0, le=30, description="seconds")] = 1
    reason: Annotated[str, Meta(max_length=10_000)] | None = None
    proposal_id: Annotated[str, Meta(max_length=100, description="run exactly this stored proposal")] | None = None
    autonomous: Annotated[bool, Meta(description="nobody has looked at it: run it only if the policy allows it")] = False


class TaskStepRoutes:
    """POST /tasks/{id}/step/propose and /execute."""

    def __init__(self, steps: TaskSteps, access: Access, anonymous_proposals, *, known: Callable[[str], str]):
        self.steps, self.access, self.anonymous_proposals, self.known = steps, access, anonymous_proposals, known

    def mount(self, app: Bottle) -> None:
        app.post("/tasks/<task_id>/step/propose", callback=self.propose, access=READ, body=TaskProposeRequest,
                 gives=TaskProposeAnswer, schema=True, fails=(404, 422, 429, 502, 503))
        app.post("/tasks/<task_id>/step/execute", callback=self.execute, access=AUTH, body=TaskExecuteRequest,
                 gives=ExecuteAnswer, fails=(403, 404, 409, 502, 503), idempotent=True)

    def propose(self, task_id: str, body: TaskProposeRequest) -> TaskProposeAnswer:
        """Asks the model of the task's agent for a command. Never runs anything; without credentials nothing is stored
        either."""
        caller = server.caller()
        if caller.kind == "anonymous":
            self.anonymous_proposals.count(self.access.address(request.environ))
        order = order_of(ProposeRequest(**vars(body)))
        return _answer(self.steps.propose(task_id, order, store=caller.kind != "anonymous"))

    def execute(self, task_id: str, body: TaskExecuteRequest) -> ExecuteAnswer:
        """Runs tool calls, then the command, where the task is; a failing command is an answer with its exit code."""
        caller = server.caller()
        wanted = execution_of(ExecuteRequest(**vars(body)))
        done = self.steps.execute(task_id, wanted, Decider(caller.name, caller.admin, person=not body.autonomous),
                                  begun=server.begun())
        return executed_answer(done, self.known)


def _answer(proposed: TaskProposal) -> TaskProposeAnswer:
    stored, comparisons = proposed.stored, proposed.comparisons
    return TaskProposeAnswer(
        **_fields(proposed.proposal), model=proposed.model, decision=proposed.decision, reasons=list(proposed.reasons),
        comparisons=None if comparisons is None else {
            name: ComparisonAnswer(error=each) if isinstance(each, str) else ComparisonAnswer(**_fields(each))
            for name, each in comparisons.items()},
        id=stored.id if stored else None, digest=stored.digest if stored else None,
        expires_at=stored.expires_at if stored else None)


def _fields(proposal: Proposal) -> dict:
    calls = proposal.tool_calls
    return {"reason": proposal.reason, "command": proposal.command, "raw": proposal.raw,
            "tool_calls": [ToolCallItem(**dataclasses.asdict(each)) for each in calls] if calls else None}
