import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from ananta.shell import containment, processes
from ananta.shell.runner import Runner

GUARD_S = 60  # a hang, not a measure
SHELLS = [pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name} here"))
          for name in ("bash", "dash")]
AHEAD = pytest.param("bash, started ahead", marks=pytest.mark.skipif(
    not shutil.which("bash") or sys.platform != "linux", reason="no shell is started ahead here"))
needs_landlock = pytest.mark.skipif(not containment.available(), reason="no Landlock here: Linux 5.13 and later have it")


@pytest.fixture(params=[*SHELLS, AHEAD])
def any_shell(request, tmp_path):
    """What a shell of each kind does alike."""
    yield from _terminal(request.param, tmp_path)


@pytest.fixture
def terminal(tmp_path):
    yield from _terminal(None, tmp_path)


@pytest.fixture
def ahead(tmp_path):
    """What finds a shell that waits for its commands."""
    yield from _terminal("bash, started ahead", tmp_path)


def _terminal(shell, tmp_path):
    # With another PWD a session's first command starts its own shell.
    environment = {name: value for name, value in os.environ.items() if name != "PWD"}
    if shell and shell.endswith("ahead"):
        terminal = AheadTerminal(Runner(shell_path="bash", home=tmp_path, environment=environment))
    else:
        terminal = Terminal(Runner(shell_path=shell, home=tmp_path, environment=environment))
    yield terminal
    terminal.runner.close()
    assert not waiting_shells()


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "workspace"
    folder.mkdir()
    outside = tmp_path / "outside"
    (outside / "empty").mkdir(parents=True)
    (outside / "file").write_text("kept\n")
    return folder


@pytest.fixture(params=SHELLS)
def contained(request, workspace):
    runner = Runner(shell_path=request.param, home=workspace, environment=os.environ)
    yield Contained(runner)
    runner.close()


class Terminal:
    """Runs commands as a person types them, each in its session."""

    def __init__(self, runner):
        self.runner = runner
        self.count = 0

    def run(self, command, *, session="default", timeout_s=GUARD_S, run_id=None, **limits):
        self.count += 1
        with self.runner.session(session, GUARD_S) as held:
            return self.runner.run(command, session=held, run_id=run_id or f"test-{id(self)}-{self.count}",
                                   timeout_s=timeout_s, **limits)

    def background(self, command, **limits):
        """Runs it in a thread; returns the thread and the list that will hold its outcome."""
        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(self.run(command, **limits)))
        thread.start()
        return thread, outcomes


class AheadTerminal(Terminal):
    """Whose commands find a shell that waits for them. used: the ids of its runs."""

    def __init__(self, runner):
        super().__init__(runner)
        self.used = set()
        super().run("true", session="before")

    def run(self, command, *, session="default", run_id=None, **limits):
        if run_id is None and not limits.get("contained"):
            limit = time.monotonic() + 0.3  # none is started for a session that none can be started for
            while not set(waiting_shells().values()) - self.used and time.monotonic() < limit:
                time.sleep(0.01)
            with self.runner.session(session, GUARD_S) as held:
                run_id = self.runner.next_id(held, contained=False)
            self.used.add(run_id)
        return super().run(command, session=session, run_id=run_id, **limits)


class Contained(Terminal):
    def run(self, command, **limits):
        return super().run(command, **{"contained": True, **limits})


def everything_below(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_text() for path in folder.rglob("*")}


def waiting_shells():
    """Returns the ids of our shells that were started ahead, and wait or have had their command, by pid."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "__ananta_command=.*exit;; esac"], capture_output=True,
                           text=True, check=False)
    return {int(pid): marker for pid in found.stdout.split() if (marker := processes.marker_of(int(pid)))}


def until(condition):
    limit = time.monotonic() + GUARD_S
    while not (value := condition()):
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)
    return value


def content(path):
    """Returns the text of a file that somebody else is writing, once it has a whole line."""
    return until(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text().strip())


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
