"""Sign-ins of the console: one row for each browser that is signed in. Of its two secrets only hashes are kept."""
import hashlib
from dataclasses import dataclass

from ananta.store import database
from ananta.store.records import plain

PER_NAME = 200  # how many sign-ins one name can have; the oldest ends first
_COLUMNS = "kind, username, role, generation, basis, signed_in_at, expires_at"


@dataclass(frozen=True)
class Session:
    """kind: "system" or "user"; role, generation: of the user at the sign-in; basis: hash of the agent token that a
    system session rests on, "" where there was none. Times in epoch seconds."""

    kind: str
    username: str
    role: str
    generation: int
    basis: str
    signed_in_at: float
    expires_at: float


def add(token: str, page_token: str, session: Session) -> None:
    """Keeps a sign-in; what has expired goes, and so do the oldest of a name that has too many."""
    with database.writing():
        prune(session.signed_in_at)
        database.change(f"INSERT INTO sessions (token_hash, page_hash, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        digest(token), digest(page_token), session.kind, session.username, session.role,
                        session.generation, session.basis, session.signed_in_at, session.expires_at)
        database.change("DELETE FROM sessions WHERE username = ? AND token_hash NOT IN (SELECT token_hash FROM sessions "
                        "WHERE username = ? ORDER BY expires_at DESC LIMIT ?)", session.username, session.username, PER_NAME)


def find(token: str, now: float) -> tuple[Session, str] | None:
    """Returns the sign-in and the hash of its page's token; None for one that has ended or never was."""
    found = database.rows(f"SELECT {_COLUMNS}, page_hash FROM sessions WHERE token_hash = ? AND expires_at > ?",
                          digest(token), now)
    return (Session(*found[0][:-1]), found[0][-1]) if found else None


def remove(token: str) -> None:
    """Ends a sign-in."""
    with database.writing():
        database.change("DELETE FROM sessions WHERE token_hash = ?", digest(token))


def prune(now: float) -> int:
    """Forgets sign-ins that have expired; returns how many."""
    with database.writing():
        return database.change("DELETE FROM sessions WHERE expires_at <= ?", now)


def digest(token: str) -> str:
    """Returns the SHA-256 of a token, in hex."""
    return hashlib.sha256(plain(token).encode()).hexdigest()
