"""terminal_log_archive.jsonl: full files of the log whose records are all old, one behind the other.

A file is copied, the copy put on disk, and only then the file removed. What is being done stands in a small file beside
it (log_files.Archived): after a crash the half copy is cut off again, since the file itself is still there. So every line
is there once, and the chain of hashes goes on from the archive to the first file that is left.
"""
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ananta.errors import StoreFailed
from ananta.store import database, files
from ananta.store.log_files import ARCHIVE, ARCHIVE_STATE, Archived, LogFiles, archived, backwards, forwards, pread
from ananta.store.log_lines import parse

COPY_BYTES, ROWS = 1 << 20, 1000
_ID = re.compile(rb'"id":"([^"\\]{1,200})"')


class LogArchive:
    """One thread at a time."""

    def __init__(self, log_files: LogFiles):
        self.files = log_files
        self.path = log_files.data_dir / ARCHIVE

    def move_old(self, before: float, indexed: int, stopping: Callable[[], bool]) -> int:
        """Moves the oldest files whose records all ended before this moment (epoch seconds); returns how many. indexed: only
        files of generations before this one. Raises StoreFailed: then each line is where it was."""
        try:
            self.resume()
            moved = 0
            for generation in self.files.rotated():
                if generation >= indexed or stopping() or not _is_old(self.files.path(generation), before):
                    break
                self._move(generation)
                moved += 1
            return moved
        except OSError as cause:
            raise StoreFailed(f"The archive {self.path} cannot be written: {files.reason(cause)}") from cause

    def resume(self) -> None:
        """Ends what a crash came between."""
        state = archived(self.files.data_dir)
        if not state.moving:
            return
        settled = standing(self.files.data_dir)
        if settled.moving and self.path.exists():
            os.truncate(self.path, state.size)
        self._save(replace(settled, moving=0, **({} if settled.moving else {"size": self.path.stat().st_size})))

    def _move(self, generation: int) -> None:
        source = self.files.path(generation)
        fd = os.open(self.path, files.APPEND, files.PRIVATE_FILE)
        try:
            state, size = archived(self.files.data_dir), os.fstat(fd).st_size
            # Somebody has moved a file away, or the archive, and then it begins anew.
            gaps = () if size == 0 else state.gaps if generation == state.generation + 1 else (*state.gaps, size)
            state = replace(state, size=size, moving=generation, gaps=gaps)
            self._save(state)
            try:
                end = _copy(source, fd)
                os.fsync(fd)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)
        files.sync_directory(self.files.data_dir)
        os.unlink(source)
        files.sync_directory(self.files.data_dir)
        self._save(replace(state, generation=generation, size=size + end, moving=0))

    def _save(self, state: Archived) -> None:
        files.replace(self.files.data_dir / ARCHIVE_STATE, msgspec.json.encode(state) + b"\n")


def forget_rows(log_files: LogFiles, before: float, stopping: Callable[[], bool]) -> None:
    """Removes old records from the index of files that are not there any more. Raises StoreFailed."""
    oldest = log_files.oldest()
    local = database.local()
    found = local.rows("SELECT first_seq FROM journal_position WHERE generation = ?", oldest)
    if not found:
        return
    first = found[0][0]
    while not stopping():
        with local.writing():
            # In their order: one that is younger, in between, keeps those behind it.
            rows = local.rows("SELECT seq, timestamp FROM journal WHERE seq < ? ORDER BY seq LIMIT ?", first, ROWS)
            old = []
            for seq, timestamp in rows:
                if timestamp is not None and timestamp >= before:
                    break
                old.append(seq)
            if old:
                local.change("DELETE FROM journal WHERE seq <= ?", old[-1])
            if len(old) < ROWS:
                if len(old) == len(rows):
                    local.change("DELETE FROM journal_position WHERE generation < ?", oldest)
                return


