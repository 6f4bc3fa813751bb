"""What the executable needs to know of itself.

As one file it is two processes: an outer one unpacks into a folder of its own, starts the inner one, which is this, and
removes the folder at the end. Laid out in a folder for good (`ananta service install`), and from source, it is one process,
and what concerns the other one does nothing."""
import os
import signal
import sys
import time
from pathlib import Path

HELD = ".held"  # in a folder that was in use; without a lock on the folder it is in use no more
UNPACKING_S = 3600  # a folder that never got there is nobody's after this time

_lock: int | None = None
_outer: int | None = None


def inside() -> Path | None:
    """Returns the folder of the executable's files, unpacked or laid out; None from source."""
    return Path(getattr(sys, "_MEIPASS", "")) if getattr(sys, "frozen", False) else None


def unpacked() -> Path | None:
    """Returns the folder that the outer process has unpacked, None where there is none."""
    folder = inside()
    return folder if folder is not None and folder.name.startswith("_MEI") else None


def program() -> Path:
    """Returns the path of the executable; from source that of the script."""
    return Path(sys.executable if inside() else sys.argv[0]).resolve()


def outer_pid() -> int | None:
    """Returns the number of the outer process, None where there is none."""
    return os.getppid() if unpacked() else None


def begin() -> None:
    """Holds the folder, so that no other start and no cleaner of temporary files takes it for a leftover, and sees to it
    that this process does not outlive the outer one."""
    global _lock, _outer
    folder = unpacked()
    if folder is None:
        return
    # A process that this one starts from its own file, without care for the environment, shares the folder: its parent
    # is not the outer process.
    _outer = os.getppid() if _is_outer(os.getppid(), folder) else None
    if sys.platform != "linux":
        _end_with(os.getppid())  # on Linux the kernel does that, see build/bootloader/ananta.h
    if sys.platform != "win32":
        import fcntl

        # On the folder itself: systemd-tmpfiles leaves alone what somebody has locked.
        _lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(_lock, fcntl.LOCK_SH)
        (folder / HELD).touch()


def end() -> None:
    """Removes the folder when the outer process is gone and cannot do it; nothing can be imported afterwards."""
    folder = unpacked()
    if sys.platform == "win32" or folder is None or _lock is None or _outer in (None, os.getppid()):
        return
    import fcntl
    import shutil

    try:
        fcntl.flock(_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process still lives from it
        return
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> int:
    """Removes the folders of executables of this user that were killed; returns how many. Windows keeps them."""
    own = unpacked()
    if own is None:
        return 0
    return sum(_removed(folder) for folder in sorted(own.parent.glob("_MEI*")) if folder != own)


def _removed(folder: Path) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl
    import shutil

    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if not _is_leftover(folder, os.fstat(opened)):
            return False
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
        return True
    except OSError:  # somebody holds it, or removes it right now
        return False
    finally:
        os.close(opened)


def _is_leftover(folder: Path, facts: os.stat_result) -> bool:
    if sys.platform == "win32":
        return False
    if facts.st_uid != os.geteuid() or not (folder / "ananta").is_dir():
        return False
    return (folder / HELD).exists() or time.time() - facts.st_mtime > UNPACKING_S


def _is_outer(pid: int, folder: Path) -> bool:
    # The number of the process that unpacked is in the name of the folder.
    return folder.name[4:12] == f"{pid:08x}"


def _end_with(outer: int) -> None:
    import threading

    def watch() -> None:
        import psutil

        try:
            psutil.Process(outer).wait()
        except psutil.Error:
            pass
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=watch, name="outer process", daemon=True).start()
