"""Propose a command, execute one, read what ran."""
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from bottle import Bottle, request
from msgspec import UNSET, Meta, UnsetType

from ananta.agent.steps import Decider, Executed, Execution, Order, Proposed, Steps
from ananta.domain.nesting import DEEPEST, deeper
from ananta.domain.prompts import Earlier
from ananta.domain.proposals import EXPIRED, OPEN, StoredProposal
from ananta.domain.steps import Proposal, ToolCall
from ananta.errors import AnantaError, InvalidInput
from ananta.store import proposals
from ananta.store.journal import Journal
from ananta.web import payloads, server
from ananta.web.access import AUTH, READ, Access, Counter
from ananta.web.responses import Raw

TaskId = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,200}$(?!\n)", description="names the session and the log records")]


@dataclass
class HistoryItem:
    """An earlier round: what was asked and proposed, and what came of it, or why a person refused."""

    prompt: Annotated[str, Meta(max_length=20_000)] = ""
    reason: str | None = None
    command: str | None = None
    output: str | None = None
    exit_code: int | None = None
    refused: str | None = None


@dataclass
class ProposeFields:
    """What is asked of a model, wherever that is. providers: compare what each of these answers."""

    prompt: Annotated[str, Meta(max_length=1_000_000)] | None = None
    provider: str | None = None
    model: str | None = None
    providers: Annotated[list[str], Meta(max_length=8)] | None = None
    history: Annotated[list[HistoryItem], Meta(max_length=50)] | None = None


@dataclass
class ProposeRequest(ProposeFields):
    task_id: TaskId | None = None
    store: Annotated[bool, Meta(description="keep the proposal, so that it can be decided about by its id")] = True


@dataclass
class ToolCallItem:
    name: str
    args: dict


@dataclass
class ProposalAnswer:
    reason: str
    command: str | None
    tool_calls: list[ToolCallItem] | None
    raw: str


@dataclass
class ComparisonAnswer:
    """What one of several providers proposes, or only its `error`."""

    reason: str | UnsetType = UNSET
    command: str | None | UnsetType = UNSET
    tool_calls: list[ToolCallItem] | None | UnsetType = UNSET
    raw: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


@dataclass
class ProposeAnswer(ProposalAnswer):
    """decision, reasons: what the policy says of the command; model: who answered. comparisons: per requested
    provider a proposal or its error."""

    comparisons: dict[str, ComparisonAnswer] | None = None
    decision: str | None = None
    reasons: list[str] = field(default_factory=list)
    model: str | None = None
    id: str | None = None
    digest: str | None = None
    expires_at: float | None = None


@dataclass
class StoredAnswer:
    """A proposal as it is kept. state: open, run, refused or expired; replaces: the one it is an edit of; run_id: of
    its record in the log."""

    id: str
    digest: str
    command: str
    cwd: str
    task_id: str | None
    prompt: str
    reason: str
    decision: str
    reasons: list[str]
    model: str | None
    created_at: float
    expires_at: float
    state: str
    decided_by: str | None
    decided_at: float | None
    decide_reason: str | None
    replaces: str | None
    run_id: str | None


@dataclass
class WaitingQuery:
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


@dataclass
class RejectRequest:
    proposal_id: str
    reason: Annotated[str, Meta(max_length=10_000)] = ""


@dataclass
class EditRequest:
    proposal_id: str
    command: Annotated[str, Meta(max_length=1_000_000)]


@dataclass
class ExecuteFields:
    """What shall run, wherever that is."""

    command: Annotated[str, Meta(max_length=1_000_000)] | None = None
    tool_calls: Annotated[list[dict], Meta(max_length=50)] | None = None
    timeout: Annotated[int, Meta(ge=1, le=3600, description="seconds; default: command_timeout")] | None = None
    retries: Annotated[int, Meta(ge=0, le=5)] = 0
    retry_delay: Annotated[int, Meta(ge=0, le=30, description="seconds")] = 1
    reason: Annotated[str, Meta(max_length=10_000)] | None = None
    proposal_id: Annotated[str, Meta(max_length=100, description="run exactly this stored proposal")] | None = None
    autonomous: Annotated[bool, Meta(description="nobody has looked at it: run it only if the policy allows it")] = False


