"""The page: its files, and how a browser is signed in to it."""
import functools
import gzip
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from bottle import Bottle, HTTPResponse, request
from msgspec import Meta

from ananta.domain.accounts import COMMAND_LINE
from ananta.errors import InvalidInput, NotAllowed, NotAuthenticated, NotFound
from ananta.operations.checks.finding import Finding
from ananta.web import server
from ananta.web.access import ADMIN, AUTH, OPEN, Access, Caller
from ananta.web.gate import POLICY
from ananta.web.responses import JSON, encode
from ananta.web.session import LIVES_S, Codes, Sessions
from ananta.web.sign_in import Door

FILES = Path(__file__).parent.parent / "static" / "ui"
NAME = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*\.(js|css|svg|html)")
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".html": "text/html; charset=utf-8"}
# Beyond what all pages keep to: no text can become markup or script, wherever in the page a mistake were made.
PAGE_POLICY = POLICY + "; require-trusted-types-for 'script'; trusted-types ananta"
FRESH_S = 300  # a user token opens a session only that long after the password was given


@dataclass
class SessionRequest:
    """One of these: code, from the address that a start or `ananta ui` prints; token: the agent token, or an access token
    just given by /login."""

    code: Annotated[str, Meta(max_length=200)] | None = None
    token: Annotated[str, Meta(max_length=8000)] | None = None


@dataclass
class SessionAnswer:
    """username: "console" for the system administrator, null where nobody is signed in; kind: system, user or anonymous; agent,
    role, version: whom the page talks to; expires_at: epoch seconds, 0 where nobody is signed in."""

    username: str | None
    kind: str
    admin: bool
    agent: str
    role: str
    version: str
    expires_at: float


@dataclass
class SignedInAnswer(SessionAnswer):
    """csrf_token: to be sent as X-CSRF-Token with everything that changes something; it is not given again."""

    csrf_token: str


@dataclass
class CodeAnswer:
    """code: for /ui/#code=…; once, until expires_at (epoch seconds)."""

    code: str
    expires_at: float


@dataclass
class StatusAnswer:
    status: str


