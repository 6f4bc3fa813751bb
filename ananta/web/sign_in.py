"""Who may try to sign in now, and what happens to those who fail: one place for all routes that take secrets."""
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bottle import request

from ananta.agent.lanes import Lane
from ananta.errors import AccountLocked, Busy, InvalidInput, NotAuthenticated
from ananta.store.audit import Audit
from ananta.store.limits import Bans, Limit
from ananta.web.access import Access

WAITING_PLACES, TURN_S = 16, 5.0


@dataclass
class Try:
    """A try to sign in. now: when it began; unfinished: it was right so far, but nobody has signed in by it, so that the
    failures before it are not forgotten."""

    now: float
    unfinished: bool = False


class Door:
    """Lets one try after the other through. tries: failures by address; bans: addresses with too many of them."""

    def __init__(self, access: Access, audit: Audit, tries: Limit, bans: Bans):
        self.access, self.audit, self.tries, self.bans = access, audit, tries, bans
        self._waiting, self._turn = Lane("signing in", WAITING_PLACES, retry_after_s=2), threading.Lock()

    @contextmanager
    def trying(self) -> Iterator[Try]:
        """Gives a try, which has failed when it ends with InvalidInput, NotAuthenticated or AccountLocked, and counts then.
        One after the other, so that many at the same moment are not more than many in a row, and those that are right do
        not count; a try costs a twentieth of a second.

        Raises TooManyRequests for an address with too many failures, and Busy."""
        address = self.access.address(request.environ)
        with self._waiting.take():
            if not self._turn.acquire(timeout=TURN_S):
                raise Busy("Too many sign in at the same moment: try again in 2 s.", retry_after=2)
            try:
                now = time.time()
                self.bans.check(address, now)
                self.tries.check(address, now)
                this = Try(now)
                try:
                    yield this
                except (InvalidInput, NotAuthenticated, AccountLocked):
                    self._failed(address, now)
                    raise
                if not this.unfinished:
                    self.tries.clear(address)
            finally:
                self._turn.release()

    def note(self, action: str, username: str, **details: object) -> None:
        """Keeps in the audit trail what somebody did, and from where."""
        self.audit.write(action, username=username[:64], ip=self.access.address(request.environ), details=details)

    def _failed(self, address: str, now: float) -> None:
        self.tries.failed(address, now)
        if self.bans.failed(address, now):
            self.note("ip_banned", "system")
