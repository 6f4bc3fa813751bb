"""propose and execute: the two verbs of the product.

Nothing else starts a model call for a command, or a process: HTTP, the command line, sgpt and tool calls all come
through here. So whatever ran was decided here, and stands in the journal.
"""
import logging
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ananta.agent.configuration import LiveConfiguration
from ananta.agent.decisions import Decisions
from ananta.agent.lanes import Lane
from ananta.agent.live import Live
from ananta.agent.meter import Meter
from ananta.agent.tools import By, ToolResult, Tools
from ananta.domain import answers, prompts, schedule
from ananta.domain.configuration import PROVIDERS, ModelSetting
from ananta.domain.proposals import StoredProposal
from ananta.domain.steps import (
    ALLOW,
    ASK,
    DENIED,
    DENY,
    FINISHED,
    INTERRUPTED,
    Outcome,
    Proposal,
    Record,
    ToolCall,
    Verdict,
)
from ananta.errors import (
    AnantaError,
    ApprovalRequired,
    CommandDenied,
    Conflict,
    InvalidInput,
    JournalFailed,
    LLMFailed,
    NotAllowed,
    RanUnrecorded,
    ShuttingDown,
)
from ananta.shell.runner import Runner, Session
from ananta.store import proposals
from ananta.store.journal import Journal
from ananta.store.llm_log import LLMLog

if TYPE_CHECKING:
    from ananta.llm.catalog import LanguageModels

log = logging.getLogger(__name__)
PROPOSE_BUDGET_S = 55.0
SESSION_WAIT_S = 30.0
WAITING_PLACES = 64
DEFAULT_SESSION = "default"
REFUSALS = 3
GENERIC_ORDER = "Propose one command that shows what should be looked at next."
SEPARATOR = "\n---\n"


@dataclass(frozen=True)
class Order:
    """What is asked of the model. history: earlier rounds of the same conversation, oldest first."""

    prompt: str | None = None
    provider: str | None = None
    model: str | None = None
    providers: tuple[str, ...] = ()
    task_id: str | None = None
    history: tuple[prompts.Earlier, ...] = ()


@dataclass(frozen=True)
class Proposed:
    """A proposal and what the policy says of its command. comparisons: per requested provider, a Proposal or the
    error of that provider; model: who answered, as "provider:model"."""

    proposal: Proposal
    verdict: Verdict | None
    model: str
    comparisons: dict[str, Proposal | AnantaError] | None = None
    stored: StoredProposal | None = None


@dataclass(frozen=True)
class Execution:
    """What shall run, tool calls first. timeout_s None: the configured limit. proposal_id: run exactly that stored
    command, in its session. scheduled_id: the entry of the schedule that it is a run of, each in a session of its own;
    approval: what a person has approved of that (domain/schedule.py), and nothing else runs."""

    command: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    timeout_s: int | None = None
    task_id: str | None = None
    retries: int = 0
    retry_delay_s: int = 1
    reason: str | None = None
    proposal_id: str | None = None
    scheduled_id: str | None = None
    approval: str | None = None


@dataclass(frozen=True)
class Decider:
    """On whose decision something runs. person: somebody saw the command and sent it, so `ask` is answered; address: where
    that came from, None for this process itself."""

    name: str
    admin: bool
    person: bool
    address: str | None = None


@dataclass(frozen=True)
class Executed:
    """What an execution came to; exit_code and output cover the tools and the command together."""

    id: str
    output: str
    stdout: str
    stderr: str
    exit_code: int
    duration_s: float
    verdict: Verdict | None
    cut_bytes: int
    ended: str | None
    task_id: str | None = None
    agent: str = ""


