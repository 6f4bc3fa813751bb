"""What was done by whom."""
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle
from msgspec import Meta

from ananta.errors import Busy
from ananta.store import audit
from ananta.store.audit import Audit, AuditVerification, Entry
from ananta.web import server
from ananta.web.access import ADMIN, Access

Part = Annotated[str, Meta(max_length=200)]
Moment = Annotated[float, Meta(ge=0, le=1e12)]


@dataclass
class AuditQuery:
    """username, action, text: parts of these, in any case; text also looks into the details. since, until: epoch seconds."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    username: Part = ""
    action: Part = ""
    text: Part = ""
    since: Moment | None = None
    until: Moment | None = None


@dataclass
class VerifyAnswer:
    """good: no entry was altered or removed; entries: how many were looked at; message: what was found, as a sentence."""

    good: bool
    entries: int
    message: str


@dataclass
class AnalyzeQuery:
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


@dataclass
class AnalyzeAnswer:
    """analysis: what the model makes of it, as Markdown."""

    analysis: str


class AuditRoutes:
    """GET /audit-logs and POST /audit/analyze, also under /api/system. analyze: entries to look at → text; verify: looks
    through the whole trail."""

    def __init__(self, trail: Audit, access: Access, analyze: Callable[[int], str], verify: Callable[[], AuditVerification]):
        self.trail, self.access, self.text_of, self.verification = trail, access, analyze, verify
        self._verifying = threading.Lock()

    def mount(self, app: Bottle) -> None:
        for prefix in ("", "/api/system"):
            app.get(f"{prefix}/audit-logs", callback=self.entries, access=ADMIN, query=AuditQuery, gives=list[Entry],
                    insecure_too=False)
            app.get(f"{prefix}/audit-logs/verify", callback=self.verify, access=ADMIN, gives=VerifyAnswer, insecure_too=False,
                    fails=(503,))
            app.post(f"{prefix}/audit/analyze", callback=self.analyze, access=ADMIN, query=AnalyzeQuery, gives=AnalyzeAnswer,
                     insecure_too=False, fails=(502,))

    def entries(self, query: AuditQuery) -> list[Entry]:
        """Who did what: newest first, of those that fit."""
        return audit.entries(query.limit, query.offset, audit.Wanted(query.username, query.action, query.text, query.since, query.until))

    def verify(self) -> VerifyAnswer:
        """Whether the trail is as it was written: each entry is linked to the one before by its hash, and audit.log tells
        which there must be. Reads all of it; 503 while that is done for somebody else."""
        if not self._verifying.acquire(blocking=False):
            raise Busy("The audit trail is being looked through already: ask again in a moment.", retry_after=5)
        try:
            found = self.verification()
        finally:
            self._verifying.release()
        by = server.by(self.access)
        self.trail.write("audit_verified", username=by.name, ip=by.address, details={"entries": found.entries, "good": found.ok})
        which = found.finding
        return VerifyAnswer(found.ok, found.entries, "No entry was altered or removed." if which is None else
                            f"Entry {which.id} ({which.action or 'unknown action'}) was {which.kind}; it is the first such one.")

    def analyze(self, query: AnalyzeQuery) -> AnalyzeAnswer:
        """What the configured model finds suspicious among the latest entries, which it is shown."""
        text = self.text_of(query.limit)
        by = server.by(self.access)
        self.trail.write("audit_analyzed", username=by.name, ip=by.address, details={"limit": query.limit})
        return AnalyzeAnswer(text)
