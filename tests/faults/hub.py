"""A hub under load while something breaks: it is killed, its Postgres restarts, its disk is full, its workers fail.

    python -m tests.faults.hub kill [--rounds 20] [--postgres]
    python -m tests.faults.hub postgres [--rounds 5]
    python -m tests.faults.hub worker
    python -m tests.faults.hub disk        (as root: it mounts a small file system)

Each prints what it did and found. Exit code 1: something is wrong, and it is said what.
"""
import argparse
import contextlib
import http.server
import json
import os
import random
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from tests import postgres
from tests.conftest import WAIT_S, Ananta, ananta

TOKEN = "hub-token-for-the-faults"
CLIENTS = 8


class Ledger:
    """What was answered, to be compared with what is there afterwards."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: dict[str, str] = {}                    # task → title
        self.fields: dict[tuple[str, str], int] = {}      # (task, field) → the highest number that was answered
        self.tried: dict[tuple[str, str], int] = {}       # ... that was sent
        self.runs: dict[str, set[str]] = {}               # task → what its answered runs printed
        self.statuses: Counter = Counter()

    def problems(self, hub: Ananta) -> list[str]:
        """Returns what is missing or was never sent; asks the hub as it is now."""
        found = []
        for task_id, title in self.made.items():
            answer = hub.get(f"/tasks/{task_id}")
            if answer.status_code != 200:
                found.append(f"{task_id} was answered 201 and is gone: {answer.status_code}")
                continue
            task = answer.json()
            if task["title"] != title and (task_id, "title") not in self.tried:
                found.append(f"{task_id} has another title")
            for name in ("description", "priority"):
                least, most = self.fields.get((task_id, name), 0), self.tried.get((task_id, name), 0)
                now = int((task[name] or "0").removeprefix("Medium") or 0)
                if not least <= now <= most:
                    found.append(f"{task_id}.{name} is {now}, answered was {least}, sent {most}")
            printed = Counter(step["output"] for step in task["history"])
            found += [f"{task_id}: the run that printed {text} is not in the history"
                      for text in self.runs.get(task_id, ()) if not printed[text]]
            found += [f"{task_id}: {text!r} is {many} times in the history" for text, many in printed.items()
                      if many > 1 and not text.startswith("[")]
        listed = [each["id"] for each in hub.get("/tasks").json()]
        if len(listed) != len(set(listed)) or not set(self.made) <= set(listed):
            found.append("the list of tasks lacks some, or holds some twice")
        return found


class Load:
    """Clients that write as fast as they can until `stop`; 2xx goes to the ledger, the rest is counted."""

    def __init__(self, url: str, ledger: Ledger, number: int):
        self.url, self.ledger, self.stopping = url, ledger, threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(number * 1000 + each,)) for each in range(CLIENTS)]
        for each in self.threads:
            each.start()

    def stop(self) -> None:
        self.stopping.set()
        for each in self.threads:
            each.join(WAIT_S)

    def _client(self, number: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {TOKEN}"
            mine: list[str] = []
            for turn in range(1_000_000):
                if self.stopping.is_set():
                    return
                try:
                    self._write(session, number, turn, mine)
                except requests.RequestException:
                    with self.ledger.lock:
                        self.ledger.statuses["no answer"] += 1
                    time.sleep(0.02)

    def _write(self, session: requests.Session, number: int, turn: int, mine: list[str]) -> None:
        if turn % 4 == 0 or not mine:
            title = f"task {number}-{turn}"
            answer = self._send(session, "POST", "/tasks", {"title": title})
            if answer.status_code == 201:
                mine.append(answer.json()["id"])
                with self.ledger.lock:
                    self.ledger.made[mine[-1]] = title
            return
        task_id = random.choice(mine)
        if turn % 4 == 3:
            text = f"run-{number}-{turn}"
            answer = self._send(session, "POST", f"/tasks/{task_id}/step/execute", {"command": f"echo {text}"})
            if answer.status_code == 200:
                with self.ledger.lock:
                    self.ledger.runs.setdefault(task_id, set()).add(text)
            return
        name = "description" if turn % 4 == 1 else "priority"
        with self.ledger.lock:
            value = self.ledger.tried[task_id, name] = self.ledger.tried.get((task_id, name), 0) + 1
        if self._send(session, "PATCH", f"/tasks/{task_id}", {name: str(value)}).status_code == 200:
            with self.ledger.lock:
                self.ledger.fields[task_id, name] = max(value, self.ledger.fields.get((task_id, name), 0))

    def _send(self, session: requests.Session, method: str, path: str, body: dict) -> requests.Response:
        answer = session.request(method, self.url + path, json=body, timeout=WAIT_S)
        with self.ledger.lock:
            self.ledger.statuses[answer.status_code] += 1
        return answer


def begin(folder: Path, url: str | None = None, **settings: str) -> Ananta:
    extra = {"DATABASE_URL": url} if url else {}
    return Ananta(folder, "--role", "hub", "--host", "127.0.0.1", token=TOKEN, DEFAULT_PROVIDER="mock",
                  DISABLE_INITIAL_ADMIN="1", **extra, **settings)


def killed(folder: Path, rounds: int, url: str | None = None) -> tuple[Ledger, list[str]]:
    """Kills the hub with kill -9 under load, `rounds` times; returns what was answered, and what is wrong after it."""
    ledger, wrong = Ledger(), []
    for number in range(rounds):
        hub = begin(folder, url)
        load = Load(hub.url, ledger, number)
        time.sleep(random.uniform(0.3, 1.2))
        hub.kill()
        load.stop()
    hub = begin(folder, url)
    try:
        wrong += ledger.problems(hub)
    finally:
        hub.stop()
    verified = ananta(folder, "log", "verify", **({"DATABASE_URL": url} if url else {}))
    if verified.returncode != 0:
        wrong.append(f"log verify: {verified.stdout} {verified.stderr}")
    return ledger, wrong


def restarted(folder: Path, server: postgres.PostgresServer, rounds: int) -> tuple[Ledger, list[str]]:
    """Restarts Postgres under load; only 503 may be answered besides success, and the hub recovers by itself."""
    ledger = Ledger()
    hub = begin(folder, server.database())
    try:
        load = Load(hub.url, ledger, 0)
        for number in range(rounds):
            time.sleep(1.0)
            server.restart("immediate" if number % 2 else "fast")
            _wait(lambda: hub.post("/tasks", json={"title": "after it"}).status_code == 201)
        time.sleep(0.5)
        load.stop()
        wrong = [f"{many} times {status}" for status, many in ledger.statuses.items()
                 if status not in (200, 201, 503)]
        return ledger, wrong + ledger.problems(hub)
    finally:
        hub.stop()


def _wait(condition) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > until:
            raise AssertionError("it did not recover")
        time.sleep(0.05)


# --- workers that fail


class _Bad(http.server.BaseHTTPRequestHandler):
    """A worker that behaves as its first path segment says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._json({"status": "ok"})

    def do_POST(self) -> None:
        mode = self.path.split("/")[1]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with contextlib.suppress(OSError):
            getattr(self, mode)()

    def hung(self) -> None:
        time.sleep(30)

    def garbage(self) -> None:
        self._send(200, b"\x00\xff<html>" * 100, "text/html")

    def cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b'{"output": "')
        self.close_connection = True

    def huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        for _ in range(1 << 14):
            self.wfile.write(b"x" * (1 << 16))

    def dripping(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for _ in range(600):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)

    def _json(self, value: dict) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, block_on_close = True, False


