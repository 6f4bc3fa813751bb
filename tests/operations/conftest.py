"""A service manager that really starts and stops the agent, and what a folder holds."""
import hashlib
import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, WAIT_S, clean_environment

# Understands what service_control asks: start, stop and show of one unit; its state is a file.
MANAGER = """#!{python}
import json, os, signal, subprocess, sys, time
folder = {folder!r}
unit = json.load(open(folder + "/unit.json"))
def pid():
    try:
        number = int(open(folder + "/pid").read())
        os.kill(number, 0)
        return number if open(f"/proc/{{number}}/stat").read().rpartition(")")[2].split()[0] != "Z" else 0
    except (OSError, ValueError):
        return 0
verb = sys.argv[1]
open(folder + "/asked", "a").write(" ".join(sys.argv[1:]) + "\\n")
if verb == "start" and not pid():
    said = open(folder + "/said", "a")
    child = subprocess.Popen(unit["command"], cwd=unit["cwd"], env=unit["environment"], stdin=subprocess.DEVNULL, stdout=said,
                             stderr=said, start_new_session=True)
    open(folder + "/pid", "w").write(str(child.pid))
elif verb == "stop" and pid():
    number = pid()
    os.kill(number, signal.SIGTERM)
    while pid() == number:
        time.sleep(0.05)
elif verb == "show":
    print(f"MainPID={{pid()}}")
"""


class Service:
    """An agent under a service manager. `path`: the PATH with which `ananta` finds the manager."""

    def __init__(self, folder: Path, data_folder: Path, *command: str, **environment: str):
        self.folder, self.data = folder, data_folder / "data"
        folder.mkdir()
        data_folder.mkdir(exist_ok=True)
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        (folder / "unit.json").write_text(json.dumps({
            "command": list(command) or [sys.executable, str(ROOT / "ananta.py"), "--port", "0"], "cwd": str(data_folder),
            "environment": clean_environment(data_folder, DISABLE_LLM_CHECK="1", HUB_URL="", **environment)}))
        manager = folder / "systemctl"
        manager.write_text(MANAGER.format(python=sys.executable, folder=str(folder)))
        manager.chmod(0o755)

    def ask(self, verb: str) -> None:
        import subprocess

        subprocess.run([str(self.folder / "systemctl"), verb, "ananta"], check=True, timeout=WAIT_S)

    def about(self) -> dict:
        """What the running agent says of itself, once it listens."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            try:
                found = json.loads((self.data / "ananta.lock").read_text())
                if found.get("url"):
                    return found
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
        raise AssertionError((self.folder / "said").read_text())

    @property
    def asked(self) -> list[str]:
        return [line.split()[0] for line in (self.folder / "asked").read_text().splitlines() if line.split()[0] in ("start", "stop")]


@pytest.fixture
def service(tmp_path):
    """Installs a service and starts it; it is stopped at the end."""
    made = []

    def install(data_folder: Path, *command: str, **environment: str) -> Service:
        made.append(Service(tmp_path / f"manager-{len(made)}", data_folder, *command, **environment))
        made[-1].ask("start")
        made[-1].about()
        return made[-1]

    yield install
    for each in made:
        each.ask("stop")


@pytest.fixture
def contents():
    """Says what a folder holds: name → mode and hash."""
    def look(folder: Path) -> dict[str, tuple[int, str]]:
        return {str(each.relative_to(folder)): (stat.S_IMODE(each.stat().st_mode), hashlib.sha256(each.read_bytes()).hexdigest())
                for each in sorted(folder.rglob("*")) if each.is_file() and not each.name.endswith(("-shm", "-wal", ".lock"))}
    return look