@dataclass
class ExecuteRequest(ExecuteFields):
    task_id: TaskId | None = None


@dataclass
class ExecuteAnswer:
    output: str
    stdout: str
    stderr: str
    exit_code: int
    task_id: str | None
    status: str
    id: str
    duration: float
    agent: str


@dataclass
class StopRequest:
    task_id: TaskId | None = None


@dataclass
class StopAnswer:
    """stopped: whether a command was running there."""

    stopped: bool


@dataclass
class LogsQuery:
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    task_id: str | None = None


@dataclass
class LogRecord:
    """One execution of the terminal log; further fields may follow."""

    timestamp: float
    agent: str
    step: int
    direction: str
    command: str | None
    output: str
    exit_code: int
    returncode: int
    task_id: str | None


class StepRoutes:
    """Propose a command, execute one, read what ran."""

    def __init__(self, steps: Steps, journal: Journal, access: Access, anonymous_proposals: Counter, *,
                 known: Callable[[str], str], changed: Callable[[str, str], None],
                 propose: Callable[..., Proposed] | None = None, run: Callable[..., Executed] | None = None,
                 stop: Callable[[str | None], bool] | None = None):
        """propose, run, stop: who does it; on a hub the tasks have a word in it. changed: gets the id and the state of a proposal
        that waits now, or does not any more."""
        self.changed, self.end = changed, stop or steps.stop
        self.steps, self.journal, self.access = steps, journal, access
        self.propose_order, self.run = propose or steps.propose, run or steps.execute
        self.anonymous_proposals, self.known = anonymous_proposals, known

    def mount(self, app: Bottle) -> None:
        app.post("/step/propose", callback=self.propose, access=READ, body=ProposeRequest, gives=ProposeAnswer,
                 schema=True, fails=(422, 429, 502, 503), limited=self.count_anonymous)
        app.post("/step/execute", callback=self.execute, access=AUTH, body=ExecuteRequest, gives=ExecuteAnswer,
                 fails=(403, 404, 409, 503), idempotent=True)
        app.get("/proposals", callback=self.waiting, access=AUTH, query=WaitingQuery, gives=list[StoredAnswer])
        app.get("/proposals/<proposal_id>", callback=self.find, access=AUTH, gives=StoredAnswer, fails=(404,))
        app.post("/step/reject", callback=self.reject, access=AUTH, body=RejectRequest, gives=StoredAnswer,
                 fails=(404, 409))
        app.post("/step/edit", callback=self.edit, access=AUTH, body=EditRequest, gives=StoredAnswer, fails=(404, 409))
        app.post("/step/stop", callback=self.stop, access=AUTH, body=StopRequest, gives=StopAnswer, fails=(502,))
        app.get("/logs", callback=self.logs, access=READ, query=LogsQuery, gives=list[LogRecord])

    def count_anonymous(self) -> None:
        """Counts a proposal that somebody without credentials asks for. Raises TooManyRequests."""
        if server.caller().kind == "anonymous":
            self.anonymous_proposals.count(self.access.address(request.environ))

    def propose(self, body: ProposeRequest) -> ProposeAnswer:
        """Asks the model for a command. Never runs anything; without credentials nothing is stored either."""
        caller = server.caller()
        order = order_of(body, body.task_id)
        proposed = self.propose_order(order, store=body.store and caller.kind != "anonymous")
        if proposed.stored is not None:
            self.changed(proposed.stored.id, OPEN)
        return proposal_answer(proposed)

    def execute(self, body: ExecuteRequest) -> ExecuteAnswer:
        """Runs tool calls, then the command; a failing command is an answer with its exit code, not an error."""
        done = self.run(execution_of(body, body.task_id), decider_of(body, self.access), begun=server.begun())
        return executed_answer(done, self.known)

    def waiting(self, query: WaitingQuery) -> list[StoredAnswer]:
        """Proposals that wait for a decision, oldest first."""
        return [stored_answer(each) for each in proposals.waiting(query.limit, time.time())]

    def find(self, proposal_id: str) -> StoredAnswer:
        """One proposal, and what became of it."""
        return stored_answer(proposals.find(proposal_id))

    def reject(self, body: RejectRequest) -> StoredAnswer:
        """Ends a proposal without running it; the reason is part of the next prompt of its task."""
        refused = proposals.refuse(body.proposal_id, body.reason or "No reason was given.", server.caller().name, time.time())
        self.changed(refused.id, refused.state)
        return stored_answer(refused)

    def edit(self, body: EditRequest) -> StoredAnswer:
        """Makes a new proposal with another command, which remembers the one it replaces; that one ends as refused."""
        edited = self.steps.decisions.edit(body.proposal_id, body.command, server.caller().name)
        self.changed(edited.id, edited.state)
        return stored_answer(edited)

    def stop(self, body: StopRequest) -> StopAnswer:
        """Ends the command that runs in a task's session, with everything it started; it is recorded as interrupted."""
        return StopAnswer(self.end(body.task_id))

    def logs(self, query: LogsQuery) -> Raw:
        """The last `limit` executions, oldest first; `task_id` filters exactly."""
        return Raw(b"[" + b",".join(self.journal.last(query.limit, query.task_id)) + b"]")


