"""The service that runs an agent, as far as it has to be stopped and started: systemd on Linux, the service manager of Windows."""
import http.client
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ananta.errors import StoreFailed
from ananta.store import directory

NAME = "ananta"
CALL_S, STOPPED_S, HEALTHY_S, PAUSE_S = 90, 30, 60, 0.25


@dataclass(frozen=True)
class Service:
    """An installed service. manager: "systemctl" or "sc"."""

    manager: str
    name: str = NAME

    def stop(self) -> str:
        """Stops it and returns a sentence that says so. Raises StoreFailed."""
        self._ask("stop")
        return f"stopped the service {self.name} ({self.manager} stop {self.name})"

    def start(self) -> str:
        """Starts it and returns a sentence that says so. Raises StoreFailed."""
        if self.manager == "systemctl":
            # After some failed starts in a row systemd refuses one more.
            self._call("reset-failed")
            # It would wait until the service says that it is ready, or until systemd's own limit: who waits here has another one.
            self._ask("start", "--no-block")
        else:
            self._ask("start")
        return f"started the service {self.name} ({self.manager} start {self.name})"

    def failed(self) -> bool:
        """Whether the manager has given up starting it, or has started it twice again."""
        if self.manager != "systemctl":
            return False
        said = dict(line.partition("=")[::2] for line in self._call("show", "--property", "ActiveState,NRestarts").stdout.splitlines())
        return said.get("ActiveState") == "failed" or said.get("NRestarts", "0") not in ("0", "1")

    def pid(self) -> int | None:
        """Returns the process that the manager takes for the service, None while it does not run."""
        if self.manager == "systemctl":
            said = self._call("show", "--property", "MainPID").stdout
            found = said.partition("MainPID=")[2].split()
        else:
            said = self._call("queryex").stdout
            found = said.partition("PID")[2].partition(":")[2].split()
        return int(found[0]) if found and found[0].isdigit() and found[0] != "0" else None

    def _ask(self, verb: str, *options: str) -> None:
        done = self._call(verb, *options)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[:500] or f"exit code {done.returncode}"
            raise StoreFailed(f"{self.manager} {verb} {self.name} failed: {said}. Only an administrator may do that "
                              f"({'put sudo in front' if os.name != 'nt' else 'use an elevated prompt'}).")

    def _call(self, verb: str, *options: str) -> subprocess.CompletedProcess:
        try:
            return subprocess.run([self.manager, verb, self.name, *options], capture_output=True, text=True, errors="replace", timeout=CALL_S,
                                  stdin=subprocess.DEVNULL, check=False)
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise StoreFailed(f"{self.manager} {verb} {self.name} gave no answer: {cause}.") from cause


def of(pid: object) -> Service | None:
    """Returns the service whose process this is, also by its outer process, None for one that somebody started otherwise."""
    manager = "sc" if os.name == "nt" else "systemctl"
    if shutil.which(manager) is None or not isinstance(pid, int):
        return None
    service = Service(manager)
    main = service.pid()
    return service if main is not None and main in (pid, _parent(pid)) else None


def _parent(pid: int) -> int | None:
    import psutil

    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None


def wait_stopped(data_dir: Path) -> None:
    """Returns when no process uses the directory any more. Raises StoreFailed after half a minute."""
    until = time.monotonic() + STOPPED_S
    while directory.holder(data_dir) is not None:
        if time.monotonic() > until:
            raise StoreFailed(f"A process still uses {data_dir} {STOPPED_S} s after its service was stopped: stop it, and try again.")
        time.sleep(PAUSE_S)


def wait_healthy(service: Service, data_dir: Path, *, version: str | None = None, wait_s: float = HEALTHY_S) -> str | None:
    """Returns None as soon as the agent on the directory answers on /health, or what is missing: after wait_s seconds, or as
    soon as the manager has given up starting the service. version: which one it has to be."""
    until = time.monotonic() + wait_s
    problem: str | None = "it did not start"
    while time.monotonic() < until:
        holder = directory.holder(data_dir)
        if holder is not None and holder.get("url"):
            if version is not None and holder.get("version") != version:
                problem = f"version {holder.get('version')} runs"
            else:
                problem = health(str(holder["url"]))
                if problem is None:
                    return None
        elif service.failed():
            return "it ends as soon as it starts"
        time.sleep(PAUSE_S)
    return f"{problem} ({wait_s:g} s)"


def health(url: str) -> str | None:
    """Returns None where an agent answers well, else what it does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        good = answer.status == 200 and json.loads(answer.read(1 << 16)).get("status") == "ok"
        return None if good else f"/health answers {answer.status}"
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as cause:
        return f"/health does not answer ({type(cause).__name__})"
    finally:
        connection.close()
