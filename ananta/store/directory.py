"""One process per data directory.

The lock belongs to the process and ends with it, so a killed one leaves nothing to clean up; the content of the
file says who holds it.
"""
import contextlib
import os
import sys
import time
from pathlib import Path

import msgspec

from ananta.errors import CannotStart, DirectoryBusy
from ananta.store.files import PRIVATE_FILE, owned_like, private_directory

NAME = "ananta.lock"
# While this file is there, the state is half the old one and half the new one.
RESTORING = "restoring.json"
# `holder` takes the lock for a moment to see whether it is free; a claim in that moment tries again.
TRIES, PAUSE_S = 8, 0.02
# On Windows a locked byte cannot be read by others: lock one far behind the content.
FAR_BYTE = 1 << 30


class Claim:
    """The right to use a data directory, until `release` or the end of the process."""

    def __init__(self, fd: int, path: Path):
        self._fd, self.path = fd, path

    def update(self, describe: dict) -> None:
        """Replaces what others read about the holder."""
        text = msgspec.json.encode(describe) + b"\n"
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, text)
        os.ftruncate(self._fd, len(text))

    def release(self) -> None:
        """Lets the next one in. The file stays: removing it could remove the lock of a successor."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def claim(data_dir: Path, describe: dict, *, restoring: bool = False) -> Claim:
    """Returns the claim on the directory, which is made if it is missing.

    describe: {pid, url, started_at, version}; restoring: this is who ends a restoring that was cut off. Raises
    DirectoryBusy, which names the process that holds it, and CannotStart if the directory cannot be used."""
    private_directory(data_dir)
    path = data_dir / NAME
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
        with contextlib.suppress(OSError):  # where a file system knows no owners
            owned_like(path, data_dir)
    except OSError as cause:
        raise CannotStart(f"The data directory {data_dir} cannot be used: {cause.strerror}. Its owner must be the "
                          "account that runs this program.") from cause
    try:
        for attempt in range(TRIES):
            if _lock(fd, shared=False):
                if not restoring:
                    require_whole(data_dir)
                claimed = Claim(fd, path)
                claimed.update(describe)
                return claimed
            if attempt + 1 < TRIES:
                time.sleep(PAUSE_S)
    except OSError as cause:
        os.close(fd)
        raise CannotStart(f"The file {path} cannot be locked: {cause.strerror}. Put the data directory on a local "
                          "disk.") from cause
    except CannotStart:
        os.close(fd)
        raise
    os.close(fd)
    first = _content(path)
    raise DirectoryBusy(f"The data directory {data_dir} is in use by process {first.get('pid', '(unknown)')}"
                        f"{', ' + first['url'] if first.get('url') else ''}. Stop it, or set another DATA_DIR.")


def require_whole(data_dir: Path) -> None:
    """Raises CannotStart where the files are partly of one state, partly of another."""
    if (data_dir / RESTORING).exists():
        raise CannotStart(f"Restoring a backup was cut off in {data_dir}: `ananta restore --undo` puts back what was there before.")


def holder(data_dir: Path) -> dict | None:
    """Returns what the process that uses the directory says of itself, or None if there is none."""
    path = data_dir / NAME
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        return None if _lock(fd, shared=True) else _content(path)
    finally:
        os.close(fd)


def _content(path: Path) -> dict:
    for _ in range(TRIES):
        try:
            found = msgspec.json.decode(path.read_bytes())
            return found if isinstance(found, dict) else {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            # Read while it was being written.
            time.sleep(PAUSE_S)
    return {}


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int, *, shared: bool) -> bool:
        os.lseek(fd, FAR_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        if shared:
            os.lseek(fd, FAR_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        return True
else:
    import fcntl

    def _lock(fd: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
