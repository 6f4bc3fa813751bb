"""One command in a fresh POSIX shell, watched by the thread that asked for it: no thread stays, no fork of our own."""
import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from ananta.errors import ShellFailed
from ananta.shell import descriptors, leftovers, prelude, processes
from ananta.shell.capture import Capture
from ananta.shell.containment import Room
from ananta.shell.orders import INTERRUPTED, MARKER, TIMEOUT, Order, Ran, State

assert sys.platform != "win32"  # for the type checker: windows.py has this part there

ARGUMENT_LIMIT = 128 * 1024 - 64  # bytes; Linux takes no single argument from 128 KiB on
SILENCE_S = 0.25  # a pipe held open by a background process counts as finished after this
STEP_S = 0.1  # how often an Event is looked at, which cannot wake a poll
DRAINS = 64  # a pipe holds at most 1 MiB, which is a few reads
GRACE_S = 1.0  # from SIGTERM to SIGKILL
TELLING_S = 0.5  # for the shell to tell its state once its children are gone


DIVIDED = ("contained: the working folder holds data of this agent, which such a run cannot change, nor read where it is "
           "secret, and beside it nothing can be made or removed. DATA_DIR elsewhere, or WORK_DIR in a folder without the "
           "data, gives the whole folder back")


class PosixShell:
    """The shell at `path`. What its commands leave in the background is ended at their own time limits."""

    kind = "bash"

    def __init__(self, path: str):
        self.path = path
        self.leftovers = leftovers.Leftovers(GRACE_S)
        self.own: set[int] = set()  # pids of shells that run
        self._adopting = False
        self._lock = threading.Lock()

    def execution(self, order: Order) -> "Running":
        with self._lock:
            if not self._adopting:
                self._adopting = True
                processes.adopt_orphans()
        return Running(self, order)

    def end_left(self) -> None:
        self.leftovers.end_all()

    def end_leftovers(self, run_id: str) -> int:
        return processes.end([(run_id, None)], GRACE_S)


