"""Propose and execute for a task, here or at the agent that has it."""
from collections.abc import Callable
from dataclasses import dataclass

from bottle import Bottle

from ananta.hub.task_steps import TaskProposal, TaskSteps
from ananta.web import server
from ananta.web.access import AUTH, READ, Access
from ananta.web.routes.steps import (
    ComparisonAnswer,
    ExecuteAnswer,
    ExecuteFields,
    ProposeAnswer,
    ProposeFields,
    decider_of,
    executed_answer,
    execution_of,
    order_of,
    proposal_fields,
)


@dataclass
class TaskProposeRequest(ProposeFields):
    """prompt: empty means the task's description, else its title."""


@dataclass
class TaskProposeAnswer(ProposeAnswer):
    status: str = "proposing"


@dataclass
class TaskExecuteRequest(ExecuteFields):
    """With neither command nor tool_calls nor proposal_id: what was proposed last."""


class TaskStepRoutes:
    """POST /tasks/{id}/step/propose and /execute."""

    def __init__(self, steps: TaskSteps, access: Access, count_anonymous: Callable[[], None], *, known: Callable[[str], str],
                 changed: Callable[[str, str], None]):
        self.steps, self.access, self.count_anonymous, self.known, self.changed = steps, access, count_anonymous, known, changed

    def mount(self, app: Bottle) -> None:
        app.post("/tasks/<task_id>/step/propose", callback=self.propose, access=READ, body=TaskProposeRequest,
                 gives=TaskProposeAnswer, schema=True, fails=(404, 422, 429, 502, 503), limited=self.count_anonymous)
        app.post("/tasks/<task_id>/step/execute", callback=self.execute, access=AUTH, body=TaskExecuteRequest,
                 gives=ExecuteAnswer, fails=(403, 404, 409, 502, 503), idempotent=True)

    def propose(self, task_id: str, body: TaskProposeRequest) -> TaskProposeAnswer:
        """Asks the model of the task's agent for a command. Never runs anything; without credentials nothing is stored
        either."""
        caller = server.caller()
        order = order_of(body, task_id)
        proposed = self.steps.propose(task_id, order, store=caller.kind != "anonymous")
        if proposed.stored is not None:
            self.changed(proposed.stored.id, proposed.stored.state)
        return _answer(proposed)

    def execute(self, task_id: str, body: TaskExecuteRequest) -> ExecuteAnswer:
        """Runs tool calls, then the command, where the task is; a failing command is an answer with its exit code."""
        done = self.steps.execute(task_id, execution_of(body, task_id), decider_of(body, self.access), begun=server.begun())
        return executed_answer(done, self.known)


def _answer(proposed: TaskProposal) -> TaskProposeAnswer:
    stored, comparisons = proposed.stored, proposed.comparisons
    return TaskProposeAnswer(
        **proposal_fields(proposed.proposal), model=proposed.model, decision=proposed.decision, reasons=list(proposed.reasons),
        comparisons=None if comparisons is None else {
            name: ComparisonAnswer(error=each) if isinstance(each, str) else ComparisonAnswer(**proposal_fields(each))
            for name, each in comparisons.items()},
        id=stored.id if stored else None, digest=stored.digest if stored else None,
        expires_at=stored.expires_at if stored else None)

