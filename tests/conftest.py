"""Fixtures: ananta started as users start it, on a free port, its address read from its first line."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import hypothesis
import pytest
import requests

from tests import postgres
from tests.fake_llm import FakeLLM

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 60  # a guard against hanging, never a measurement
MASK = "********"
# How fast a busy machine makes examples says nothing of what is tested.
hypothesis.settings.register_profile("unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("unhurried")


class Ananta:
    """A running worker. `url` is its address; `lines` what it has printed; `folder` its working directory."""

    program = [sys.executable, str(ROOT / "ananta.py")]

    def __init__(self, folder: Path, *arguments: str, token: str | None = None, **environment: str):
        self.folder, self.token, self.settings = folder, token, environment
        self.data = folder / "data"
        self.session = requests.Session()
        self.session.trust_env = False
        folder.mkdir(parents=True, exist_ok=True)
        extra = {"AGENT_TOKEN": token} if token else {}
        self.process = subprocess.Popen(
            [*self.program, "--port", "0", *arguments], cwd=folder, text=True,
            env=clean_environment(folder, DISABLE_LLM_CHECK="1", **extra, **environment), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._first = threading.Event()
        self._readers = [threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
                         threading.Thread(target=self._read, args=(self.process.stderr, self.errors))]
        for reader in self._readers:
            reader.start()
        assert self._first.wait(WAIT_S)
        found = re.search(r"http://\S+:\d+", self.lines[0] if self.lines else "")
        if found is None:
            code = self.wait()
            raise AssertionError(f"no address, exit code {code}: {self.lines} {self.errors}")
        self.url = found.group(0)

    def _read(self, stream, into: list[str]) -> None:
        for line in stream:
            into.append(line.rstrip("\n"))
            if stream is self.process.stdout:
                self._first.set()
        if stream is self.process.stdout:
            self._first.set()

    def line_with(self, text: str) -> str:
        """Waits for a line of the start that holds the text."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            for line in self.lines:
                if text in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r}: {self.lines}")

    def request(self, method: str, path: str, *, headers: dict | None = None, auth: bool = True, **options):
        headers = dict(headers or {})
        if auth and self.token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        options.setdefault("timeout", WAIT_S)
        return self.session.request(method, self.url + path, headers=headers, allow_redirects=False, **options)

    def get(self, path: str, **options):
        return self.request("GET", path, **options)

    def post(self, path: str, **options):
        return self.request("POST", path, **options)

    def execute(self, command: str, **fields) -> dict:
        answer = self.post("/step/execute", json={"command": command, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def records(self) -> list[dict]:
        return [json.loads(line) for line in (self.data / "terminal_log.jsonl").read_text().splitlines()]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        code = self.process.wait(WAIT_S)
        for reader in self._readers:
            reader.join(WAIT_S)
        self.process.stdout.close()
        self.process.stderr.close()
        self.session.close()
        return code


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONWARNINGS": "default", **extra}


def ananta(folder: Path, *arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs one command of the command line to its end."""
    return subprocess.run([sys.executable, str(ROOT / "ananta.py"), *arguments], cwd=folder, input=stdin, text=True,
                          capture_output=True, env=clean_environment(folder, **environment), timeout=WAIT_S, check=False)


def eventually(condition):
    """What the condition gives once that is true."""
    until = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
    return found


def in_parallel(calls) -> list:
    """The answers of all calls, which begin at the same moment."""
    answers, ready = [None] * len(calls), threading.Barrier(len(calls))

    def one(number: int) -> None:
        ready.wait(WAIT_S)
        answers[number] = calls[number]()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return answers


@pytest.fixture
def start(tmp_path):
    """Starts workers and stops them at the end: start("name", "--option", NAME=value)."""
    running = []

    def begin(name: str = "worker", *arguments: str, token: str | None = None, **environment: str) -> Ananta:
        running.append(Ananta(tmp_path / name, *arguments, token=token, **environment))
        return running[-1]

    yield begin
    for each in running:
        if each.process.returncode is None:
            each.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One worker without a token for the tests of a module; its model is the mock."""
    worker = Ananta(tmp_path_factory.mktemp("worker"), DEFAULT_PROVIDER="mock")
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """One worker with a token for the tests of a module, on loopback."""
    worker = Ananta(tmp_path_factory.mktemp("guarded"), "--host", "127.0.0.1", token="a-token-of-some-length",
                    DEFAULT_PROVIDER="mock")
    yield worker
    worker.stop()


@pytest.fixture
def model():
    """A real HTTP server that answers like a model server; see fake_llm.py."""
    with FakeLLM() as fake:
        yield fake


@pytest.fixture(scope="session")
def postgres_server():
    """One Postgres for all tests; see postgres.py."""
    with postgres.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """Tests that take this run twice: with no DATABASE_URL (None: SQLite in the data folder), and with a Postgres."""
    return request.getfixturevalue("postgres_server").database() if request.param == "postgres" else None
