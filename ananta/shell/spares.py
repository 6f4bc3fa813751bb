"""Shells started ahead: each waits for one command, so that the command does not wait for a shell to start.

A spare is a fresh shell like any other and runs one command. It waits in /, so that it keeps no directory busy, and
reads its command from a pipe whose other end only this process has: when this process is gone, however it went, the
spare reads the end of the pipe and exits. It carries a run's id from its start, which becomes the id of the run."""
import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ananta.shell import descriptors, launch, prelude
from ananta.shell.orders import MARKER, Order, new_run_id

assert sys.platform != "win32"  # for the type checker

LIMIT = 4
PAUSE_S = 0.001  # before one is started: the answer to the command before it goes first
IDLE_S = 60.0  # a spare that nobody wanted for so long is ended
# What a shell acts on when it starts, or counts from its start: there it must not start before its command.
AT_START = ("BASH", "LD_", "SHELLOPTS", "POSIXLY_CORRECT", "SECONDS")
PLACE = ("PWD", "OLDPWD")


@dataclass(eq=False)
class Spare:
    """One that waits. hand: the pipe its command goes into; environment: what it was started with, but for PLACE.

    promised: its id was given out, so nobody else may have it."""

    run_id: str
    environment: dict[str, str]
    shell: launch.Launched
    hand: int
    started_at: float
    promised: bool = False

    def give(self, text: bytes) -> bool:
        """Hands it its command; False when it is gone. A text of PIPE_BUF bytes arrives as a whole or not at all."""
        if self.shell.process.poll() is not None:
            return False
        try:
            os.write(self.hand, text)
        except BrokenPipeError:
            return False
        os.close(self.hand)
        return True

    def discard(self) -> None:
        self.shell.discard()
        os.close(self.hand)


class Spares:
    """The spares of one shell, at most LIMIT; the thread that starts and ends them exists only while there are any."""

    def __init__(self, path: str, idle_s: float = IDLE_S):
        self._path, self._idle_s = path, idle_s
        self._able = sys.platform == "linux" and "bash" in os.path.basename(path)
        self._spares: list[Spare] = []  # oldest first
        self._wanted: dict[str, str] | None = None  # the environment of one to be started
        self._closed = False
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def promise(self, cwd: str, environment: Mapping[str, str]) -> str | None:
        """Returns the id of a spare for a command there; None when none fits. Only `take` with this id gets it."""
        if not self._able or environment.get("PWD") not in (None, cwd):
            return None
        wanted = _without_place(environment)
        with self._change:
            for spare in self._spares:
                if not spare.promised and spare.environment == wanted:
                    spare.promised = True
                    return spare.run_id
        return None

    def take(self, order: Order) -> launch.Launched | None:
        """Returns the shell that was promised to this run, already at its command; None when there is none."""
        with self._change:
            spare = next((each for each in self._spares if each.run_id == order.run_id and each.promised), None)
            if spare is None:
                return None
            self._spares.remove(spare)
        text = prelude.handed(order.command, order.cwd, order.environment)
        fits = not order.contained and len(text) <= select.PIPE_BUF and (
            spare.environment == _without_place(order.environment))
        if fits and spare.give(text):
            return spare.shell
        spare.discard()
        return None

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Has a spare started soon, for commands with this environment, unless one waits."""
        wanted = _without_place(environment)
        if not self._able or any(name.startswith(AT_START) for name in wanted):
            return
        with self._change:
            if self._closed or any(not each.promised and each.environment == wanted for each in self._spares):
                return
            self._wanted = wanted
            if self._thread is not None:
                self._change.notify()
                return
            thread = threading.Thread(target=self._work, name="spares", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: the command before it is not to suffer
                thread.start()
                self._thread = thread

    def pids(self) -> set[int]:
        with self._change:
            return {each.shell.process.pid for each in self._spares}

    def close(self) -> None:
        """Ends them all, and starts no more; returns when they are gone."""
        with self._change:
            self._closed = True
            thread = self._thread
            self._change.notify()
        if thread:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._change:
                surplus = self._surplus(time.monotonic())
                wanted, self._wanted = self._wanted, None
                if not surplus and wanted is None:
                    if not self._spares:
                        self._thread = None
                        return
                    self._change.wait(max(0.0, self._spares[0].started_at + self._idle_s - time.monotonic()))
                    continue
            for spare in surplus:
                spare.discard()
            if wanted is not None and not self._closed:
                time.sleep(PAUSE_S)
                with contextlib.suppress(Exception):  # whatever prevents it: a command starts its shell itself, and says it
                    spare = self._start(wanted)
                    with self._change:
                        self._spares.append(spare)

    def _surplus(self, now: float) -> list[Spare]:
        """Takes away those that are too many or too old."""
        keep = [] if self._closed else [each for each in self._spares[-LIMIT:] if each.started_at + self._idle_s > now]
        surplus = [each for each in self._spares if each not in keep]
        self._spares = keep
        return surplus

    def _start(self, environment: dict[str, str]) -> Spare:
        run_id = new_run_id()
        read, hand = os.pipe()
        try:
            shell = launch.launch(lambda inherited: prelude.waiting(self._path, *inherited, limit=descriptors.limit_kept()), "/",
                                  {**environment, MARKER: run_id}, command=read)
        except BaseException:
            os.close(hand)
            raise
        finally:
            os.close(read)
        return Spare(run_id, environment, shell, hand, time.monotonic())


def _without_place(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in PLACE}