def order_of(body: ProposeFields, task_id: str | None) -> Order:
    history = tuple(Earlier(each.prompt, each.reason, each.command, each.output, each.exit_code, each.refused)
                    for each in body.history or ())
    return Order(body.prompt, body.provider, body.model, tuple(body.providers or ()), task_id, history)


def execution_of(body: ExecuteFields, task_id: str | None) -> Execution:
    return Execution(body.command, tool_calls(body.tool_calls or []), body.timeout, task_id, body.retries,
                     body.retry_delay, body.reason, body.proposal_id)


def decider_of(body: ExecuteFields, access: Access) -> Decider:
    by = server.by(access)
    return Decider(by.name, by.admin, person=not body.autonomous, address=by.address)


def tool_calls(items: list[dict]) -> tuple[ToolCall, ...]:
    """Returns the calls. Raises InvalidInput for an item without a name."""
    calls = []
    for number, item in enumerate(items):
        nested = item.get("function")
        function = nested if isinstance(nested, dict) else item
        name, args = function.get("name"), function.get("args", function.get("arguments", {}))
        if isinstance(args, str):
            try:
                args = payloads.value(args.encode("utf-8", "replace"))
            except InvalidInput:
                args = None
        if not isinstance(name, str) or not 0 < len(name) <= 200 or not isinstance(args, dict) or deeper(args):
            raise InvalidInput(f"tool_calls[{number}] needs a name (at most 200 characters) and args (an object of at most "
                               f"{DEEPEST} levels).",
                               code="invalid_tool_calls", details=f"tool_calls[{number}]")
        calls.append(ToolCall(name, args))
    return tuple(calls)


def executed_answer(done: Executed, hide: Callable[[str], str]) -> ExecuteAnswer:
    return ExecuteAnswer(hide(done.output), hide(done.stdout), hide(done.stderr), done.exit_code, done.task_id,
                         "completed" if done.exit_code == 0 else "failed", done.id, round(done.duration_s, 6), done.agent)


def proposal_answer(proposed: Proposed) -> ProposeAnswer:
    verdict, comparisons, stored = proposed.verdict, proposed.comparisons, proposed.stored
    return ProposeAnswer(
        **proposal_fields(proposed.proposal), model=proposed.model,
        comparisons=None if comparisons is None else {
            name: ComparisonAnswer(error=each.message) if isinstance(each, AnantaError) else ComparisonAnswer(**proposal_fields(each))
            for name, each in comparisons.items()},
        decision=verdict.decision if verdict else None, reasons=list(verdict.reasons) if verdict else [],
        id=stored.id if stored else None, digest=stored.digest if stored else None,
        expires_at=stored.expires_at if stored else None)


def stored_answer(stored: StoredProposal) -> StoredAnswer:
    values: dict[str, Any] = {each.name: getattr(stored, each.name) for each in dataclasses.fields(StoredAnswer)}
    if stored.state == OPEN and not stored.waits(time.time()):
        values["state"] = EXPIRED  # the store writes that at the next start
    return StoredAnswer(**{**values, "reasons": list(stored.reasons)})


def proposal_fields(proposal: Proposal) -> dict[str, Any]:
    calls = proposal.tool_calls
    return {"reason": proposal.reason, "command": proposal.command, "raw": proposal.raw,
            "tool_calls": [ToolCallItem(each.name, each.args) for each in calls] if calls else None}
