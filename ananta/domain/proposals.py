"""A command that was shown and waits for a decision: what it is bound to, and how it can end.

    OPEN ─┬─ RUN        somebody decided that it runs; at most once
          ├─ REFUSED    somebody decided that it does not run as it stands
          └─ EXPIRED    nobody answered in time

The three ends stay ends. Editing a proposal makes a new one whose `replaces` names the old one; the old one is REFUSED
then, with EDITED as the reason: a person saw it and did not want it as it stood.
"""
import hashlib
import json
from dataclasses import dataclass

OPEN, RUN, REFUSED, EXPIRED = "open", "run", "refused", "expired"
FOLLOWS: dict[str, tuple[str, ...]] = {OPEN: (RUN, REFUSED, EXPIRED), RUN: (), REFUSED: (), EXPIRED: ()}
ENDS = tuple(state for state, following in FOLLOWS.items() if not following)
EDITED = "edited"


@dataclass(frozen=True)
class StoredProposal:
    """What was shown, and what became of it.

    digest: of command, cwd, session and target, see `digest`; decision, reasons: the policy's when it was shown; raw:
    the model's own text; decided_by, decided_at: None while it is open and when nobody answered; run_id: of the
    record in the log, once it runs; replaces: the proposal this one is an edit of."""

    id: str
    digest: str
    command: str
    cwd: str
    session: str
    target: str
    task_id: str | None
    prompt: str
    reason: str
    decision: str
    reasons: tuple[str, ...]
    model: str | None
    created_at: float
    expires_at: float
    state: str = OPEN
    decided_by: str | None = None
    decided_at: float | None = None
    decide_reason: str | None = None
    replaces: str | None = None
    run_id: str | None = None
    raw: str = ""

    def waits(self, now: float) -> bool:
        """Whether it can still be decided."""
        return self.state == OPEN and now < self.expires_at


def digest(command: str, cwd: str, session: str, target: str) -> str:
    """Returns the SHA-256, in hex, of the four as a JSON array without spaces in UTF-8.

    In an array no text can move from one field to the next. A path that is not UTF-8 arrives with lone surrogates;
    each stays different from every other one."""
    text = json.dumps([command, cwd, session, target], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
