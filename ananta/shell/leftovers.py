"""What commands leave in the background: it may go on until their own time limit, then it is ended."""
import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ananta.shell import processes

assert sys.platform != "win32"  # for the type checker: there the job object does this

LOOK_S = 1.0  # how often it is looked whether they are gone by themselves
PIECE = 256 * 1024


@dataclass
class Left:
    """The background of one run. pipes: what it may still write to; nobody reads that any more, but a closed pipe
    would end a server at its next line of log. then: to be called when they are gone."""

    run_id: str
    shell_pid: int
    pids: set[int]
    limit_at: float
    pipes: list[int] = field(default_factory=list)
    then: Callable[[], None] | None = None


class Leftovers:
    """Watches over them in one thread, which exists only while there are any."""

    def __init__(self, grace_s: float):
        self._grace_s = grace_s
        self._entries: list[Left] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waker = -1

    def watch(self, run_id: str, shell_pid: int, pids: Iterable[int], limit_at: float, pipes: list[int],
              then: Callable[[], None] | None = None) -> None:
        """Ends the run's processes at limit_at (monotonic); closes the pipes and calls then when they are gone."""
        with self._lock:
            self._entries.append(Left(run_id, shell_pid, set(pids), limit_at, pipes, then))
            if self._thread is None:
                wake, self._waker = os.pipe()
                self._thread = threading.Thread(target=self._work, args=(wake,), name="leftovers", daemon=True)
                self._thread.start()
            else:
                os.write(self._waker, b"x")

    def pids(self) -> set[int]:
        with self._lock:
            return set().union(*(entry.pids for entry in self._entries))

    def end_all(self) -> None:
        """Ends them all now; returns when they are gone."""
        with self._lock:
            thread = self._thread
            for entry in self._entries:
                entry.limit_at = 0.0
            if thread:
                os.write(self._waker, b"x")
        if thread:
            thread.join()

    def _work(self, wake: int) -> None:
        while True:
            self._sleep(wake)
            with self._lock:
                entries = list(self._entries)
            due = [entry for entry in entries if entry.limit_at <= time.monotonic()]
            if due:
                processes.end([(entry.run_id, entry.shell_pid) for entry in due], self._grace_s)
            over = [entry for entry in entries if self._is_over(entry)]
            for entry in over:
                if entry.then:
                    entry.then()
            with self._lock:
                self._entries = [entry for entry in self._entries if entry not in over]
                for entry in over:
                    _close(entry.pipes)
                if not self._entries:
                    self._thread = None
                    os.close(wake)
                    os.close(self._waker)
                    return

    def _sleep(self, wake: int) -> None:
        """Waits for the next time limit, or for a newcomer, or a look's time; reads the pipes meanwhile."""
        now = time.monotonic()
        look_at = now + LOOK_S
        while now < look_at:
            with self._lock:
                pipes = [fd for entry in self._entries for fd in entry.pipes]
                due_at = min([look_at, *(entry.limit_at for entry in self._entries)])
            if due_at <= now:
                break
            poller = select.poll()
            for fd in (wake, *pipes):
                poller.register(fd, select.POLLIN)
            for fd, _ in poller.poll(max(1, int((due_at - now) * 1000))):
                if fd == wake:
                    os.read(wake, PIECE)
                else:
                    self._drain(fd)
            now = time.monotonic()

    def _drain(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(fd, PIECE):
                return
            with self._lock:
                for entry in self._entries:
                    if fd in entry.pipes:
                        entry.pipes.remove(fd)
            os.close(fd)

    def _is_over(self, entry: Left) -> bool:
        if not any(processes.alive(pid) for pid in entry.pids):
            processes.reap_now(entry.pids)
            entry.pids = processes.members(entry.run_id, entry.shell_pid)
        return not entry.pids


def _close(pipes: Iterable[int]) -> None:
    for fd in pipes:
        os.close(fd)
