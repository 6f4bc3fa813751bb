"""The files of the terminal log and how they are read: forwards in order, backwards from the end.

terminal_log.jsonl is the one that grows; full ones become terminal_log.000001.jsonl, terminal_log.000002.jsonl, …
A file's generation is its number in that order.
"""
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ananta.errors import JournalFailed
from ananta.store import files
from ananta.store.log_lines import parse

BLOCK = 1 << 16
NAME = "terminal_log"
ARCHIVE, ARCHIVE_STATE = "terminal_log_archive.jsonl", "terminal_log_archive.json"


class Archived(msgspec.Struct, frozen=True):
    """How far the log is archived. generation: of the last file that was moved; size: of the archive after that; moving: of
    the file that is being moved, 0: none; gaps: the places in the archive before which files are missing."""

    generation: int = 0
    size: int = 0
    moving: int = 0
    gaps: tuple[int, ...] = ()

    @property
    def newest(self) -> int:
        return max(self.generation, self.moving)


def archived(data_dir: Path) -> Archived:
    """Returns how far the log is archived. Raises JournalFailed for a file that does not say so, and OSError."""
    path = data_dir / ARCHIVE_STATE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Archived)
    except FileNotFoundError:
        return Archived()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise JournalFailed(f"The file {path} is damaged: restore it, or remove it together with {ARCHIVE}.") from cause


class LogFiles:
    """Where the files are. newest: the generation of the growing one."""

    def __init__(self, data_dir: Path, *, at_least: int = 1):
        self.data_dir = data_dir
        self.current = data_dir / f"{NAME}.jsonl"
        self.newest = max([at_least, archived(data_dir).newest + 1, *(each + 1 for each in self.rotated())])
        # Between a rename and the next open of the same name lies a moment in which both are the same file.
        self.lock = threading.Lock()

    def rotated(self) -> list[int]:
        """Returns the generations that are full, oldest first, without those that were moved away."""
        shape = re.compile(rf"{NAME}\.(\d{{6,}})\.jsonl")
        names = os.listdir(self.data_dir) if self.data_dir.is_dir() else ()
        return sorted(int(found[1]) for name in names if (found := shape.fullmatch(name)))

    def path(self, generation: int) -> Path:
        if generation == self.newest:
            return self.current
        return self.data_dir / f"{NAME}.{generation:06}.jsonl"

    def oldest(self) -> int:
        return min([*self.rotated(), self.newest])

    def open_from(self, generation: int, stack: ExitStack) -> list[tuple[int, int]]:
        """Returns (generation, descriptor) of the files from this generation on, oldest first; those that are gone
        are left out. The stack closes them."""
        found = []
        with self.lock:
            for each in range(generation, self.newest + 1):
                try:
                    fd = files.open_shared(self.path(each))
                except FileNotFoundError:
                    continue
                stack.callback(os.close, fd)
                found.append((each, fd))
        return found

    def rotate(self) -> None:
        """Makes the growing file a full one; the next to open the current name makes a new one."""
        with self.lock:
            os.rename(self.current, self.data_dir / f"{NAME}.{self.newest:06}.jsonl")
            self.newest += 1
        files.sync_directory(self.data_dir)


def whole_lines(fd: int, end: int | None = None, block: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of the file up to `end`, by default the last line break that is there now, in pieces; what is appended
    meanwhile is not among them."""
    at, end = 0, end_of_lines(fd, os.fstat(fd).st_size) if end is None else end
    while at < end:
        piece = pread(fd, min(block, end - at), at)
        if not piece:
            raise OSError("the log became shorter while it was read")
        at += len(piece)
        yield piece


def forwards(fd: int, start: int = 0, block: int = 1 << 20) -> Iterator[bytes]:
    """The whole lines from start on, without their line breaks."""
    rest = []
    while chunk := pread(fd, block, start):
        start += len(chunk)
        *lines, end = chunk.split(b"\n")
        if lines:
            rest.append(lines[0])
            yield b"".join(rest)
            yield from lines[1:]
            rest = []
        rest.append(end)


def backwards(fd: int, start: int, end: int) -> Iterator[bytes]:
    """The whole lines between start and end, last one first. What follows the last line break is not a line yet."""
    rest: list[bytes] | None = None
    while end > start:
        size = min(BLOCK, end - start)
        end -= size
        first, *lines = pread(fd, size, end).split(b"\n")
        if not lines:
            if rest is not None:
                rest.append(first)
            continue
        last = lines.pop()
        if rest is not None:
            yield last + b"".join(reversed(rest))
        yield from reversed(lines)
        rest = [first]
    if rest is not None:
        yield b"".join(reversed(rest))


def last_line(fd: int, end: int) -> bytes | None:
    """Returns the last whole line before end, or None if there is none."""
    return next(backwards(fd, 0, end), None)


if hasattr(os, "pread"):
    pread = os.pread
else:
    def pread(fd: int, size: int, start: int) -> bytes:
        os.lseek(fd, start, os.SEEK_SET)
        return os.read(fd, size)


def end_of_lines(fd: int, size: int) -> int:
    """Returns where the last line break ends; what follows was not written to its end."""
    while size:
        start = max(0, size - BLOCK)
        found = pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def repair(path: Path) -> None:
    """Makes the file end with a whole line. An end that a crash has torn is kept in `<name>.torn`, not lost."""
    if not path.exists():
        return
    fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(fd).st_size
        whole = end_of_lines(fd, size)
        if whole == size:
            return
        torn = pread(fd, size - whole, whole)
        if parse(torn):
            # Complete, but for its line break.
            os.lseek(fd, 0, os.SEEK_END)
            os.write(fd, b"\n")
        else:
            keep = os.open(path.with_suffix(".torn"), files.APPEND, files.PRIVATE_FILE)
            try:
                files.append_line(keep, torn + b"\n", path.with_suffix(".torn"))
            finally:
                os.close(keep)
            os.ftruncate(fd, whole)
        os.fsync(fd)
    finally:
        os.close(fd)
