"""Containment of a run: it reads everywhere, and changes only its working directory and a temporary directory of its own.

What it cannot do, since the kernel's Landlock does not: hold back chmod, chown, extended attributes and times of files
that exist; the network; services that act for others (a container service, systemd, cron) and listen on a socket; nor,
as root, what needs no file (the clock, kernel modules). A working directory of / contains nothing at all.
Programs that gain rights when started (sudo, su) gain none. Terminals and shared memory (/dev/pts, /dev/shm) are outside.
With ABI 1 nothing can be moved or linked between directories (mv then copies); below ABI 3 truncate(2) is not held
back, below 5 ioctl on devices, below 6 signals to the processes of others."""
import functools
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ananta.shell import landlock
from ananta.shell.orders import State

T = TypeVar("T")
log = logging.getLogger(__name__)

VARIABLES = ("TMPDIR", "TMP", "TEMP")  # what programs ask for the temporary directory
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))


@functools.cache
def available() -> int:
    """Returns the version of Landlock's ABI; 0 where commands cannot be contained: other systems, an old kernel, a filter."""
    return landlock.version()


def require() -> None:
    """Raises Unavailable (containment_unavailable) where commands cannot be contained."""
    if not available():
        raise landlock.unavailable("this system has no Landlock (Linux 5.13 and later), or does not let it be used")


class Room:
    """What one run may change: below workspace, but never below the protected paths, and in `temporary`.

    A protected path below the workspace has a price: Landlock allows whole trees only, so of the directories that lead
    to it each entry there is now is allowed by itself, and nothing can be made, renamed or removed in them directly.
    Raises Unavailable (containment_unavailable). To be removed when the run's processes are gone."""

    def __init__(self, workspace: str, protected: Sequence[Path]):
        require()
        self._workspace = os.path.realpath(workspace)
        self._protected = [Path(os.path.realpath(path)) for path in protected]
        try:
            self.temporary = os.path.realpath(tempfile.mkdtemp(prefix="ananta-"))
        except OSError as cause:
            raise landlock.unavailable(f"no temporary directory can be made: {cause.strerror}") from cause
        self.variables = dict.fromkeys(VARIABLES, self.temporary)

    def start(self, make: Callable[[], T]) -> T:
        """Returns what make returns; the processes it starts are contained, and so is all they start.

        What make raises is raised. Raises Unavailable, without a call of make, when the kernel refuses."""
        try:
            ruleset = landlock.Ruleset(available())
        except OSError as cause:
            raise landlock.unavailable(cause) from cause
        with ruleset:
            try:
                for device in DEVICES:
                    ruleset.allow(device)
                ruleset.allow(self.temporary)
                self._allow(ruleset, Path(self._workspace))
            except OSError as cause:
                raise landlock.unavailable(cause) from cause
            return ruleset.start(make)

    def _allow(self, ruleset: landlock.Ruleset, path: Path) -> None:
        if any(path == protected or protected in path.parents for protected in self._protected):
            return
        if not any(path in protected.parents for protected in self._protected):
            return ruleset.allow(str(path))
        # Links are not followed: what they lead to may be outside, or be the protected path itself.
        if path.is_dir() and not path.is_symlink():
            for entry in path.iterdir():
                self._allow(ruleset, entry)

    def left(self, state: State, before: Mapping[str, str], cwd: str) -> State:
        """Returns the state without this room. before and cwd: what it was at the run's start."""
        environment = dict(state.environment)
        for name, value in self.variables.items():
            if environment.get(name) == value:
                del environment[name]
                if name in before:
                    environment[name] = before[name]
        inside = Path(self.temporary) in (Path(state.cwd), *Path(state.cwd).parents)
        return replace(state, cwd=cwd if inside else state.cwd, environment=environment)

    def remove(self) -> None:
        """Removes the temporary directory with whatever is in it; raises nothing."""
        try:
            os.rmdir(self.temporary)  # mostly it is empty, and this is faster
            return
        except OSError:
            pass
        try:
            shutil.rmtree(self.temporary)
            return
        except (OSError, RecursionError):  # a directory that may not be entered, or a very deep one
            pass
        try:
            for tool in (["chmod", "-R", "u+rwx", "--"], ["rm", "-rf", "--"]):
                subprocess.run([*tool, self.temporary], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        except OSError as error:
            log.warning("no %s: %s", tool[0], error)
        if os.path.lexists(self.temporary):
            log.warning("the temporary directory %s of a command could not be removed", self.temporary)
