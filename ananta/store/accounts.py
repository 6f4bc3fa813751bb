"""Users, their passwords and refresh tokens.

A row that is read to be changed is locked first, the user's before all others: what happens to one user at the same
time, at whichever hub, happens in some order. Passwords are checked outside of transactions, because that takes long on
purpose; what it was about is looked at again before the result counts.
"""
import hashlib
import hmac
import os
import secrets
import threading
from dataclasses import dataclass

from ananta.domain import accounts as rules
from ananta.domain.accounts import ADMIN, FAILURES, LOCKED_S, Standing, User
from ananta.errors import AccountLocked, InvalidInput, NotFound
from ananta.store import database, schedule, second_factors
from ananta.store.records import plain
from ananta.store.second_factors import Proof

# 16 MB and a tenth of a second for each try (one of the settings OWASP recommends for scrypt).
N, R, P, KEY_BYTES = 1 << 14, 8, 5, 32
# Every try takes its memory: who floods the sign-in must not get all of it.
_hashing = threading.BoundedSemaphore(2)
REFRESH_TOKENS = 1000
USERS_TURN = "users"
_SELECT = "SELECT username, role, mfa_enabled, generation, created_at FROM users"


@dataclass(frozen=True)
class Attempt:
    """One try to sign in. user: None if there is no such user."""

    username: str
    user: User | None
    password_hash: str

    def right(self, password: str) -> bool:
        """Says whether this is the password; takes equally long for users that do not exist."""
        return matches(password, self.password_hash) and self.user is not None


def standing(username: str) -> Standing | None:
    """Returns what counts about a user now, None for one that never existed."""
    found = database.rows("SELECT role, generation, deleted_at FROM users WHERE username = ?", plain(username))
    return Standing(found[0][0], found[0][1], found[0][2] is not None) if found else None


def find(username: str) -> User:
    """Returns the user. Raises NotFound, also for one that was deleted."""
    found = database.rows(f"{_SELECT} WHERE username = ? AND deleted_at IS NULL", plain(username))
    if not found:
        raise _missing(username)
    return _user(found[0])


def all_by_name() -> list[User]:
    """Returns the users by name."""
    return [_user(row) for row in database.rows(f"{_SELECT} WHERE deleted_at IS NULL ORDER BY username")]


def ensure_admin(username: str, password: str, now: float) -> bool:
    """Makes the first administrator if there has never been a user; says whether it did. Of several hubs one does."""
    if database.rows("SELECT 1 FROM users LIMIT 1"):
        return False
    hashed = hashed_password(password)
    with database.writing():
        database.turn(USERS_TURN)
        if database.rows("SELECT 1 FROM users LIMIT 1"):
            return False
        _insert(username, hashed, ADMIN, now)
    return True


def add(username: str, password: str, role: str, now: float) -> User:
    """Makes a user, also one that had been deleted: old tokens of that name stay invalid.

    Raises InvalidInput `user_exists`, also for a name that differs from another one only in capitals: people would take
    the one for the other."""
    hashed = hashed_password(password)
    with database.writing():
        database.turn(USERS_TURN)
        # Looks at all users; making one is rare, and takes longer for its password.
        alike = database.rows("SELECT username FROM users WHERE lower(username) = ? AND username <> ? AND deleted_at IS NULL LIMIT 1",
                              username.lower(), username)
        if alike:
            raise InvalidInput(f"There is a user {alike[0][0]} already, and {username} could be taken for it: choose another "
                               "name.", code="user_exists", details="username")
        found = database.locked("SELECT deleted_at FROM users WHERE username = ?", username)
        if found and found[0][0] is None:
            raise InvalidInput(f"There is a user {username} already.", code="user_exists", details="username")
        if found:
            database.change(
                "UPDATE users SET password_hash = ?, role = ?, mfa_enabled = 0, mfa_secret = NULL, mfa_backup_codes = '[]', "
                "failed_login_attempts = 0, lockout_until = NULL, generation = generation + 1, created_at = ?, "
                "deleted_at = NULL WHERE username = ?", hashed, role, now, username)
            _remember(username, hashed, now)
        else:
            _insert(username, hashed, role, now)
        return find(username)


def delete(username: str, now: float) -> None:
    """Removes the user, the tokens and everything secret; the name stays known, so that no token of it is ever valid
    again. Scheduled commands that only this user had approved wait for somebody else. Raises NotFound, and InvalidInput
    `last_admin`."""
    with database.writing():
        database.turn(USERS_TURN)
        user = _locked(username)
        _keep_an_admin(user)
        database.change(
            "UPDATE users SET password_hash = '', mfa_enabled = 0, mfa_secret = NULL, mfa_backup_codes = '[]', "
            "failed_login_attempts = 0, lockout_until = NULL, generation = generation + 1, deleted_at = ? "
            "WHERE username = ?", now, username)
        database.change("DELETE FROM refresh_tokens WHERE username = ?", username)
        database.change("DELETE FROM password_history WHERE username = ?", username)
        schedule.withdraw(username)


