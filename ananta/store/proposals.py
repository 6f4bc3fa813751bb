"""Proposals that wait for a decision, and what was decided.

Nothing is masked here: the command is stored to the byte as it was shown, because exactly it runs, and a masked one
would be another command. The database is readable by its owner only; what goes on from here to a log, a stream or a
model is masked where it goes.
"""
import json
from dataclasses import fields

from ananta.domain.prompts import Earlier
from ananta.domain.proposals import EDITED, EXPIRED, OPEN, REFUSED, RUN, StoredProposal
from ananta.errors import Conflict, NotFound
from ananta.store import database
from ananta.store.records import plain

KEEP_S = 30 * 24 * 3600
COLUMNS = tuple(field.name for field in fields(StoredProposal))
# What runs where, as bytes: a text column refuses a path that is not UTF-8.
EXACT = ("command", "cwd", "session", "target")
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM proposals"
_INSERT = f"INSERT INTO proposals ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def add(proposal: StoredProposal) -> None:
    """Stores a new proposal. For an edited one see `edit`."""
    with database.writing():
        database.change(_INSERT, *_values(proposal))


def edit(proposal: StoredProposal, decided_by: str, now: float) -> None:
    """Stores a new proposal and ends the one it replaces: as refused, the reason EDITED.

    Raises NotFound and Conflict, as `refuse` does, if that one cannot be decided any more; then nothing is stored."""
    with database.writing():
        if not _decide(proposal.replaces or "", REFUSED, decided_by, now, reason=EDITED):
            raise _ended(find(proposal.replaces or ""))
        database.change(_INSERT, *_values(proposal))


def find(proposal_id: str) -> StoredProposal:
    """Returns the proposal. Raises NotFound, also for one that has been pruned."""
    found = database.rows(f"{_SELECT} WHERE id = ?", plain(proposal_id))
    if not found:
        raise NotFound(f"There is no proposal {plain(proposal_id)}.", code="proposal_not_found")
    return _proposal(found[0])


def undecided(proposal_id: str, now: float) -> StoredProposal:
    """Returns the proposal if it can still be decided. Raises what `claim` raises."""
    found = find(proposal_id)
    if not found.waits(now):
        raise _ended(found)
    return found


def waiting(limit: int, now: float) -> list[StoredProposal]:
    """Returns those that can still be decided, oldest first."""
    found = database.rows(f"{_SELECT} WHERE state = ? AND expires_at > ? ORDER BY created_at, id LIMIT ?",
                          OPEN, now, max(0, limit))
    return [_proposal(row) for row in found]


def claim(proposal_id: str, run_id: str, decided_by: str, now: float) -> StoredProposal:
    """Returns the proposal, which is now RUN and this caller's to run: of all who ask, one gets it.

    It is on disk when this returns. Raises NotFound, and Conflict: proposal_used (with the run_id that has it),
    proposal_refused or proposal_expired."""
    return _end(proposal_id, RUN, decided_by, now, run_id=run_id)


def release(proposal_id: str, run_id: str) -> None:
    """Takes a claim back as if it had never been. Only for a run of which nothing was started: no place was free, or
    its start could not be journalled."""
    with database.writing(for_good=True):
        database.change("UPDATE proposals SET state = ?, decided_by = NULL, decided_at = NULL, run_id = NULL "
                        "WHERE id = ? AND state = ? AND run_id = ?", OPEN, plain(proposal_id), RUN, run_id)


def refuse(proposal_id: str, reason: str, decided_by: str, now: float) -> StoredProposal:
    """Returns the proposal, which never runs now. Raises what `claim` raises."""
    return _end(proposal_id, REFUSED, decided_by, now, reason=reason)


def expire(now: float) -> int:
    """Ends what nobody answered in time; returns how many. (It cannot be claimed before that either.)"""
    with database.writing():
        return database.change("UPDATE proposals SET state = ? WHERE state = ? AND expires_at <= ?", EXPIRED, OPEN, now)


