"""Commands that run again and again."""
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.schedule import Scheduler
from ananta.domain.schedule import Entry
from ananta.domain.steps import ASK
from ananta.store import schedule
from ananta.store.audit import Audit
from ananta.web import server
from ananta.web.access import AUTH, Access


@dataclass
class ScheduleRequest:
    command: Annotated[str, Meta(max_length=100_000, pattern=r"^[^\x00]*$")]
    interval_seconds: Annotated[int, Meta(ge=1, le=315_360_000)]


@dataclass
class ApproveRequest:
    """digest: of what was shown."""

    digest: Annotated[str, Meta(max_length=200)]


@dataclass
class ScheduleAnswer:
    """A scheduled command. Times in epoch seconds; cwd: where it runs; decision, reasons: what the policy says of it when
    nobody is there; digest: what a person approves; approved: whether somebody has, as it is now; waiting: it is not run,
    because it is denied or not approved; running: it runs now; misfires: how many times it should have run and did not,
    because the agent was away or it still ran; last_run_id: of its record in the log."""

    id: str
    command: str
    interval_seconds: int
    next_run: float
    last_run: float | None
    enabled: bool
    cwd: str
    decision: str
    reasons: list[str]
    digest: str
    approved: bool
    approved_by: str | None
    waiting: bool
    running: bool
    misfires: int
    last_exit_code: int | None
    last_run_id: str | None
    created_by: str
    created_at: float


@dataclass
class DeletedSchedule:
    status: str


class ScheduleRoutes:
    """GET and POST /schedule, DELETE /schedule/{id}, POST /schedule/{id}/approve. hide: a text without secrets."""

    def __init__(self, scheduler: Scheduler, access: Access, audit: Audit, *, hide: Callable[[str], str]):
        self.scheduler, self.access, self.audit, self.hide = scheduler, access, audit, hide

    def mount(self, app: Bottle) -> None:
        app.get("/schedule", callback=self.listed, access=AUTH, gives=list[ScheduleAnswer])
        app.post("/schedule", callback=self.create, access=AUTH, body=ScheduleRequest, gives=ScheduleAnswer, status=201,
                 fails=(403, 409), idempotent=True, creates=True)
        app.post("/schedule/<entry_id>/approve", callback=self.approve, access=AUTH, body=ApproveRequest, gives=ScheduleAnswer,
                 fails=(403, 404, 409))
        app.delete("/schedule/<entry_id>", callback=self.delete, access=AUTH, gives=DeletedSchedule, fails=(404,))

    def listed(self) -> list[ScheduleAnswer]:
        """Scheduled commands, oldest first."""
        return [self._answer(each) for each in schedule.everything(self.scheduler.scope)]

    def create(self, body: ScheduleRequest) -> ScheduleAnswer:
        """Schedules a command; the first run is an interval from now. What the policy would ask about waits for approval."""
        entry = self.scheduler.add(body.command, body.interval_seconds, server.caller().name)
        self._note("schedule_created", entry.id, command=entry.command, interval_seconds=entry.interval_seconds)
        return self._answer(entry)

    def approve(self, entry_id: str, body: ApproveRequest) -> ScheduleAnswer:
        """Lets a scheduled command run from now on, as long as command, folder and the policy's word stay what they are."""
        entry = self.scheduler.approve(entry_id, body.digest, server.caller().name)
        self._note("schedule_approved", entry.id, command=entry.command, digest=body.digest)
        return self._answer(entry)

    def delete(self, entry_id: str) -> DeletedSchedule:
        """Removes a scheduled command; a run of it goes on to its end."""
        schedule.delete(self.scheduler.scope, entry_id)
        self._note("schedule_deleted", entry_id)
        return DeletedSchedule("deleted")

    def _answer(self, entry: Entry) -> ScheduleAnswer:
        judged, hide = self.scheduler.judged(entry), self.hide
        approved = judged.verdict.decision == ASK and judged.approved(entry)
        return ScheduleAnswer(
            id=entry.id, command=hide(entry.command), interval_seconds=entry.interval_seconds, next_run=entry.next_run,
            last_run=entry.last_run, enabled=entry.enabled, cwd=hide(judged.cwd), decision=judged.verdict.decision,
            reasons=[hide(each) for each in judged.verdict.reasons], digest=judged.digest, approved=approved,
            approved_by=entry.approved_by if approved else None, waiting=not judged.may_run(entry),
            running=entry.runs(time.time()), misfires=entry.misfires, last_exit_code=entry.last_exit_code,
            last_run_id=entry.last_run_id, created_by=entry.created_by, created_at=entry.created_at)

    def _note(self, action: str, entry_id: str, **details: object) -> None:
        self.audit.write(action, username=server.caller().name, ip=self.access.address(request.environ),
                         details={"schedule_id": entry_id, **details})