def contained(data_dir: Path, run_ids: Collection[str]) -> set[str]:
    """Returns which of these runs are in the archive. Reads all of it. Raises OSError."""
    wanted, found = {each.encode() for each in run_ids}, set[str]()
    with ExitStack() as stack:
        fd, end = opened(data_dir, stack)
        if fd is None:
            return found
        at, rest = 0, b""
        while at < end and len(found) < len(wanted):
            chunk = pread(fd, min(COPY_BYTES, end - at), at)
            if not chunk:
                break
            at += len(chunk)
            whole = rest + chunk
            found |= {each.decode() for each in wanted.intersection(_ID.findall(whole))}
            rest = whole[-300:]
    return found


def opened(data_dir: Path, stack: ExitStack) -> tuple[int | None, int]:
    """Returns a descriptor of the archive, None if there is none, and where its whole files end. The stack closes it."""
    state = standing(data_dir)
    try:
        fd = files.open_shared(data_dir / ARCHIVE)
    except FileNotFoundError:
        return None, 0
    stack.callback(os.close, fd)
    # A half copy, of a file that is still there, does not count.
    size = os.fstat(fd).st_size
    return fd, min(size, state.size) if state.moving else size


class Whole(msgspec.Struct, frozen=True):
    """The whole log, opened at one moment. opened: (generation, descriptor), oldest first; state: how far it is archived;
    archive: its descriptor and where its whole files end, None where there is none."""

    files: LogFiles
    opened: list[tuple[int, int]]
    state: Archived
    archive: tuple[int, int] | None


def open_all(data_dir: Path, stack: ExitStack, *, at_least: int = 1) -> Whole:
    """Opens all files of the log, also while the service writes. at_least: the generation of the growing one is not lower.
    The stack closes them."""
    while True:
        found = LogFiles(data_dir, at_least=at_least)
        before = found.rotated(), standing(data_dir)
        at_hand = found.open_from(found.oldest(), stack)
        fd, end = opened(data_dir, stack)
        # The service may have renamed or moved a file in between.
        if (found.rotated(), standing(data_dir)) == before:
            return Whole(found, at_hand, before[1], (fd, end) if fd is not None and end else None)


def standing(data_dir: Path) -> Archived:
    """Returns how far the log is archived, also when a crash came between that and saying so. Raises OSError."""
    state = archived(data_dir)
    if state.moving and not LogFiles(data_dir).path(state.moving).exists():
        return replace(state, generation=state.moving, moving=0)
    return state


def lines(fd: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines of the archive up to there, each with the place where it begins."""
    at = 0
    for line in forwards(fd):
        if at + len(line) >= end:
            return
        yield at, line
        at += len(line) + 1


def _copy(source: Path, into: int) -> int:
    """Returns how many bytes were appended."""
    fd, done, last = os.open(source, files.READ), 0, b"\n"
    try:
        while chunk := os.read(fd, COPY_BYTES):
            rest = chunk
            while rest:
                rest = rest[os.write(into, rest):]
            done, last = done + len(chunk), chunk[-1:]
        # So that what follows begins a line of its own.
        return done if last == b"\n" else done + os.write(into, b"\n")
    finally:
        os.close(fd)


def _is_old(path: Path, before: float) -> bool:
    """Whether all records of a file ended before this moment; one without any times counts by its own."""
    with open(path, "rb") as file:
        newest = next(_times(file.fileno(), reverse=True), None)
        if newest is None:
            return os.fstat(file.fileno()).st_mtime < before
        return newest < before and all(each < before for each in _times(file.fileno()))


def oldest_time(path: Path) -> float | None:
    """Returns the time of the first record of a file, None if there is none."""
    try:
        with open(path, "rb") as file:
            return next(_times(file.fileno()), None)
    except FileNotFoundError:
        return None


def _times(fd: int, *, reverse: bool = False) -> Iterator[float]:
    for line in backwards(fd, 0, os.fstat(fd).st_size) if reverse else forwards(fd):
        served = parse(line)
        if served is not None and served.timestamp is not None:
            yield served.timestamp
