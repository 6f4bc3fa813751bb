"""Tools of the benches: a server to measure, a bare one beside it, and processor time instead of clock time."""
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
BARE = """
import bottle, waitress
app = bottle.Bottle()
@app.get("/constant")
def constant():
    return b'{"status":"ok"}'
server = waitress.create_server(app, host="127.0.0.1", port=0, threads=4)
print(f"http://127.0.0.1:{server.effective_port}", flush=True)
server.run()
"""


def environment(folder: Path, **extra: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT), "DISABLE_LLM_CHECK": "1", **extra}


class Process:
    """A started server: its address and what it costs."""

    def __init__(self, arguments: list[str], folder: Path, **extra: str):
        self.folder = folder
        self.process = subprocess.Popen(arguments, cwd=folder, env=environment(folder, **extra), stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            raise SystemExit(f"no address in {line!r}")
        self.address = (found[1], int(found[2]))
        self.facts = psutil.Process(self.process.pid)

    def cpu_s(self) -> float:
        times = self.facts.cpu_times()
        return times.user + times.system

    def stop(self) -> float:
        """Ends it; returns the seconds that took."""
        start = time.monotonic()
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()
        return time.monotonic() - start


def ananta(folder: Path, *arguments: str, **extra: str) -> Process:
    return Process([sys.executable, str(ROOT / "ananta.py"), "--port", "0", *arguments], folder, **extra)


def bare(folder: Path) -> Process:
    return Process([sys.executable, "-c", BARE], folder)


class Client:
    """One keep-alive connection; reads whole answers and nothing more."""

    def __init__(self, address: tuple[str, int]):
        self.socket = socket.create_connection(address, timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                            + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        while len(rest) < length:
            rest += self._more()
        return int(head.split(b" ")[1]), rest

    def _more(self) -> bytes:
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the server closed the connection")
        return part

    def close(self) -> None:
        self.socket.close()


def cpu_per_request_us(server: Process, call: Callable[[Client], object], requests: int) -> float:
    """User and system time of the server per request over one keep-alive connection, in microseconds."""
    client = Client(server.address)
    try:
        before = server.cpu_s()
        for _ in range(requests):
            call(client)
        return (server.cpu_s() - before) / requests * 1e6
    finally:
        client.close()


def medians(rounds: int, **measured: Callable[[], float]) -> dict[str, float]:
    """The median of each figure over interleaved rounds, so that a busy moment of the machine hits all alike."""
    seen: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, measure in measured.items():
            seen[name].append(measure())
    return {name: statistics.median(values) for name, values in seen.items()}


def line(what: str, figure: str, wanted: str, good: bool) -> bool:
    print(f"{'ok  ' if good else 'MISS'} {what:<64} {figure:>22}   wanted {wanted}", flush=True)
    return good


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="ananta-bench-") as folder:
        yield Path(folder)
