"""propose and execute for a task: here, or at the agent that has the task.

Whatever runs is in the hub's own log, too, before it begins. What the hub cannot know (a worker that was lost in the
middle of a run) is recorded as unknown, and neither repeated nor called failed.
"""
import dataclasses
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ananta.agent.decisions import Decisions
from ananta.agent.steps import GENERIC_ORDER, Decider, Executed, Execution, Order, Proposed, Steps
from ananta.domain import answers, templates
from ananta.domain.prompts import Earlier
from ananta.domain.proposals import StoredProposal, digest
from ananta.domain.steps import (
    DENIED,
    DENY,
    EXIT_CODES,
    NOT_RUN,
    UNKNOWN,
    Proposal,
    Record,
    ToolCall,
    Verdict,
)
from ananta.domain.tasks import Task
from ananta.domain.teams import Surroundings
from ananta.domain.templates import Template
from ananta.domain.values import differing
from ananta.errors import (
    AnantaError,
    ApprovalRequired,
    CommandDenied,
    Conflict,
    ForwardingFailed,
    InvalidInput,
    JournalFailed,
    NotAllowed,
    NotFound,
    RanUnrecorded,
    ShuttingDown,
    StoreFailed,
)
from ananta.hub.forwarding import OutcomeUnknown, Workers
from ananta.hub.relay import Relay
from ananta.hub.task_history import TaskHistory
from ananta.store import proposals, tasks, teams
from ananta.store import templates as stored_templates

log = logging.getLogger(__name__)
HISTORY = 8  # steps of a task that a model is told about
PROPOSE_S, BESIDE_S, STOP_S = 55.0, 10.0, 10.0
# In a stored proposal, instead of a folder: the agent it is for has stored it under the same id, and is bound by it.
AT_THE_AGENT = "@agent"


@dataclass(frozen=True)
class Target:
    """The agent that has a task. name: as it registered, else its URL; tokens: what it wants to see, and what it wanted before."""

    url: str
    name: str
    tokens: tuple[str | None, ...]


@dataclass(frozen=True)
class TaskProposal:
    """What was proposed for a task. comparisons: per requested provider a Proposal or what failed, as a sentence."""

    proposal: Proposal
    decision: str | None
    reasons: tuple[str, ...]
    model: str | None
    comparisons: dict[str, Proposal | str] | None
    stored: StoredProposal | None