class Running:
    """One order on its way: a poll loop over its output, its state, its end and our wish to end it."""

    def __init__(self, shell: PosixShell, order: Order):
        self._shell = shell
        self._order = order
        self._capture = Capture(order.output_bytes, order.on_output)
        self._state = -1  # descriptor of a file in which the shell tells its state; it needs no reader meanwhile
        self._room: Room | None = None  # of a contained run
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._poller = select.poll()
        self._gone = False
        self._pid_fd = -1
        self._outputs: dict[int, int] = {}  # open descriptor → stream
        self._heard_at = 0.0
        self._interrupted = False
        self._wake_lock = threading.Lock()
        self._wake = self._waker = -1

    def interrupt(self) -> None:
        with self._wake_lock:
            woken, self._interrupted = self._interrupted, True  # before the wake, which happens once
            if self._waker >= 0 and not woken:
                os.write(self._waker, b"x")

    def go(self) -> Ran:
        started_at = time.monotonic()
        self._limit_at = started_at + self._order.timeout_s
        try:
            if self._unwanted():
                return Ran(-1, INTERRUPTED, self._capture, None, 0.0)
            try:
                self._prepare()
                self._start()
            except OSError as cause:
                raise ShellFailed(f"the shell {self._shell.path} cannot be started in {self._order.cwd}: "
                                  f"{cause.strerror or cause}; set SHELL_PATH to a shell of this machine") from cause
            try:
                if ended := self._follow():
                    self._end()
                return self._result(ended, started_at)
            except BaseException:  # from on_output, or Ctrl-C: nothing may go on that nobody watches
                processes.kill_all(self._order.run_id, self._process.pid)
                raise
            finally:
                self._process.wait()
                self._shell.own.discard(self._process.pid)
        finally:
            self._close()

    def _prepare(self) -> None:
        with self._wake_lock:
            self._wake, self._waker = os.pipe()
            if self._interrupted:
                os.write(self._waker, b"x")
        self._watch(self._wake, self._unwatch)
        if self._order.contained:
            self._room = Room(self._order.workspace, self._order.protected, self._order.private)

    def _start(self) -> None:
        with contextlib.ExitStack() as ours:
            out_fd, error_fd = self._pipe(ours, 0), self._pipe(ours, 1)
            self._state = descriptors.scratch()
            inherited = [descriptors.lifted(ours, self._state)]
            text = os.fsencode(self._order.command)
            if len(text) >= ARGUMENT_LIMIT:
                file = ours.enter_context(open(descriptors.scratch(), "wb"))
                file.write(text)
                file.seek(0)  # flushes too; some systems make the shell share our position
                inherited.append(descriptors.lifted(ours, file.fileno()))
            self._process = self._spawn(out_fd, error_fd, inherited)
            self._shell.own.add(self._process.pid)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # an old kernel, or one that only looks like Linux
                self._pid_fd = os.pidfd_open(self._process.pid)
                self._watch(self._pid_fd, self._bury)

    def _pipe(self, ours: contextlib.ExitStack, stream: int) -> int:
        read, write = os.pipe()
        ours.callback(os.close, write)
        os.set_blocking(read, False)
        self._watch(read, self._hear)
        self._outputs[read] = stream
        return write

    def _spawn(self, out_fd: int, error_fd: int, inherited: list[int]) -> subprocess.Popen:
        order = self._order
        command_fd = inherited[1] if len(inherited) > 1 else None
        arguments = prelude.arguments(self._shell.path, order.command, inherited[0], command_fd, descriptors.limit_kept())
        environment = {**order.environment, MARKER: order.run_id, **(self._room.variables if self._room else {})}

        def start() -> subprocess.Popen:
            return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out_fd, stderr=error_fd, cwd=order.cwd,
                                    env=environment, start_new_session=True, pass_fds=inherited)

        return self._room.start(start) if self._room else start()

    def _follow(self) -> str | None:
        """Returns None when the shell is gone and its output complete, else why it is to be ended."""
        while not self._gone:
            if self._unwanted():
                return INTERRUPTED
            if time.monotonic() >= self._limit_at:
                return TIMEOUT
            self._pump(self._limit_at - time.monotonic())
        if not self._outputs:
            return None
        self._pump(0)
        if processes.members(self._order.run_id, self._process.pid):
            self._hear_out()
        self._drain()
        return None

    def _hear_out(self) -> None:
        """Listens until the background is silent for a moment, or closes its pipes, or nothing more is wanted."""
        self._heard_at = time.monotonic()
        while self._outputs and not self._unwanted():
            now = time.monotonic()
            if now >= min(self._heard_at + SILENCE_S, self._limit_at):
                return
            self._pump(min(self._heard_at + SILENCE_S, self._limit_at) - now)

    def _end(self) -> None:
        """Ends the whole tree. The shell goes last, so that it can tell where it was."""
        run_id, pid = self._order.run_id, self._process.pid
        asked = processes.members(run_id, pid)
        processes.send(asked, signal.SIGTERM)
        limit = time.monotonic() + GRACE_S
        self._pump_until(limit, lambda: self._gone and not processes.members(run_id, pid))
        # A shell that ignores SIGTERM would take the end of its child for leave to go on with the next command.
        if not self._gone and not processes.ignores_sigterm(pid):
            processes.kill_all(run_id, pid, spare={pid})
            self._pump_until(time.monotonic() + TELLING_S, lambda: self._gone)
        if not self._gone:
            self._process.kill()
            self._process.wait()
        processes.kill_all(run_id, pid)
        processes.reap_now(asked - {pid})
        self._drain()

    def _drain(self) -> None:
        """Takes what is in the pipes, but no endless flood of somebody we could neither find nor end."""
        for _ in range(DRAINS):
            if not self._outputs or not self._pump(0):
                return

    def _pump_until(self, limit: float, done: Callable[[], bool]) -> None:
        while (left := limit - time.monotonic()) > 0 and not done():
            self._pump(min(left, 0.05))

    def _result(self, ended: str | None, started_at: float) -> Ran:
        code = self._process.wait()
        self._capture.finish()
        known = self._shell.own | self._shell.leftovers.pids()
        if ended:
            processes.sweep(known)
        state, explained = self._told(), self._explained(code)
        left, notes = (0, ()) if ended else self._leave(known)
        return Ran(-1 if ended else 128 - code if code < 0 else code, ended, self._capture, state,
                   time.monotonic() - started_at, left, explained + notes)

    def _told(self) -> State | None:
        order = self._order
        state = prelude.told(descriptors.content(self._state), order.environment)
        return self._room.left(state, order.environment, order.cwd) if state and self._room else state

    def _explained(self, code: int) -> tuple[str, ...]:
        """What a contained run is told that met the price of protecting something below its working directory."""
        divided = code != 0 and self._room is not None and self._room.divided
        return (DIVIDED,) if divided and "ermission denied" in self._capture.both.text()[0] else ()

    def _leave(self, known: set[int]) -> tuple[int, tuple[str, ...]]:
        """Hands what still runs over to the watcher, with the pipes it may write to; at the time limit ends it here."""
        run_id, pid = self._order.run_id, self._process.pid
        if not processes.any_left(run_id, pid, known) or not (found := processes.members(run_id, pid)):
            return 0, ()
        many = f"{len(found)} background process{'es' if len(found) > 1 else ''}"
        if self._unwanted() or time.monotonic() >= self._limit_at:
            processes.end([(run_id, pid)], GRACE_S)
            return 0, (f"{many} ended with the command's time",)
        pipes = list(self._outputs)
        for fd in pipes:
            self._unwatch(fd)
        self._outputs.clear()
        room, self._room = self._room, None  # the background may use it as long as it lives
        self._shell.leftovers.watch(run_id, pid, found, self._limit_at, pipes, room.remove if room else None)
        return len(found), (f"{many} still running, until {self._order.timeout_s:g} s after the command's start",)

    def _unwanted(self) -> bool:
        return self._interrupted or (self._order.stop is not None and self._order.stop.is_set())

    def _pump(self, wait_s: float) -> bool:
        """Waits for something to happen and handles it; returns whether something did."""
        if self._order.stop is not None:
            wait_s = min(wait_s, STEP_S)
        if self._pid_fd < 0 and not self._gone:
            wait_s = min(wait_s, 0.02)
        events = self._poller.poll(math.ceil(min(max(wait_s, 0), 3600) * 1000))
        for fd, _ in events:
            if fd in self._handlers:
                self._handlers[fd](fd)
        if self._pid_fd < 0 and not self._gone:
            self._gone = self._process.poll() is not None
        return bool(events)

    def _hear(self, fd: int) -> None:
        if data := descriptors.read(fd):
            self._heard_at = time.monotonic()
            self._capture.feed(self._outputs[fd], data)
        elif data is not None:
            del self._outputs[fd]
            self._forget(fd)

    def _bury(self, fd: int) -> None:
        self._process.wait()
        self._gone = True
        self._forget(fd)

    def _watch(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._poller.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        del self._handlers[fd]
        self._poller.unregister(fd)

    def _forget(self, fd: int) -> None:
        self._unwatch(fd)
        os.close(fd)

    def _close(self) -> None:
        with self._wake_lock:
            waker, self._waker = self._waker, -1
        self._handlers.pop(self._wake, None)
        for fd in (waker, self._wake, self._state, *self._handlers):
            if fd >= 0:
                os.close(fd)
        if self._room:
            self._room.remove()