def refusals(task_id: str | None, limit: int) -> list[Earlier]:
    """Returns what people refused in this task (None: outside of every task), with their reasons: the newest `limit`,
    oldest first. What was edited is not among them."""
    of_task, values = ("task_id IS NULL", []) if task_id is None else ("task_id = ?", [plain(task_id)])
    found = database.rows(
        f"SELECT prompt, reason, command, decide_reason FROM proposals WHERE {of_task} AND state = ? "
        "AND decide_reason <> ? ORDER BY created_at DESC, id DESC LIMIT ?", *values, REFUSED, EDITED, max(0, limit))
    return [Earlier(prompt=prompt, reason=reason, command=_text(command), refusal=refusal)
            for prompt, reason, command, refusal in reversed(found)]


def prune(now: float) -> int:
    """Forgets what ended more than KEEP_S ago; returns how many."""
    with database.writing():
        return database.change("DELETE FROM proposals WHERE state <> ? AND coalesce(decided_at, expires_at) < ?",
                               OPEN, now - KEEP_S)


# ---

def _end(proposal_id: str, state: str, decided_by: str, now: float, *, run_id: str | None = None,
         reason: str | None = None) -> StoredProposal:
    with database.writing(for_good=True):
        won = _decide(proposal_id, state, decided_by, now, run_id=run_id, reason=reason)
        found = find(proposal_id)
    if not won:
        raise _ended(found)
    return found


def _decide(proposal_id: str, state: str, decided_by: str, now: float, *, run_id: str | None = None,
            reason: str | None = None) -> bool:
    """The one conditional update that decides who was first."""
    return database.change(
        "UPDATE proposals SET state = ?, decided_by = ?, decided_at = ?, run_id = ?, decide_reason = ?, place = ? "
        "WHERE id = ? AND state = ? AND expires_at > ?", state, plain(decided_by), now, run_id,
        None if reason is None else plain(reason), database.local().place, plain(proposal_id), OPEN, now) == 1


def claimed(limit: int) -> dict[str, tuple[str, float]]:
    """Returns the newest runs of this data directory that began with a proposal: run → (proposal, when decided)."""
    return {run_id: (proposal_id, decided_at) for run_id, proposal_id, decided_at in database.rows(
        "SELECT run_id, id, decided_at FROM proposals WHERE state = ? AND run_id IS NOT NULL AND (place IS NULL OR place = ?) "
        "ORDER BY decided_at DESC LIMIT ?", RUN, database.local().place, limit)}


def _ended(proposal: StoredProposal) -> Conflict:
    if proposal.state == RUN:
        return Conflict(f"The proposal {proposal.id} was run already (run {proposal.run_id}), and runs only once.",
                        code="proposal_used", run_id=proposal.run_id)
    if proposal.state == REFUSED:
        why = f": {proposal.decide_reason}" if proposal.decide_reason else ""
        return Conflict(f"The proposal {proposal.id} was refused{why}", code="proposal_refused",
                        decided_by=proposal.decided_by)
    return Conflict(f"Nobody answered the proposal {proposal.id} in time: ask for a new one.", code="proposal_expired")


def _values(proposal: StoredProposal) -> list[object]:
    values: dict[str, object] = {name: plain(value) if isinstance(value, str) else value
                                 for name, value in vars(proposal).items()}
    values |= {name: getattr(proposal, name).encode("utf-8", "surrogatepass") for name in EXACT}
    values["reasons"] = json.dumps(proposal.reasons)
    return [values[name] for name in COLUMNS]


def _proposal(row: tuple) -> StoredProposal:
    values = dict(zip(COLUMNS, row, strict=True))
    values |= {name: _text(values[name]) for name in EXACT}
    return StoredProposal(**values | {"reasons": tuple(json.loads(values["reasons"]))})


def _text(raw: bytes) -> str:
    return bytes(raw).decode("utf-8", "surrogatepass")