class TaskSteps:
    """The two verbs for tasks. target_of: the agent of a task, None when it is this process itself; flush: returns when
    other hubs can read the records that this one has written."""

    def __init__(self, *, steps: Steps, decisions: Decisions, workers: Workers, target_of: Callable[[Task], Target | None],
                 changed: Callable[[Task], None], flush: Callable[[], None], now: Callable[[], float] = time.time):
        self.steps, self.decisions, self.workers, self.target_of = steps, decisions, workers, target_of
        self.changed, self.flush, self.now = changed, flush, now
        self.history = TaskHistory(steps, changed, flush, now)
        self.relay: Relay | None = None

    # --- propose

    def propose(self, task_id: str, order: Order, *, store: bool) -> TaskProposal:
        """Returns what a model suggests for the task; store: keep it, too. Raises NotFound, LLMFailed,
        ForwardingFailed, Busy, InvalidInput."""
        task = tasks.find(task_id)
        target = self.target_of(task)
        order = self._assembled(task, order, target.name if target else self.steps.agent_name)
        proposed = self._here(order, store) if target is None else self._there(target, task, order, store)
        if store:
            self._keep(task, proposed)
        return proposed

    def propose_here(self, order: Order, *, store: bool) -> Proposed:
        """Steps.propose; a task of that id remembers what was proposed."""
        done = self.steps.propose(order, store=store)
        if store and order.task_id and tasks.exists(order.task_id):
            self._keep(tasks.find(order.task_id), _of_here(done))
        return done

    def _assembled(self, task: Task, order: Order, agent_name: str) -> Order:
        """The order with the text of the template that counts for the task, the model this prefers, and what happened in
        the task before. agent_name: of whom is asked."""
        around = teams.surroundings(task)
        template = self._template(task, around)
        wanted = order.prompt or task.description or task.title or GENERIC_ORDER
        order = differing(order, prompt=wanted, task_id=task.id, history=(*_earlier(task.id), *order.history))
        if template is None:
            return order
        text = templates.fill(template.prompt_template, templates.values_of(
            task, agent_name=agent_name, team_name=around.team_name, team_goal=around.team_goal, role_name=around.role_name),
            template.defaults)
        free = not (order.provider or order.model or order.providers)
        return differing(order, prompt=f"{text}\n\n{wanted}", provider=template.provider if free else order.provider,
                       model=template.model if free else order.model)

    def _template(self, task: Task, around: Surroundings) -> Template | None:
        wanted = templates.chosen(task.template_id, of_member=around.of_member, of_team_role=around.of_team_role,
                                  of_type_link=around.of_type_link, of_role=around.of_role)
        try:
            return stored_templates.find(wanted) if wanted else None
        except NotFound:
            log.info("the template %s of task %s is gone", wanted, task.id)
            return None

    def _here(self, order: Order, store: bool) -> TaskProposal:
        return _of_here(self.steps.propose(order, store=store))

    def _there(self, target: Target, task: Task, order: Order, store: bool) -> TaskProposal:
        earlier = (*proposals.refusals(task.id, 3), *order.history)
        body = {"prompt": order.prompt, "provider": order.provider, "model": order.model, "task_id": task.id,
                "providers": list(order.providers) or None, "store": store,
                "history": [_earlier_fields(each) for each in earlier] or None}
        answer = self.workers.propose(target.url, target.tokens, {name: each for name, each in body.items() if each is not None},
                                      timeout_s=PROPOSE_S)
        proposal = _proposal_of(answer)
        decision = answer.get("decision") if answer.get("decision") in ("allow", "ask", "deny") else None
        reasons = tuple(each for each in answer.get("reasons") or () if isinstance(each, str))
        model = answer.get("model") if isinstance(answer.get("model"), str) else None
        stored = None
        if store and proposal.command:
            stored = self._store(target, task, order, proposal, answer.get("id"), decision or "ask", reasons, model)
        compared = answer.get("comparisons")
        comparisons: dict[str, Proposal | str] | None = None
        if isinstance(compared, dict):
            comparisons = {str(name): str(each.get("error")) if each.get("error") else _proposal_of(each)
                           for name, each in compared.items() if isinstance(each, dict)}
        return TaskProposal(proposal, decision, reasons, model, comparisons, stored)

    def _store(self, target: Target, task: Task, order: Order, proposal: Proposal, their_id: object, decision: str,
               reasons: tuple[str, ...], model: str | None) -> StoredProposal:
        bound = isinstance(their_id, str) and 0 < len(their_id) <= 100
        cwd, now, command = AT_THE_AGENT if bound else "", self.now(), proposal.command or ""
        kept = StoredProposal(
            id=their_id if isinstance(their_id, str) and bound else "P-" + os.urandom(8).hex(),
            digest=digest(command, cwd, task.id, target.url), command=command, cwd=cwd, session=task.id, target=target.url,
            task_id=task.id, prompt=order.prompt or "", reason=proposal.reason, decision=decision, reasons=reasons,
            model=model, created_at=now, expires_at=now + self.decisions.lifetime_s, raw=proposal.raw)
        proposals.add(kept)
        return kept

    def _keep(self, task: Task, proposed: TaskProposal) -> None:
        proposal = proposed.proposal
        kept: dict = {"reason": proposal.reason}
        if proposal.command is not None:
            kept["command"] = proposal.command
        if proposal.tool_calls:
            kept["tool_calls"] = [dataclasses.asdict(each) for each in proposal.tool_calls]
        if proposed.comparisons:
            kept["comparisons"] = {name: {"error": each} if isinstance(each, str) else _shown(each)
                                   for name, each in proposed.comparisons.items()}
        if proposed.stored:
            kept["id"] = proposed.stored.id
        self.changed(tasks.set_proposal(task.id, kept, self.now()))

    # --- execute

    def execute(self, task_id: str, wanted: Execution, decider: Decider, *,
                begun: Callable[[str | None], None] | None = None) -> Executed:
        """Returns what ran, here or at the agent of the task; with neither command nor tool calls, what was proposed
        last. Raises NotFound, InvalidInput (`no_proposal`), what Steps.execute raises, and ForwardingFailed."""
        task = tasks.find(task_id)
        wanted = differing(self._filled(task, wanted), task_id=task_id)
        target = self.target_of(task)
        if target is None:
            return self.steps.execute(wanted, decider, begun=begun)
        return self._forward(task, target, wanted, decider, begun)

    def execute_proposal(self, wanted: Execution, decider: Decider, *,
                         begun: Callable[[str | None], None] | None = None) -> Executed:
        """Runs what /step/execute names: here, unless it is a proposal of another agent."""
        if wanted.proposal_id and not self._is_ours(proposals.find(wanted.proposal_id)):
            shown = proposals.undecided(wanted.proposal_id, self.now())
            return self.execute(shown.task_id or "", wanted, decider, begun=begun)
        return self.steps.execute(wanted, decider, begun=begun)

    def stop(self, task_id: str | None) -> bool:
        """Ends the command that runs for the task, here or at its agent; says whether one ran. Raises ForwardingFailed."""
        if self.steps.stop(task_id):
            return True
        if task_id is None or not tasks.exists(task_id):
            return False
        target = self.target_of(tasks.find(task_id))
        return target is not None and self.workers.stop(target.url, target.tokens, task_id, timeout_s=STOP_S)

    def _is_ours(self, shown: StoredProposal) -> bool:
        return "://" not in shown.target

    def _filled(self, task: Task, wanted: Execution) -> Execution:
        if wanted.proposal_id or wanted.tool_calls or (wanted.command and wanted.command.strip()):
            return wanted
        last = task.last_proposal or {}
        if not last.get("command") and not last.get("tool_calls"):
            raise InvalidInput("Nothing was proposed for this task yet: give a command, or ask for a proposal first.",
                               code="no_proposal")
        if last.get("id") and not last.get("tool_calls"):
            try:
                proposals.undecided(last["id"], self.now())
                return differing(wanted, proposal_id=last["id"])
            except (Conflict, NotFound):
                pass  # it was run before: whoever asks again wants it again
        calls = tuple(ToolCall(each["name"], each.get("args") or {}) for each in last.get("tool_calls") or ())
        return differing(wanted, command=last.get("command"), tool_calls=calls, reason=wanted.reason or last.get("reason"))

    def _forward(self, task: Task, target: Target, wanted: Execution, decider: Decider, begun) -> Executed:
        shown = proposals.undecided(wanted.proposal_id, self.now()) if wanted.proposal_id else None
        if shown is not None:
            self._check(shown, target, wanted)
            wanted = differing(wanted, command=shown.command, reason=wanted.reason or shown.reason)
        if wanted.tool_calls and not decider.admin:
            raise NotAllowed("Only administrators may run tool calls.")
        if self.steps.stopping.is_set():
            raise ShuttingDown("This agent is stopping: try again when it has started anew.", retry_after=10)
        verdict = self._verdict(wanted.command)
        record = Record(
            id=os.urandom(8).hex(), timestamp=self.now(), agent=target.name, command=wanted.command, output="", exit_code=-1,
            task_id=task.id, tool_calls=tuple(map(self.steps.tools.shown, wanted.tool_calls)) or None, reason=wanted.reason or "manual",
            decision=shown.decision if shown else None, decided_by=decider.name if decider.person else "policy",
            proposal_id=shown.id if shown else None, forwarded_to=target.url)
        if verdict is not None:
            self._denied(record, verdict.reasons)
        if shown is not None:
            proposals.claim(shown.id, record.id, decider.name, self.now())
        try:
            if begun is not None:
                begun(record.id)
            self.steps.journal.started(record)
        except BaseException:
            self._take_back(record, begun)
            raise
        for told in self.steps.on_begin:
            told(record)
        try:
            return self._run_there(task, target, wanted, decider, record, begun)
        finally:
            if self.steps.live is not None:
                # When it has run, that is known by now.
                self.steps.live.ended(differing(record, state=NOT_RUN))

    def _check(self, shown: StoredProposal, target: Target, wanted: Execution) -> None:
        changed = ("the task belongs to another agent now" if shown.target != target.url else
                   "it has been altered in the store"
                   if digest(shown.command, shown.cwd, shown.session, shown.target) != shown.digest else None)
        if changed:
            raise Conflict(f"This is no longer what was shown: {changed}. Ask for a new proposal, or edit this one.",
                           code="proposal_changed")
        if wanted.tool_calls or wanted.command not in (None, "", shown.command) or wanted.task_id != shown.task_id:
            raise Conflict("This is not what was shown: a proposal runs as it stands. Edit it to change it.",
                           code="proposal_changed")

    def _verdict(self, command: str | None) -> Verdict | None:
        """The hub's own refusal. Whether it is allowed or asked about, the agent says, which knows its shell and its
        folders; what the hub's rules deny is not even handed on."""
        verdict = self.steps.verdict(command) if command and command.strip() else None
        return verdict if verdict is not None and verdict.decision == DENY else None

    def _denied(self, record: Record, reasons: tuple[str, ...]) -> None:
        self.steps.journal.finished(differing(record, state=DENIED, decision=DENY, decided_by="policy", reasons=reasons,
                                            output="[denied: " + "; ".join(reasons) + "]"))
        self.flush()
        raise CommandDenied("This command is denied: " + "; ".join(reasons), reasons=list(reasons))

    def _run_there(self, task: Task, target: Target, wanted: Execution, decider: Decider, record: Record, begun) -> Executed:
        timeout_s = wanted.timeout_s or self.steps.configuration["command_timeout"]
        tries = wanted.retries + 1
        body = {"command": wanted.command, "timeout": timeout_s, "retries": wanted.retries, "retry_delay": wanted.retry_delay_s,
                "task_id": task.id, "reason": wanted.reason, "autonomous": not decider.person,
                "tool_calls": [dataclasses.asdict(each) for each in wanted.tool_calls] or None}
        if record.proposal_id and proposals.find(record.proposal_id).cwd == AT_THE_AGENT:
            body["proposal_id"] = record.proposal_id
        start, limit_s = time.monotonic(), timeout_s * tries + wanted.retry_delay_s * wanted.retries + BESIDE_S
        try:
            with self._shown(target, record, limit_s):
                answer = self.workers.execute(
                    target.url, target.tokens, {name: each for name, each in body.items() if each is not None},
                    idempotency_key=f"hub-{record.id}", timeout_s=limit_s)
            done = _executed_of(answer, record, time.monotonic() - start)
        except OutcomeUnknown as unknown:
            self._finish(differing(record, state=UNKNOWN, output=f"[unknown: {unknown.message}]"), start)
            raise
        except (CommandDenied, ApprovalRequired) as refused:
            self._nothing_ran(task, record, begun)
            reasons = refused.extras.get("reasons")
            if isinstance(refused, CommandDenied):
                self._denied(record, tuple(map(str, reasons)) if isinstance(reasons, list) else (refused.message,))
            raise
        except BaseException as failure:
            self._nothing_ran(task, record, begun)
            self.steps.journal.finished(differing(record, state=NOT_RUN, output=f"[not run: {failure}]",
                                                timestamp=self.now()))
            raise
        try:
            self._finish(differing(record, output=done.output, exit_code=done.exit_code, agent=done.agent), start)
        except JournalFailed as cause:
            raise RanUnrecorded(
                f"The command has run; do not send it again. Its record is written as soon as that is possible: {cause}",
                id=record.id, exit_code=done.exit_code, output=self.steps.known(done.output)) from cause
        return done

    def _shown(self, target: Target, record: Record, limit_s: float) -> AbstractContextManager[None]:
        return self.relay.shown(target.url, target.tokens, record, limit_s) if self.relay and record.command else nullcontext()

    def _finish(self, record: Record, start: float) -> None:
        done = differing(record, timestamp=self.now(), duration=round(time.monotonic() - start, 6))
        try:
            done = self.steps.journal.finished(done)
        finally:
            if self.steps.live is not None:
                self.steps.live.ended(done)
        self.history.note(done)

    def _nothing_ran(self, task: Task, record: Record, begun) -> None:
        self._take_back(record, begun)
        if not self.history.running.ended(record.id):
            return
        try:
            self.changed(tasks.set_run_state(task.id, task.run_state, self.now()))
        except (StoreFailed, NotFound) as failure:
            log.warning("the state of task %s could not be taken back: %s", task.id, failure)

    def _take_back(self, record: Record, begun) -> None:
        if record.proposal_id is not None:
            proposals.release(record.proposal_id, record.id)
        if begun is not None:
            begun(None)


