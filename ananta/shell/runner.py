"""Runs one command within limits of time and output, in a fresh shell that continues where its session was."""
import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from ananta.domain.steps import Outcome
from ananta.errors import Conflict, InvalidInput, ShellFailed, ShuttingDown
from ananta.shell import windows
from ananta.shell.containment import require as require_containment
from ananta.shell.environment import child_environment
from ananta.shell.orders import TIMEOUT, Execution, Order, Ran, Shell, new_run_id, why_ended
from ananta.shell.sessions import Session, Sessions

CLOSING_S = 10.0


class Runner:
    """The shell of this machine. home: where a session begins, also as an attribute. environment: that of this process; it is cleaned here.

    shell_path: a path or a name; None takes the first of bash and sh, on Windows of pwsh, powershell and cmd.
    At most session_limit sessions are remembered. protected: paths that no contained command may change; private: paths
    that none may read either. Raises ShellFailed when there is no such shell."""

    def __init__(self, *, shell_path: str | None, home: Path, environment: Mapping[str, str],
                 secret_names: Iterable[str] = (), session_limit: int = 1000, protected: Sequence[Path] = (),
                 private: Sequence[Path] = ()):
        self._environment = child_environment(environment, secret_names)
        self._protected, self._private = (tuple(Path(path).resolve() for path in paths) for paths in (protected, private))
        self._home = self.home = str(Path(home).absolute())
        self._shell = _shell_of_this_machine(shell_path, self._environment)
        self.shell_kind = self._shell.kind
        self.shell_path = self._shell.path
        self._sessions = Sessions(self._home, self._environment, session_limit)
        self._active: set[Execution] = set()
        self._change = threading.Condition()
        self._closed = False

    def session(self, key: str, wait_s: float) -> AbstractContextManager[Session]:
        """Gives the session of this key, to one caller at a time.

        Raises Busy (retry_after 1) when another command of it runs for longer than wait_s seconds."""
        return self._sessions.hold(key, wait_s)

    def fresh_session(self) -> AbstractContextManager[Session]:
        """Gives a session that begins where all do, and is forgotten after it."""
        return nullcontext(self._sessions.fresh())

    def directory(self, key: str) -> str:
        """Returns the working directory of the session of this key, without waiting for it."""
        return self._sessions.directory(key)

    def next_id(self, session: Session, *, contained: bool) -> str:
        """Returns an id for the next run in this session. When a shell waits for it already, only a run with this id
        gets that shell: so it is asked for once for each run."""
        waiting = None if contained else self._shell.promise(session.cwd, session.environment)
        return waiting or new_run_id()

    def run(self, command: str, *, session: Session, run_id: str, timeout_s: float, output_bytes: int = 1 << 20,
            on_output: Callable[[str], None] | None = None, stop: threading.Event | None = None,
            contained: bool = False, plain: bool = False) -> Outcome:
        """Returns what the command did; the session then is where the command left it, also after a failure.

        The command has no input. After timeout_s seconds, or soon after stop is set or interrupt_all was called,
        everything it started is ended; what it left in the background lives until the same time limit. Of stdout,
        stderr and both together output_bytes bytes are kept each, half from the start and half from the end;
        on_output gets all text as it arrives, in this thread. run_id marks its processes (see end_leftovers).
        contained: it reads all but the private paths, and changes only what is below home, wherever its session is, and
        below a temporary directory of its own, which goes with it (see containment); plain: somebody has looked at all it
        changes, so that nothing below home is held back for the sake of the protected paths. Raises InvalidInput for a command
        with a NUL, Conflict (`cwd_gone`) when the session's directory has vanished, ShellFailed when no shell can be
        started, ShuttingDown; Unavailable (containment_unavailable) when the command is to be contained and cannot be:
        nothing has run then."""
        if "\0" in command:
            raise InvalidInput("command contains a NUL character, which no shell can be given")
        if contained:
            require_containment()
        order = Order(command, run_id, session.cwd, session.environment, timeout_s, output_bytes, on_output, stop,
                      contained, self._protected, self._private, plain, self._home)
        notes: tuple[str, ...] = ()
        if not _can_enter(order.cwd):
            # Running it elsewhere would be another command: `rm *` means the files of this folder.
            if order.cwd == self._home:
                raise ShellFailed(f"The working directory {order.cwd} cannot be entered: make it, or set WORK_DIR to "
                                  "another one.")
            session.cwd = self._home
            raise Conflict(f"The working directory {order.cwd} is gone, so the command was not run. The session is back in "
                           f"{self._home}: send the command again if that is where it shall run.", code="cwd_gone")
        try:
            ran = self._execute(order)
        except ShellFailed as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.E2BIG:
                raise
            notes += ("the session's exported variables were too large to pass on, and are forgotten",)
            session.environment = dict(self._environment)
            ran = self._execute(replace(order, environment=session.environment))
        session.cwd = order.cwd
        if ran.state:
            session.cwd, session.environment = ran.state.cwd, ran.state.environment
        return _outcome(ran, notes, timeout_s)

    def running(self) -> int:
        """Returns how many commands run now; what they left in the background is not counted."""
        return len(self._active)

    def interrupt_all(self) -> None:
        """Makes every command that runs now end soon, as "interrupted", and ends what earlier ones left behind."""
        with self._change:
            for execution in self._active:
                execution.interrupt()
        self._shell.end_left()

    def end_leftovers(self, run_id: str) -> int:
        """Ends every process of this machine that belongs to this run, such as after a crash; returns how many."""
        return self._shell.end_leftovers(run_id)

    def close(self) -> None:
        """Ends everything and waits for it, CLOSING_S seconds at most; run raises ShuttingDown from now on."""
        self._closed = True
        self.interrupt_all()
        with self._change:
            self._change.wait_for(lambda: not self._active, timeout=CLOSING_S)
        self._shell.close()

    def _execute(self, order: Order) -> Ran:
        execution = self._shell.execution(order)
        with self._change:
            # Asked under the lock: a command that begins while we close is seen by close, or refused here.
            if self._closed:
                execution.interrupt()
            self._active.add(execution)
        try:
            ran = execution.go()
            if self._closed and ran.ended and not ran.duration_s:
                raise ShuttingDown("the agent is shutting down: the command was not started", retry_after=10)
            return ran
        finally:
            with self._change:
                self._active.discard(execution)
                self._change.notify_all()


