"""What systemd is told: over a real socket, by the real program."""
import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ananta.operations import supervision
from tests.conftest import WAIT_S


@contextmanager
def listening(folder):
    """A socket as systemd has one; gives it and its path."""
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(WAIT_S)
        yield receiver, str(path)


def test_systemd_hears_of_start_life_and_stop(start, tmp_path):
    with listening(tmp_path) as (receiver, path):
        worker = start("worker", NOTIFY_SOCKET=path, WATCHDOG_USEC="300000")
        assert receiver.recv(1024).decode() == f"READY=1\nSTATUS=listening on {worker.url}"
        assert worker.get("/health").status_code == 200
        # Others read the journal.
        assert worker.line_with("console ").split()[1] == f"{worker.url}/ui/"
        assert receiver.recv(1024) == receiver.recv(1024) == b"WATCHDOG=1"
        assert worker.stop() == 0
        rest = []
        while not rest or not rest[-1].startswith(b"STOPPING=1"):
            rest.append(receiver.recv(1024))
        assert set(rest[:-1]) <= {b"WATCHDOG=1"}
        assert not [line for line in worker.errors if "answer itself" in line]


def test_a_start_that_fails_never_says_ready(start, tmp_path):
    with listening(tmp_path) as (receiver, path):
        worker = start("worker", NOTIFY_SOCKET=path)
        assert receiver.recv(1024).startswith(b"READY=1")
        try:
            start("other", "--port", worker.url.rsplit(":", 1)[1], NOTIFY_SOCKET=path)
        except AssertionError as failed:
            assert "exit code 2" in str(failed)
        else:
            raise AssertionError("two servers on one port")
        assert receiver.recv(1024).startswith(b"STOPPING=1")


def test_commands_cannot_speak_for_the_service(start, tmp_path):
    with listening(tmp_path) as (_, path):
        worker = start("worker", NOTIFY_SOCKET=path, WATCHDOG_USEC="600000000", CREDENTIALS_DIRECTORY=str(tmp_path))
        shown = worker.execute("env")["output"]
        assert "NOTIFY_SOCKET" not in shown and "WATCHDOG" not in shown and "CREDENTIALS_DIRECTORY" not in shown


def test_a_server_that_does_not_answer_itself_gives_no_sign_of_life(tmp_path):
    status, asked = [500], threading.Semaphore(0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status[0])
            self.end_headers()
            asked.release()

        def log_message(self, format, *args):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with listening(tmp_path) as (receiver, path):
        watched = supervision.of({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())})
        watched.ready(f"http://127.0.0.1:{server.server_address[1]}")
        assert receiver.recv(1024).startswith(b"READY=1")
        for _ in range(4):
            assert asked.acquire(timeout=WAIT_S)
        receiver.setblocking(False)
        # The fourth look has begun, so what the first three had to say would be here.
        assert _received(receiver) == []
        status[0] = 200
        receiver.settimeout(WAIT_S)
        assert receiver.recv(1024) == b"WATCHDOG=1"
        server.shutdown()
        server.server_close()
        thread.join()
        assert not supervision.answers(f"http://127.0.0.1:{server.server_address[1]}", 1)
        watched.close()


def _received(receiver) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(receiver.recv(1024))
        except BlockingIOError:
            return found


def test_an_abstract_address_works_and_no_address_is_no_supervisor():
    name = f"ananta-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        receiver.settimeout(WAIT_S)
        environment = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "PATH": "/bin"}
        found = supervision.of(environment)
        assert environment == {"PATH": "/bin"}
        found.ready("http://127.0.0.1:1")
        assert receiver.recv(1024).startswith(b"READY=1")
        assert not any(each.name == "watchdog" for each in threading.enumerate())  # that of another process
        found.close()
    # Nobody listens any more: that must not disturb anything.
    found.stopping()
    for address in ("", "@", "relative", "vsock:2:1"):
        assert isinstance(supervision.of({"NOTIFY_SOCKET": address}), supervision.Nobody)
