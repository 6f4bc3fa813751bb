"""The scheduler: runs what is due, as nobody would be asked about it.

Everything goes through `Steps.execute`, so the policy, the log and the places are those of every command. An entry never
runs twice at once, nor one of its times twice, whoever shares the database. Times that were missed are counted, and not
made up for.
"""
import logging
import os
import threading
import time
from collections.abc import Callable

from ananta.agent.steps import Decider, Executed, Execution, Steps
from ananta.domain import schedule as rules
from ananta.domain.schedule import Entry, Judged
from ananta.domain.steps import DENY
from ananta.errors import (
    AnantaError,
    ApprovalRequired,
    Busy,
    CommandDenied,
    Conflict,
    InvalidInput,
    RanUnrecorded,
    ShuttingDown,
    StoreFailed,
)
from ananta.store import database, schedule

log = logging.getLogger(__name__)
TICK_S, STOP_S, GRACE_S = 1.0, 2.0, 60.0
# At once; and so many places for commands stay with people.
MOST, LEFT = 10, 2
SCHEDULER = "scheduler"


class Scheduler:
    """scope: whose entries; owner: who runs them here, another name in every process that shares the database."""

    def __init__(self, steps: Steps, *, scope: str, owner: str, now: Callable[[], float] = time.time):
        self.steps, self.scope, self.owner, self.now = steps, scope, owner, now
        self.places = min(MOST, max(1, steps.command_lane.places - LEFT))
        self._running: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False

    def start(self) -> None:
        """Takes up what the last stop interrupted, and begins."""
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Begins nothing more, and lets what has just ended be noted."""
        self._stop.set()
        until = time.monotonic() + STOP_S
        for thread in [*self._running, *([self._thread] if self._thread else [])]:
            thread.join(max(0.0, until - time.monotonic()))

    # --- what people do

    def add(self, command: str, interval_s: int, by: str) -> Entry:
        """Stores a command that first runs an interval from now. Raises InvalidInput, CommandDenied, Conflict."""
        if not command.strip():
            raise InvalidInput("command is missing.", code="missing_command", details="command")
        now = self.now()
        entry = Entry("S-" + os.urandom(8).hex(), self.scope, command, interval_s, now + interval_s, by, now)
        _refuse_denied(self.judged(entry))
        schedule.add(entry)
        return entry

    def approve(self, entry_id: str, digest: str, by: str) -> Entry:
        """Lets an entry run from now on, as it was shown. Raises NotFound, CommandDenied, and Conflict `schedule_changed`
        when it is no longer that."""
        entry = schedule.find(self.scope, entry_id)
        judged = self.judged(entry)
        _refuse_denied(judged)
        if judged.digest != digest:
            raise Conflict("This is no longer what was shown: look at it again (GET /schedule), and approve that.",
                           code="schedule_changed", digest=judged.digest)
        schedule.approve(entry.id, digest, by, self.now())
        return schedule.find(self.scope, entry_id)

    def judged(self, entry: Entry) -> Judged:
        """Returns what holds for the entry here and now."""
        verdict, cwd = self.steps.unattended(entry.command)
        return Judged(verdict, cwd, rules.approval(entry.command, cwd, entry.id, self.steps.agent_name, verdict))

    # --- running

    def round(self) -> None:
        """Begins what is due and may run, as far as there is room."""
        for entry in schedule.due(self.scope, self.now()):
            if self._stop.is_set() or self.steps.stopping.is_set() or not self._room():
                return
            judged = self.judged(entry)
            if not judged.may_run(entry):
                self._hold(entry, judged)
                continue
            timeout_s, now = self.steps.configuration["command_timeout"], self.now()
            if schedule.claim(entry, self.owner, now + timeout_s + GRACE_S, now):
                self._begin(entry, judged, timeout_s)

    def _work(self) -> None:
        taken_up = False
        while not self._stop.wait(TICK_S):
            try:
                if not taken_up:
                    schedule.reclaim(self.owner)
                    taken_up = True
                self.round()
                self._failed = False
            except Exception as failure:
                if not self._failed:
                    log.warning("the scheduler cannot work for now: %s", failure, exc_info=not isinstance(failure, StoreFailed))
                self._failed = True
        database.close_mine()

    def _room(self) -> bool:
        lane = self.steps.command_lane
        return len(self._running) < self.places and lane.busy < max(1, lane.places - LEFT)

    def _hold(self, entry: Entry, judged: Judged) -> None:
        decision = judged.verdict.decision
        if not schedule.hold(entry, decision):
            return
        log.warning("the scheduled command %s is not run: %s", entry.id, "the policy denies it" if decision == DENY else
                    f"it waits for a person (POST /schedule/{entry.id}/approve)")
        if decision == DENY:
            try:
                # That leaves the record of it.
                self.steps.execute(Execution(entry.command, scheduled_id=entry.id, reason="scheduled"),
                                   Decider(SCHEDULER, admin=False, person=False))
            except AnantaError:
                return

    def _begin(self, entry: Entry, judged: Judged, timeout_s: int) -> None:
        thread = threading.Thread(target=self._run, args=(entry, judged, timeout_s), name=f"schedule {entry.id}", daemon=True)
        with self._lock:
            self._running.add(thread)
        thread.start()

    def _run(self, entry: Entry, judged: Judged, timeout_s: int) -> None:
        try:
            self._run_now(entry, judged, timeout_s)
        except StoreFailed as failure:
            # It stays taken until its time is over.
            log.warning("how the scheduled command %s ended cannot be noted: %s", entry.id, failure.message)
        except Exception:
            log.exception("the scheduled command %s failed unexpectedly", entry.id)
        finally:
            with self._lock:
                self._running.discard(threading.current_thread())
            database.close_mine()

    def _run_now(self, entry: Entry, judged: Judged, timeout_s: int) -> None:
        approved = judged.approved(entry) and entry.approved_by is not None
        wanted = Execution(entry.command, timeout_s=timeout_s, scheduled_id=entry.id, reason="scheduled",
                           approval=judged.digest if approved else None)
        decider = Decider(entry.approved_by or SCHEDULER, admin=False, person=approved)
        exit_code, run_id = -1, None
        try:
            done: Executed = self.steps.execute(wanted, decider)
            exit_code, run_id = done.exit_code, done.id
        except (Busy, ShuttingDown, ApprovalRequired, CommandDenied, Conflict):
            # Nothing has run: there was no room, or it has changed in this moment and is looked at anew.
            schedule.give_back(entry, self.owner)
            return
        except RanUnrecorded as unrecorded:
            code, run = unrecorded.extras.get("exit_code"), unrecorded.extras.get("id")
            exit_code, run_id = code if isinstance(code, int) else -1, run if isinstance(run, str) else None
        except AnantaError as failure:
            log.warning("the scheduled command %s could not be run: %s", entry.id, failure.message)
        schedule.finish(entry.id, self.owner, exit_code, run_id, self.now())


def _refuse_denied(judged: Judged) -> None:
    if judged.verdict.decision == DENY:
        raise CommandDenied("This command is denied: " + "; ".join(judged.verdict.reasons), reasons=list(judged.verdict.reasons))