def _of_here(done: Proposed) -> TaskProposal:
    comparisons = None if done.comparisons is None else {
        name: each.message if isinstance(each, AnantaError) else each for name, each in done.comparisons.items()}
    return TaskProposal(done.proposal, done.verdict.decision if done.verdict else None,
                        done.verdict.reasons if done.verdict else (), done.model, comparisons, done.stored)


def _earlier(task_id: str) -> tuple[Earlier, ...]:
    return tuple(Earlier(prompt=step.prompt or "", reason=step.reason, command=step.command, output=step.output,
                         exit_code=step.exit_code) for step in tasks.last_steps(task_id, HISTORY))


def _earlier_fields(step: Earlier) -> dict:
    fields = {"prompt": step.prompt[:20_000], "reason": step.reason, "command": step.command, "output": step.output,
              "exit_code": step.exit_code, "refused": step.refusal}
    return {name: each for name, each in fields.items() if each is not None}


def _proposal_of(answer: dict) -> Proposal:
    """The proposal in a worker's answer. A worker of another make may send other types: they count as missing. Raises
    ForwardingFailed when nothing of a proposal is in it."""
    def text(name: str) -> str | None:
        return answer[name] if isinstance(answer.get(name), str) else None

    calls = answers.tool_calls_of(answer.get("tool_calls"))
    if not calls and all(text(name) is None for name in ("reason", "command", "raw")):
        raise ForwardingFailed("The agent's answer is no proposal. Is this the address of an agent?",
                               details="reason, command and raw are missing")
    return Proposal(text("reason") or "", text("command") or None, calls, text("raw") or "")


def _executed_of(answer: dict, record: Record, duration_s: float) -> Executed:
    """What a worker answered, or ForwardingFailed when it is no such answer."""
    code = answer.get("exit_code")
    output = answer.get("output")
    if not isinstance(code, int) or isinstance(code, bool) or code not in EXIT_CODES or not isinstance(output, str):
        raise OutcomeUnknown("The agent's answer has no exit code and output, so what ran is not known.",
                             details="exit_code or output is missing or impossible")
    streams = [each if isinstance(each, str) else "" for each in (answer.get("stdout"), answer.get("stderr"))]
    agent = answer.get("agent")
    name = agent if isinstance(agent, str) and 0 < len(agent) <= 64 and agent.isprintable() else record.agent
    return Executed(record.id, output, streams[0], streams[1], code, duration_s, None, 0, None, record.task_id, name)


def _shown(proposal: Proposal) -> dict:
    calls = proposal.tool_calls
    return {"reason": proposal.reason, "command": proposal.command, "raw": proposal.raw,
            "tool_calls": [dataclasses.asdict(each) for each in calls] if calls else None}

