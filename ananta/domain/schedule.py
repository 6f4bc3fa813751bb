"""Commands that run again and again, with nobody there: when the next time is, and what a person has approved.

    the policy says   allow   it runs, held back as everything nobody decided about
                      ask     it waits until a person approves it, once
                      deny    it does not run

An approval is of the command, the folder, the agent and what the policy says of it, with its reasons: when one of these
changes, it waits again.
"""
import hashlib
import json
from dataclasses import dataclass

from ananta.domain.proposals import digest
from ananta.domain.steps import ALLOW, ASK, Verdict


@dataclass(frozen=True)
class Entry:
    """A command and when it runs. Times in epoch seconds; misfires: how many times it should have run and did not, because
    nobody was there or it still ran; held: the decision of the policy for which it was not run when it was due; owner,
    busy_until: who runs it now, and when that must be over; last_run_id: of its record in the log."""

    id: str
    scope: str
    command: str
    interval_seconds: int
    next_run: float
    created_by: str
    created_at: float
    last_run: float | None = None
    enabled: bool = True
    approved_digest: str | None = None
    approved_by: str | None = None
    approved_at: float | None = None
    held: str | None = None
    misfires: int = 0
    last_exit_code: int | None = None
    last_run_id: str | None = None
    owner: str | None = None
    busy_until: float | None = None

    def runs(self, now: float) -> bool:
        """Whether somebody runs it now."""
        return self.owner is not None and (self.busy_until or 0.0) > now


@dataclass(frozen=True)
class Judged:
    """What holds for an entry now. digest: what a person would approve."""

    verdict: Verdict
    cwd: str
    digest: str

    def approved(self, entry: Entry) -> bool:
        """Whether a person has approved it, as it is now."""
        return entry.approved_digest == self.digest

    def may_run(self, entry: Entry) -> bool:
        return self.verdict.decision == ALLOW or (self.verdict.decision == ASK and self.approved(entry))


def approval(command: str, cwd: str, entry_id: str, target: str, verdict: Verdict) -> str:
    """Returns the SHA-256, in hex, that an approval is bound to."""
    bound = [digest(command, cwd, session(entry_id), target), verdict.decision, *verdict.reasons]
    return hashlib.sha256(json.dumps(bound, separators=(",", ":")).encode()).hexdigest()


def session(entry_id: str) -> str:
    """Returns the name under which a run of it can be stopped."""
    return f"schedule {entry_id}"


def missed(due: float, interval_s: int, now: float) -> int:
    """Returns how many times have passed completely since the one at `due`, which is not counted."""
    return max(0, int((now - due) // interval_s))