class Steps:
    """Proposes and executes within the lanes, under the policy, with a record of everything that ran.

    models: gives the language models; called when the first one is needed, since a start needs none."""

    def __init__(self, *, agent_name: str, models: Callable[[], "LanguageModels"], runner: Runner, journal: Journal, llm_log: LLMLog,
                 configuration: LiveConfiguration, decide: Callable[..., Verdict], decisions: Decisions, tools: Tools,
                 meter: Meter, model_lane: Lane, command_lane: Lane, containment: bool, known: Callable[[str], str],
                 now: Callable[[], float] = time.time):
        self.agent_name, self.models, self.runner, self.journal = agent_name, models, runner, journal
        self.llm_log, self.configuration, self.tools, self.meter = llm_log, configuration, tools, meter
        self.decide_command, self.decisions, self.containment, self.known, self.now = (
            decide, decisions, containment, known, now)
        self.model_lane, self.command_lane = model_lane, command_lane
        self.waiting = Lane("commands that wait for their session", WAITING_PLACES, retry_after_s=2)
        self.stopping = threading.Event()
        self._running: dict[str, threading.Event] = {}
        # Shows what commands print while they run, where somebody can look.
        self.live: Live | None = None
        # Told of every run: just before it begins, and with its record as it stands in the log. They raise nothing.
        self.on_begin: list[Callable[[Record], None]] = []
        self.on_record: list[Callable[[Record], None]] = []

    # --- propose

    def propose(self, order: Order, *, store: bool) -> Proposed:
        """Returns what the model suggests; runs nothing. store: leave a line in the model log.

        Raises LLMFailed (`llm_failed`; `all_llm_failed` when every compared provider failed), Busy, BreakerOpen,
        InvalidInput."""
        until = time.monotonic() + min(PROPOSE_BUDGET_S, self.configuration["http_timeout"])
        if store:
            order = replace(order, history=(*proposals.refusals(order.task_id, REFUSALS), *order.history))
        wanted = order.providers or (None,)
        with self.model_lane.take(len(wanted)):
            if order.providers:
                proposed = self._compare(order, until)
            else:
                proposal, model = self._ask(self._setting(order, None), order, until)
                proposed = Proposed(proposal, None, model)
        proposal = proposed.proposal
        if proposal.command is not None:
            verdict = self.verdict(proposal.command, order.task_id)
            proposed = replace(proposed, verdict=verdict)
            if store:
                proposed = replace(proposed, stored=self.decisions.keep(
                    command=proposal.command, verdict=verdict, session=order.task_id or DEFAULT_SESSION,
                    task_id=order.task_id, prompt=order.prompt or "", reason=proposal.reason, model=proposed.model,
                    raw=proposal.raw))
        if store:
            self.llm_log.write("proposal", task_id=order.task_id, agent=self.agent_name, prompt=order.prompt,
                               reason=proposal.reason, command=proposal.command, model=proposed.model,
                               tool_calls=[{"name": each.name, "args": each.args} for each in proposal.tool_calls or ()])
        return proposed

    def verdict(self, command: str, task_id: str | None = None) -> Verdict:
        """Returns what the policy says of a command in the working directory of the task's session; runs nothing."""
        return self.decide_command(command, self.runner.directory(task_id or DEFAULT_SESSION))

    def unattended(self, command: str) -> tuple[Verdict, str]:
        """Returns what the policy says of a command that runs with nobody there, and in which folder that is."""
        cwd = self.runner.home
        return self.decide_command(command, cwd, built_in_only=not self.containment), cwd

    def _setting(self, order: Order, name: str | None) -> ModelSetting:
        provider, _, model = (name or order.provider or "").partition(":")
        if provider and provider not in PROVIDERS:
            raise InvalidInput(f"There is no provider {provider!r}: use one of {', '.join(PROVIDERS)}.",
                               code="unknown_provider", details=provider)
        return self.configuration.model(provider or None, model or (order.model if name is None else None))

    def _ask(self, setting: ModelSetting, order: Order, until: float) -> tuple[Proposal, str]:
        target, reply = self.complete(setting, self._messages(order), schema=prompts.PROPOSAL_SCHEMA,
                                      budget_s=until - time.monotonic(), temperature=0.0, max_tokens=400)
        return answers.parse(reply.text), f"{target.provider}:{reply.model}"

    def complete(self, setting: ModelSetting, messages: Sequence[prompts.Message], *, budget_s: float, schema=None,
                 temperature: float = 0.2, max_tokens: int = 1024):
        """One counted model call. Returns the target that was asked and its Reply; raises LLMFailed, BreakerOpen."""
        from ananta.llm.provider import Target

        start = time.monotonic()
        target = Target(setting.provider, setting.model, setting.url, setting.key, setting.mode, setting.guarded)
        try:
            found = self.models().locate(target, explicit=setting.explicit, timeout_s=min(2.0, max(budget_s, 0.1))).target
            target = found if found.provider == target.provider or not setting.named else target
            left = budget_s - (time.monotonic() - start)
            return target, self.models().complete(target, messages, schema=schema, budget_s=max(left, 0.1),
                                                max_tokens=max_tokens, temperature=temperature, stop=self.stopping)
        finally:
            self.meter.llm_call(time.monotonic() - start, urlsplit(target.url).netloc or target.provider)

    def _messages(self, order: Order) -> list[prompts.Message]:
        return prompts.proposal_messages(
            order.prompt or GENERIC_ORDER, shell_kind=self.runner.shell_kind, os_name=platform.system(),
            cwd=self.runner.directory(order.task_id or DEFAULT_SESSION), history=order.history)

    def _compare(self, order: Order, until: float) -> Proposed:
        from concurrent.futures import ThreadPoolExecutor  # few proposals compare

        names = tuple(dict.fromkeys(order.providers))
        settings = {name: self._setting(order, name) for name in names}

        def ask(name: str) -> tuple[Proposal, str] | AnantaError:
            try:
                return self._ask(settings[name], order, until)
            except AnantaError as error:
                return error

        with ThreadPoolExecutor(len(names), "compare") as pool:
            results = dict(zip(names, pool.map(ask, names), strict=True))
        first = next((each for each in results.values() if not isinstance(each, AnantaError)), None)
        if first is None:
            told = "; ".join(f"{name}: {error}" for name, error in results.items())
            raise LLMFailed(f"None of the providers answered: {told}", code="all_llm_failed")
        shown = {name: each if isinstance(each, AnantaError) else each[0] for name, each in results.items()}
        return Proposed(first[0], None, first[1], shown)

    # --- execute

    def execute(self, wanted: Execution, decider: Decider, *, on_output: Callable[[str], None] | None = None,
                stop: threading.Event | None = None, begun: Callable[[str | None], None] | None = None) -> Executed:
        """Returns what ran; a command that fails is a result, too. Everything is in the journal before this returns.

        begun: called with the run's id just before anything runs, with None if it does not come to that. Raises CommandDenied, ApprovalRequired and Conflict
        (`proposal_changed`, `proposal_used`, ...; nothing ran), InvalidInput, NotAllowed, NotFound, Busy, ShellFailed,
        and JournalFailed: if that comes before the run, nothing ran."""
        shown = proposals.undecided(wanted.proposal_id, self.now()) if wanted.proposal_id else None
        if shown is not None:
            if wanted.tool_calls or wanted.command not in (None, "", shown.command) or (
                    wanted.task_id not in (None, shown.task_id)):
                raise Conflict("This is not what was shown: a proposal runs as it stands. Edit it to change it.",
                               code="proposal_changed")
            wanted = replace(wanted, command=shown.command, task_id=shown.task_id, reason=wanted.reason or shown.reason)
        if not (wanted.command and wanted.command.strip()) and not wanted.tool_calls:
            raise InvalidInput("Give a command or tool_calls.", code="command_required")
        if "\0" in (wanted.command or ""):
            raise InvalidInput("command contains a NUL character, which no shell can take.", details="command")
        if wanted.tool_calls and not decider.admin:
            raise NotAllowed("Only administrators may run tool calls.")
        if not decider.person and (names := self.tools.changing(wanted.tool_calls)):
            raise ApprovalRequired(f"Tools that change something need a person's decision: {', '.join(names)}.", tools=names)
        if self.stopping.is_set():
            raise ShuttingDown("This agent is stopping: try again when it has started anew.", retry_after=10)
        key = wanted.task_id or (schedule.session(wanted.scheduled_id) if wanted.scheduled_id else DEFAULT_SESSION)
        with self.waiting.take():
            held = self.runner.fresh_session() if wanted.scheduled_id else self.runner.session(key, SESSION_WAIT_S)
            session = held.__enter__()
        try:
            with self.command_lane.take():
                stop = self._running[key] = stop or threading.Event()
                return self._run(wanted, decider, session, shown, on_output, stop, begun)
        finally:
            self._running.pop(key, None)
            held.__exit__(None, None, None)

    def stop(self, task_id: str | None) -> bool:
        """Ends the command that runs in the session of the task. Returns whether one was running."""
        event = self._running.get(task_id or DEFAULT_SESSION)
        if event is not None:
            event.set()
        return event is not None

    def _run(self, wanted: Execution, decider: Decider, session: Session, shown: StoredProposal | None, on_output, stop,
             begun) -> Executed:
        if shown is not None:
            proposals.undecided(shown.id, self.now())  # the wait for the session may have been long
        verdict = self._verdict(wanted, decider, session.cwd, shown)
        contained = None if decider.person or not wanted.command else self.containment
        record = Record(
            id=self.runner.next_id(session, contained=contained is True), timestamp=self.now(), agent=self.agent_name, command=wanted.command, output="",
            exit_code=-1, task_id=wanted.task_id, cwd=session.cwd,
            tool_calls=tuple(map(self.tools.shown, wanted.tool_calls)) or None,
            reason=wanted.reason or "manual", decision=verdict.decision if verdict else None,
            decided_by=decider.name if decider.person or verdict is None or verdict.decision != ALLOW else "policy",
            reasons=verdict.reasons if verdict else (), contained=contained,
            proposal_id=shown.id if shown else None, scheduled_id=wanted.scheduled_id)
        if verdict:
            self._refuse(record, verdict, decider)
        if shown is not None:
            proposals.claim(shown.id, record.id, decider.name, self.now())
        try:
            if begun is not None:
                begun(record.id)
            self.journal.started(record)
            for told in self.on_begin:
                told(record)
        except BaseException:
            if shown is not None:
                proposals.release(shown.id, record.id)
            if begun is not None:
                begun(None)
            raise
        self.meter.count("task_received")
        if self.live is not None and wanted.command:
            on_output = _both(self.live.began(wanted.task_id or DEFAULT_SESSION, record), on_output)
        start = time.monotonic()
        try:
            by = By(decider.name, decider.admin, decider.address)
            results = [self.tools.call(each, by) for each in wanted.tool_calls]
            outcome = self._attempts(wanted, session, record, on_output, stop, plain=verdict is not None and not verdict.opaque
                                     ) if wanted.command else None
        except BaseException as failure:
            # Without an outcome there is still a record: that it was tried, and what prevented it.
            self._finish(replace(record, output=f"[not run: {failure}]"), start)
            raise
        executed = _joined(record.id, results, outcome, verdict, time.monotonic() - start)
        self.meter.count("task_completed" if executed.exit_code == 0 else "task_failed")
        try:
            self._finish(replace(record, output=executed.output, exit_code=executed.exit_code,
                                 output_cut=executed.cut_bytes,
                                 state=INTERRUPTED if executed.ended == "interrupted" else FINISHED), start)
        except JournalFailed as cause:
            # No Retry-After and no 503: a client that tries again would run it twice.
            raise RanUnrecorded(
                f"The command has run; do not send it again. Its record is written as soon as that is possible: {cause}",
                id=record.id, exit_code=executed.exit_code, output=self.known(executed.output)) from cause
        return replace(executed, task_id=wanted.task_id, agent=self.agent_name)

    def _refuse(self, record: Record, verdict: Verdict, decider: Decider) -> None:
        if verdict.decision == DENY:
            self.journal.finished(replace(record, state=DENIED, decided_by="policy",
                                          output="[denied: " + "; ".join(verdict.reasons) + "]"))
            raise CommandDenied("This command is denied: " + "; ".join(verdict.reasons), reasons=list(verdict.reasons))
        if verdict.decision == ASK and not decider.person:
            raise ApprovalRequired("This command needs a person's decision: " + "; ".join(verdict.reasons),
                                   command=record.command, reasons=list(verdict.reasons))

    def _finish(self, record: Record, start: float) -> None:
        done = replace(record, timestamp=self.now(), duration=round(time.monotonic() - start, 6))
        try:
            done = self.journal.finished(done)
        finally:
            if self.live is not None:
                self.live.ended(done)
        for told in self.on_record:
            told(done)

    def _verdict(self, wanted: Execution, decider: Decider, cwd: str, shown: StoredProposal | None) -> Verdict | None:
        verdict = self.decisions.check(shown, cwd) if shown is not None else None
        # What nobody looks at and nothing holds back may only read, whatever rules allow beyond that.
        built_in_only = (not decider.person or wanted.approval is not None) and not self.containment
        if wanted.command and (verdict is None or built_in_only):
            verdict = self.decide_command(wanted.command, cwd, built_in_only=built_in_only)
        if wanted.approval is not None and (verdict is None or wanted.approval != schedule.approval(
                wanted.command or "", cwd, wanted.scheduled_id or "", self.agent_name, verdict)):
            raise Conflict("This is no longer what was approved.", code="schedule_changed")
        return verdict

    def _attempts(self, wanted: Execution, session: Session, record: Record, on_output, stop, *, plain: bool) -> Outcome:
        timeout_s = wanted.timeout_s or self.configuration["command_timeout"]
        for attempt in range(wanted.retries + 1):
            outcome = self.runner.run(wanted.command or "", session=session, run_id=record.id, timeout_s=timeout_s,
                                      on_output=on_output, stop=stop, contained=record.contained is True, plain=plain)
            if outcome.exit_code == 0 or outcome.ended == "interrupted" or attempt == wanted.retries:
                break
            self.meter.count("retries")
            if stop.wait(wanted.retry_delay_s) or self.stopping.is_set():
                break
        notes = outcome.notes + ((f"{attempt + 1} attempts",) if attempt else ())
        return replace(outcome, notes=notes)


def _both(first: Callable[[str], None], second: Callable[[str], None] | None) -> Callable[[str], None]:
    if second is None:
        return first

    def feed(text: str) -> None:
        first(text)
        second(text)

    return feed


def _joined(run_id: str, results: Sequence[ToolResult], outcome: Outcome | None, verdict: Verdict | None,
            duration_s: float) -> Executed:
    parts = [f"{each.tool}: {'ok' if each.success else 'failed'}\n{each.output if each.success else each.error}"
             for each in results]
    exit_code = 0 if all(each.success for each in results) else 1
    if outcome is None:
        return Executed(run_id, SEPARATOR.join(parts), SEPARATOR.join(parts), "", exit_code, duration_s, verdict, 0, None)
    notes = "".join(f"\n[{note}]" for note in outcome.notes)
    output = SEPARATOR.join([*parts, (outcome.output + notes).strip()])
    return Executed(run_id, output, outcome.stdout, outcome.stderr, outcome.exit_code or exit_code, duration_s, verdict,
                    outcome.cut_bytes, outcome.ended)
