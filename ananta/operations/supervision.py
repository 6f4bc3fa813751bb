"""Tells the service manager how this process is: systemd's protocol, sd_notify(3) and sd_watchdog_enabled(3)."""
import logging
import os
import socket
import sys
import threading
from collections.abc import MutableMapping
from contextlib import closing
from typing import Protocol
from urllib.parse import urlsplit

log = logging.getLogger(__name__)
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# systemd ends a service that stays silent for WATCHDOG_USEC: one lost look must not be enough for that.
LOOKS = 3


class Supervisor(Protocol):
    """Whoever has started this process and wants to know how it is. None of the calls raises."""

    def ready(self, url: str) -> None:
        """The server answers at the address, which works on this machine."""

    def stopping(self) -> None:
        """The stop has begun."""

    def close(self) -> None:
        """The process is about to end."""


class Nobody:
    """There is none."""

    def ready(self, url: str) -> None:
        """Nobody wants to know."""

    def stopping(self) -> None:
        """Nobody wants to know."""

    def close(self) -> None:
        """Nobody wants to know."""


class Systemd:
    """address: of the socket, `@` for the abstract name space; watchdog_s: how long systemd waits for a sign of life,
    0 for ever. Signs are given only while the server answers itself: a process whose threads hang gives none."""

    def __init__(self, address: str, watchdog_s: float = 0.0):
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every_s = watchdog_s / LOOKS
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def ready(self, url: str) -> None:
        self._tell(f"READY=1\nSTATUS=listening on {url}")
        if self._every_s > 0:
            self._thread = threading.Thread(target=self._watch, args=(url,), name="watchdog", daemon=True)
            self._thread.start()

    def stopping(self) -> None:
        # From here on nobody waits for signs of life, and the server may be gone before this process is.
        self._end.set()
        self._tell("STOPPING=1\nSTATUS=finishing what runs")

    def close(self) -> None:
        self._end.set()
        if self._thread is not None:
            # A look that waits for an answer must not hold up the stop.
            self._thread.join(0.1)

    def _watch(self, url: str) -> None:
        silent = 0
        while not self._end.wait(self._every_s):
            if answers(url, self._every_s):
                silent = 0
                self._tell("WATCHDOG=1")
            elif not self._end.is_set():
                silent += 1
                log.error("the server does not answer itself at %s (%d in a row)", url, silent)

    def _tell(self, text: str) -> None:
        if sys.platform == "win32":
            return
        try:
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as sender:
                sender.settimeout(1)
                sender.sendto(text.encode(), self._address)
        except OSError as failure:
            log.warning("the service manager cannot be told %r: %s", text.split("\n")[0], failure)


def answers(url: str, timeout_s: float) -> bool:
    """Whether the server at the address answers GET /health with 200, each wait of timeout_s at most."""
    import http.client  # few processes have a service manager that wants to know

    parts = urlsplit(url)
    try:
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)) as connection:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def of(environment: MutableMapping[str, str], pid: int | None = None) -> Supervisor:
    """Returns the supervisor that the environment names, and takes its variables away: no command is to speak for us."""
    address, limit, whose = (environment.pop(name, "") for name in VARIABLES)
    if not address.startswith(("/", "@")) or len(address) < 2:
        return Nobody()
    ours = whose in ("", str(os.getpid() if pid is None else pid))
    return Systemd(address, int(limit) / 1e6 if ours and limit.isascii() and limit.isdigit() else 0.0)
