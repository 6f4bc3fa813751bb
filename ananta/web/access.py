"""Who is calling, from where, and whether they may.

Credentials, in this order: the agent token itself; a JWT signed with the agent token; a user's JWT signed with the
secret key (RFC 7519, HS256 only). The Authorization header wins over the query parameter `token`, and both over the cookie of
a page that is signed in, which counts only for requests of this very origin.
"""
import hashlib
import hmac
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs

from ananta.domain import accounts
from ananta.domain.accounts import Standing, User
from ananta.errors import HostNotAllowed, NotAllowed, NotAuthenticated, OriginNotAllowed, TooManyRequests

OPEN, READ, AUTH, ADMIN, USER = "open", "read", "auth", "admin", "user"
CLASSES = (OPEN, READ, AUTH, ADMIN, USER)
LEEWAY_S = 30
# All of a request that decides who calls.
SHOWN = ("HTTP_AUTHORIZATION", "QUERY_STRING", "REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED")
# And these, of a request that shows no token but a cookie.
OF_PAGES = ("HTTP_COOKIE", "HTTP_ORIGIN", "HTTP_HOST", "HTTP_SEC_FETCH_SITE", "REQUEST_METHOD")
LOOPBACK_HOST = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
LOOPBACK_PEER = re.compile(r"127\.|::1$|::ffff:127\.")
ADDRESS_HOST = re.compile(r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Caller:
    """Who calls. kind: "anonymous", "system" (agent token) or "user"; source: where the credential stood ("header", "query"
    or "cookie"); signed_in_at: when a user has signed in for this token (epoch seconds), 0 for one that came by a refresh."""

    kind: str
    name: str
    admin: bool
    source: str = ""
    signed_in_at: float = 0.0


ANONYMOUS = Caller("anonymous", "anonymous", False)
# Without a token, whoever reaches this machine's loopback address is the administrator of this agent.
INSECURE = Caller("system", "local", True)


class Counter(Protocol):
    """Counts calls by key; raises TooManyRequests for one too many."""

    def count(self, key: str) -> None: ...


class PageSessions(Protocol):
    """Sign-ins of pages, see web/session.py."""

    def shown(self, environ: dict) -> str | None: ...

    def caller(self, token: str, environ: dict) -> Caller: ...


class RateLimit:
    """At most `calls` per `window_s` seconds and key. Memory is bounded: idle keys are dropped."""

    def __init__(self, calls: int, window_s: float, now: Callable[[], float] = time.monotonic):
        self.calls, self.window_s, self.now = calls, window_s, now
        self._seen: dict[str, deque] = {}
        self._lock = threading.Lock()

    def count(self, key: str) -> None:
        """Counts one call. Raises TooManyRequests, then it is not counted."""
        with self._lock:
            now = self.now()
            if len(self._seen) > 10_000:
                self._seen = {name: times for name, times in self._seen.items() if times[-1] > now - self.window_s}
            times = self._seen.setdefault(key, deque())
            while times and times[0] <= now - self.window_s:
                times.popleft()
            if len(times) >= self.calls:
                wait = max(1, round(times[0] + self.window_s - now))
                raise TooManyRequests(f"More than {self.calls} calls in {self.window_s:g} s: try again in {wait} s.",
                                      retry_after=wait)
            times.append(now)


class Tokens:
    """The agent token and the secret key: replaceable while running, compared in constant time.

    standing: what counts about a user now, None for one that is not known here; known_only: whether such a user is
    refused. Elsewhere the token is believed, because the users may be those of the hub."""

    def __init__(self, agent_token: str | None, secret_key: str, standing: Callable[[str], Standing | None] | None = None, *,
                 known_only: bool = False):
        self.secret_key = secret_key
        self.agent_token = agent_token
        self.standing, self.known_only = standing or (lambda username: None), known_only

    @property
    def agent_token(self) -> str | None:
        return self._agent_token

    @agent_token.setter
    def agent_token(self, token: str | None) -> None:
        self._agent_token = token
        self._digest = _digest(token) if token else None

    def caller(self, value: str, source: str) -> Caller | None:
        """Returns who presents this credential, or None when it does not verify."""
        if self._digest is not None and hmac.compare_digest(_digest(value), self._digest):
            return Caller("system", "admin_via_token", True, source)
        if value.count(".") != 2:
            return None
        if self._agent_token:
            claims = _claims(value, self._agent_token, required=())
            if claims is not None:
                subject = claims.get("sub")
                return Caller("system", subject if isinstance(subject, str) and subject else "admin_via_token", True,
                              source)
        claims = _claims(value, self.secret_key, required=("exp", "sub"))
        if claims is None or not isinstance(claims["sub"], str) or not claims["sub"]:
            return None
        role = self._role(claims)
        signed_in_at = claims.get("auth_time")
        return None if role is None else Caller("user", claims["sub"], role == accounts.ADMIN, source,
                                                signed_in_at if isinstance(signed_in_at, int) else 0.0)

    def _role(self, claims: dict) -> object:
        """Returns the role that the bearer has now, None for a token that is not valid any more."""
        name, claimed = claims["sub"], claims.get("role") or accounts.USER
        if name == accounts.COMMAND_LINE:
            # It signs for itself: who has the key of this machine could as well sign for any user.
            return claimed
        found = self.standing(name)
        if found is None:
            return None if self.known_only else claimed
        generation = claims.get("gen")
        if found.deleted or not isinstance(generation, int) or generation < found.generation:
            return None
        return found.role

    def issue(self, user: User, now: float, *, signed_in_at: float = 0.0) -> str:
        """Returns an access token for the user. signed_in_at: when the user has signed in for it; 0: it comes by a refresh.

        Its middle part is read by browsers with a decoder that knows neither - nor _. Of ASCII only > ? and ~ could
        become one of these, and neither names nor numbers have them."""
        import jwt

        claims = {"sub": user.username, "role": user.role, "mfa_enabled": user.mfa_enabled, "gen": user.generation,
                  "iat": int(now), "exp": int(now) + accounts.ACCESS_S}
        return jwt.encode(claims | ({"auth_time": int(signed_in_at)} if signed_in_at else {}),
                          accounts.signing_key(self.secret_key), algorithm="HS256")


def _digest(value: str) -> bytes:
    # Hashing first makes the comparison independent of length and safe for characters outside ASCII.
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def _claims(token: str, key: str, required: Iterable[str]) -> dict | None:
    import jwt  # few calls carry a JWT, and importing it costs a third of a start

    try:
        return jwt.decode(token, accounts.signing_key(key), algorithms=["HS256"], leeway=LEEWAY_S, options={
            "require": list(required), "verify_aud": False, "verify_iss": False, "verify_sub": False,
            "verify_jti": False, "verify_iat": bool(required), "verify_nbf": bool(required)})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None


class Access:
    """Decides for one request. anonymous_reads: "loopback", "off" or "all"; hosts, origins: what 1.1 and 1.3 allow."""

    def __init__(self, tokens: Tokens, *, anonymous_reads: str, hosts: Iterable[str], origins: Iterable[str],
                 proxies: Iterable[str], bound: str, sessions: PageSessions | None = None):
        self.sessions = sessions
        self.tokens, self.anonymous_reads, self.bound = tokens, anonymous_reads, bound
        self.hosts = frozenset(host.lower() for host in hosts)
        self.origins, self.proxies = frozenset(origins), frozenset(proxies)

    def credential(self, environ: dict) -> tuple[str, str] | None:
        """Returns (value, "header" or "query"), or None when the request carries none."""
        header = environ.get("HTTP_AUTHORIZATION")
        if header is not None:
            scheme, _, value = header.partition(" ")
            return (value.strip() if scheme.lower() == "bearer" else "", "header")
        if "token=" in environ.get("QUERY_STRING", ""):
            values = parse_qs(environ["QUERY_STRING"], keep_blank_values=True, max_num_fields=100).get("token")
            return (values[0], "query") if values else None
        return None

    def identify(self, environ: dict) -> Caller | None:
        """Returns the verified caller, ANONYMOUS without a credential, None for one that does not verify."""
        known = environ.get("ananta.caller", 0)
        if known != 0:
            return known
        try:
            presented = self.credential(environ)
        except ValueError:
            presented = ("", "query")
        caller = self.tokens.caller(*presented) if presented else self._of_page(environ)
        environ["ananta.caller"] = caller
        return caller

    def _of_page(self, environ: dict) -> Caller | None:
        token = self.sessions.shown(environ) if self.sessions is not None else None
        if token is None or self.sessions is None or not self._own_page(environ):
            return ANONYMOUS
        try:
            return self.sessions.caller(token, environ)
        except NotAuthenticated as refused:
            environ["ananta.refused"] = refused
            return None

    def _own_page(self, environ: dict) -> bool:
        """Whether a page of this agent may have sent the request, under a name that this agent has: no other origin may
        use the cookie, not even one that may call with a token."""
        host, origin = environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN")
        if not self._host_allowed(host) or environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
            return False
        return origin is None or origin.partition("://")[2].lower() == (host or "").lower()

    def again(self, access: str, environ: dict) -> tuple[tuple, Callable[[], Caller]]:
        """Returns what the caller of a request shows, and a function that decides anew whether that is enough; for
        what outlives the request. It raises what `check` raises."""
        names = SHOWN if "HTTP_AUTHORIZATION" in environ or "HTTP_COOKIE" not in environ else SHOWN + OF_PAGES
        shown = {name: environ[name] for name in names if name in environ}
        return tuple(shown.items()), lambda: self.check(access, dict(shown))

    def check_place(self, environ: dict) -> None:
        """Raises HostNotAllowed or OriginNotAllowed for what a foreign web page could send."""
        if not self._host_allowed(environ.get("HTTP_HOST")) and (
                self.tokens.agent_token is None or not self._authenticated(environ)):
            raise HostNotAllowed(f"This agent is not addressed as {environ.get('HTTP_HOST')!r}: use its address, or add "
                                 "the name to ALLOWED_HOSTS.")
        origin = environ.get("HTTP_ORIGIN")
        cross_site = origin is None and environ.get("HTTP_SEC_FETCH_SITE") == "cross-site"
        if (cross_site or (origin is not None and not self.origin_allowed(origin, environ))) and not (
                self._authenticated(environ, by_header=True)):
            raise OriginNotAllowed(f"Pages from {origin or 'other sites'} may not call this agent: add the origin to "
                                   "CORS_ORIGINS.")

    def origin_allowed(self, origin: str, environ: dict) -> bool:
        if origin in self.origins or "*" in self.origins:
            return True
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and rest.lower() == (environ.get("HTTP_HOST") or "-").lower() and (
            self._host_allowed(rest))

    def check(self, access: str, environ: dict, *, insecure_too: bool = True) -> Caller:
        """Returns the caller when this access class lets the request through. insecure_too: without an agent token
        everybody on this machine counts as administrator; where that is too little, a user's sign-in is needed.

        Raises NotAuthenticated for missing or wrong credentials, NotAllowed for known callers without the right."""
        if access == OPEN:
            return ANONYMOUS
        caller = self.identify(environ)
        insecure = self.tokens.agent_token is None
        if caller is None and "ananta.refused" in environ:
            raise environ["ananta.refused"]
        if access == USER:
            if caller is None or caller.kind != "user" or caller.source == "query":
                raise NotAuthenticated("This needs a user's own sign-in: send Authorization: Bearer <user token>.")
            return caller
        if insecure:
            if caller is None or caller.kind != "user":
                if access == ADMIN and not insecure_too:
                    raise NotAuthenticated("This needs an administrator's own sign-in: this agent has no token. "
                                           "`ananta token new` makes one while it is stopped.")
                caller = caller if caller is not None and caller.source == "cookie" else INSECURE
        elif caller is None:
            raise NotAuthenticated("The token is not valid: it is wrong, expired or has been replaced.")
        elif caller.kind == "anonymous" and not (access == READ and self._may_read_anonymously(environ)):
            raise NotAuthenticated("A token is needed: send Authorization: Bearer <token>.")
        if access == ADMIN and not caller.admin:
            raise NotAllowed("Only administrators may do this.")
        return caller

    def address(self, environ: dict) -> str:
        """The client's address: the peer, or the last untrusted X-Forwarded-For entry when the peer is a trusted proxy."""
        peer = environ.get("REMOTE_ADDR", "")
        if peer in self.proxies:
            for hop in reversed([each.strip() for each in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]):
                if hop and hop not in self.proxies:
                    return hop[:45]
        return peer

    def _authenticated(self, environ: dict, by_header: bool = False) -> bool:
        caller = self.identify(environ)
        return caller is not None and caller.kind != "anonymous" and caller.source != "cookie" and (
            not by_header or caller.source == "header")

    def _may_read_anonymously(self, environ: dict) -> bool:
        if self.anonymous_reads == "all":
            return True
        return (self.anonymous_reads == "loopback" and LOOPBACK_PEER.match(environ.get("REMOTE_ADDR", "")) is not None
                and "HTTP_X_FORWARDED_FOR" not in environ and "HTTP_FORWARDED" not in environ)

    def _host_allowed(self, host: str | None) -> bool:
        if not host:
            return False
        if LOOPBACK_HOST.fullmatch(host) is not None:
            return True
        host = host.lower()
        name = host.rsplit(":", 1)[0] if re.search(r":[0-9]{1,5}$", host) else host
        if host in self.hosts or name in self.hosts or name.strip("[]") in (*self.hosts, self.bound.lower()):
            return True
        return self.bound in ("0.0.0.0", "::") and ADDRESS_HOST.fullmatch(host) is not None and (
            name.strip("[]") in _own_addresses())


_addresses: tuple[float, frozenset[str]] = (-1e9, frozenset())


def _own_addresses() -> frozenset[str]:
    """This machine's addresses, looked up at most once a minute. An address cannot be rebound by a foreign name server."""
    global _addresses
    if time.monotonic() - _addresses[0] > 60:
        import psutil

        found = (each.address.split("%")[0].lower() for nic in psutil.net_if_addrs().values() for each in nic)
        _addresses = (time.monotonic(), frozenset(found))
    return _addresses[1]
