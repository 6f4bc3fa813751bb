"""Descriptors that a shell and its runner share."""
import contextlib
import fcntl
import os
import sys
import tempfile

assert sys.platform != "win32"  # for the type checker

PIECE = 256 * 1024  # bytes read at once
STATE_LIMIT = 16 * 1024 * 1024  # bytes; what tells more is no shell
HIGH = 600  # our descriptors in the shell start here, out of the way of numbers that people write in scripts


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
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
    except OSError:  # the limit of open files is lower than that
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)
    ours.callback(os.close, copy)
    return copy