@contextlib.contextmanager
def bad_worker() -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), _Bad)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def with_bad_workers(folder: Path, modes: tuple[str, ...] = ("garbage", "cut", "huge", "hung", "dripping")) -> list[str]:
    """A hub with one good worker and bad ones: what they do stays theirs. Returns what is wrong."""
    wrong = []
    hub = begin(folder / "hub")
    good = Ananta(folder / "good", "--host", "127.0.0.1", token="good-worker-token", DEFAULT_PROVIDER="mock")
    try:
        with bad_worker() as address:
            good_task = _task(hub, good.url, good.token)
            memory = psutil.Process(hub.process.pid).memory_info().rss
            tasks = {mode: _task(hub, f"{address}/{mode}", "a-token-for-the-bad") for mode in modes}
            answers: dict[str, requests.Response] = {}
            threads = [threading.Thread(target=lambda mode=mode, task_id=task_id: answers.__setitem__(mode, hub.post(
                f"/tasks/{task_id}/step/execute", json={"command": "echo x", "timeout": 1}))) for mode, task_id in tasks.items()
                for _ in range(8)]
            for each in threads:
                each.start()
            slowest = 0.0
            for _ in range(20):
                begun = time.monotonic()
                done = hub.post(f"/tasks/{good_task}/step/execute", json={"command": "echo good"})
                slowest = max(slowest, time.monotonic() - begun)
                if done.status_code != 200 or done.json()["output"] != "good":
                    wrong.append(f"the good worker is not reached beside the bad ones: {done.text}")
            for each in threads:
                each.join(WAIT_S)
            grown = psutil.Process(hub.process.pid).memory_info().rss - memory
            for mode, answer in answers.items():
                code = answer.json().get("code")
                if answer.status_code not in (502, 503) or "a-token-for-the-bad" in answer.text:
                    wrong.append(f"{mode}: {answer.status_code} {answer.text}")
                print(f"  {mode:<9} {answer.status_code} {code}: {answer.json()['message'][:110]}")
                history = hub.get(f"/tasks/{tasks[mode]}").json()["history"]
                if any(step["exit_code"] not in (-1,) for step in history):
                    wrong.append(f"{mode}: reported as run: {history}")
            print(f"  slowest step at the good worker meanwhile {slowest * 1000:.0f} ms; the hub grew by {grown / 1e6:.1f} MB")
            if grown > 100e6:
                wrong.append(f"the hub grew by {grown / 1e6:.0f} MB")
            good.kill()
            dead = hub.post(f"/tasks/{good_task}/step/execute", json={"command": "echo x"})
            print(f"  killed    {dead.status_code} {dead.json()['code']}: {dead.json()['message'][:110]}")
            if dead.status_code != 502:
                wrong.append(f"killed: {dead.text}")
    finally:
        for each in (hub, good):
            if each.process.poll() is None:
                each.stop()
    return wrong


