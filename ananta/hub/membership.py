"""This process as an agent: announces itself to its hub, and replaces its token together with the hub.

A hub keeps the token before a new one until the new one has worked. So wherever a rotation breaks off, the hub still
reaches this agent, and the next registration settles which token counts: the one that this agent says.
"""
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from ananta.errors import InvalidInput, StoreFailed

log = logging.getLogger(__name__)
ATTEMPTS, LONGEST_WAIT_S, QUIET = 10, 300, 3
# A hub probes the agent before it answers, and may ask it whether it takes the token.
REGISTER_S, REACH_S, LOOK_S, LOOK_FIRST_S = 15.0, 2.0, 1.0, 2.0
LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Identity:
    """What an agent tells its hub of itself. url: where the hub reaches it."""

    name: str
    url: str
    role: str
    registration_token: str | None


class NotRegistered(Exception):
    """The hub refused or did not answer; says why."""


class Membership:
    """Registers with the hub in the background. explicit: somebody named the hub; otherwise it is only looked whether
    there is one, which disturbs nobody and shows nobody a secret: whatever listens there may be anything.

    token: the one that counts now; adopt: takes one that the hub assigns; lock: held while the hub is told a token, so
    that no older one arrives after a newer one."""

    def __init__(self, hub_url: str, identity: Identity, *, explicit: bool, token: Callable[[], str | None],
                 adopt: Callable[[str], None], lock: AbstractContextManager,
                 waits: Callable[[int], float] = lambda failed: min(2 ** failed, LONGEST_WAIT_S)):
        self.hub_url, self.identity, self.explicit = hub_url.rstrip("/"), identity, explicit
        self.token, self.adopt, self.lock, self.waits = token, adopt, lock, waits
        self._stop = threading.Event()
        self._running = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Registers in the background, unless that is under way; also to be called anew when the hub may be wrong about
        this agent."""
        if self._running.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run, name="membership", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            # A hub that does not answer must not hold up the stop.
            self._thread.join(0.1)

    def register(self, token: str | None, *, shown: str | None) -> str | None:
        """Tells the hub that this token counts; shown: the one that counted until now. Returns the token that the hub
        assigns instead, if it does. Raises NotRegistered."""
        from ananta.hub import asking

        said = {"name": self.identity.name, "url": self.identity.url, "role": self.identity.role}
        if self.explicit:
            said |= {name: each for name, each in (("token", token), ("registration_token", self.identity.registration_token))
                     if each is not None}
        try:
            answer = asking.ask("POST", f"{self.hub_url}/register", token=shown if self.explicit else None, body=said,
                                timeout_s=REGISTER_S)
        except asking.NoAnswer as failure:
            raise NotRegistered(str(failure)) from failure
        if not answer.good:
            why = answer.content.get("message") or answer.content.get("error")
            raise NotRegistered(f"it answered {answer.status}" + (f": {why[:300]}" if isinstance(why, str) else ""))
        # Agents of another make answer in an envelope.
        inner = answer.content.get("data")
        assigned = (inner if isinstance(inner, dict) else answer.content).get("agent_token")
        return assigned if self.explicit and _is_token(assigned) else None

    def reach(self) -> str | None:
        """Returns None when the hub answers, else why not."""
        from ananta.hub import asking

        try:
            status = asking.ask("GET", f"{self.hub_url}/health", timeout_s=REACH_S).status
        except asking.NoAnswer as failure:
            return f"The hub at {self.hub_url} cannot be reached: {failure}."
        return None if status < 500 else f"The hub at {self.hub_url} answers {status}."

    # ---

    def _run(self) -> None:
        try:
            if self.explicit or not self._stop.wait(LOOK_FIRST_S):
                self._attempts()
        except Exception:
            log.exception("registering with the hub failed unexpectedly")
        finally:
            self._running.release()

    def _attempts(self) -> None:
        for failed in range(1, ATTEMPTS + 1):
            try:
                self._once()
            except NotRegistered as failure:
                level = logging.DEBUG if failed <= QUIET or not self.explicit else logging.WARNING
                log.log(level, "the hub at %s does not take this agent: %s", self.hub_url, failure)
            else:
                return
            if failed < ATTEMPTS and self._stop.wait(self.waits(failed)):
                return
        if self.explicit:
            log.error("gave up registering with the hub at %s after %d attempts: start this agent again when the hub "
                      "is there, or correct HUB_URL", self.hub_url, ATTEMPTS)

    def _once(self) -> None:
        if not self.explicit and not self._listens():
            raise NotRegistered("nothing listens there")
        with self.lock:
            if self._stop.is_set():
                return
            token = self.token()
            assigned = self.register(token, shown=token)
            log.info("registered with the hub at %s", self.hub_url)
            if assigned is not None and assigned != token and not self._stop.is_set():
                self.adopt(assigned)
                log.info("the hub at %s has assigned another token", self.hub_url)

    def _listens(self) -> bool:
        # Before anything is imported: on most machines there is no hub.
        parts = urlsplit(self.hub_url)
        with suppress(OSError), socket.create_connection((parts.hostname or "", parts.port or 80), timeout=LOOK_S):
            return True
        return False


class Rotation:
    """Replaces the agent token. keep: stores it, None where it is not to survive a restart; swap: from here on it counts."""

    def __init__(self, *, make: Callable[[], str], token: Callable[[], str | None], swap: Callable[[str], None],
                 keep: Callable[[str], object] | None):
        self.make, self.token, self.swap, self.keep = make, token, swap, keep
        self.membership: Membership | None = None
        self.lock = threading.RLock()

    def rotate(self) -> str:
        """Returns the new token; the old one is invalid from here on. Raises InvalidInput `rotation_failed`, then the
        old one counts as before."""
        with self.lock:
            new = self.make()
            hub = self.membership if self.membership is not None and self.membership.explicit else None
            try:
                if hub is not None:
                    hub.register(new, shown=self.token())
                # First of all durably: what others are told must be true after a restart, too.
                if self.keep is not None:
                    self.keep(new)
            except (NotRegistered, StoreFailed) as failure:
                if hub is not None:
                    hub.start()  # it may have heard of the new token
                why = failure.message if isinstance(failure, StoreFailed) else f"the hub does not take the new token: {failure}"
                raise InvalidInput(f"The token stays as it is: {why.rstrip('.')}.", code="rotation_failed") from failure
            self.swap(new)
            if hub is not None:
                hub.start()  # an older message to it may still have been under way
            return new

    def take(self, token: str) -> None:
        """Makes a token count that somebody else has chosen, and keeps it. Raises StoreFailed."""
        with self.lock:
            if self.keep is not None:
                self.keep(token)
            self.swap(token)


def is_due(last_rotation: float, days: int, now: float | None = None) -> bool:
    """Whether a token of that time (epoch seconds) is to be replaced; days 0: never."""
    return days > 0 and (time.time() if now is None else now) - last_rotation > days * 86400


def is_same_place(hub_url: str, own_urls: set[str], port: int) -> bool:
    """Whether the hub is this process itself: one of its addresses, or its port on this machine."""
    if hub_url.rstrip("/").lower() in {each.rstrip("/").lower() for each in own_urls}:
        return True
    parts = urlsplit(hub_url)
    host = (parts.hostname or "").lower()
    return (host in LOOPBACK or host.startswith("127.")) and (parts.port or (443 if parts.scheme == "https" else 80)) == port


def _is_token(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512 and value.isascii() and value.isprintable() and " " not in value
