"""Linux Landlock by its three system calls: a thread, and what it then starts, may change and read only what rules allow.

Numbers and layouts: landlock(7), https://docs.kernel.org/userspace-api/landlock.html, and include/uapi/linux/landlock.h;
prctl(2) for PR_SET_NO_NEW_PRIVS. Executing and listing directories are not handled here, so they stay as free as they
were, and so does reading files unless it is asked for."""
import ctypes
import functools
import gc
import os
import stat
import struct
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from ananta.errors import Unavailable

T = TypeVar("T")

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
OTHER_NUMBERS = ("alpha", "mips")  # machines on which system calls are counted differently
RULESET_VERSION = 1  # flag of landlock_create_ruleset: tell the ABI
RULE_PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

READ_FILE = 1 << 2
WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR = 1 << 1, 1 << 4, 1 << 5, 1 << 6, 1 << 7
MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15  # since ABI 2, 3 and 5
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1  # since ABI 6

SINCE = {1: WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK
         | MAKE_SYM, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
OF_FILES = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV  # what a rule about something that is no directory may grant
# Granted nowhere: who may make devices could make the disk itself, and write to it, wherever he has a directory.
DEVICES = MAKE_CHAR | MAKE_BLOCK

RULE = struct.Struct("=Qi")  # rights, descriptor

_starting = threading.Lock()


def version() -> int:
    """Returns the ABI that the kernel offers; 0 where there is none, or where using it is forbidden."""
    if sys.platform != "linux" or os.uname().machine.startswith(OTHER_NUMBERS):
        return 0
    try:
        abi = _call(CREATE_RULESET, None, 0, RULESET_VERSION)
        # Tried in full: filters of containers and the limit of layers show only when it is done.
        with Ruleset(abi) as ruleset:
            ruleset.start(lambda: None)
    except (OSError, Unavailable):
        return 0
    return abi


class Ruleset:
    """What may be changed, all else may not; with reading also which files may be read. Raises OSError when the kernel
    refuses it. To be closed, or used by with."""

    def __init__(self, abi: int, *, reading: bool = False):
        self._reading = READ_FILE if reading else 0
        self._handled = sum(rights for since, rights in SINCE.items() if since <= abi) | self._reading
        # Signals: or else a command could end this very process, which watches over it.
        scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if abi >= 6 else 0
        attributes = struct.pack("=QQQ", self._handled, 0, scoped)  # the one between: ports, since ABI 4
        self._fd = _call(CREATE_RULESET, attributes, len(attributes), 0)

    def __enter__(self) -> "Ruleset":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def allow(self, path: str, *, change: bool = True) -> None:
        """Allows to read, and to change unless that is excluded, the file, or the directory and everything below it.

        A link is passed over, and so is what does not exist or cannot be reached. Raises OSError."""
        if sys.platform != "linux":  # for the type checker
            return
        if not (change or self._reading):
            return
        try:
            fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISLNK(mode):
                rights = self._handled if change else self._reading
                rights &= ~DEVICES if stat.S_ISDIR(mode) else OF_FILES
                if _system_call()(ADD_RULE, self._fd, RULE_PATH_BENEATH, RULE.pack(rights, fd), 0, 0) < 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(fd)

    def start(self, make: Callable[[], T]) -> T:
        """Returns what make returns, called in a thread of its own that is bound by these rules and then ends.

        What make raises is raised here. Raises Unavailable when the thread cannot be bound; make is not called then."""
        results: list[T] = []
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._bind()
                results.append(make())
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=work, name="contained")
        # A collection in that thread would run the finalizers of others, who may have files to write.
        with _starting:
            collecting = gc.isenabled()
            gc.disable()
            try:
                thread.start()
                thread.join()
            except RuntimeError as cause:
                raise unavailable("no thread can be started for it") from cause
            finally:
                if collecting:
                    gc.enable()
        if failures:
            raise failures[0]
        return results[0]

    def _bind(self) -> None:
        """Binds this thread, for good."""
        try:
            # Required of all but root; and a program that changes its user would leave the rules' ground anyway.
            if _libc().prctl(*(ctypes.c_ulong(value) for value in (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            _call(RESTRICT_SELF, self._fd, 0)
        except OSError as cause:
            raise unavailable(cause) from cause

    def close(self) -> None:
        os.close(self._fd)


def unavailable(why: str | OSError) -> Unavailable:
    reason = why if isinstance(why, str) else f"{why.filename or 'Landlock'}: {why.strerror}"
    return Unavailable(f"commands cannot be contained here: {reason}", code="containment_unavailable")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _system_call() -> Callable[..., int]:
    """The function for rules, of which a run may need thousands: told its types once, it takes a third of the time."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long, ctypes.c_long]
    call.restype = ctypes.c_long
    return call


def _call(number: int, *arguments: bytes | int | None) -> int:
    """Returns the result of a system call. Raises OSError."""
    words = (ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments)
    result = int(_libc().syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
