import os
import shutil
import threading
import time

import pytest

from ananta.shell import containment
from ananta.shell.runner import Runner

GUARD_S = 60  # a hang, not a measure
SHELLS = [pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name} here"))
          for name in ("bash", "dash")]
needs_landlock = pytest.mark.skipif(not containment.available(), reason="no Landlock here: Linux 5.13 and later have it")


@pytest.fixture(params=SHELLS)
def any_shell(request, tmp_path):
    """What a shell of each kind does alike."""
    runner = Runner(shell_path=request.param, home=tmp_path, environment=os.environ)
    yield Terminal(runner)
    runner.close()


@pytest.fixture
def terminal(tmp_path):
    runner = Runner(shell_path=None, home=tmp_path, environment=os.environ)
    yield Terminal(runner)
    runner.close()


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


class Contained(Terminal):
    def run(self, command, **limits):
        return super().run(command, **{"contained": True, **limits})


def everything_below(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_text() for path in folder.rglob("*")}


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
