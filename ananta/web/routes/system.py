"""Health, readiness, metrics, reports of browsers, and the agent's own token."""
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bottle import Bottle, HTTPResponse, request

from ananta.errors import InvalidInput, TooLarge
from ananta.store import database
from ananta.store.audit import Audit
from ananta.web import payloads, server
from ananta.web.access import ADMIN, OPEN, Access, Counter
from ananta.web.metrics import MetricsText
from ananta.web.responses import JSON, Raw, encode

log = logging.getLogger(__name__)
REPORT_BYTES, REPORT_KEPT, AGENT_KEPT, REPORTS = 64 << 10, 8 << 10, 512, 20
READY_S, HUB_KEEP_S = 3.5, 5.0
OK = Raw(b'{"status":"ok"}')


@dataclass(frozen=True)
class Check:
    """The answer of one check; latency in seconds."""

    status: str
    latency: float
    code: str | None = None
    message: str | None = None
    provider: str | None = None


class Look:
    """A check that may take long, made in the background, once for all who ask meanwhile; its answer holds for keep_s."""

    def __init__(self, name: str, check: Callable[[], Check | None], keep_s: float = 0.0):
        self.name, self.check, self.keep_s = name, check, keep_s
        self._lock = threading.Lock()
        self._ended: threading.Event | None = None
        self._found: list[Check | None] = []
        self._until = 0.0

    def begin(self) -> Callable[[float], Check | None]:
        """Begins the check; returns what waits for its answer until a moment of the monotonic clock."""
        with self._lock:
            if self._ended is None or (self._ended.is_set() and time.monotonic() >= self._until):
                self._ended, self._found = threading.Event(), []
                threading.Thread(target=self._make, args=(self._ended, self._found), name=f"look-{self.name}",
                                 daemon=True).start()
            ended, found = self._ended, self._found

        def answer(until: float) -> Check | None:
            ended.wait(max(0.0, until - time.monotonic()))
            return found[0] if found else Check("error", READY_S, f"{self.name}_timeout", "no answer in time")

        return answer

    def _make(self, ended: threading.Event, found: list) -> None:
        try:
            found.append(self.check())
        except Exception as failure:
            log.warning("the check of %s failed: %s", self.name, failure)
            found.append(Check("error", 0.0, f"{self.name}_error", str(failure)))
        finally:
            self._until = time.monotonic() + self.keep_s
            ended.set()
            database.close_mine()


@dataclass
class ReadyAnswer:
    ready: bool
    checks: dict[str, dict]


