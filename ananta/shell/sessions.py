"""What is remembered between the commands of a session: where it is and what it exported."""
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ananta.errors import Busy


class Session:
    """cwd and exported variables of a sequence of commands. Belongs to whoever got it from Sessions.hold."""

    def __init__(self, cwd: str, environment: Mapping[str, str]):
        self.cwd = cwd
        self.environment = dict(environment)
        self._free = threading.Lock()
        self._wanted = 0


class Sessions:
    """The sessions by key, at most `limit`: the one not used for longest is forgotten first, one in use never."""

    def __init__(self, home: str, environment: Mapping[str, str], limit: int):
        self._home = home
        self._environment = environment
        self._limit = max(limit, 1)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def directory(self, key: str) -> str:
        """Returns where the session's next command will start; makes no session."""
        with self._lock:
            session = self._sessions.get(key)
            return session.cwd if session else self._home

    def fresh(self) -> Session:
        """Returns a session that nobody else knows."""
        return Session(self._home, self._environment)

    @contextmanager
    def hold(self, key: str, wait_s: float) -> Iterator[Session]:
        """Gives the session of this key, a new one when it is unknown, to one caller at a time.

        Raises Busy when another holds it for longer than wait_s seconds."""
        session = self._want(key)
        try:
            if not session._free.acquire(timeout=min(max(wait_s, 0), threading.TIMEOUT_MAX)):
                raise Busy("another command of this session is still running: wait for it, or use another session",
                           retry_after=1)
            try:
                yield session
            finally:
                session._free.release()
        finally:
            with self._lock:
                session._wanted -= 1

    def _want(self, key: str) -> Session:
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                self._forget_surplus()
                session = self._sessions[key] = Session(self._home, self._environment)
            self._sessions.move_to_end(key)
            session._wanted += 1
            return session

    def _forget_surplus(self) -> None:
        idle = (key for key, session in self._sessions.items() if not session._wanted)
        while len(self._sessions) >= self._limit and (oldest := next(idle, None)) is not None:
            del self._sessions[oldest]
            idle = (key for key, session in self._sessions.items() if not session._wanted)
