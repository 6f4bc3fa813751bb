"""What the policy says of a command, and the rules of this agent."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.policy_files import PolicyFiles
from ananta.domain.steps import Verdict
from ananta.store.audit import Audit
from ananta.web import payloads, server
from ananta.web.access import ADMIN, AUTH, Access

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


class PolicyRoutes:
    """Check a command, read and replace the rules. decide(command, cwd, shell=...); cwd: where a session starts."""

    def __init__(self, decide: Callable[..., Verdict], files: PolicyFiles, audit: Audit, access: Access, *,
                 cwd: Callable[[], str]):
        self.decide, self.files, self.audit, self.access, self.cwd = decide, files, audit, access, cwd

    def mount(self, app: Bottle) -> None:
        app.post("/policy/check", callback=self.check, access=AUTH, body=CheckRequest, gives=CheckAnswer)
        app.get("/policy", callback=self.show, access=ADMIN, gives=dict)
        app.put("/policy", callback=self.replace, access=ADMIN, takes=ANY_OBJECT, gives=dict, fails=(400,))

    def check(self, body: CheckRequest) -> CheckAnswer:
        """Says whether a command would be allowed, asked about or denied, and why. Never runs anything."""
        verdict = self.decide(body.command, body.cwd or self.cwd(), shell=body.shell)
        return CheckAnswer(verdict.decision, list(verdict.reasons),
                           [PartAnswer(each.text, each.decision, each.reason) for each in verdict.parts])

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
