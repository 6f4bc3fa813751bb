"""What moves along the one flow: prompt → Proposal → Verdict → Outcome → Record."""
from dataclasses import dataclass, field

ALLOW, ASK, DENY = "allow", "ask", "deny"
STRICTNESS = {ALLOW: 0, ASK: 1, DENY: 2}

# How a run ended, as `state` in its record.
# What systems tell: signed numbers of 32 bits, and Windows unsigned ones.
EXIT_CODES = range(-(1 << 31), 1 << 32)
FINISHED, DENIED, INTERRUPTED, UNKNOWN, NOT_RUN = "finished", "denied", "interrupted", "unknown", "not_run"


@dataclass(frozen=True)
class ToolCall:
    """A function the model wants called."""

    name: str
    args: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """What a model suggests: a reason, and a command or tool calls or neither. `raw` is its own text."""

    reason: str
    command: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    raw: str = ""


@dataclass(frozen=True)
class Part:
    """One simple command of a command line, with what was decided about it and why. opaque: a rule allows a program of
    which nobody can tell from its words what it changes."""

    text: str
    decision: str
    reason: str
    opaque: bool = False


@dataclass(frozen=True)
class Verdict:
    """The policy's answer for a whole command line: the strictest part wins. `reasons` are sentences."""

    decision: str
    reasons: tuple[str, ...]
    parts: tuple[Part, ...] = ()

    @property
    def opaque(self) -> bool:
        """Whether it may change what its words do not name."""
        return any(part.opaque for part in self.parts)


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    exit_code: the shell's; -1 when the agent ended it (`ended` says why: "timeout" or "interrupted").
    stdout, stderr: head and tail of each stream, undecodable bytes replaced; output: both in the order they
    arrived, trimmed. cut_bytes: how many bytes of the two streams together are missing from stdout and stderr.
    notes: sentences about the run itself, such as what was ended after the shell was gone.
    """

    exit_code: int
    stdout: str
    stderr: str
    output: str
    duration_s: float
    ended: str | None = None
    cut_bytes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """One line of the terminal log (contract of the file: README, "The log").

    timestamp: epoch seconds at the end of the run; step: 1-based per task, 0 without a task (the journal counts
    it); exit_code: -1 unless the command ended by itself; state: FINISHED, DENIED, INTERRUPTED, UNKNOWN, or NOT_RUN
    when the agent it was handed on to did not take it;
    decided_by: who took the decision ("admin", "anonymous", "policy", ...); output_cut: bytes missing from output;
    contained: whether writes outside of the working directory were held back, None where nobody asked for that;
    forwarded_to: the URL of the worker that ran it, when this is a hub; scheduled_id: the entry of the schedule.
    """

    id: str
    timestamp: float
    agent: str
    command: str | None
    output: str
    exit_code: int
    task_id: str | None = None
    step: int = 0
    tool_calls: tuple[ToolCall, ...] | None = None
    reason: str | None = None
    duration: float = 0.0
    state: str = FINISHED
    decision: str | None = None
    decided_by: str | None = None
    reasons: tuple[str, ...] = ()
    output_cut: int = 0
    cwd: str | None = None
    contained: bool | None = None
    proposal_id: str | None = None
    forwarded_to: str | None = None
    scheduled_id: str | None = None
