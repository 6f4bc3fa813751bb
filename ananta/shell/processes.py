"""The processes of a run, wherever they hid: found by marker, ancestry and session, ended, and reaped.

Linux is read from /proc directly; elsewhere psutil is asked."""
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ananta.shell.orders import MARKER

assert sys.platform != "win32"  # for the type checker: windows_job.py has this part there

PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 50  # of looking and killing, for trees that grow meanwhile
STRANGER_S = 2.0  # a dead child somebody else may have started is left to him for this long
PROC = Path("/proc")

_strangers: dict[int, float] = {}


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    session: int
    dead: bool  # a zombie


def adopt_orphans() -> bool:
    """Makes this process the parent of every descendant whose parent is gone. Returns False where that is unknown."""
    if sys.platform != "linux":
        return False
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def everything() -> dict[int, Process]:
    """Returns every process of this machine that can be seen, by pid."""
    if not (PROC / "self/stat").exists():
        return _by_psutil()
    found = (_look(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return {process.pid: process for process in found if process}


def _look(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b") ")[2].split()
        return Process(pid, int(fields[1]), int(fields[3]), fields[0] in b"ZX")
    except (OSError, IndexError, ValueError):
        return None


def marker_of(pid: int) -> str | None:
    """Returns the id of the run this process says it belongs to; None when it says nothing or may not be read."""
    try:
        if PROC.joinpath("self/environ").exists():
            with open(f"/proc/{pid}/environ", "rb") as file:
                return _marker(file.read())
        import psutil

        return psutil.Process(pid).environ().get(MARKER)
    except Exception:  # psutil's errors have no ancestor here; whatever goes wrong, the process tells us nothing
        return None


def _marker(environment: bytes) -> str | None:
    start = f"{MARKER}=".encode()
    return next((os.fsdecode(entry[len(start):]) for entry in environment.split(b"\0") if entry.startswith(start)), None)


def members(run_id: str, shell_pid: int | None = None) -> set[int]:
    """Returns the living processes of a run: with its marker, in the session of its shell, and all descendants.

    The shell itself is among them; this process never is."""
    table = everything()
    found = set()
    for process in table.values():
        said = marker_of(process.pid)
        if said == run_id or (said is None and shell_pid in (process.pid, process.session)):
            found.add(process.pid)
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found.discard(os.getpid())
    waiting = list(found)
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), ()) if pid not in found and pid != os.getpid()]
        found.update(new)
        waiting.extend(new)
    return {pid for pid in found if not table[pid].dead}


def any_left(run_id: str, shell_pid: int, known: Collection[int]) -> bool:
    """Says, cheaply, whether a run has living processes after its shell was reaped; reaps adopted dead ones.

    known: children of this process that belong to other runs."""
    strangers = sweep(known)
    return _group_lives(shell_pid) or any(marker_of(pid) == run_id for pid in strangers)


def sweep(known: Collection[int]) -> list[int]:
    """Reaps adopted dead processes; returns the children of this process that are not known."""
    strangers = [pid for pid in _children() if pid not in known]
    reap(strangers)
    return strangers


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _children() -> list[int]:
    # Orphans are given to our first thread, and this small file lists its children.
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file:
            return [int(pid) for pid in file.readall().split()]
    except (OSError, ValueError):
        return []


def reap(candidates: Iterable[int]) -> None:
    """Reaps those of our dead children that we did not start: their session is neither ours nor their own.

    A dead leader of a session of its own may be somebody's Popen: it is reaped once it has been dead for STRANGER_S."""
    candidates = list(candidates)
    for pid in set(_strangers).difference(candidates):
        _strangers.pop(pid, None)
    for pid in candidates:
        process = _look(pid)
        if process is None or not process.dead or process.parent != os.getpid() or process.session == os.getsid(0):
            continue
        if process.session == pid and time.monotonic() - _strangers.setdefault(pid, time.monotonic()) < STRANGER_S:
            continue
        _strangers.pop(pid, None)
        reap_now([pid])


def ignores_sigterm(pid: int) -> bool:
    """Says whether this process has asked not to get SIGTERM; False where that cannot be seen."""
    try:
        status = PROC.joinpath(str(pid), "status").read_text("ascii", "replace")
    except OSError:
        return False
    ignored = next((line for line in status.splitlines() if line.startswith("SigIgn:")), "SigIgn: 0")
    return bool(int(ignored.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def alive(pid: int) -> bool:
    """Says whether this process exists and is no zombie."""
    if PROC.joinpath("self/stat").exists():
        process = _look(pid)
        return process is not None and not process.dead
    return pid in everything()


def reap_now(pids: Iterable[int]) -> None:
    """Reaps those that are dead children of ours, and not somebody's Popen."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Sends a signal to each that still exists and may be signalled."""
    # Parents mostly have lower numbers. A shell whose child is ended first would go on with its next command.
    for pid in sorted(pids):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def kill_all(run_id: str, shell_pid: int | None, spare: Collection[int] = ()) -> int:
    """Kills every process of a run except those to spare, until none is left; returns how many there were."""
    killed: set[int] = set()
    for attempt in range(ROUNDS):
        found = members(run_id, shell_pid).difference(spare)
        if not found:
            break
        # Stopped first, for the same reason: what looks on while its child dies must not get to act on it.
        send(found, signal.SIGSTOP)
        send(found, signal.SIGKILL)
        killed |= found
        time.sleep(0.001 * min(attempt + 1, 20))
    reap_now(killed - {shell_pid})
    return len(killed)


def end(runs: Collection[tuple[str, int | None]], grace_s: float) -> int:
    """Ends every process of runs that have no shell any more, given as (run_id, shell_pid); returns how many.

    They are asked first, then all have grace_s seconds together, then what is left is killed."""
    def living() -> set[int]:
        return set().union(*(members(*run) for run in runs))

    found = asked = living()
    send(asked, signal.SIGTERM)
    limit = time.monotonic() + grace_s
    while found and time.monotonic() < limit:
        time.sleep(0.02)
        found = living()
        asked = asked | found
    for run in runs:
        kill_all(*run)
        reap_now(asked - {run[1]})
    return len(asked)


def _by_psutil() -> dict[int, Process]:
    import psutil

    found = {}
    for process in psutil.process_iter(["pid", "ppid", "status"]):
        pid = process.info["pid"]
        try:
            session = os.getsid(pid)
        except OSError:
            session = -1
        found[pid] = Process(pid, process.info["ppid"] or 0, session, process.info["status"] == psutil.STATUS_ZOMBIE)
    return found
