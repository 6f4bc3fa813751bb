"""Callbacks, sent to a real HTTP server."""
import http.server
import json
import logging
import socket
import threading
import time
from dataclasses import replace

import pytest

from ananta.domain.addresses import Refused, check_host
from ananta.domain.tasks import Task
from ananta.errors import InvalidInput
from ananta.hub import callbacks
from ananta.hub.callbacks import Callbacks
from ananta.hub.wire import NoAnswer
from tests.conftest import eventually

WAIT_S = 30


class Receiver:
    """A server that keeps what it is told. status: what it answers."""

    def __init__(self, status=200, headers=()):
        self.calls: list[tuple[str, dict, bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append((self.path, dict(self.headers), body))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def wait_for(self, number: int) -> list[dict]:
        until = time.monotonic() + WAIT_S
        while len(self.calls) < number:
            assert time.monotonic() < until, f"{len(self.calls)} of {number} calls came"
            time.sleep(0.01)
        return [json.loads(body) for _, _, body in self.calls]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def sender():
    made = Callbacks(lambda sealed: sealed.decode()[::-1])
    yield made
    made.close()


def moved(url, status="done", **fields) -> Task:
    task = Task("T-1", callback_url=url, **fields)
    return replace(task, status=status, updated_at=1.0, was=task)


def test_a_moved_task_is_told_with_its_token(receiver, sender):
    sender.changed(moved(receiver.url + "/tasks/T-9/subtask-callback?x=1", callback_token=b"nekot", last_output="ü\0o",
                         last_exit_code=3, parent_task_id="T-9", assigned_agent_token=b"secret"))
    assert receiver.wait_for(1) == [{"id": "T-1", "status": "done", "parent_task_id": "T-9", "last_output": "ü\0o",
                                     "last_exit_code": 3}]
    path, headers, body = receiver.calls[0]
    assert path == "/tasks/T-9/subtask-callback?x=1" and headers["Authorization"] == "Bearer token"
    assert headers["Content-Type"] == "application/json" and b"secret" not in body


def test_what_has_not_moved_is_not_told(receiver, sender):
    sender.changed(Task("T-0", callback_url=receiver.url))
    sender.changed(replace(Task("T-0", callback_url=receiver.url), title="x", was=Task("T-0"), updated_at=1.0))
    sender.changed(moved(None))
    assert sender._threads == []
    sender.changed(moved(receiver.url))
    assert receiver.wait_for(1) == [{"id": "T-1", "status": "done", "parent_task_id": None}]
    assert "Authorization" not in receiver.calls[0][1]


def test_a_task_is_told_in_the_order_of_its_changes(receiver, sender):
    for number in range(100):
        sender.changed(moved(receiver.url, f"s{number}"))
    assert [each["status"] for each in receiver.wait_for(100)] == [f"s{number}" for number in range(100)]


def test_redirects_and_proxies_are_not_followed(sender, receiver, caplog, monkeypatch):
    other = Receiver(307, [("Location", receiver.url)])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, receiver.url)
    try:
        sender.changed(moved(other.url + "/secret-path?secret=1", callback_token=b"nekot"))
        other.wait_for(1)
        eventually(lambda: "status 307" in caplog.text)
    finally:
        other.close()
    assert receiver.calls == [] and "secret=1" not in caplog.text and "token" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:{free}/", "http://nobody.invalid/", "http://169.254.169.254/latest",
                                 "http://metadata.google.internal/", "ftp://127.0.0.1/", "http://127.0.0.1:{free}/\r\nX: y"])
def test_failures_are_logged_once_and_harm_nobody(sender, receiver, caplog, url):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = url.replace("{free}", str(free.getsockname()[1]))
        sender.changed(moved(url))
        sender.changed(moved(receiver.url))
        assert len(receiver.wait_for(1)) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING], caplog.text


def test_a_token_that_cannot_be_opened_or_sent_stops_nothing(receiver, caplog):
    def opened(sealed):
        if sealed == b"broken":
            raise ValueError("no")
        return sealed.decode()

    sender = Callbacks(opened)
    try:
        for token in (b"broken", b"a\r\nX-Evil: 1", "ü".encode()):
            sender.changed(moved(receiver.url, callback_token=token))
        sender.changed(moved(receiver.url, callback_token=b"good"))
        receiver.wait_for(1)
        assert [headers["Authorization"] for _, headers, _ in receiver.calls] == ["Bearer good"]
        assert len(caplog.records) == 3 and "Evil" not in caplog.text
    finally:
        sender.close()


def test_nobody_waits_for_a_receiver_that_says_nothing(caplog):
    """More than fit are dropped, and the stop does not wait for the answer either."""
    sender = Callbacks(bytes.decode)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        for _ in range(callbacks.WAITING + 10):
            sender.changed(moved(url))
        assert "is dropped" in caplog.text
        sender.close()
    assert all(each.empty() or each.get() is None for each in sender._queues)
    sender.changed(moved(url))


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 \r\n", b"x" * 20_000])
def test_what_does_not_answer_as_http_is_a_failure(answer):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NoAnswer, match=r"not HTTP|closed|cut off"):
            callbacks.post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"{}", None)
        thread.join()


def test_a_dripping_answer_ends_in_time():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ended = threading.Event()

        def drip():
            connection, _ = listener.accept()
            with connection:
                try:
                    while not ended.wait(0.02):
                        connection.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(NoAnswer, match="in time"):
                callbacks.post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"{}", None, timeout_s=0.3)
        finally:
            ended.set()
            thread.join()


def test_an_unknown_certificate_is_refused(receiver):
    with pytest.raises(NoAnswer):
        callbacks.post(receiver.url.replace("http:", "https:") + "/", b"{}", "token")
    assert receiver.calls == []


@pytest.mark.parametrize("address", [
    "169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255",
    "fe80::1", "fe80::1%1", "fd00:ec2::254", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "::169.254.169.254"])
def test_addresses_that_are_never_asked(address):
    with pytest.raises(Refused):
        check_host(address)
    with pytest.raises(InvalidInput) as raised:
        callbacks.check(f"http://[{address}]/" if ":" in address else f"http://{address}/x")
    assert raised.value.details == "callback_url"


@pytest.mark.parametrize("name", ["metadata.google.internal", "METADATA.google.INTERNAL.", "instance-data", "metadata"])
def test_names_that_are_never_asked(name):
    with pytest.raises(InvalidInput):
        callbacks.check(f"http://{name}/")


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376"])
def test_other_spellings_are_refused_when_it_comes_to_it(host):
    with pytest.raises(NoAnswer, match=r"secrets|cannot be resolved") as raised:
        callbacks.post(f"http://{host}/", b"{}", None, timeout_s=0.01)
    assert not raised.value.sent


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000/x", "https://example.org", "http://[::1]:80/", "http://10.0.0.7/",
                                 "http://hub.internal:5000/tasks/T-1/subtask-callback"])
def test_other_addresses_are_fine(url):
    callbacks.check(url)
