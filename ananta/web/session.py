"""How a page is signed in: a cookie that scripts cannot read, and a token of the page that no other page can send.

The cookie alone changes nothing: every request but GET and HEAD must also carry the page's token, which only the
answer to the sign-in ever holds. Programs on other ports of this machine, to which browsers send the cookie as well, so
cannot act by it. It counts for requests of this origin only; all other clients use bearer tokens.
"""
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable

from ananta.domain.accounts import ADMIN, Standing
from ananta.errors import NotAuthenticated
from ananta.store import sessions
from ananta.store.sessions import Session
from ananta.web.access import Caller

LIVES_S = 7 * 24 * 3600
CODE_LIVES_S, CODES = 900, 20
HEADER = "HTTP_X_CSRF_TOKEN"
CONSOLE = "console"
ENDED = "This sign-in has ended: sign in again."


class Sessions:
    """Sign-ins of pages. agent_token: the one that counts now; standing: what counts about a user now, None for one that
    is not known here."""

    def __init__(self, secret_key: str, agent_token: Callable[[], str | None], standing: Callable[[str], Standing | None]):
        self.agent_token, self.standing = agent_token, standing
        # Browsers send cookies to all ports of a host: several agents on one machine must not take each other's.
        self.cookie = "ananta_" + hmac.new(secret_key.encode(), b"cookie", hashlib.sha256).hexdigest()[:12]

    def shown(self, environ: dict) -> str | None:
        """Returns the token in the cookie of a request, None without one."""
        text = environ.get("HTTP_COOKIE")
        if text is None or self.cookie not in text:
            return None
        for each in text.split(";"):
            name, _, value = each.strip().partition("=")
            if name == self.cookie:
                return value
        return None

    def caller(self, token: str, environ: dict) -> Caller:
        """Returns who has signed in there. Raises NotAuthenticated for a sign-in that has ended, and for a request that
        changes something without the token of the page."""
        found = sessions.find(token, time.time())
        if found is None or not self._counts(found[0]):
            raise NotAuthenticated(ENDED)
        session, page_hash = found
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD") and not hmac.compare_digest(
                sessions.digest(environ.get(HEADER, "")), page_hash):
            raise NotAuthenticated("A page must send its token as X-CSRF-Token: sign in again.", code="csrf_token_missing")
        return Caller(session.kind, session.username, session.role == ADMIN, "cookie", session.signed_in_at)

    def expires_at(self, token: str) -> float:
        """When a sign-in ends by itself, epoch seconds; 0.0 for one that has ended."""
        found = sessions.find(token, time.time())
        return found[0].expires_at if found else 0.0

    def open(self, caller: Caller, now: float) -> tuple[str, str]:
        """Signs in whoever has shown a credential. Returns what goes into the cookie, and the token of the page.

        Raises NotAuthenticated for a user that is not known here."""
        system = caller.kind == "system"
        standing = None if system else self.standing(caller.name)
        if not system and (standing is None or standing.deleted):
            raise NotAuthenticated("There is no such user here: sign in at the hub.")
        token, page_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        sessions.add(token, page_token, Session(
            caller.kind, CONSOLE if system else caller.name, standing.role if standing else ADMIN,
            standing.generation if standing else 0, self._basis() if system else "", now, now + LIVES_S))
        return token, page_token

    def _counts(self, session: Session) -> bool:
        if session.kind == "system":
            return hmac.compare_digest(session.basis, self._basis())
        now = self.standing(session.username)
        return now is not None and not now.deleted and now.generation <= session.generation and now.role == session.role

    def _basis(self) -> str:
        token = self.agent_token()
        return sessions.digest(token) if token else ""


class Codes:
    """One-time codes that sign in whoever opens an address. They live in memory: a restart ends them."""

    def __init__(self, now: Callable[[], float] = time.time):
        self.now = now
        self._open: dict[str, float] = {}
        self._lock = threading.Lock()

    def make(self) -> tuple[str, float]:
        """Returns a new code, and when it ends (epoch seconds); of more than CODES the oldest ends at once."""
        code, until = secrets.token_urlsafe(24), self.now() + CODE_LIVES_S
        with self._lock:
            self._open[sessions.digest(code)] = until
            while len(self._open) > CODES:
                del self._open[next(iter(self._open))]
        return code, until

    def take(self, code: str) -> bool:
        """Says whether the code is good; it is used up then."""
        with self._lock:
            until = self._open.pop(sessions.digest(code), 0.0)
        return until > self.now()