def set_role(username: str, role: str) -> None:
    """Gives the user another role, which counts at the next request. Raises NotFound, and InvalidInput `last_admin`."""
    with database.writing():
        database.turn(USERS_TURN)
        user = _locked(username)
        if role != ADMIN:
            _keep_an_admin(user)
        database.change("UPDATE users SET role = ? WHERE username = ?", role, username)


def reset_password(username: str, password: str, now: float) -> None:
    """Gives the user another password: all tokens end, a lock is lifted. Raises NotFound, and InvalidInput
    `password_reused` for one of the last passwords."""
    _refuse_used(username, password)
    hashed = hashed_password(password)
    with database.writing():
        _locked(username)
        _set_password(username, hashed, now)


def change_password(attempt: Attempt, password: str, now: float) -> None:
    """Gives the user of an attempt that was right another password: all tokens end.

    Raises InvalidInput `password_reused` for one of the last passwords, `invalid_old_password` if the old one has been
    changed meanwhile."""
    _refuse_used(attempt.username, password)
    hashed = hashed_password(password)
    with database.writing():
        if not _still(attempt):
            raise InvalidInput("The old password is wrong.", code="invalid_old_password", details="old_password")
        _set_password(attempt.username, hashed, now)


def unlock(username: str) -> None:
    """Lifts the lock of a user, and forgets the failures that led to it."""
    with database.writing():
        database.change("UPDATE users SET failed_login_attempts = 0, lockout_until = NULL WHERE username = ?", username)


# --- signing in


def begin_attempt(username: str, now: float) -> Attempt:
    """Returns a try to sign in; what comes of it is told by `succeed` or `fail`. Raises AccountLocked."""
    name = plain(username)
    found = database.rows("SELECT username, role, mfa_enabled, generation, created_at, password_hash, lockout_until "
                          "FROM users WHERE username = ? AND deleted_at IS NULL", name)
    if not found:
        return Attempt(name, None, _nobody())
    _refuse_locked(found[0][6], now)
    return Attempt(name, _user(found[0][:5]), found[0][5])


def fail(attempt: Attempt, now: float) -> bool:
    """Counts a try that was wrong; says whether it is the one that locks the account."""
    with database.writing():
        found = database.locked("SELECT failed_login_attempts, lockout_until FROM users WHERE username = ? "
                                "AND deleted_at IS NULL", attempt.username)
        failed, locked_until = found[0] if found else (0, None)
        if not found or (locked_until is not None and locked_until > now):
            return False
        failed = 1 if locked_until is not None else failed + 1
        until = now + LOCKED_S if failed >= FAILURES else None
        database.change("UPDATE users SET failed_login_attempts = ?, lockout_until = ? WHERE username = ?", failed, until,
                        attempt.username)
        return until is not None


def succeed(attempt: Attempt, now: float, proof: Proof | None = None) -> tuple[User, str] | None:
    """Returns the user of an attempt that was right, and a refresh token, and forgets the failures before it; None if
    the password or the user has been changed meanwhile, or if the second factor is on and there is no proof of it, or
    one that has been used. Raises AccountLocked if it was locked meanwhile."""
    with database.writing():
        if not _still(attempt):
            return None
        locked_until, enabled = database.locked("SELECT lockout_until, mfa_enabled FROM users WHERE username = ?",
                                                attempt.username)[0]
        _refuse_locked(locked_until, now)
        if enabled and not (proof is not None and second_factors.use(attempt.username, proof)):
            return None
        forgive(attempt)
        return find(attempt.username), _new_refresh_token(attempt.username, now)


def _refuse_locked(until: float | None, now: float) -> None:
    if until is not None and until > now:
        raise _account_locked(until - now)


def forgive(attempt: Attempt) -> None:
    """Takes the failures of the attempt's user back, for what was right after all."""
    with database.writing():
        database.change("UPDATE users SET failed_login_attempts = 0, lockout_until = NULL WHERE username = ? AND generation = ?",
                        attempt.username, attempt.user.generation if attempt.user else -1)


def refresh(token: str, *, rotate: bool, now: float) -> tuple[User, str]:
    """Returns whose refresh token it is, and a new one; the old one stays valid unless it rotates.

    Raises InvalidInput `invalid_refresh_token`."""
    with database.writing():
        owner = database.rows("SELECT username FROM refresh_tokens WHERE token_hash = ?", _digest(token))
        found = owner and database.locked(f"{_SELECT} WHERE username = ? AND deleted_at IS NULL", owner[0][0])
        # Once more, now that nothing can happen to the user.
        if not found or not database.rows("SELECT 1 FROM refresh_tokens WHERE token_hash = ? AND expires_at > ?",
                                          _digest(token), now):
            raise InvalidInput("The refresh token is not valid any more: sign in again.", code="invalid_refresh_token")
        if rotate:
            database.change("DELETE FROM refresh_tokens WHERE token_hash = ?", _digest(token))
        user = _user(found[0])
        return user, _new_refresh_token(user.username, now)


