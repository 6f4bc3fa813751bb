"""What was done by whom."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle
from msgspec import Meta

from ananta.store import audit
from ananta.store.audit import Audit, Entry
from ananta.web import server
from ananta.web.access import ADMIN, Access


@dataclass
class AuditQuery:
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


@dataclass
class AnalyzeQuery:
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


@dataclass
class AnalyzeAnswer:
    """analysis: what the model makes of it, as Markdown."""

    analysis: str


class AuditRoutes:
    """GET /audit-logs and POST /audit/analyze, also under /api/system. analyze: entries to look at → text."""

    def __init__(self, trail: Audit, access: Access, analyze: Callable[[int], str]):
        self.trail, self.access, self.text_of = trail, access, analyze

    def mount(self, app: Bottle) -> None:
        for prefix in ("", "/api/system"):
            app.get(f"{prefix}/audit-logs", callback=self.entries, access=ADMIN, query=AuditQuery, gives=list[Entry],
                    insecure_too=False)
            app.post(f"{prefix}/audit/analyze", callback=self.analyze, access=ADMIN, query=AnalyzeQuery, gives=AnalyzeAnswer,
                     insecure_too=False, fails=(502,))

    def entries(self, query: AuditQuery) -> list[Entry]:
        """Who did what: newest first."""
        return audit.entries(query.limit, query.offset)

    def analyze(self, query: AnalyzeQuery) -> AnalyzeAnswer:
        """What the configured model finds suspicious among the latest entries, which it is shown."""
        text = self.text_of(query.limit)
        by = server.by(self.access)
        self.trail.write("audit_analyzed", username=by.name, ip=by.address, details={"limit": query.limit})
        return AnalyzeAnswer(text)
