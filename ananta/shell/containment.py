"""Containment of a run: it changes only its working directory and a temporary directory of its own, and reads all files
but the agent's private ones. Names and sizes can be seen everywhere.

What it cannot do, since the kernel's Landlock does not: hold back chmod, chown, extended attributes and times of files
that exist; the network; services that act for others (a container service, systemd, cron) and listen on a socket; nor,
as root, what needs no file (the clock, kernel modules). A working directory of / contains nothing at all.
Programs that gain rights when started (sudo, su) gain none. Terminals and shared memory (/dev/pts, /dev/shm) are outside.
A file's second name (a hard link) that leads around the rules cannot be held back: while a private file has one, nothing
is run contained. With ABI 1 nothing can be moved or linked between directories (mv then copies); below ABI 3 truncate(2) is not held
back, below 5 ioctl on devices, below 6 signals to the processes of others."""
import contextlib
import functools
import logging
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def active(setting: str) -> bool:
    """Returns whether commands that nobody decided are contained. setting: "workspace" or "off"."""
    return setting == "workspace" and available() > 0


class Room:
    """What one run may change: below workspace, but never below the protected paths, and in `temporary`. What it may read:
    every file but those at or below the private paths, which are protected, too. Both are paths without links.

    A private path that is no directory stands for its companions as well (`ananta.db-wal`, `.config.json.7.new`).
    Both have a price, because Landlock allows whole trees only: of the directories that lead to such a path each entry
    there is now is allowed by itself. Nothing can be made, renamed or removed in them directly, and what others make
    there meanwhile cannot be read. Where such a directory may not be listed, only the way down is open.
    Raises Unavailable (containment_unavailable). To be removed when the run's processes are gone."""

    def __init__(self, workspace: str, protected: Sequence[Path] = (), private: Sequence[Path] = ()):
        require()
        self._workspace = os.path.realpath(workspace)
        mounts = _mountinfo() if private or protected else b""
        self._private = _all_names(tuple(map(str, private)), mounts)
        self._protected = self._private | _all_names(tuple(map(str, protected)), mounts)
        self._companions = {os.path.split(path) for path in self._private if not os.path.isdir(path)}
        _require_single_names(self._private)
        self._above_private, self._above_protected = _all_above(self._private), _all_above(self._protected)
        own = {self._workspace, *_above(self._workspace)}
        self._way = self._above_protected | self._protected | own
        # In a working directory that is itself protected nothing is to be changed.
        self._closed = not self._protected.isdisjoint(own)
        self.divided = self._closed or self._workspace in self._above_protected
        try:
            self.temporary = os.path.realpath(tempfile.mkdtemp(prefix="ananta-"))
        except OSError as cause:
            raise landlock.unavailable(f"no temporary directory can be made: {cause.strerror}") from cause
        self.variables = dict.fromkeys(VARIABLES, self.temporary)

    def start(self, make: Callable[[], T]) -> T:
        """Returns what make returns; the processes it starts are contained, and so is all they start.

        What make raises is raised. Raises Unavailable, without a call of make, when the kernel refuses."""
        try:
            ruleset = landlock.Ruleset(available(), reading=bool(self._private))
        except OSError as cause:
            raise landlock.unavailable(cause) from cause
        with ruleset:
            try:
                for device in DEVICES:
                    ruleset.allow(device)
                ruleset.allow(self.temporary)
                if self._private:
                    self._allow(ruleset, "/", change=False)
                if not self._closed and os.path.dirname(self._workspace) not in self._above_private:
                    self._allow(ruleset, self._workspace, change=False)
            except OSError as cause:
                raise landlock.unavailable(cause) from cause
            return ruleset.start(make)

    def _allow(self, ruleset: landlock.Ruleset, path: str, *, change: bool) -> None:
        """Allows what may be done at and below a path; change: it lies below the working directory."""
        change = (change or (path == self._workspace and not self._closed)) and path not in self._protected
        if path in self._private:
            return
        if path not in self._above_private and not (change and path in self._above_protected):
            ruleset.allow(path, change=change)
            return
        for entry in self._entries(path):
            if entry in self._way:
                self._allow(ruleset, entry, change=change)
            else:
                ruleset.allow(entry, change=change)

    def _entries(self, directory: str) -> list[str]:
        """Returns the paths of what is in a directory now, without links and private files.

        Links are not followed: what they lead to may be outside, or be the protected path itself."""
        try:
            with os.scandir(directory) as found:
                entries = [entry.path for entry in found if not entry.is_symlink()]
        except PermissionError:
            return [path for path in self._way if os.path.dirname(path) == directory and path != directory]
        except OSError:
            return []
        for above, name in self._companions:
            if above == directory:
                entries = [path for path in entries if not _companion(os.path.basename(path), name)]
        return entries

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


@functools.lru_cache(maxsize=64)
def _above(path: str) -> tuple[str, ...]:
    """Returns the directories a path lies in, the nearest first."""
    return tuple(map(str, Path(path).parents))


def _all_above(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(above for path in paths for above in _above(path))


def _companion(name: str, of: str) -> bool:
    bare = name.removeprefix(".")
    return name == of or bare.startswith((f"{of}.", f"{of}-"))


def _require_single_names(private: Iterable[str]) -> None:
    """Raises Unavailable when a private file has a second name, by which it could be read."""
    for path in private:
        try:
            status = os.lstat(path)
            with os.scandir(path) if stat.S_ISDIR(status.st_mode) else contextlib.nullcontext(()) as inside:
                files = [(entry.path, entry.stat(follow_symlinks=False)) for entry in inside] or [(path, status)]
        except OSError:  # not there, or nobody may look
            continue
        for name, status in files:
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                raise landlock.unavailable(f"{name} has a second name (a hard link), by which it could be read: remove that "
                                           "name, and replace the secret if others knew it")


def _mountinfo() -> bytes:
    try:
        with open("/proc/self/mountinfo", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


@functools.lru_cache(maxsize=8)
def _all_names(paths: tuple[str, ...], mountinfo: bytes) -> frozenset[str]:
    """Returns the paths and all others by which bind mounts lead to them, or to something below them.

    mountinfo: a text as in proc_pid_mountinfo(5)."""
    mounts = []
    for line in mountinfo.splitlines():
        device, *texts = line.split(b" ")[2:5]
        root, place = (os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), text)) for text in texts)
        mounts.append((device, root, place))
    found = set(paths)
    for path in paths:
        over = [mount for mount in mounts if _rest(path, mount[2]) is not None]
        if not over:
            continue
        device, root, place = max(reversed(over), key=lambda mount: len(mount[2]))  # of equal ones the last is on top
        inside = _joined(root, _rest(path, place) or "")
        for other, other_root, other_place in mounts:
            if other == device and (rest := _rest(inside, other_root)) is not None:
                found.add(_joined(other_place, rest))
            elif other == device and _rest(other_root, inside) is not None:
                found.add(other_place)
    return frozenset(found)


def _joined(directory: str, rest: str) -> str:
    return os.path.join(directory, rest) if rest else directory


def _rest(path: str, directory: str) -> str | None:
    """Returns what follows a directory in a path, "" for itself; None when it lies elsewhere."""
    if path == directory:
        return ""
    above = directory.rstrip("/") + "/"
    return path.removeprefix(above) if path.startswith(above) else None