def _shell_of_this_machine(shell_path: str | None, environment: Mapping[str, str]) -> Shell:
    """The one place that chooses between the platforms."""
    wanted = [shell_path] if shell_path else windows.PREFERRED if sys.platform == "win32" else ["bash", "sh"]
    path = next((found for name in wanted if (found := shutil.which(name, path=environment.get("PATH")))), None)
    if path is None:
        raise ShellFailed(f"no shell found (looked for {', '.join(wanted)}): set SHELL_PATH to the shell to use")
    path = os.path.abspath(path)
    if sys.platform == "win32":
        from ananta.shell.windows_shell import WindowsShell

        return WindowsShell(path)
    else:
        from ananta.shell.posix import PosixShell

        return PosixShell(path)


def _can_enter(directory: str) -> bool:
    return os.path.isdir(directory) and os.access(directory, os.X_OK)


def _outcome(ran: Ran, notes: tuple[str, ...], timeout_s: float) -> Outcome:
    (stdout, cut_stdout), (stderr, cut_stderr) = (stream.text() for stream in ran.capture.streams)
    output = ran.capture.both.text()[0].strip()
    if ran.ended:
        output = f"{output}\n{why_ended(ran.ended, timeout_s if ran.ended == TIMEOUT else ran.duration_s)}".lstrip()
    return Outcome(ran.exit_code, stdout, stderr, output, ran.duration_s, ran.ended, cut_stdout + cut_stderr,
                   notes + ran.notes)
