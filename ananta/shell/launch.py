"""A POSIX shell with the pipes it writes to and the file in which it tells its state."""
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ananta.shell import descriptors

assert sys.platform != "win32"  # for the type checker: windows_shell.py has this part there


@dataclass(frozen=True)
class Launched:
    """A shell that was started. outputs: its stdout and stderr, to be read without waiting; state: a scratch file.

    Whoever has it closes the three and waits for the process."""

    process: subprocess.Popen
    outputs: tuple[int, int]
    state: int

    def discard(self) -> None:
        """Kills the shell, which has run nothing yet, and closes everything."""
        self.process.kill()
        self.process.wait()
        for fd in (*self.outputs, self.state):
            os.close(fd)


def launch(arguments: Callable[[list[int]], list[str]], cwd: str, environment: Mapping[str, str], *,
           command: int | None = None,
           start: Callable[[Callable[[], subprocess.Popen]], subprocess.Popen] = lambda make: make()) -> Launched:
    """Returns a new shell in a session of its own, without input. Raises OSError.

    arguments: makes the argument list from the numbers that the scratch file and command have there. command: what the
    shell is to read its command from, if anything. start: calls the function that makes the process."""
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as ours:
        (out, out_end), (error, error_end) = _pipe(kept, ours), _pipe(kept, ours)
        state = descriptors.scratch()
        kept.callback(os.close, state)
        inherited = [descriptors.lifted(ours, fd) for fd in (state, command) if fd is not None]

        def make() -> subprocess.Popen:
            return subprocess.Popen(arguments(inherited), stdin=subprocess.DEVNULL, stdout=out_end, stderr=error_end, cwd=cwd,
                                    env=environment, start_new_session=True, pass_fds=inherited)

        process = start(make)
        kept.pop_all()
        return Launched(process, (out, error), state)


def _pipe(kept: contextlib.ExitStack, ours: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    kept.callback(os.close, read)
    ours.callback(os.close, write)
    os.set_blocking(read, False)
    return read, write
