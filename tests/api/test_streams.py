"""Streams: what browsers hear of events and of the log of a task, and that nobody else pays for it."""
import dataclasses
import importlib.metadata
import inspect
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jwt
import pytest
import requests
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import WSGITask

from ananta.agent.events import Events
from ananta.domain.events import CONFIG_UPDATED, CREDENTIALS_CHANGED, TOKEN_ROTATED
from ananta.errors import Busy, StoreFailed
from ananta.web import server as web
from ananta.web.access import Access, Caller, Tokens
from ananta.web.gate import Gate
from ananta.web.routes.streams import EventRoutes
from ananta.web.streams import PLACES, Streams
from tests.conftest import ROOT, WAIT_S, Ananta, clean_environment, eventually

TOKEN = "hub-secret-token-0123"
SECRET = "a-secret-key-of-some-length-for-users"


class Listener:
    """A client with a raw socket: what came, to the byte."""

    def __init__(self, url: str, path: str, *, version: str = "1.1", method: str = "GET", buffer: int | None = None,
                 before: bytes = b"", after: bytes = b"", **headers: str):
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(WAIT_S)
        self.socket.connect((host, int(port)))
        lines = [f"{method} {path} HTTP/{version}", "Host: localhost",
                 *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items())]
        self.socket.sendall(before + ("\r\n".join(lines) + "\r\n\r\n").encode() + after)
        self.data = b""

    def until(self, text: bytes) -> bytes:
        """Returns what came up to and with the text."""
        while text not in self.data:
            part = self.socket.recv(65536)
            assert part, f"ended before {text!r}: {self.data[-500:]!r}"
            self.data += part
        found, _, self.data = self.data.partition(text)
        return found + text

    def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self.until(b"\r\n\r\n").decode().rstrip().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines)

    def opened(self) -> "Listener":
        status, _ = self.head()
        assert status == 200
        self.until(b": open\n\n")
        return self

    def message(self) -> dict:
        """Returns the next message, comments left out."""
        while True:
            block = self.until(b"\n\n")
            if not block.startswith(b":"):
                assert block.startswith(b"data: ") and block.count(b"\n") == 2
                return json.loads(block[6:])

    def rest(self) -> bytes:
        """Returns all that comes until the connection ends."""
        while part := self._part():
            self.data += part
        return self.data

    def _part(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def listen():
    """Opens listeners, which are closed at the end."""
    opened = []

    def begin(where, path: str = "/events", **options) -> Listener:
        opened.append(Listener(where if isinstance(where, str) else where.url, path, **options))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    running = Ananta(tmp_path_factory.mktemp("hub"), "--role", "hub", "--host", "127.0.0.1", token=TOKEN,
                     DEFAULT_PROVIDER="mock")
    yield running
    running.stop()


class Web:
    """A real web server with nothing but its streams, of which the times and sizes can be chosen."""

    def __init__(self, tokens: Tokens | None = None, **options):
        self.tokens, self.events, self.streams = tokens or Tokens(TOKEN, SECRET), Events(), Streams(**options)
        access = Access(self.tokens, anonymous_reads="off", hosts=(), origins=(), proxies=(), bound="127.0.0.1")
        app = web.application([EventRoutes(self.streams, access)], access)
        self.events.listen(self.streams.on_event)
        self.server = web.Server(Gate(app, access, lambda: False), access, self.streams, host="127.0.0.1", port=0,
                                 lane_places=1)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.server.start()


@pytest.fixture
def make_web():
    made = []

    def make(**options) -> Web:
        made.append(Web(**options))
        return made[-1]

    # Waitress and Bottle warn of settings that are chosen with care.
    with pytest.warns(DeprecationWarning):
        yield make
        for each in made:
            each.server.stop()


def bearer(token: str = TOKEN) -> dict:
    return {"Authorization": f"Bearer {token}"}


def user_token(role: str, name: str = "ann", **claims) -> str:
    return jwt.encode({"sub": name, "role": role, "iat": time.time(), "exp": time.time() + 3600, **claims}, SECRET, "HS256")


# --- the answer


@pytest.mark.parametrize("path", ["/events", "/api/system/events"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_event_stream_is_what_the_standard_says_to_the_byte(hub, listen, path, version):
    for client in (listen(hub, f"{path}?token={TOKEN}", version=version), listen(hub, path, version=version, **bearer())):
        status, headers = client.head()
        assert status == 200
        assert headers["Content-Type"] == "text/event-stream" and headers["Cache-Control"] == "no-cache"
        assert headers["X-Accel-Buffering"] == "no" and headers["Connection"] == "close"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Correlation-Id"]
        assert "Content-Length" not in headers and "Transfer-Encoding" not in headers
        assert client.until(b"\n\n") == b": open\n\n"
        hub.post("/config", json={"http_timeout": 41})
        hub.post("/config", json={"http_timeout": None})
        line = client.until(b"\n\n")
        event = json.loads(line.removeprefix(b"data: "))
        assert line == b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
        assert list(event) == ["type", "data", "timestamp"] and abs(event["timestamp"] - time.time()) < 600
        assert (event["type"], event["data"]) == ("config_updated", {"keys": ["http_timeout"]})


def test_the_headers_of_cors_are_on_the_stream(hub, listen):
    _, headers = listen(hub, f"/events?token={TOKEN}", Origin="http://localhost:4200").head()
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:4200" and headers["Vary"] == "Origin"
    assert "Retry-After" in headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("path", ["/events", "/tasks/T-1/stream-logs"])
@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_without_a_valid_credential_there_is_no_stream_but_an_error(hub, path, token):
    answer = hub.get(path + ("" if token is None else f"?token={token}"), auth=False)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_a_wrong_header_is_not_made_good_by_the_query(hub):
    assert hub.get(f"/events?token={TOKEN}", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_foreign_page_gets_no_stream_even_with_a_token(hub):
    answer = hub.get(f"/events?token={TOKEN}", auth=False, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_answers_the_headers_and_opens_nothing(hub, listen, version):
    client = listen(hub, "/events", method="HEAD", version=version, **bearer())
    status, headers = client.head()
    assert (status, headers["Content-Type"]) == (200, "text/event-stream") and "Transfer-Encoding" not in headers
    assert client.rest() == b""


def test_answers_before_a_stream_on_the_same_connection_come_first(hub, listen):
    before = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client = listen(hub, "/events", before=before, **bearer())
    assert client.head()[0] == 200 and client.until(b"}") == b'{"status": "ok"}'.replace(b" ", b"")
    client.opened()


def test_a_request_behind_a_stream_is_not_answered_and_runs_nothing(hub, listen, tmp_path):
    body = json.dumps({"command": f"touch {tmp_path / 'marker'}"}).encode()
    after = (f"POST /step/execute HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
             f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    client = listen(hub, "/events", after=after, **bearer()).opened()
    hub.post("/config", json={"http_timeout": 42})
    assert client.message()["type"] == "config_updated"
    assert not (tmp_path / "marker").exists()


def test_a_worker_has_events_but_no_logs_of_tasks(server, listen):
    listen(server).opened()
    assert server.get("/tasks/T-1/logs").status_code == 404 and server.get("/tasks/T-1/stream-logs").status_code == 404


# --- who hears what


def test_a_new_token_is_told_to_administrators_who_then_have_to_use_it(make_web, listen):
    here = make_web()
    admin, queried = listen(here, **bearer()).opened(), listen(here, f"/events?token={TOKEN}").opened()
    user, user_admin = (listen(here, **bearer(user_token(role))).opened() for role in ("user", "admin"))
    here.tokens.agent_token = "the-new-token-of-this-hub"
    here.events.publish(TOKEN_ROTATED, {"new_token": "the-new-token-of-this-hub", "agent_name": "hub"}, admins=True)
    here.events.publish(CONFIG_UPDATED, {"keys": ["a"]})
    for each in (admin, queried):
        assert each.message()["data"]["new_token"] == "the-new-token-of-this-hub"
        each.rest()
    assert [user_admin.message()["type"] for _ in range(2)] == ["token_rotated", "config_updated"]
    assert user.message()["type"] == "config_updated"
    eventually(lambda: len(here.streams) == 2)


def test_rotating_the_token_of_a_hub_ends_its_streams_with_the_new_one(start, listen):
    hub = start("rotating", "--role", "hub", token=TOKEN)
    client = listen(hub, f"/events?token={TOKEN}").opened()
    new = hub.post("/rotate-token").json()["new_token"]
    event = client.message()
    assert (event["type"], event["data"]) == ("token_rotated", {"new_token": new, "agent_name": "default"})
    client.rest()
    assert hub.get(f"/events?token={TOKEN}", auth=False).status_code == 401
    listen(hub, f"/events?token={new}").opened()


def test_a_stream_ends_when_its_credential_does_and_others_stay(make_web, listen):
    here = make_web(keep_alive_s=0.05)
    ends, stays = listen(here, **bearer()).opened(), listen(here, **bearer(user_token("user"))).opened()
    here.tokens.agent_token = "another-token-than-before"
    assert b"data" not in ends.rest()
    for _ in range(3):
        stays.until(b": keep-alive\n\n")
    assert len(here.streams) == 1


def test_a_revoked_credential_ends_its_stream_as_soon_as_that_is_told(make_web, listen):
    here = make_web(keep_alive_s=600)
    client, user = listen(here, **bearer()).opened(), listen(here, **bearer(user_token("user"))).opened()
    here.tokens.agent_token = "another-token-than-before"
    here.events.publish(CREDENTIALS_CHANGED, {})
    assert client.rest() == b""
    here.events.publish("task_updated", {"id": "T-1"})
    assert user.message()["type"] == "task_updated"


def test_who_is_no_administrator_any_more_hears_nothing_that_is_for_them(make_web, listen):
    tokens = Demoting(TOKEN, SECRET)
    here = make_web(tokens=tokens, keep_alive_s=0.05)
    client = listen(here, **bearer(user_token("admin"))).opened()
    here.events.publish("secret", {"number": 1}, admins=True)
    assert client.message()["type"] == "secret"
    tokens.admins = False
    eventually(lambda: not any(each.admin for each in here.streams._open))
    here.events.publish("secret", {"number": 2}, admins=True)
    here.events.publish("task_updated", {"id": "T-1"})
    assert client.message()["type"] == "task_updated"


class Demoting(Tokens):
    """Takes users for what they are now."""

    admins = True

    def caller(self, value, source):
        found = super().caller(value, source)
        return found and dataclasses.replace(found, admin=found.admin and self.admins)


def test_an_expired_sign_in_ends_its_stream(make_web, listen):
    here = make_web(keep_alive_s=0.05)
    # The clocks of others are granted half a minute.
    client = listen(here, **bearer(user_token("user", exp=time.time() - 29))).opened()
    client.rest()


class Once(Tokens):
    """Knows who calls the first time; then the database is gone."""

    asked = 0

    def caller(self, value, source):
        self.asked += 1
        if self.asked > 1:
            raise StoreFailed("The database does not answer.")
        return super().caller(value, source)


def test_a_check_that_is_not_possible_now_ends_nothing(make_web, listen):
    tokens = Once(TOKEN, SECRET)
    here = make_web(tokens=tokens, keep_alive_s=0.05)
    client = listen(here, **bearer()).opened()
    eventually(lambda: tokens.asked > 3)
    here.events.publish(CONFIG_UPDATED, {"keys": []})
    assert client.message()["type"] == "config_updated"


# --- slow, gone, too many


def test_something_is_heard_all_the_time(make_web, listen):
    client = listen(make_web(keep_alive_s=0.05), **bearer()).opened()
    assert client.until(b"\n\n") + client.until(b"\n\n") == b": keep-alive\n\n" * 2


def test_who_has_left_is_forgotten(make_web, listen):
    here = make_web()
    clients = [listen(here, **bearer()).opened() for _ in range(5)]
    assert len(here.streams) == 5
    for each in clients[:3]:
        each.close()
    eventually(lambda: len(here.streams) == 2)
    here.events.publish(CONFIG_UPDATED, {"keys": ["x"]})
    assert all(each.message()["data"] == {"keys": ["x"]} for each in clients[3:])


def test_who_does_not_read_is_dropped_and_delays_nobody(make_web, listen):
    here = make_web(queue_bytes=50_000)
    slow, quick = listen(here, buffer=4096, **bearer()).opened(), listen(here, **bearer()).opened()
    heard = 0
    while len(here.streams) == 2:
        here.events.publish(CONFIG_UPDATED, {"keys": ["k" * 20_000, heard]})
        assert quick.message()["data"]["keys"][1] == heard
        heard += 1
    assert len(here.streams) == 1
    slow.rest()
    here.events.publish(CONFIG_UPDATED, {"keys": ["last"]})
    assert quick.message()["data"] == {"keys": ["last"]}


def test_a_message_larger_than_the_queue_reaches_who_reads(make_web, listen):
    here = make_web(queue_bytes=1000)
    client = listen(here, buffer=4096, **bearer()).opened()
    here.events.publish(CONFIG_UPDATED, {"keys": ["k" * 3_000_000]})
    assert client.message()["data"] == {"keys": ["k" * 3_000_000]}


def test_who_takes_nothing_for_long_is_dropped(make_web, listen):
    here = make_web(keep_alive_s=0.05, queue_bytes=100 << 20)
    listen(here, buffer=4096, **bearer()).opened()
    here.events.publish(CONFIG_UPDATED, {"keys": ["k" * 20_000_000]})
    eventually(lambda: len(here.streams) == 0)


def test_the_places_are_limited_and_come_back(make_web, listen):
    here = make_web(places=2)
    first, second = listen(here, **bearer()).opened(), listen(here, **bearer()).opened()
    status, headers = listen(here, **bearer()).head()
    assert status == 503 and int(headers["Retry-After"]) > 0
    first.close()
    eventually(lambda: len(here.streams) == 1)
    listen(here, **bearer()).opened()
    here.events.publish(CONFIG_UPDATED, {"keys": []})
    assert second.message()["type"] == "config_updated"


def test_all_places_taken_leave_everything_else_as_it_is(start, listen):
    hub = start("full", "--role", "hub", token=TOKEN)
    clients = [listen(hub, f"/events?token={TOKEN}").opened() for _ in range(PLACES)]
    answer = hub.get("/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "busy") and int(answer.headers["Retry-After"]) > 0
    assert hub.get("/health").status_code == 200 and hub.execute("echo there")["output"] == "there"
    assert hub.get("/tasks/T-1/stream-logs").status_code == 503
    assert hub.post("/config", json={"http_timeout": 33}).status_code == 200
    assert all(each.message()["type"] == "config_updated" for each in clients)
    assert hub.stop() == 0
    assert all(each.rest() == b"" for each in clients)
    assert not any("still running" in line or "Traceback" in line for line in hub.errors)


def test_what_waits_for_slow_clients_is_limited_for_all_of_them_together(make_web, listen):
    here = make_web(first_bytes=30_000_000)
    check = lambda: Caller("system", "x", True)  # noqa: E731
    slow = [here.streams.open(("task", "T-1"), check(), check, "x") for _ in range(3)]
    for each in slow[:2]:
        here.streams.answer(each, [b"x" * 15_000_000])
    with pytest.raises(Busy):
        here.streams.answer(slow[2], [b"x"])
    eventually(lambda: len(here.streams) == 2)
    here.streams.forget(slow[0])
    eventually(lambda: len(here.streams) == 1)
    here.streams.answer(here.streams.open(("task", "T-1"), check(), check, "x"), [b"x" * 15_000_000])


def test_a_line_break_that_another_program_wrote_ends_no_message(start, listen):
    folder = start("foreign", "--role", "hub", token=TOKEN)
    folder.stop()
    with (folder.data / "terminal_log.jsonl").open("ab") as file:
        file.write(b'{"task_id": "T-1",\r"output": "there",\r "timestamp": 5}\r\n')
    hub = start("foreign", "--role", "hub", token=TOKEN)
    client = listen(hub, "/tasks/T-1/stream-logs", **bearer()).opened()
    block = client.until(b"\n\n")
    assert b"\r" not in block and json.loads(block[6:])["output"] == "there"


def test_nothing_stays_of_a_client_that_leaves_before_its_stream_begins(make_web, listen):
    here = make_web()
    for _ in range(50):
        listen(here, **bearer()).close()
    eventually(lambda: len(here.streams) == 0)
    listen(here, **bearer()).opened()


# --- the log of a task


def records_of(client: Listener, count: int) -> list[str]:
    return [client.message()["output"] for _ in range(count)]


def test_the_log_of_a_task_is_streamed_first_as_it_is_and_then_as_it_grows(hub, listen):
    for number in range(3):
        hub.execute(f"echo {number}", task_id="T-grows")
    hub.execute("echo other", task_id="T-other")
    client = listen(hub, f"/tasks/T-grows/stream-logs?token={TOKEN}").opened()
    first = [client.message() for _ in range(3)]
    assert first == hub.get("/tasks/T-grows/logs").json() and [each["output"] for each in first] == ["0", "1", "2"]
    hub.execute("echo other", task_id="T-other")
    hub.execute("echo none")
    hub.execute("echo 3", task_id="T-grows")
    assert client.message() == hub.get("/tasks/T-grows/logs").json()[-1]


def test_no_record_is_missing_or_twice_whenever_a_stream_is_opened(hub, listen):
    done = threading.Event()

    def work() -> None:
        for number in range(60):
            hub.execute(f"echo {number}", task_id="T-busy")
        done.set()

    hub.execute("echo first", task_id="T-busy")
    worker = threading.Thread(target=work)
    worker.start()
    clients = []
    while not done.is_set():
        clients.append(listen(hub, "/tasks/T-busy/stream-logs", **bearer()).opened())
        time.sleep(0.02)
    worker.join()
    hub.execute("echo last", task_id="T-busy")
    assert len(clients) > 3
    for each in clients:
        assert records_of(each, 62) == ["first", *map(str, range(60)), "last"]


def test_the_events_of_a_hub_do_not_tell_what_commands_print(hub, listen):
    client = listen(hub, **bearer()).opened()
    hub.execute("echo private", task_id="T-private")
    hub.post("/config", json={"http_timeout": 51})
    assert client.message()["type"] == "config_updated"


def test_a_long_log_reaches_a_client_that_takes_its_time(hub, listen):
    for number in range(40):
        hub.execute(f"head -c 50000 /dev/zero | tr '\\0' {number % 10}", task_id="T-long")
    client = listen(hub, "/tasks/T-long/stream-logs", buffer=4096, **bearer()).opened()
    hub.execute("echo behind", task_id="T-long")
    assert records_of(client, 41) == [*(str(number % 10) * 50_000 for number in range(40)), "behind"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_there_is_no_log_of_a_task_that_does_not_exist(hub, method):
    for path in ("/tasks/T-nobody/logs", "/tasks/T-nobody/stream-logs"):
        answer = hub.request(method, path)
        assert answer.status_code == 404
        assert method == "HEAD" or (answer.json()["code"] == "not_found" and answer.json()["error"] == "not_found")


def test_refused_streams_leave_no_place_taken(hub, listen):
    for _ in range(PLACES + 10):
        assert hub.get("/tasks/T-nobody/stream-logs").status_code == 404
    listen(hub, **bearer()).opened()


def test_the_log_of_a_task_has_its_last_records(hub):
    for number in range(4):
        hub.execute(f"echo {number}", task_id="T-some")
    assert [each["output"] for each in hub.get("/tasks/T-some/logs").json()] == ["0", "1", "2", "3"]
    assert [each["output"] for each in hub.get("/tasks/T-some/logs?limit=2").json()] == ["2", "3"]
    assert hub.get("/tasks/T-some/logs?limit=2").json() == hub.get("/logs?task_id=T-some&limit=2").json()
    for wrong in ("0", "-1", "x", "10001"):
        assert hub.get(f"/tasks/T-some/logs?limit={wrong}").json()["code"] == "invalid_value"


def test_names_of_tasks_may_be_any_text(hub, listen):
    hub.execute("echo there", task_id="Größe \N{SNOWMAN}")
    path = "/tasks/Gr%C3%B6%C3%9Fe%20%E2%98%83"
    assert [each["output"] for each in hub.get(path + "/logs").json()] == ["there"]
    client = listen(hub, path + "/stream-logs", **bearer()).opened()
    assert client.message()["task_id"] == "Größe \N{SNOWMAN}"
    hub.execute("echo more", task_id="Größe \N{SNOWMAN}")
    assert client.message()["output"] == "more"


def test_the_logs_are_described(hub):
    paths = hub.get("/openapi.json").json()["paths"]
    for path in ("/events", "/api/system/events", "/tasks/{task_id}/stream-logs"):
        assert "text/event-stream" in paths[path]["get"]["responses"]["200"]["content"]
    assert "404" in paths["/tasks/{task_id}/logs"]["get"]["responses"]


# --- what is under it


def test_waitress_is_the_one_whose_inside_is_used():
    """Streams take a connection out of Waitress by what is not its official surface. With another version: read
    `Streams._take` and `task_class` beside its channel.py, task.py and wasyncore.py, run these tests, and only then
    change the number."""
    assert importlib.metadata.version("waitress") == "3.0.2"
    source = inspect.getsource(HTTPChannel)
    for name in ("requests_lock", "outbuf_lock", "outbufs", "total_outbufs_len", "close_when_flushed", "will_close",
                 "connected", "del_channel", "task_class"):
        assert name in source, name
    assert "pull_trigger" in inspect.getsource(TcpWSGIServer.__mro__[1])
    for name in ("build_response_header", "finish", "service", "environ"):
        assert hasattr(WSGITask, name), name
    assert "chunked_response" in inspect.getsource(WSGITask.__mro__[1])


def test_the_class_of_the_routes_is_what_the_contract_says(hub):
    document = hub.get("/openapi.json").json()["paths"]
    for path in ("/events", "/tasks/{task_id}/stream-logs"):
        assert document[path]["get"]["security"] == [{"token": []}, {"queryToken": []}]


def limited(folder, files: int) -> subprocess.Popen:
    """A server that was started with a lower limit of open files."""
    return subprocess.Popen(
        ["bash", "-c", f'ulimit -S -n {files}; exec "$0" "$@"', sys.executable, str(ROOT / "ananta.py"), "--port", "0"],
        cwd=folder, env=clean_environment(folder, DISABLE_LLM_CHECK="1"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process may do")
def test_many_streams_may_be_open_and_commands_keep_their_limit_of_files(tmp_path):
    process = limited(tmp_path, 256)
    try:
        url = re.search(r"http://\S+", process.stdout.readline()).group(0)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert int(re.search(r"Max open files +(\d+)", limits).group(1)) > 256
        for number in range(4):
            answer = requests.post(url + "/step/execute", timeout=WAIT_S, json={
                "command": "ulimit -S -n; sh -c 'ulimit -S -n'; echo ${KEPT-0}; export KEPT=$((${KEPT-0} + 1))",
                "task_id": f"T-{number % 2}"})
            assert answer.json()["stdout"].split() == ["256", "256", str(number // 2)]
    finally:
        process.terminate()
        process.wait(WAIT_S)
        process.stdout.close()


# --- several hubs on one Postgres


@pytest.fixture
def two_hubs(start, postgres_server):
    url = postgres_server.database()
    return [start(name, "--role", "hub", token=TOKEN, DATABASE_URL=url, SECRET_KEY=SECRET) for name in ("here", "there")]


def test_the_log_of_a_task_is_the_same_at_every_hub(two_hubs, listen):
    here, there = two_hubs
    here.execute("echo one", task_id="T-1")
    eventually(lambda: there.get("/tasks/T-1/logs").status_code == 200)
    clients = [listen(each, "/tasks/T-1/stream-logs", **bearer()).opened() for each in two_hubs]
    there.execute("echo two", task_id="T-1")
    assert [records_of(each, 2) for each in clients] == [["one", "two"]] * 2
    here.execute("echo three", task_id="T-1")
    assert [records_of(each, 1) for each in clients] == [["three"]] * 2
    for each in two_hubs:
        eventually(lambda each=each: len(each.get("/tasks/T-1/logs").json()) == 3)
    assert here.get("/tasks/T-1/logs").json() == there.get("/tasks/T-1/logs").json()
    assert [len(each.get("/logs?task_id=T-1").json()) for each in two_hubs] == [2, 1]


def test_no_record_is_missing_or_twice_when_several_hubs_work_on_a_task(two_hubs, listen):
    done: list[int] = []

    def work(hub: Ananta, begin: int) -> None:
        for number in range(begin, begin + 40):
            hub.execute(f"echo {number}", task_id="T-busy")
        done.append(begin)

    for each in two_hubs:
        each.execute("echo first", task_id="T-busy")
    eventually(lambda: len(two_hubs[0].get("/tasks/T-busy/logs").json()) == 2)
    workers = [threading.Thread(target=work, args=(hub, 100 * number)) for number, hub in enumerate(two_hubs)]
    for each in workers:
        each.start()
    clients = []
    while len(done) < 2:
        clients += [listen(each, "/tasks/T-busy/stream-logs", **bearer()).opened() for each in two_hubs]
        time.sleep(0.05)
    for each in workers:
        each.join()
    expected = sorted(["first", "first", *map(str, range(40)), *map(str, range(100, 140))])
    for each in clients:
        assert sorted(records_of(each, 82)) == expected
    # Whatever came twice would stand before this.
    two_hubs[0].execute("echo last", task_id="T-busy")
    assert all(each.message()["output"] == "last" for each in clients)


def test_hubs_find_each_other_again_after_a_restart_of_the_database(two_hubs, listen, postgres_server):
    if postgres_server.embedded is None:
        pytest.skip("only the embedded Postgres can be restarted")
    here, there = two_hubs
    here.execute("echo before", task_id="T-1")
    eventually(lambda: there.get("/tasks/T-1/logs").status_code == 200)
    client = listen(there, "/tasks/T-1/stream-logs", **bearer()).opened()
    assert records_of(client, 1) == ["before"]
    postgres_server.restart("immediate")
    here.execute("echo after", task_id="T-1")
    assert records_of(client, 1) == ["after"]


def test_what_a_killed_hub_could_not_share_is_shared_by_its_next_start(start, listen, postgres_server):
    import psycopg

    from ananta.store.notices import CHANNEL
    from ananta.store.postgres import number

    url = postgres_server.database()
    here, there = (start(name, "--role", "hub", token=TOKEN, DATABASE_URL=url, SECRET_KEY=SECRET) for name in ("here", "there"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (number(CHANNEL),))
        here.execute("echo lost for now", task_id="T-1")
        here.kill()
    assert there.get("/tasks/T-1/logs").status_code == 404
    start("here", "--role", "hub", token=TOKEN, DATABASE_URL=url, SECRET_KEY=SECRET)
    eventually(lambda: there.get("/tasks/T-1/logs").status_code == 200)
    assert there.get("/tasks/T-1/logs").json()[0]["output"] == "lost for now"


def test_a_new_token_and_a_changed_configuration_are_told_by_the_hub_they_are_of(two_hubs, listen):
    here, there = two_hubs
    client, other = listen(here, **bearer()).opened(), listen(there, **bearer()).opened()
    assert here.post("/config", json={"http_timeout": 43}).status_code == 200
    assert here.post("/rotate-token").status_code == 200
    assert [client.message()["type"] for _ in range(2)] == ["config_updated", "token_rotated"]
    assert there.post("/config", json={"command_timeout": 44}).status_code == 200
    assert other.message()["data"] == {"keys": ["command_timeout"]}


def test_a_hub_on_postgres_stops_with_open_streams(two_hubs, listen):
    for each in two_hubs:
        listen(each, **bearer()).opened()
        each.execute("echo there", task_id="T-1")
    assert [each.stop() for each in two_hubs] == [0, 0]
    assert not any("Traceback" in line for each in two_hubs for line in each.errors)
