"""How often somebody may call, counted in the database: hubs that share it count together, and a restart forgets nothing.
"""
import time

from ananta.errors import TooManyRequests
from ananta.store import database
from ananta.store.records import plain

BAN_FAILURES, BAN_WINDOW_S, BANNED_S = 50, 3600, 24 * 3600
KEY_CHARS = 200


class Limit:
    """At most `calls` per `window_s` seconds and key. scope: its name; limits of the same scope count together; now: the
    time of the call, by default that of the clock."""

    def __init__(self, scope: str, calls: int, window_s: float):
        self.scope, self.calls, self.window_s = scope, calls, window_s

    def count(self, key: str, now: float | None = None) -> None:
        """Counts one call. Raises TooManyRequests, then it is not counted."""
        who, now = _who(key), _time(now)
        with database.writing():
            database.turn(f"{self.scope} {who}")
            self._check(who, now)
            self._add(who, now)

    def check(self, key: str, now: float | None = None) -> None:
        """Counts nothing. Raises TooManyRequests if the next call would be one too many."""
        self._check(_who(key), _time(now))

    def failed(self, key: str, now: float | None = None) -> int:
        """Counts a failure, also beyond the limit; returns how many there are within the window."""
        who, now = _who(key), _time(now)
        with database.writing():
            database.turn(f"{self.scope} {who}")
            self._add(who, now)
            return database.rows("SELECT count(*) FROM attempts WHERE scope = ? AND who = ? AND at > ?", self.scope, who,
                                 now - self.window_s)[0][0]

    def clear(self, key: str) -> None:
        """Forgets what was counted for this key."""
        with database.writing():
            database.change("DELETE FROM attempts WHERE scope = ? AND who = ?", self.scope, _who(key))

    def _check(self, who: str, now: float) -> None:
        times = [row[0] for row in database.rows(
            "SELECT at FROM attempts WHERE scope = ? AND who = ? AND at > ? ORDER BY at DESC LIMIT ?", self.scope, who,
            now - self.window_s, self.calls)]
        if len(times) >= self.calls:
            wait = min(max(1, round(times[-1] + self.window_s - now)), round(self.window_s))
            raise TooManyRequests(f"More than {self.calls} calls in {self.window_s:g} s: try again in {wait} s.",
                                  retry_after=wait)

    def _add(self, who: str, now: float) -> None:
        # What has left the window goes with every new one, so a table of attempts stays as small as the limits are.
        database.change("DELETE FROM attempts WHERE scope = ? AND who = ? AND at <= ?", self.scope, who, now - self.window_s)
        database.change("INSERT INTO attempts (scope, who, at) VALUES (?, ?, ?)", self.scope, who, now)


class Bans:
    """Addresses from which too many tries to sign in failed are refused for a day."""

    def __init__(self) -> None:
        self.failures = Limit("sign-in failures", BAN_FAILURES, BAN_WINDOW_S)

    def check(self, address: str, now: float) -> None:
        """Raises TooManyRequests for a banned address."""
        found = database.rows("SELECT banned_until FROM banned_ips WHERE ip = ? AND banned_until > ?", _who(address), now)
        if found:
            wait = max(1, round(found[0][0] - now))
            raise TooManyRequests(f"Too many failures came from this address: it is banned for {wait} s.", retry_after=wait)

    def failed(self, address: str, now: float) -> bool:
        """Counts a failure; says whether it is the one that bans the address."""
        ip = _who(address)
        with database.writing():
            if self.failures.failed(ip, now) < BAN_FAILURES:
                return False
            self.failures.clear(ip)
            database.change("INSERT INTO banned_ips (ip, banned_until, reason) VALUES (?, ?, ?) ON CONFLICT (ip) DO UPDATE SET "
                            "banned_until = excluded.banned_until, reason = excluded.reason", ip, now + BANNED_S,
                            f"{BAN_FAILURES} failures within {BAN_WINDOW_S} s")
            return True


def prune(now: float) -> int:
    """Forgets attempts and bans that count no more; returns how many."""
    with database.writing():
        return (database.change("DELETE FROM attempts WHERE at <= ?", now - BAN_WINDOW_S)
                + database.change("DELETE FROM banned_ips WHERE banned_until <= ?", now))


def _time(now: float | None) -> float:
    return time.time() if now is None else now


def _who(key: str) -> str:
    return plain(key)[:KEY_CHARS]
