"""One command in a fresh PowerShell or cmd. Written from documentation; not yet tried on Windows."""
import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from ananta.errors import ShellFailed
from ananta.shell import windows, windows_job
from ananta.shell.capture import Capture
from ananta.shell.orders import INTERRUPTED, MARKER, TIMEOUT, Order, Ran

assert sys.platform == "win32"  # for the type checker: posix.py has this part elsewhere

PIECE = 256 * 1024
SILENCE_S = 0.25  # a pipe held open by a background process counts as finished after this
STEP_S = 0.1


class WindowsShell:
    """The shell at `path`. What its commands leave in the background is ended at their own time limits."""

    def __init__(self, path: str):
        self.path = path
        self.kind = windows.kind_of(path)
        self._left: dict[windows_job.Job, threading.Timer] = {}
        self._lock = threading.Lock()

    def execution(self, order: Order) -> "Running":
        return Running(self, order)

    def leave(self, job: windows_job.Job, seconds: float) -> None:
        """Ends the job after so many seconds."""
        timer = threading.Timer(max(seconds, 0), self._end, (job,))
        timer.daemon = True
        with self._lock:
            self._left[job] = timer
        timer.start()

    def promise(self, cwd: str, environment: Mapping[str, str]) -> None:
        """No shell is started ahead here."""

    def end_left(self) -> None:
        for job, timer in list(self._left.items()):
            timer.cancel()
            self._end(job)

    def end_leftovers(self, run_id: str) -> int:
        """Returns 0: the job objects of a process that is gone have ended their processes with it."""
        return 0

    def close(self) -> None:
        self.end_left()

    def _end(self, job: windows_job.Job) -> None:
        with self._lock:
            self._left.pop(job, None)
        job.close()


class Running:
    """One order on its way. Pipes cannot be polled here: two threads read them, and this one follows."""

    def __init__(self, shell: WindowsShell, order: Order):
        self._shell = shell
        self._order = order
        self._capture = Capture(order.output_bytes, order.on_output)
        self._pieces: queue.Queue[tuple[int, bytes]] = queue.Queue(maxsize=16)  # bounded: a flood has to wait
        self._open = 2
        self._interrupted = threading.Event()
        self._over = threading.Event()

    def interrupt(self) -> None:
        self._interrupted.set()

    def go(self) -> Ran:
        started_at = time.monotonic()
        self._limit_at = started_at + self._order.timeout_s
        if self._unwanted():
            return Ran(-1, INTERRUPTED, self._capture, None, 0.0)
        with tempfile.TemporaryDirectory(prefix="ananta-", ignore_cleanup_errors=True) as folder:
            for name, content in windows.files(self._shell.kind, self._order.command, folder).items():
                Path(folder, name).write_bytes(content)
            job = windows_job.Job()
            try:
                process = self._start(folder, job)
                return self._watch(process, job, folder, started_at)
            except BaseException:
                job.close()
                raise
            finally:
                self._over.set()

    def _start(self, folder: str, job: windows_job.Job) -> subprocess.Popen:
        order = self._order
        try:
            process = subprocess.Popen(
                windows.command_line(self._shell.kind, self._shell.path, folder), executable=self._shell.path,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd=order.cwd,
                env={**order.environment, MARKER: order.run_id},
                creationflags=windows_job.CREATE_SUSPENDED | subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW)
        except OSError as cause:
            raise ShellFailed(f"the shell {self._shell.path} cannot be started in {order.cwd}: {cause.strerror or cause}; "
                              "set SHELL_PATH to a shell of this machine") from cause
        try:
            job.take(process)
        except OSError as cause:
            windows_job.end_tree(process.pid)
            raise ShellFailed(f"the shell {self._shell.path} cannot be put under control: {cause}") from cause
        for stream, pipe in enumerate((process.stdout, process.stderr)):
            threading.Thread(target=self._read, args=(stream, pipe), daemon=True).start()
        return process

    def _read(self, stream: int, pipe: IO[bytes]) -> None:
        with pipe, contextlib.suppress(OSError, ValueError):
            while data := pipe.read(PIECE):
                self._hand_over(stream, data)
        self._hand_over(stream, b"")

    def _hand_over(self, stream: int, data: bytes) -> None:
        while not self._over.is_set():  # afterwards read on, and drop: what is left may write
            with contextlib.suppress(queue.Full):
                return self._pieces.put((stream, data), timeout=STEP_S)

    def _watch(self, process: subprocess.Popen, job: windows_job.Job, folder: str, started_at: float) -> Ran:
        ended = self._follow(process)
        if ended:
            job.end()
            windows_job.end_tree(process.pid)
        code = process.wait()
        while self._take(SILENCE_S if ended else 0):
            pass
        self._capture.finish()
        left = 0 if ended else job.alive()
        if left:
            self._shell.leave(job, self._limit_at - time.monotonic())
        else:
            job.close()
        found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        notes = (f"{left} background process(es) still running, until {self._order.timeout_s:g} s after the "
                 "command's start",) if left else ()
        return Ran(-1 if ended else code, ended, self._capture, windows.told(self._shell.kind, found),
                   time.monotonic() - started_at, left, notes)

    def _follow(self, process: subprocess.Popen) -> str | None:
        heard_at = time.monotonic()
        while True:
            gone = process.poll() is not None
            now = time.monotonic()
            if gone and (not self._open or now - heard_at >= SILENCE_S or now >= self._limit_at):
                return None
            if not gone and self._unwanted():
                return INTERRUPTED
            if not gone and now >= self._limit_at:
                return TIMEOUT
            if self._take(0.02 if not self._open else min(STEP_S, max(self._limit_at - now, 0.001))):
                heard_at = time.monotonic()

    def _take(self, wait_s: float) -> bool:
        if not self._open:
            time.sleep(wait_s)
            return False
        try:
            stream, data = self._pieces.get(timeout=max(wait_s, 0.001))
        except queue.Empty:
            return False
        if data:
            self._capture.feed(stream, data)
        else:
            self._open -= 1
        return True

    def _unwanted(self) -> bool:
        return self._interrupted.is_set() or (self._order.stop is not None and self._order.stop.is_set())
