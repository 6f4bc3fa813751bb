"""Descriptors that a shell and its runner share."""
import contextlib
import fcntl
import os
import resource
import sys
import tempfile

assert sys.platform != "win32"  # for the type checker

PIECE = 256 * 1024  # bytes read at once
STATE_LIMIT = 16 * 1024 * 1024  # bytes; what tells more is no shell
WANTED = 8192  # open files: connections and streams, with what commands and databases need beside them
HIGH = 600  # our descriptors in the shell start here, out of the way of numbers that people write in scripts
LESS_HIGH = 200  # or here, when the shell may not have so high ones

_given: list[int] = []  # the limit of open files this process was started with, once it has been raised


def raise_limit() -> None:
    """Lets this process open more files, as far as it may. Commands keep the limit it was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):  # macOS has a further limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        _given.append(soft)


def limit_kept() -> str:
    """Returns what a shell does first, so that what runs in it has the limit of open files it would have without us:
    programs that use select() fail with larger numbers."""
    return f"ulimit -S -n {_given[0]} 2>/dev/null || :; " if _given else ""


def read(fd: int) -> bytes | None:
    """Returns what is there, b"" at the end, None when nothing is there now."""
    try:
        return os.read(fd, PIECE)
    except BlockingIOError:
        return None


def scratch() -> int:
    """Returns an empty file without a name, in memory where that is possible."""
    if sys.platform == "linux":
        return os.memfd_create("state")
    with tempfile.TemporaryFile() as file:
        return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)


def content(fd: int) -> bytes:
    """Returns all of a scratch file; nothing when it is larger than STATE_LIMIT."""
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0) if size <= STATE_LIMIT else b""


def lifted(ours: contextlib.ExitStack, fd: int) -> int:
    """Returns a copy with a high number; ours closes it."""
    try:
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LESS_HIGH if _given and _given[0] <= HIGH else HIGH)
    except OSError:  # the limit of open files is lower than that
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LESS_HIGH)
    ours.callback(os.close, copy)
    return copy
