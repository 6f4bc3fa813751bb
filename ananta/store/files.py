"""Files that are whole or not there: atomic replacement, one write per line."""
import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from ananta.errors import CannotStart, JournalFailed, StoreFailed

PRIVATE_FILE, PRIVATE_DIRECTORY = 0o600, 0o700
_FULL = {errno.ENOSPC, errno.EDQUOT}
# Windows has neither; its files are in text mode unless told otherwise.
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
sync_data = getattr(os, "fdatasync", os.fsync)


def private_directory(path: Path) -> None:
    """Makes the directory, for its owner only, unless it is there. Raises CannotStart."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    except OSError as cause:
        raise CannotStart(f"The directory {path} cannot be made: {cause.strerror or cause}. "
                          "Create it, or name another one.") from cause


def owned_like(path: Path, folder: Path) -> None:
    """Gives path to the owner of folder where root has made it: what a command of root leaves behind must not keep the
    agent's own account out. Raises OSError."""
    if sys.platform != "win32" and os.geteuid() == 0:
        owner, now = folder.stat(), path.lstat()
        if (owner.st_uid, owner.st_gid) != (now.st_uid, now.st_gid):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def all_owned_like(paths: Iterable[Path], folder: Path) -> None:
    """The same for those of the files that are there, when root has worked in a folder of somebody else; whoever owns the folder cannot
    have other files given to them by it."""
    for path in paths:
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
                owned_like(path, folder)


def replace(path: Path, content: bytes) -> None:
    """Makes content the whole file, mode 0600, on disk when this returns; a failure leaves the old file.

    Raises StoreFailed."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        # A file left by a killed process may have another mode.
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
        sync_directory(path.parent)
    except OSError as cause:
        with contextlib.suppress(OSError):
            new.unlink()
        raise StoreFailed(f"The file {path} cannot be written: {reason(cause)}") from cause


def sync_directory(path: Path) -> None:
    """Makes names given and taken in the directory last; a system that cannot do that is left alone."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


if sys.platform == "win32":
    import ctypes
    import msvcrt

    def open_shared(path: Path) -> int:
        """Returns a descriptor to read the file, which others can go on to write, rename and remove meanwhile; that
        os.open does not allow here. Raises OSError."""
        create = ctypes.WinDLL("kernel32", use_last_error=True).CreateFileW
        create.restype = ctypes.c_void_p
        create.argtypes = [ctypes.c_wchar_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32,
                           ctypes.c_void_p]
        # GENERIC_READ; to be shared for reading, writing, deleting; OPEN_EXISTING; FILE_ATTRIBUTE_NORMAL
        handle = create(str(path), 0x80000000, 0x7, None, 3, 0x80, None)
        if handle is None or handle == ctypes.c_void_p(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        return msvcrt.open_osfhandle(handle, READ)
else:
    def open_shared(path: Path) -> int:
        """Returns a descriptor to read the file, which others can go on to write, rename and remove meanwhile. Raises
        OSError."""
        return os.open(path, READ)


def append_line(fd: int, line: bytes, path: Path, *, for_good: bool = True) -> None:
    """Appends line by one write; for_good: it outlives a loss of power when this returns. Raises JournalFailed: then
    nothing of it is there."""
    before = -1
    try:
        before = os.fstat(fd).st_size
        written = os.write(fd, line)
        if written == len(line):
            if for_good:
                sync_data(fd)
            return
        # The system does not say why a write stays short: a second one would tell.
        cause = OSError(errno.ENOSPC, "only a part could be written; the disk is full, or a limit is reached")
    except OSError as failure:
        cause = failure
    if before >= 0:
        _take_back(fd, before, len(line))
    raise JournalFailed(f"The file {path} cannot be written: {reason(cause)}", retry_after=5) from cause


def _take_back(fd: int, before: int, length: int) -> None:
    with contextlib.suppress(OSError):
        # Another program may have appended behind us: its lines stay.
        if before < os.fstat(fd).st_size <= before + length:
            os.ftruncate(fd, before)


def reason(cause: OSError) -> str:
    """Returns a sentence for the person who has to act."""
    if cause.errno in _FULL:
        return "the disk is full. Make room."
    if cause.errno == errno.EFBIG:
        return "it has reached the largest size this process may write (ulimit -f, or the file system)."
    return f"{cause.strerror or cause}."
