"""Proposals that bind: what was shown is what runs, once, or not at all."""
import os
from collections.abc import Callable
from dataclasses import replace

from ananta.domain.proposals import StoredProposal, digest
from ananta.domain.steps import Verdict
from ananta.errors import Conflict, InvalidInput
from ananta.store import database, proposals
from ananta.store.journal import Journal

KEPT_PROMPT, REFUSALS, LOOK_BACK = 20_000, 3, 1000


class Decisions:
    """Keeps proposals and takes decisions about them. lifetime_s: how long one waits for an answer; target: who would
    run it; judge(command, cwd): the policy's verdict now; directory(session): where that session stands now."""

    def __init__(self, *, target: str, lifetime_s: float, judge: Callable[[str, str], Verdict],
                 directory: Callable[[str], str], now: Callable[[], float]):
        self.target, self.lifetime_s, self.judge, self.directory, self.now = target, lifetime_s, judge, directory, now

    def open(self, journal: Journal) -> None:
        """Takes back what was claimed just before a crash and did not get as far as being recorded as started, ends
        what nobody answered, and forgets what is old."""
        for run_id, proposal_id in self._never_begun(journal).items():
            proposals.release(proposal_id, run_id)
        proposals.expire(self.now())
        proposals.prune(self.now())

    @staticmethod
    def _never_begun(journal: Journal) -> dict[str, str]:
        """Returns the runs that proposals were claimed for and that did not begin, with those proposals."""
        claimed = proposals.claimed(LOOK_BACK)
        missing = claimed.keys() - {row[0] for row in database.local().rows(
            "SELECT run_id FROM journal WHERE run_id IS NOT NULL ORDER BY seq DESC LIMIT ?", 2 * LOOK_BACK)}
        if not missing:
            return {}
        import msgspec

        last = [msgspec.json.decode(line) for line in journal.last(LOOK_BACK)]
        missing -= {each.get("id") for each in last}
        if len(last) == LOOK_BACK:
            # Between a claim and the begin of its run lie milliseconds. So much has run since that the rest did begin.
            times = [each["timestamp"] for each in last if isinstance(each.get("timestamp"), (int, float))]
            missing = {each for each in missing if claimed[each][1] >= min(times, default=0.0)}
        # Clocks are set, and what has run must not be open again: before that, the whole index is asked.
        return {each: claimed[each][0] for each in missing - (journal.knows(missing) if missing else set())}

    def keep(self, *, command: str, verdict: Verdict, session: str, task_id: str | None, prompt: str, reason: str,
             model: str | None, raw: str, replaces: str | None = None) -> StoredProposal:
        """Stores what is shown, so that exactly this can be decided about. Returns it with id and digest."""
        cwd, now = self.directory(session), self.now()
        kept = StoredProposal(
            id="P-" + os.urandom(8).hex(), digest=digest(command, cwd, session, self.target), command=command, cwd=cwd,
            session=session, target=self.target, task_id=task_id, prompt=prompt[:KEPT_PROMPT], reason=reason,
            decision=verdict.decision, reasons=verdict.reasons, model=model, created_at=now,
            expires_at=now + self.lifetime_s, replaces=replaces, raw=raw)
        proposals.add(kept)
        return kept

    def edit(self, proposal_id: str, command: str, by: str) -> StoredProposal:
        """Returns a new proposal with another command; the old one ends as refused. Raises NotFound, Conflict."""
        if not command.strip() or "\0" in command:
            raise InvalidInput("command is missing.", code="missing_command", details="command")
        old = proposals.find(proposal_id)
        # Where a command of another agent would run, that agent alone knows; it judges the new one when it gets it.
        cwd, now = self.directory(old.session) if old.target == self.target else "", self.now()
        verdict = self.judge(command, cwd)
        new = replace(old, id="P-" + os.urandom(8).hex(), command=command, cwd=cwd, replaces=old.id, created_at=now,
                      digest=digest(command, cwd, old.session, old.target), decision=verdict.decision,
                      reasons=verdict.reasons, expires_at=now + self.lifetime_s, state="open", decided_by=None,
                      decided_at=None, decide_reason=None, run_id=None)
        proposals.edit(new, by, now)
        return new

    def check(self, shown: StoredProposal, cwd: str) -> Verdict:
        """Returns the verdict for a stored proposal that shall run in cwd now. Raises Conflict `proposal_changed` when
        what would happen is no longer what was shown."""
        verdict = self.judge(shown.command, cwd)
        changed = ("the session has moved to another folder" if cwd != shown.cwd else
                   "another agent would run it" if shown.target != self.target else
                   f"the policy now says {verdict.decision} instead of {shown.decision}"
                   if verdict.decision != shown.decision else
                   "it has been altered in the store"
                   if digest(shown.command, shown.cwd, shown.session, shown.target) != shown.digest else None)
        if changed:
            raise Conflict(f"This is no longer what was shown: {changed}. Ask for a new proposal, or edit this one.",
                           code="proposal_changed")
        return verdict
