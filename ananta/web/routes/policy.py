"""What the policy says of a command, and the rules of this agent."""
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.policy_files import PolicyFiles
from ananta.domain.steps import Verdict
from ananta.errors import Busy
from ananta.store.audit import Audit
from ananta.web import payloads, server
from ananta.web.access import ADMIN, AUTH, Access

if TYPE_CHECKING:
    from ananta.policy.decision import Report

CHANGES = 200
ANY_OBJECT = ({"type": "object"},)


@dataclass
class CheckRequest:
    command: Annotated[str, Meta(max_length=2_000_000)]
    shell: Literal["bash", "powershell", "cmd"] | None = None
    cwd: str | None = None


@dataclass
class PartAnswer:
    text: str
    decision: str
    reason: str


@dataclass
class CheckAnswer:
    """decision: allow, ask or deny; parts: each simple command of the line with its own."""

    decision: str
    reasons: list[str]
    parts: list[PartAnswer]


@dataclass
class ChangeAnswer:
    command: str
    before: str
    after: str
    reasons: list[str]


@dataclass
class ReplayAnswer:
    """What other rules would have decided: total commands on record, how many of them are asked about and denied by the rules in
    force and by the other ones; changes: the commands decided otherwise, the riskiest first, CHANGES of them at most."""

    total: int
    asked_before: int
    asked_after: int
    denied_before: int
    denied_after: int
    changes: list[ChangeAnswer]
    more: int


class PolicyRoutes:
    """Check a command, read, try and replace the rules. decide(command, cwd, shell=...); replay: rules → what they would have
    decided; cwd: where a session starts."""

    def __init__(self, decide: Callable[..., Verdict], replay: Callable[[object], "Report"], files: PolicyFiles, audit: Audit,
                 access: Access, *, cwd: Callable[[], str], hide: Callable[[str], str]):
        self.decide, self.report_of, self.files, self.audit, self.access, self.cwd = decide, replay, files, audit, access, cwd
        self.hide = hide
        self._replaying = threading.Lock()

    def mount(self, app: Bottle) -> None:
        app.post("/policy/check", callback=self.check, access=AUTH, body=CheckRequest, gives=CheckAnswer)
        app.post("/policy/replay", callback=self.replay, access=ADMIN, takes=ANY_OBJECT, gives=ReplayAnswer, fails=(400, 503))
        app.get("/policy", callback=self.show, access=ADMIN, gives=dict)
        app.put("/policy", callback=self.replace, access=ADMIN, takes=ANY_OBJECT, gives=dict, fails=(400,))

    def check(self, body: CheckRequest) -> CheckAnswer:
        """Says whether a command would be allowed, asked about or denied, and why. Never runs anything."""
        verdict = self.decide(body.command, body.cwd or self.cwd(), shell=body.shell)
        return CheckAnswer(verdict.decision, list(verdict.reasons),
                           [PartAnswer(each.text, each.decision, each.reason) for each in verdict.parts])

    def replay(self) -> ReplayAnswer:
        """Says what these rules would have decided about the commands on record. Changes nothing; 503 while that is worked out
        for somebody else."""
        document = payloads.mapping(request.environ["wsgi.input"].read())
        if not self._replaying.acquire(blocking=False):
            raise Busy("Rules are being tried already: ask again in a moment.", retry_after=2)
        try:
            found = self.report_of(document)
        finally:
            self._replaying.release()
        shown = [ChangeAnswer(self.hide(each.command), each.before, each.after, [self.hide(why) for why in each.reasons])
                 for each in found.changes[:CHANGES]]
        return ReplayAnswer(found.total, found.asked_before, found.asked_after, found.denied_before, found.denied_after, shown,
                            max(0, len(found.changes) - CHANGES))

    def show(self) -> dict:
        """The rules of policy.json; {"rules": []} when there are none."""
        return self.files.document()

    def replace(self) -> dict:
        """Replaces all rules. A set with an example that does not hold is refused as a whole, and nothing changes."""
        document = payloads.mapping(request.environ["wsgi.input"].read())
        count = self.files.replace(document)
        self.audit.write("policy_updated", username=server.caller().name, ip=self.access.address(request.environ),
                         details={"rules": count})
        return {"status": "updated", "rules": count}