def _task(hub: Ananta, url: str, token: str) -> str:
    task_id = hub.post("/tasks", json={"title": "x"}).json()["id"]
    assigned = hub.post(f"/tasks/{task_id}/assign", json={"agent_url": url, "token": token})
    assert assigned.status_code == 200, assigned.text
    return task_id


# --- a full disk


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 12) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def on_a_full_disk(folder: Path) -> tuple[Ledger, list[str]]:
    """Fills the disk of the data directory under load, and makes room again; returns what is wrong."""
    wrong, ledger = [], Ledger()
    with small_disk(folder / "disk") as disk:
        hub = begin(folder / "hub", DATA_DIR=str(disk / "data"))
        try:
            load = Load(hub.url, ledger, 0)
            time.sleep(1)
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(b"\0" * 4096):
                    pass
            time.sleep(1.5)
            full = hub.post("/tasks", json={"title": "no room"})
            print(f"  on the full disk: {full.status_code} {full.text[:160]}")
            if full.status_code == 201:
                print("  (there still was room in the file of the database)")
            elif full.status_code not in (500, 503) or "room" not in full.text:
                wrong.append(f"a full disk is answered with {full.status_code} {full.text}")
            if hub.get("/health").status_code != 200 or hub.get("/tasks", params={"limit": 5}).status_code != 200:
                wrong.append("reading stopped, too")
            filler.unlink()
            _wait(lambda: hub.post("/tasks", json={"title": "room again"}).status_code == 201)
            time.sleep(0.5)
            load.stop()
            wrong += [f"{many} times {status}" for status, many in ledger.statuses.items()
                      if status not in (200, 201, 500, 503)]
            wrong += ledger.problems(hub)
        finally:
            hub.stop()
        verified = ananta(folder / "hub", "log", "verify", DATA_DIR=str(disk / "data"))
        if verified.returncode != 0:
            wrong.append(f"log verify: {verified.stdout} {verified.stderr}")
    return ledger, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kill", "postgres", "worker", "disk"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    wrong: list[str]
    ledger: Ledger | None = None
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if options.what == "kill":
            url = stack.enter_context(postgres.server()).database() if options.postgres else None
            ledger, wrong = killed(folder / "hub", options.rounds or 20, url)
        elif options.what == "postgres":
            ledger, wrong = restarted(folder / "hub", stack.enter_context(postgres.server()), options.rounds or 5)
        elif options.what == "worker":
            wrong = with_bad_workers(folder)
        elif os.geteuid() != 0:
            raise SystemExit("This mounts a file system and needs root.")
        else:
            ledger, wrong = on_a_full_disk(folder)
    if ledger is not None:
        print(f"{len(ledger.made)} tasks, {sum(map(len, ledger.runs.values()))} runs, {len(ledger.fields)} changed fields "
              f"were answered; statuses: {dict(ledger.statuses)}")
    for each in wrong:
        print("WRONG:", each)
    print(f"{options.what}: {len(wrong)} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
