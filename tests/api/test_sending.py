"""Answers leave from the thread that made them, and the loop is woken only for what that leaves to do."""
import random
import socket
from collections.abc import Iterator

import bottle
import pytest
from bottle import Bottle, HTTPResponse

from ananta.web import server as web
from ananta.web.access import OPEN, Access, Tokens
from ananta.web.gate import Gate
from ananta.web.responses import Raw
from ananta.web.streams import Streams
from tests.conftest import WAIT_S

LARGE = 6 << 20


class Texts:
    """A route whose answer is as long as it is asked to be."""

    def mount(self, app: Bottle) -> None:
        app.get("/text/<length:int>", callback=self.text, access=OPEN)
        app.get("/loop", callback=self.loop, access=OPEN)

    def text(self, length: int) -> Raw:
        """So many letters."""
        return Raw(b"x" * length)

    def loop(self) -> HTTPResponse:
        """A letter, and then what the loop waits for while that is not sent yet."""
        channel = bottle.request.environ["waitress.client_disconnected"].__self__

        def pieces() -> Iterator[bytes]:
            yield b"x"
            yield f"{channel.total_outbufs_len > 0} {channel.readable()} {channel.writable()}".encode()

        return HTTPResponse(pieces(), 200)


@pytest.fixture
def port(monkeypatch) -> Iterator[int]:
    # Otherwise the loop looks for itself each second, and a wake-up that is missing would only be slow.
    monkeypatch.setattr(web, "LOOK_S", 4 * WAIT_S)
    access = Access(Tokens("token-0123456789", "a-secret-of-some-length-for-users"), anonymous_reads="off", hosts=(),
                    origins=(), proxies=(), bound="127.0.0.1")
    with pytest.warns(DeprecationWarning):
        server = web.Server(Gate(web.application([Texts()], access), access, lambda: False), access, Streams(),
                            host="127.0.0.1", port=0, lane_places=1)
        server.start()
        yield server.port
        server.stop()


def connected(port: int, buffer: int | None = None) -> socket.socket:
    made = socket.socket()
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.settimeout(WAIT_S)
    made.connect(("127.0.0.1", port))
    return made


def asked(length: int, *headers: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"GET /text/{length} HTTP/1.1", "Host: localhost", *headers, "")).encode()


def taken(file, lengths: list[int]) -> None:
    for length in lengths:
        assert file.readline().startswith(b"HTTP/1.1 200")
        while (line := file.readline()) != b"\r\n":
            assert line
        assert file.read(length) == b"x" * length


def test_answers_come_in_their_order_however_requests_are_cut(port):
    chance = random.Random(11)
    with connected(port) as client, client.makefile("rb") as file:
        for _ in range(60):
            lengths = [chance.choice((0, 1, 700, 70_000)) for _ in range(chance.randint(1, 6))]
            whole = b"".join(map(asked, lengths))
            while whole:
                cut = chance.randint(1, len(whole))
                client.sendall(whole[:cut])
                whole = whole[cut:]
            taken(file, lengths)


def test_what_a_thread_is_about_to_send_is_nothing_to_the_loop(port):
    """Told that the connection takes data, it would look again at once, and find nothing to do, until that was sent."""
    with connected(port) as client, client.makefile("rb") as file:
        client.sendall(b"GET /loop HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert file.read().endswith(b"\r\n\r\nxTrue True False")


def test_what_the_connection_does_not_take_at_once_follows(port):
    with connected(port, buffer=4096) as client, client.makefile("rb") as file:
        client.sendall(asked(LARGE) + asked(3) + asked(LARGE))
        taken(file, [LARGE, 3, LARGE])


def test_a_connection_that_ends_with_its_answer_ends(port):
    for length in (5, LARGE):
        with connected(port) as client, client.makefile("rb") as file:
            client.sendall(asked(length, "Connection: close"))
            taken(file, [length])
            assert file.read() == b""


def test_who_leaves_before_the_answer_harms_nobody(port):
    for _ in range(20):
        with connected(port, buffer=4096) as client:
            client.sendall(asked(LARGE))
    with connected(port) as client, client.makefile("rb") as file:
        client.sendall(asked(9))
        taken(file, [9])
