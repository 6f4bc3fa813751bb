"""What was done by whom."""
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle
from msgspec import Meta

from ananta.store import audit
from ananta.store.audit import Entry
from ananta.web.access import ADMIN


@dataclass
class AuditQuery:
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class AuditRoutes:
    """GET /audit-logs, also under /api/system."""

    def mount(self, app: Bottle) -> None:
        for path in ("/audit-logs", "/api/system/audit-logs"):
            app.get(path, callback=self.entries, access=ADMIN, query=AuditQuery, gives=list[Entry], insecure_too=False)

    def entries(self, query: AuditQuery) -> list[Entry]:
        """Who did what: newest first."""
        return audit.entries(query.limit, query.offset)