class ConsoleRoutes:
    """/ui/ and /session. about: (agent name, role, version); ended: called when a session was ended; doctor: the
    findings about this agent."""

    def __init__(self, sessions: Sessions, codes: Codes, door: Door, access: Access, *, about: tuple[str, str, str],
                 ended: Callable[[], None], doctor: Callable[[], list[Finding]]):
        self.sessions, self.codes, self.door, self.access = sessions, codes, door, access
        self.about, self.ended, self.doctor = about, ended, doctor

    def mount(self, app: Bottle) -> None:
        app.get("/ui", callback=self.page, access=OPEN, media="text/html")
        app.get("/ui/<name:path>", callback=self.file, access=OPEN, media="text/javascript", fails=(404,))
        app.get("/session", callback=self.show, access=OPEN, gives=SessionAnswer)
        app.post("/session", callback=self.open, access=OPEN, body=SessionRequest, gives=SignedInAnswer, fails=(401, 429))
        app.delete("/session", callback=self.close, access=AUTH, gives=StatusAnswer)
        app.post("/session/code", callback=self.code, access=ADMIN, gives=CodeAnswer)
        app.get("/doctor", callback=self.examine, access=ADMIN, gives=list[Finding])

    # --- files

    def page(self) -> HTTPResponse:
        """The console: a page that does all its work through this interface."""
        return self.file("index.html")

    def file(self, name: str) -> HTTPResponse:
        """A file of the console."""
        if NAME.fullmatch(name) is None:
            raise _no_file(name)
        try:
            content = (FILES / name).read_bytes()
        except OSError as cause:
            raise _no_file(name) from cause
        packed = takes_gzip(request.environ.get("HTTP_ACCEPT_ENCODING", ""))
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}{"-gzip" if packed else ""}"'
        # Asked again each time, so that a new version is there at once; what has not changed is not sent again.
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Type": TYPES[Path(name).suffix],
                   "Content-Security-Policy": PAGE_POLICY, "Vary": "Accept-Encoding"}
        if tag in request.environ.get("HTTP_IF_NONE_MATCH", ""):
            return HTTPResponse(b"", 304, headers)
        if packed:
            return HTTPResponse(_packed(content), 200, headers | {"Content-Encoding": "gzip"})
        return HTTPResponse(content, 200, headers)

    # --- sessions

    def show(self) -> SessionAnswer:
        """Who is signed in to the console in this browser, and whom it talks to."""
        caller = self.access.identify(request.environ)
        if caller is None or caller.source != "cookie":
            return SessionAnswer(None, "anonymous", False, *self.about, 0.0)
        return self._answer(caller, self.sessions.expires_at(self.sessions.shown(request.environ) or ""))

    def open(self, body: SessionRequest) -> HTTPResponse:
        """Signs the browser in: its cookie and the token in the answer together are as good as what was shown. A session
        lasts seven days, and ends before that with a sign-out, another password, role or agent token."""
        with self.door.trying() as this:
            caller = self._shown(body, this.now)
            token, page_token = self.sessions.open(caller, this.now)
        self.door.note("console_opened", caller.name, by="code" if body.code else "token")
        return self._with_cookie(SignedInAnswer(**asdict(self._answer(caller, this.now + LIVES_S)), csrf_token=page_token),
                                 token, LIVES_S)

    def close(self) -> HTTPResponse:
        """Signs the browser out."""
        token = self.sessions.shown(request.environ)
        if token is not None and server.caller().source == "cookie":
            from ananta.store import sessions

            sessions.remove(token)
            self.ended()
            self.door.note("console_closed", server.caller().name)
        return self._with_cookie(StatusAnswer("signed_out"), "", 0)

    def code(self) -> CodeAnswer:
        """Makes a one-time code that signs a browser in as the system administrator, for 15 minutes."""
        caller = server.caller()
        if caller.kind != "system" and caller.name != COMMAND_LINE:
            # A user's rights can be taken back; those of such a session could not.
            raise NotAllowed("Only the agent's own token, or `ananta ui` on its machine, makes such a code.")
        code, until = self.codes.make()
        self.door.note("console_code_made", caller.name)
        return CodeAnswer(code, until)

    def examine(self) -> list[Finding]:
        """What `ananta doctor` says, about this agent as it runs."""
        return self.doctor()

    def _shown(self, body: SessionRequest, now: float) -> Caller:
        if body.code:
            if not self.codes.take(body.code):
                raise NotAuthenticated("This address has been used, or is older than 15 minutes: `ananta ui` prints a new one.",
                                       code="code_used")
            return Caller("system", "console", True)
        if not body.token:
            raise InvalidInput("code or token is missing.", code="missing_token", details="token")
        caller = self.access.tokens.caller(body.token, "header")
        if caller is None or (caller.kind == "user" and now - caller.signed_in_at > FRESH_S):
            raise NotAuthenticated("The token is not valid: it is wrong, expired or has been replaced.")
        return caller

    def _answer(self, caller: Caller, expires_at: float) -> SessionAnswer:
        name = "console" if caller.kind == "system" else caller.name
        return SessionAnswer(name, caller.kind, caller.admin, *self.about, expires_at)

    def _with_cookie(self, answer: object, token: str, seconds: int) -> HTTPResponse:
        environ = request.environ
        safe = environ.get("wsgi.url_scheme") == "https" or environ.get("HTTP_X_FORWARDED_PROTO") == "https"
        cookie = f"{self.sessions.cookie}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        return HTTPResponse(encode(answer), 200, {"Content-Type": JSON, "Cache-Control": "no-store",
                                                  "Set-Cookie": cookie + ("; Secure" if safe else "")})


def start_page(environ: dict) -> str:
    """Where / leads: a browser to the console, everybody else to the description of the interface."""
    return "/ui/" if "text/html" in environ.get("HTTP_ACCEPT", "") else "/apidocs"


def open_address(url: str, code: str) -> str:
    """The address that signs in whoever opens it first. A fragment is not sent, so that no log ever holds the code."""
    return f"{url}/ui/#code={code}"


def takes_gzip(accepted: str) -> bool:
    """Whether a browser that sends this as Accept-Encoding takes gzip (RFC 9110, section 12.5.3)."""
    offers = dict.fromkeys(("gzip", "x-gzip", "*"), 0.0)
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        with suppress(ValueError):
            offers[name.strip()] = float(weight.partition("=")[2]) if weight else 1.0
    return max(offers["gzip"], offers["x-gzip"]) > 0 or ("gzip" not in accepted.lower() and offers["*"] > 0)


@functools.lru_cache(maxsize=64)
def _packed(content: bytes) -> bytes:
    # Without a time in it, so that it is the same in every process.
    return gzip.compress(content, 9, mtime=0)


def _no_file(name: str) -> NotFound:
    return NotFound(f"The console has no file {name[:100]}.")