def prune(now: float) -> int:
    """Forgets refresh tokens that have expired; returns how many."""
    with database.writing():
        return database.change("DELETE FROM refresh_tokens WHERE expires_at <= ?", now)


# --- passwords


def hashed_password(password: str) -> str:
    salt = os.urandom(16)
    return f"scrypt${N}${R}${P}${salt.hex()}${_scrypt(password, salt, N, R, P).hex()}"


def matches(password: str, hashed: str) -> bool:
    """Says whether this is the password that was hashed."""
    kind, *numbers, salt, key = hashed.split("$")
    if kind != "scrypt":
        return False
    n, r, p = map(int, numbers)
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt), n, r, p), bytes.fromhex(key))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    raw = rules.canonical(password).encode("utf-8", "surrogatepass")
    with _hashing:
        return hashlib.scrypt(raw, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=KEY_BYTES)


def _nobody() -> str:
    """What stands for the hash of users that do not exist: nothing has it."""
    return f"scrypt${N}${R}${P}${os.urandom(16).hex()}${os.urandom(KEY_BYTES).hex()}"


# ---


def _insert(username: str, hashed: str, role: str, now: float) -> None:
    database.change(
        "INSERT INTO users (username, password_hash, role, mfa_enabled, mfa_backup_codes, failed_login_attempts, generation, "
        "created_at) VALUES (?, ?, ?, 0, '[]', 0, 1, ?)", username, hashed, role, now)
    _remember(username, hashed, now)


def _refuse_used(username: str, password: str) -> None:
    # The newest of them is the one that counts now.
    before = database.rows("SELECT password_hash FROM password_history WHERE username = ? ORDER BY id DESC LIMIT ?",
                           plain(username), rules.BARRED_PASSWORDS)
    if any(matches(password, row[0]) for row in before):
        raise InvalidInput(f"The last {rules.BARRED_PASSWORDS} passwords cannot be used again.", code="password_reused",
                           details="new_password")


def _set_password(username: str, hashed: str, now: float) -> None:
    database.change("UPDATE users SET password_hash = ?, generation = generation + 1, failed_login_attempts = 0, "
                    "lockout_until = NULL WHERE username = ?", hashed, username)
    database.change("DELETE FROM refresh_tokens WHERE username = ?", username)
    _remember(username, hashed, now)


def _remember(username: str, hashed: str, now: float) -> None:
    database.change("INSERT INTO password_history (username, password_hash, created_at) VALUES (?, ?, ?)", username, hashed, now)
    database.change("DELETE FROM password_history WHERE username = ? AND id NOT IN (SELECT id FROM password_history "
                    "WHERE username = ? ORDER BY id DESC LIMIT ?)", username, username, rules.KEPT_PASSWORDS)


def _new_refresh_token(username: str, now: float) -> str:
    token = secrets.token_urlsafe(32)
    database.change("INSERT INTO refresh_tokens (token_hash, username, expires_at) VALUES (?, ?, ?)", _digest(token), username,
                    now + rules.REFRESH_S)
    database.change("DELETE FROM refresh_tokens WHERE username = ? AND (expires_at <= ? OR token_hash NOT IN (SELECT "
                    "token_hash FROM refresh_tokens WHERE username = ? ORDER BY expires_at DESC LIMIT ?))",
                    username, now, username, REFRESH_TOKENS)
    return token


def _still(attempt: Attempt) -> bool:
    """Whether what the attempt was checked against is still so; locks the user's row."""
    found = database.locked("SELECT generation FROM users WHERE username = ? AND deleted_at IS NULL", attempt.username)
    return attempt.user is not None and bool(found) and found[0][0] == attempt.user.generation


def _locked(username: str) -> User:
    found = database.locked(f"{_SELECT} WHERE username = ? AND deleted_at IS NULL", plain(username))
    if not found:
        raise _missing(username)
    return _user(found[0])


def _keep_an_admin(user: User) -> None:
    """Only within the users' turn: two administrators could otherwise remove each other."""
    others = database.rows("SELECT 1 FROM users WHERE role = ? AND deleted_at IS NULL AND username <> ? LIMIT 1", ADMIN,
                           user.username)
    if user.role == ADMIN and not others:
        raise InvalidInput(f"{user.username} is the last administrator: make another one first.", code="last_admin")


def _user(row: tuple) -> User:
    username, role, mfa_enabled, generation, created_at = row
    return User(username, role, bool(mfa_enabled), generation, created_at)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _account_locked(seconds: float) -> AccountLocked:
    wait = max(1, round(seconds))
    return AccountLocked(f"Too many wrong passwords: this account is locked for {wait} s.", retry_after=wait)


def _missing(username: str) -> NotFound:
    return NotFound(f"There is no user {plain(username)[:64]}.", code="user_not_found")
