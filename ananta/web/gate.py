"""What every request passes before a route is looked for, and what every answer carries.

A WSGI application around the Bottle application: path, Host and Origin checks, correlation id, CORS, security
headers and the refusal while stopping. Being outside of the router it also covers unknown paths and errors.
"""
import logging
import os
import re
from collections.abc import Callable, Iterable

from ananta import diagnostics
from ananta.errors import AnantaError, InvalidInput, ShuttingDown
from ananta.web import responses
from ananta.web.access import Access

log = logging.getLogger(__name__)
CID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
PLAIN_PATH = re.compile(r"[\x20-\x7e]*")
WHILE_STOPPING = re.compile(r"/health|/api/system/health|/logs|/tasks/[^/]+/logs")
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOW_HEADERS = ("Authorization", "Content-Type", "X-Correlation-ID", "Idempotency-Key")
HEADER_LIST = re.compile(r"[A-Za-z0-9, _-]{0,1000}")
POLICY = ("default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
          "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
          "report-uri /api/system/csp-report; report-to csp")
SECURITY_HEADERS = [
    ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "geolocation=(), microphone=(), camera=()"), ("Content-Security-Policy", POLICY),
    ("Reporting-Endpoints", 'csp="/api/system/csp-report"'), ("Cross-Origin-Resource-Policy", "same-site"),
]
HSTS = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload")


def new_cid() -> str:
    """A random UUID (RFC 9562, version 4) without the cost of the uuid module."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"


def answer_headers(cid: str, environ: dict, access: Access) -> list[tuple[str, str]]:
    """The headers of every answer, errors included; those for CORS only where the origin is allowed."""
    headers = [*SECURITY_HEADERS, ("X-Correlation-ID", cid)]
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None:
        headers.append(("Vary", "Origin"))
        if access.origin_allowed(origin, environ):
            headers += [("Access-Control-Allow-Origin", origin),
                        ("Access-Control-Expose-Headers", "X-Correlation-ID, Retry-After")]
    if environ.get("wsgi.url_scheme") == "https" or environ.get("HTTP_X_FORWARDED_PROTO") == "https":
        headers.append(HSTS)
    return headers


class Gate:
    """Calls `inner` for requests that may come in."""

    def __init__(self, inner: Callable, access: Access, stopping: Callable[[], bool]):
        self.inner, self.access, self.stopping = inner, access, stopping

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        cid = environ.get("HTTP_X_CORRELATION_ID")
        if cid is None or CID.fullmatch(cid) is None:
            cid = new_cid()
        environ["ananta.cid"] = cid
        diagnostics.correlation_id.set(cid)
        extra = answer_headers(cid, environ, self.access)

        def start(status: str, headers: list, exc_info=None):
            own = {name.lower() for name, _ in headers if name.startswith(("Content-S", "Referrer", "X-"))}
            headers.extend(pair for pair in extra if pair[0].lower() not in own) if own else headers.extend(extra)
            return start_response(status, headers, exc_info)

        try:
            self._prepare_path(environ)
            self.access.check_place(environ)
            if environ["REQUEST_METHOD"] == "OPTIONS":
                return self._preflight(environ, start)
            if self.stopping() and WHILE_STOPPING.fullmatch(environ["PATH_INFO"]) is None:
                raise ShuttingDown("This agent is stopping: try again when it has started anew.", retry_after=10)
            return self.inner(environ, start)
        except AnantaError as error:
            return self._refuse(error, cid, environ, start)
        except Exception:
            log.exception("unexpected failure while answering")
            return self._refuse(AnantaError("Something unexpected failed; the log of this agent says what."), cid,
                                environ, start)

    def _prepare_path(self, environ: dict) -> None:
        path = environ["PATH_INFO"]
        if PLAIN_PATH.fullmatch(path) is None:
            # Bottle drops what it cannot decode, so it would route another path than the one that was checked.
            try:
                text = path.encode("latin-1").decode("utf-8")
            except UnicodeError as cause:
                raise InvalidInput("The path is not valid UTF-8.", code="invalid_path") from cause
            if not text.isprintable():
                raise InvalidInput("The path contains control characters.", code="invalid_path")
        if len(path) > 1 and path.endswith("/"):
            environ["PATH_INFO"] = path.rstrip("/") or "/"

    def _preflight(self, environ: dict, start: Callable) -> list[bytes]:
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
        names = [name.strip() for name in asked.split(",") if name.strip()] if HEADER_LIST.fullmatch(asked) else []
        known = {name.lower() for name in names}
        names += [name for name in ALLOW_HEADERS if name.lower() not in known]
        headers = [("Content-Length", "0"), ("Allow", METHODS)]
        if environ.get("HTTP_ORIGIN"):
            headers += [("Access-Control-Allow-Methods", METHODS),
                        ("Access-Control-Allow-Headers", ", ".join(names)), ("Access-Control-Max-Age", "600")]
        start("204 No Content", headers)
        return [b""]

    def _refuse(self, error: AnantaError, cid: str, environ: dict, start: Callable) -> list[bytes]:
        body = responses.encode(responses.error_body(error, cid))
        status = responses.status_of(error)
        start(f"{status} {responses.REASONS[status]}",
              [*responses.error_headers(error).items(), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