class SystemRoutes:
    """What monitors and browsers ask. checks: name → function that returns a Check or raises."""

    def __init__(self, access: Access, metrics: MetricsText, audit: Audit, *, about: Callable[[], dict],
                 database: Callable[[], Check], llm: Callable[[], Check], hub: Callable[[], Check | None],
                 backup: Callable[[], Check | None], rotate: Callable[[], str], reports: Counter):
        self.access, self.metrics, self.audit, self.about = access, metrics, audit, about
        self.database, self.backup, self.rotate, self.reports = database, backup, rotate, reports
        self.slow = {"hub": Look("hub", hub, keep_s=HUB_KEEP_S), "llm": Look("llm", llm)}

    def mount(self, app: Bottle) -> None:
        app.get("/health", callback=self.health, access=OPEN, gives=dict)
        app.get("/api/system/health", callback=self.details, access=OPEN, gives=dict)
        for path in ("/ready", "/api/system/ready"):
            app.get(path, callback=self.ready, access=OPEN, gives=ReadyAnswer, also=(503,))
        for path in ("/metrics", "/api/system/metrics"):
            app.get(path, callback=self.metrics_text, access=OPEN, media="text/plain")
        for path in ("/rotate-token", "/api/system/rotate-token"):
            app.post(path, callback=self.rotate_token, access=ADMIN, gives=dict, fails=(400,), insecure_too=False)
        for path in ("/api/system/csp-report", "/csp-report"):
            app.post(path, callback=self.csp_report, access=OPEN, status=204, fails=(400, 413, 429),
                     takes=({"type": ["object", "array"]},), media_in=("application/csp-report", "application/reports+json", "application/json"))

    def health(self) -> Raw | dict:
        """Says that the agent answers; with ?verbose=1 also what it found. No check is made without that."""
        if _verbose():
            return self.details()
        return OK

    def details(self) -> dict:
        """Name, role and version, and whether shell and model servers answer."""
        return {"status": "ok", **self.about()}

    def ready(self) -> HTTPResponse:
        """Whether the agent can do its work: 503 only when the database fails, or the hub that was set as HUB_URL cannot
        be reached; the model is reported, with ?verbose=1 also whether the last backup by itself was made."""
        until = time.monotonic() + READY_S
        looks = {name: look.begin() for name, look in self.slow.items()}
        checks = {"database": self.database(), **{name: ended(until) for name, ended in looks.items()}}
        ready = all(check.status == "ok" for name, check in checks.items() if check is not None and name != "llm")
        if _verbose():
            checks["backup"] = self.backup()
        body = {"ready": ready, "checks": {
            name: {key: each for key, each in dataclasses.asdict(check).items() if each is not None}
            for name, check in checks.items() if check is not None}}
        return HTTPResponse(encode(body), 200 if ready else 503, {"Content-Type": JSON})

    def metrics_text(self) -> HTTPResponse:
        """Counters and gauges for Prometheus."""
        return HTTPResponse(self.metrics.text(), 200, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def rotate_token(self) -> dict:
        """Replaces the agent token; the old one is invalid at once."""
        new = self.rotate()
        self.audit.write("token_rotated", username=server.caller().name, ip=self.access.address(request.environ))
        return {"status": "rotated", "new_token": new}

    def csp_report(self) -> HTTPResponse:
        """Takes a browser's report of something the content security policy has stopped."""
        address = self.access.address(request.environ)
        self.reports.count(address)
        body = request.environ["wsgi.input"].read(REPORT_BYTES + 1)
        if len(body) > REPORT_BYTES:
            raise TooLarge("A report may have at most 64 KiB.")
        if not body.strip():
            raise InvalidInput("The report is empty.", code="invalid_json")
        report = payloads.value(body)
        if not isinstance(report, (dict, list)):
            raise InvalidInput("A report is a JSON object or array.", code="invalid_json")
        browser = request.environ.get("HTTP_USER_AGENT", "")[:AGENT_KEPT]
        for each, told in _reports(report):
            log.warning("a browser stopped %.200s (%.200s) in %.200s", *told)
            kept = encode(each)
            shown = each if len(kept) <= REPORT_KEPT else kept[:REPORT_KEPT].decode("utf-8", "ignore")
            self.audit.write("CSP_VIOLATION", username="system", ip=address,
                             details={"report": shown, "user_agent": browser})
        return HTTPResponse(b"", 204)


def _verbose() -> bool:
    return bool(request.environ.get("QUERY_STRING")) and request.query.get("verbose", "") in ("1", "true", "yes", "on")


def _reports(report: dict | list) -> list[tuple[object, tuple]]:
    """Each report as received, with (blocked address, directive, document), from both formats of browsers."""
    if isinstance(report, list):
        bodies = [(each, each.get("body")) for each in report[:REPORTS]
                  if isinstance(each, dict) and each.get("type") == "csp-violation"]
        return [(each, (body.get("blockedURL"), body.get("effectiveDirective"), body.get("documentURL")))
                for each, body in bodies if isinstance(body, dict)]
    inner = report.get("csp-report")
    inner = inner if isinstance(inner, dict) else report
    return [(report, (inner.get("blocked-uri"), inner.get("effective-directive") or inner.get("violated-directive"),
                      inner.get("document-uri")))]


def timed(name: str, ask: Callable[[], str | None], **extras) -> Check:
    """Runs a check that returns None when all is well, or a sentence; a failure of the check itself is "error"."""
    start = time.monotonic()
    try:
        problem = ask()
    except Exception as failure:
        log.warning("the check of %s failed: %s", name, failure)
        return Check("error", time.monotonic() - start, code=f"{name}_error", message=str(failure), **extras)
    return Check("ok" if problem is None else "unstable", time.monotonic() - start, message=problem, **extras)
