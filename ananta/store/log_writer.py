"""Appends to the terminal log: chained, durable, rotated by size."""
import logging
import os

from ananta.errors import JournalFailed
from ananta.store import chain, files
from ananta.store.log_files import LogFiles, end_of_lines, last_line, pread

log = logging.getLogger(__name__)


class LogWriter:
    """Not for several threads at once: the journal holds a lock around it."""

    def __init__(self, log_files: LogFiles, rotate_bytes: int):
        self.files, self.rotate_bytes = log_files, rotate_bytes
        self._fd = -1
        self._size, self._link, self._inode, self._torn = 0, chain.FIRST, -1, False

    def open(self) -> None:
        self._reopen()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def place(self) -> tuple[int, int]:
        """Returns (generation, size): everything appended from now on stands behind it."""
        return self.files.newest, self._size

    def append(self, fields: dict) -> bytes:
        """Appends the record and returns it as it stands there; it is on disk then. Raises JournalFailed, then nothing
        of it is there."""
        try:
            self._follow()
            line, link = chain.seal(fields, self._link)
            if self._size and not self._torn and self._size + len(line) > self.rotate_bytes:
                self._rotate()
            # The unfinished line of another program must not swallow ours.
            written = b"\n" + line if self._torn and self._size else line
        except OSError as cause:
            raise JournalFailed(f"The file {self.files.current} cannot be written: {files.reason(cause)}",
                                retry_after=5) from cause
        files.append_line(self._fd, written, self.files.current)
        self._size, self._link, self._torn = self._size + len(written), link, False
        return line.rstrip(b"\n")

    def rotate(self) -> None:
        """Goes on in a new file, unless this one is empty or does not end with a whole line. Raises JournalFailed."""
        try:
            self._follow()
            if self._size and not self._torn:
                self._rotate()
        except OSError as cause:
            raise JournalFailed(f"The file {self.files.current} cannot be followed: {files.reason(cause)}") from cause

    def _follow(self) -> None:
        """Notices what others did to the file: appended, cut it, put another in its place."""
        try:
            now = os.stat(self.files.current)
        except FileNotFoundError:
            now = None
        if now is None or now.st_ino != self._inode:
            self._reopen()
        elif now.st_size != self._size:
            self._size = now.st_size
            self._link = self._last_link()

    def _reopen(self) -> None:
        self.close()
        self._fd = os.open(self.files.current, files.APPEND, files.PRIVATE_FILE)
        state = os.fstat(self._fd)
        self._size, self._inode = state.st_size, state.st_ino
        self._link = self._last_link()

    def _last_link(self) -> str:
        whole = end_of_lines(self._fd, self._size)
        self._torn = whole < self._size
        line = pread(self._fd, self._size - whole, whole) if self._torn else last_line(self._fd, self._size)
        if line is not None:
            return chain.link_of(line)
        for generation in reversed(self.files.rotated()):
            fd = os.open(self.files.path(generation), files.READ)
            try:
                line = last_line(fd, os.fstat(fd).st_size)
            finally:
                os.close(fd)
            if line is not None:
                return chain.link_of(line)
        return chain.FIRST

    def _rotate(self) -> None:
        try:
            # Windows does not rename a file that is open.
            self.close()
            self.files.rotate()
        except OSError as cause:
            log.warning("The log %s is full but could not be renamed: %s", self.files.current, files.reason(cause))
        link = self._link
        self._reopen()
        if not self._size:
            self._link = link
