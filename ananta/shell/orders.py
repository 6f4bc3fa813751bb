"""What passes between the runner and the shell of a platform: an Order goes in, a Ran comes back."""
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ananta.shell.capture import Capture

TIMEOUT, INTERRUPTED = "timeout", "interrupted"
MARKER = "ANANTA_RUN"  # variable that every process of a run carries; its value is the run's id


@dataclass(frozen=True)
class State:
    """What carries over to the next command of a session: working directory and exported variables."""

    cwd: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Order:
    """One command with its limits. stop: ends the command when set; environment is cleaned already.

    contained: it may change only what is below workspace, without the protected paths, and read all but the private ones
    (see containment.Room)."""

    command: str
    run_id: str
    cwd: str
    environment: Mapping[str, str]
    timeout_s: float
    output_bytes: int
    on_output: Callable[[str], None] | None = None
    stop: threading.Event | None = None
    contained: bool = False
    protected: Sequence[Path] = ()
    private: Sequence[Path] = ()
    workspace: str = ""


@dataclass(frozen=True)
class Ran:
    """What became of an order. exit_code is the shell's; `ended` says why it has none of its own (then -1).

    state is None when the shell could not tell it. left: processes that still run in the background."""

    exit_code: int
    ended: str | None
    capture: Capture
    state: State | None
    duration_s: float
    left: int = 0
    notes: tuple[str, ...] = ()


class Execution(Protocol):
    """One order on its way."""

    def go(self) -> Ran:
        """Runs the order in this thread. Raises ShellFailed when the shell cannot be started, Unavailable
        (containment_unavailable) when it cannot be contained as ordered."""

    def interrupt(self) -> None:
        """Makes go() end everything soon and return; from any thread, also before and after go()."""


class Shell(Protocol):
    """A shell of this machine. kind: "bash" (and its relatives), "powershell" or "cmd"."""

    kind: str
    path: str

    def execution(self, order: Order) -> Execution: ...

    def end_left(self) -> None:
        """Ends what commands have left in the background, and waits until it is gone."""

    def end_leftovers(self, run_id: str) -> int:
        """Ends every process of this machine that carries the marker of that run; returns how many."""


def why_ended(ended: str, seconds: float) -> str:
    """Returns the line that closes the output of a command that was ended."""
    return f"[ended after {round(seconds, 1):g} s: {'time limit' if ended == TIMEOUT else 'interrupted'}]"
