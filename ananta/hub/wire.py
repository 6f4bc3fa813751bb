"""HTTP to addresses that somebody has named: bounded in size and time, however slowly the other side sends.

No redirects, no proxies, no .netrc: a token goes to the address it is meant for, and nowhere else. http.client is used
below its convenience, because only there each read can be held to one moment for the whole answer.
"""
import http.client
import io
import math
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from ananta import __version__
from ananta.domain.addresses import Refused
from ananta.hub import addresses

CHUNK_BYTES = 256 << 10
BUFFER_BYTES = 64 << 10
# The beginning of an answer with a body, the field that says how long that is, and those that make it less simple.
_PLAIN = re.compile(rb"HTTP/1\.1 (?!204|304)([2-5]\d\d) [^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)
_SPECIAL = re.compile(rb"\r\n(?:transfer-encoding|connection|content-encoding)[ \t]*:|\n[ \t]", re.IGNORECASE)
# What a connection or an answer may fail with; `reason` says it in words.
FAILURES = (OSError, http.client.HTTPException, ValueError, Refused)


class TooLarge(ValueError):
    """The answer is larger than was asked for. status: its status."""

    def __init__(self, status: int, most_bytes: int):
        super().__init__(f"its answer has more than {most_bytes >> 20} MiB" if most_bytes >> 20 else
                         f"its answer has more than {most_bytes >> 10} KiB")
        self.status = status


class NoAnswer(Exception):
    """Nobody answered in time, or not in HTTP; says why. sent: whether the request may have arrived."""

    def __init__(self, why: str, *, sent: bool):
        super().__init__(why)
        self.sent = sent


class Connection:
    """A connection to the host of a URL, to an address that was checked. Raises what is in FAILURES if it cannot be made."""

    def __init__(self, url: str, until: float):
        parts = urlsplit(url)
        secure, host = parts.scheme == "https", parts.hostname or ""
        plain = addresses.connected(addresses.resolved(host, parts.port or (443 if secure else 80)), until)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = addresses.secured(plain, host, until) if secure else plain
        except BaseException:
            plain.close()
            raise
        self._until = until

    def ask(self, method: str, url: str, headers: list[str], body: bytes | None, until: float, *,
            most_bytes: int) -> tuple[int, bytes, bool]:
        """Returns status, body and whether the connection can be used again. url: of this connection's host; most_bytes
        0: the body is of no interest."""
        self._until = until
        self._send(method, url, headers, body, until)
        source = io.BufferedReader(_Clocked(self._socket, until), BUFFER_BYTES)
        plain = _plain_head(source)
        if plain is not None and most_bytes:
            status, length = plain
            return status, _counted(source, status, length, most_bytes), True
        with closing(http.client.HTTPResponse(_Source(source), method=method)) as answer:  # type: ignore[arg-type]
            answer.begin()
            if most_bytes == 0:
                return answer.status, b"", False
            return answer.status, _content(answer, most_bytes), not answer.will_close

    def _send(self, method: str, url: str, headers: list[str], body: bytes | None, until: float) -> None:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", *headers]
        if not (whole := "".join(head)).isascii() or not whole.isprintable():
            raise ValueError("the address or the token cannot stand in a request")
        self._socket.settimeout(addresses.left(until))
        self._socket.sendall("\r\n".join([*head, "", ""]).encode("ascii") + (body or b""))

    def lines(self, url: str, headers: list[str], until: float, *, line_bytes: int) -> tuple[int, Iterator[bytes]]:
        """Asks for a stream; returns its status and its lines without their ends, as they come, until it ends. A line of
        more than line_bytes ends it, too. The lines raise what is in FAILURES."""
        self._until = until
        self._send("GET", url, headers, None, until)
        answer = http.client.HTTPResponse(_Source(io.BufferedReader(_Clocked(self._socket, until), BUFFER_BYTES)), method="GET")  # type: ignore[arg-type]
        answer.begin()
        return answer.status, _lines(answer, line_bytes)

    def receive(self, url: str, headers: list[str], take: Callable[[http.client.HTTPResponse], Callable[[bytes], object] | None], until: float, *,
                stall_s: float) -> tuple[int, bytes]:
        """Asks for what may be too large for the memory, and returns status and body. take: returns for an answer what is
        called with each piece of its body, which then is not returned, or None; stall_s: so long nothing may come."""
        self._send("GET", url, headers, None, until)
        source = io.BufferedReader(_Clocked(self._socket, until, stall_s), BUFFER_BYTES)
        with closing(http.client.HTTPResponse(_Source(source), method="GET")) as answer:  # type: ignore[arg-type]
            answer.begin()
            into = take(answer)
            if into is None:
                return answer.status, _content(answer, BUFFER_BYTES)
            while piece := answer.read1(CHUNK_BYTES):
                into(piece)
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
            return answer.status, b""

    def is_stale(self) -> bool:
        """Whether the other side has closed it, or said something nobody asked for."""
        if sys.platform == "win32":
            return bool(select.select([self._socket], [], [], 0)[0])
        poller = select.poll()  # select itself fails above descriptor 1024
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(0))

    def cut(self) -> None:
        """Ends it, also while another thread waits for its answer."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


class _Clocked(io.RawIOBase):
    """Reads from a socket until a moment: a slow sender cannot stretch it byte by byte. most_s: of one read."""

    def __init__(self, plain: socket.socket, until: float, most_s: float = math.inf):
        self._socket, self._until, self._most_s = plain, until, most_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._socket.settimeout(min(addresses.left(self._until), self._most_s))
        return self._socket.recv_into(buffer)


@dataclass(frozen=True)
class _Source:
    """What http.client takes for a socket: it reads an answer from it, and closes that after it."""

    reader: "io.BufferedReader[_Clocked]"

    def makefile(self, *_: object) -> "io.BufferedReader[_Clocked]":
        return self.reader


def _plain_head(source: "io.BufferedReader[_Clocked]") -> tuple[int, int] | None:
    """Takes the head of an answer that says only how long its body is, as agents send it, and returns status and length.
    None for any other, of which nothing has been taken then: http.client reads it, at five times the cost."""
    begun = source.peek()
    end = begun.find(b"\r\n\r\n")
    found = _PLAIN.match(begun, 0, end + 2) if end > 0 else None
    if found is None or _SPECIAL.search(begun, 0, end + 2):
        return None
    lengths = _LENGTH.findall(begun, 0, end + 2)
    if len(lengths) != 1:
        return None
    source.read(end + 4)
    return int(found[1]), int(lengths[0])


def _counted(source: "io.BufferedReader[_Clocked]", status: int, length: int, most_bytes: int) -> bytes:
    if length > most_bytes:
        raise TooLarge(status, most_bytes)
    content = source.read(length)
    if len(content) < length:
        raise http.client.IncompleteRead(content, length - len(content))
    return content


def _content(answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    if (answer.length or 0) > most_bytes:
        raise TooLarge(answer.status, most_bytes)
    content = bytearray()
    while piece := answer.read1(CHUNK_BYTES):
        content += piece
        if len(content) > most_bytes:
            raise TooLarge(answer.status, most_bytes)
    if answer.length:
        raise http.client.IncompleteRead(bytes(content), answer.length)
    return bytes(content)


def _lines(answer: http.client.HTTPResponse, line_bytes: int) -> Iterator[bytes]:
    while line := answer.readline(line_bytes):
        if not line.endswith(b"\n"):
            return
        yield line.rstrip(b"\r\n")


def headers(content: bytes | None, token: str | None, *more: str) -> list[str]:
    """Returns the header lines of a request. token: as Authorization; more: further lines."""
    lines = [f"User-Agent: ananta/{__version__}", "Accept: application/json", "Accept-Encoding: identity", *more]
    if content is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return lines if token is None else [*lines, f"Authorization: Bearer {token}"]


def once(method: str, url: str, content: bytes | None, token: str | None, *, timeout_s: float,
         most_bytes: int) -> tuple[int, bytes]:
    """Returns status and body of one request on a connection of its own; all of it takes timeout_s at most, but for the
    look-up of the name. Raises NoAnswer, and TooLarge."""
    until, sent = time.monotonic() + timeout_s, False
    try:
        with closing(Connection(url, until)) as connection:
            sent = True
            return connection.ask(method, url, headers(content, token, "Connection: close"), content, until,
                                  most_bytes=most_bytes)[:2]
    except TooLarge:
        raise
    except FAILURES as failure:
        raise NoAnswer(reason(failure), sent=sent) from failure


def json_object(raw: bytes) -> dict | None:
    """Returns the JSON object, None for anything else."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def reason(failure: BaseException) -> str:
    """Returns what went wrong as the end of a sentence."""
    if isinstance(failure, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(failure, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, http.client.IncompleteRead):
        return "its answer was cut off"
    if isinstance(failure, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        return "the connection was closed without an answer"
    if isinstance(failure, http.client.HTTPException):
        return "its answer is not HTTP"
    if isinstance(failure, OSError):
        return (failure.strerror or str(failure) or type(failure).__name__).lower()
    return str(failure).rstrip(".")
