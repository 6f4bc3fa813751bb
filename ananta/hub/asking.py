"""Short questions between a hub and its agents: one HTTP request, bounded in size and in time.

No redirects, no proxies, no .netrc: a token goes to the address it is meant for, and nowhere else.
"""
import http.client
import io
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from ananta import __version__
from ananta.hub import addresses

ANSWER_BYTES = 64 << 10


class NoAnswer(Exception):
    """Nobody answered in time, or not in HTTP; says why. sent: whether the request may have arrived."""

    def __init__(self, why: str, *, sent: bool):
        super().__init__(why)
        self.sent = sent


@dataclass(frozen=True)
class Answer:
    """content: the JSON object of the body, {} for anything else."""

    status: int
    content: dict

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def ask(method: str, url: str, *, token: str | None = None, body: dict | None = None, timeout_s: float) -> Answer:
    """Returns the answer; all of it takes timeout_s at most, but for the look-up of the name. Raises NoAnswer."""
    sent = False
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        found = addresses.resolved(parts.hostname or "", parts.port or (443 if secure else 80))
        until = time.monotonic() + timeout_s
        request = _request(method, parts, token, body)
        with closing(addresses.connected(found, until)) as plain, closing(
                addresses.secured(plain, parts.hostname or "", until) if secure else plain) as connection:
            connection.settimeout(addresses.left(until))
            sent = True
            connection.sendall(request)
            return _answer(method, connection, until)
    except (OSError, http.client.HTTPException, addresses.Refused, ValueError) as failure:
        raise NoAnswer(_why(failure), sent=sent) from failure


# ---


class _Reader(io.RawIOBase):
    """What comes from a socket until a moment: a slow sender cannot stretch it byte by byte."""

    def __init__(self, connection: socket.socket, until: float):
        self._socket, self._until = connection, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._socket.settimeout(addresses.left(self._until))
        return self._socket.recv_into(buffer)

    def makefile(self, *_) -> io.BufferedReader:
        """What HTTPResponse wants of a socket."""
        return io.BufferedReader(self)


def _answer(method: str, connection: socket.socket, until: float) -> Answer:
    with closing(http.client.HTTPResponse(_Reader(connection, until), method=method)) as response:  # type: ignore[arg-type]
        response.begin()
        text = response.read(ANSWER_BYTES + 1)
        return Answer(response.status, {} if len(text) > ANSWER_BYTES else _object(text))


def _object(text: bytes) -> dict:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _request(method: str, parts, token: str | None, body: dict | None) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", f"User-Agent: ananta/{__version__}",
             "Accept: application/json", "Accept-Encoding: identity", "Connection: close"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise ValueError("the address or the token cannot stand in a request")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + content


def _why(failure: BaseException) -> str:
    if isinstance(failure, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(failure, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, http.client.HTTPException):
        return "it does not answer in HTTP"
    return str(failure) or type(failure).__name__
