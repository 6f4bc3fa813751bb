"""Answers kept for requests with an Idempotency-Key, so that asking twice runs once.

`begin` reserves the key for this process; then `attach` says which run it is about to start; then `finish` stores the
answer, or `release` frees the key because nothing ran. A key whose process died in between stays taken: nobody knows
how far it came, and it is not tried again.
"""
import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ananta.errors import Conflict, InvalidInput
from ananta.store import database

KEEP_S = 24 * 3600
POLL_S = 0.02
_KEY = re.compile(r"[ -~]{1,255}")
_MINE = "WHERE caller = ? AND idempotency_key = ? AND owner = ? AND status IS NULL"


@dataclass(frozen=True)
class Stored:
    """An answer as it was given, to the byte. run_id: of the record in the log, None when nothing was started."""

    status: int
    body: bytes
    run_id: str | None = None


@dataclass(frozen=True)
class _Entry:
    fingerprint: str
    begun_at: float
    owner: str
    run_id: str | None
    status: int | None
    body: bytes | None

    def over(self, now: float) -> bool:
        return self.begun_at <= now - KEEP_S and (self.status is not None or not _lives(self.owner))


def fingerprint(path: str, body: bytes) -> str:
    """Returns what makes a request the same request: where it goes, and its body."""
    return hashlib.sha256(path.encode("utf-8", "surrogatepass") + b"\0" + body).hexdigest()


def begin(key: str, caller: str, fingerprint: str, now: float, *, wait_s: float = 0.0) -> Stored | None:
    """Returns the answer of the same request within KEEP_S, or None: then the key is reserved for this
    process, which runs the request and calls `finish` or `release`. Waits up to wait_s seconds for another one's.

    Raises InvalidInput for a key that is none, and Conflict: idempotency_key_reused (another request had it),
    in_progress (it still runs, here or in another process), outcome_unknown (its process died); the last two with the
    run_id, if there was one."""
    if not _KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key must be 1 to 255 printable ASCII characters.", details="Idempotency-Key")
    until = time.monotonic() + wait_s
    while True:
        entry = _find(key, caller)
        if entry is None or entry.over(now):
            if _reserve(key, caller, fingerprint, now, entry):
                return None
            continue
        if entry.fingerprint != fingerprint:
            raise Conflict("This Idempotency-Key was used for another request: take a new one.",
                           code="idempotency_key_reused")
        if entry.status is not None:
            return Stored(entry.status, entry.body or b"", entry.run_id)
        if not _lives(entry.owner):
            # It may have stored its answer just before it ended.
            if _find(key, caller) == entry:
                raise _unknown(entry)
            continue
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise Conflict("The first request with this Idempotency-Key still runs: ask again for its answer.",
                           code="in_progress", retry_after=1, **_run(entry))
        time.sleep(min(POLL_S, left_s))


def attach(key: str, caller: str, run_id: str) -> None:
    """Remembers which run it is; to be called before the run starts."""
    with database.writing(for_good=True):
        database.change(f"UPDATE answers SET run_id = ? {_MINE}", run_id, caller, key, _me())


def finish(key: str, caller: str, status: int, body: bytes) -> None:
    """Stores the answer as it is: what must not be stored, the caller has masked. If this fails, the key says
    in_progress as long as this process lives and outcome_unknown afterwards."""
    with database.writing():
        database.change(f"UPDATE answers SET status = ?, body = ? {_MINE}", status, body, caller, key, _me())


def release(key: str, caller: str) -> None:
    """Frees the key: nothing was started, so the same request may be tried again."""
    with database.writing():
        database.change(f"DELETE FROM answers {_MINE}", caller, key, _me())


def prune(now: float) -> int:
    """Forgets what began more than KEEP_S ago and does not run any more; returns how many."""
    old = now - KEEP_S
    owners = database.rows("SELECT DISTINCT owner FROM answers WHERE status IS NULL AND begun_at <= ?", old)
    dead = [owner for (owner,) in owners if not _lives(owner)]
    with database.writing():
        count = database.change("DELETE FROM answers WHERE begun_at <= ? AND status IS NOT NULL", old)
        return count + sum(database.change("DELETE FROM answers WHERE begun_at <= ? AND status IS NULL AND owner = ?", old,
                                           owner) for owner in dead)


# ---

def _find(key: str, caller: str) -> _Entry | None:
    found = database.rows("SELECT fingerprint, begun_at, owner, run_id, status, body FROM answers "
                          "WHERE caller = ? AND idempotency_key = ?", caller, key)
    return _Entry(*found[0]) if found else None


def _reserve(key: str, caller: str, fingerprint: str, now: float, before: _Entry | None) -> bool:
    """Takes the key unless somebody else has just taken it. before: what is over and makes room."""
    # It outlives a loss of power together with `attach`, before which nothing runs.
    with database.writing():
        if before:
            database.change("DELETE FROM answers WHERE caller = ? AND idempotency_key = ? AND owner = ? AND begun_at = ?",
                            caller, key, before.owner, before.begun_at)
        return database.change("INSERT INTO answers (caller, idempotency_key, fingerprint, begun_at, owner) "
                               "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", caller, key, fingerprint, now, _me()) == 1


def _unknown(entry: _Entry) -> Conflict:
    look = (f"see run {entry.run_id} in the log; if it is not there, it never began" if entry.run_id else
            "no run of it is known")
    return Conflict("The program ended while it worked on the request with this Idempotency-Key. Whether its command ran, "
                    f"and to its end, is unknown ({look}), and it is not repeated: take a new key to run it again.",
                    code="outcome_unknown", **_run(entry))


def _run(entry: _Entry) -> dict[str, Any]:
    return {"run_id": entry.run_id} if entry.run_id else {}


def _me() -> str:
    main = database.main()
    return main.owner() if main.postgres else f"{os.getpid()} {_start_of(os.getpid())}"


def _lives(owner: str) -> bool:
    main = database.main()
    if main.postgres:
        return owner == main.owner() or main.lives(owner)
    pid, _, start = owner.partition(" ")
    return owner == _me() or (start != "" and pid.isdecimal() and start == _start_of(int(pid)))


def _start_of(pid: int) -> str:
    """Returns what tells the process from every other one with its number, before and after; "" if it is dead."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return "" if state in b"ZX" else f"{boot} {rest[18].decode()}"
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return ""
    import psutil  # 20 ms that Linux does not need

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.Error:
        return ""
