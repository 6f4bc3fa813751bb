"""Second factors: their secrets are sealed, their backup codes are hashed, and no code counts twice.

What is proved by a code is used up by an UPDATE that finds the code unused: of two sign-ins at the same moment, also at two
hubs, one finds it so.
"""
import secrets
from dataclasses import dataclass

import msgspec

from ananta.domain import second_factor as rules
from ananta.errors import CannotStart, InvalidInput, NotFound, StoreFailed
from ananta.store import database
from ananta.store.vault import Vault

SECRET_BYTES = 20  # as long as what SHA-1 gives (RFC 4226)
MARK_BYTES, NAMED = 8, 5
LOST = ("The secret of this second factor cannot be opened: it was altered, or sealed with another MFA_ENCRYPTION_KEY. A backup "
        "code may help; else `ananta user mfa-off NAME` switches the second factor off.")


@dataclass(frozen=True)
class Proof:
    """What a right code proves until it is used up. sealed: the secret it belongs to; step: of a one-time code; backup: the
    hash of a backup code. One of the two is None."""

    sealed: bytes
    step: int | None = None
    backup: str | None = None


class SecondFactors:
    """Sets second factors up and checks codes. key: what seals the secrets and hashes the backup codes; a database without
    it gives neither away."""

    def __init__(self, key: str):
        self.vault = Vault(key, purpose=b"ananta-mfa", lost=LOST)
        # In front of what is sealed: which key it was.
        self.mark = bytes.fromhex(self.vault.fingerprint)[:MARK_BYTES]

    def check(self) -> None:
        """Raises CannotStart if second factors that are on were sealed with another key: nobody could sign in with them."""
        found = [row[0] for row in database.rows(
            "SELECT username FROM users WHERE mfa_enabled = 1 AND deleted_at IS NULL AND substr(mfa_secret, 1, ?) <> ? "
            "ORDER BY username LIMIT ?", MARK_BYTES, self.mark, NAMED)]
        if found:
            names = ", ".join(found) + (", …" if len(found) == NAMED else "")
            raise CannotStart(
                f"The second factor of {names} was sealed with another key: put it back (MFA_ENCRYPTION_KEY, or the file "
                "mfa_encryption_key with the secrets; several hubs on one database need the same), or switch the second factor "
                "off with `ananta user mfa-off NAME`.")

    def begin(self, username: str) -> str:
        """Returns a new secret, in base32, for the user's app. It counts once a code of it has been confirmed; beginning
        anew takes its place. Raises InvalidInput `mfa_already_enabled`, and NotFound."""
        import base64

        secret = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
        with database.writing():
            if not database.change("UPDATE users SET mfa_secret = ? WHERE username = ? AND mfa_enabled = 0 AND deleted_at IS NULL",
                                   self.mark + self.vault.seal(secret), username):
                raise _is_on() if _row(username)[0] else NotFound(f"There is no user {username}.", code="user_not_found")
        return secret

    def confirm(self, username: str, code: str, now: float) -> list[str]:
        """Switches the second factor on and returns the backup codes, which are not kept as they are.

        Raises InvalidInput: `mfa_not_set_up`, `mfa_already_enabled`, `invalid_mfa_token`."""
        enabled, sealed, _ = _row(username)
        if enabled:
            raise _is_on()
        if sealed is None or not sealed.startswith(self.mark):
            raise _not_set_up()
        step = rules.step_of(self._opened(sealed), rules.tidy(code), now)
        if step is None:
            raise InvalidInput("The code is wrong: take the one that the app shows now, and see that its clock is right.",
                               code="invalid_mfa_token", details="token")
        codes: set[str] = set()
        while len(codes) < rules.BACKUP_CODES:
            codes.add(secrets.token_hex(4))
        hashes = msgspec.json.encode([self._hash(username, each) for each in codes]).decode()
        with database.writing():
            # A code counts once, and this one has (RFC 6238, 5.2).
            if not database.change(
                    "UPDATE users SET mfa_enabled = 1, mfa_backup_codes = ?, mfa_last_step = ? WHERE username = ? AND "
                    "mfa_enabled = 0 AND mfa_secret = ? AND deleted_at IS NULL", hashes, step, username, sealed):
                raise _not_set_up()
        return sorted(codes)

    def proof(self, username: str, code: str, now: float) -> Proof | None:
        """Returns what the code of a user whose second factor is on proves, None if it is wrong or has been used. Raises
        StoreFailed if the secret cannot be opened."""
        enabled, sealed, hashes = _row(username)
        code = rules.tidy(code)
        if not enabled or sealed is None:
            return None
        if rules.is_backup(code):
            hashed = self._hash(username, code)
            return Proof(sealed, backup=hashed) if hashed in hashes else None
        if not rules.is_one_time(code):
            return None
        step = rules.step_of(self._opened(sealed), code, now)
        return None if step is None else Proof(sealed, step=step)

    def _opened(self, sealed: bytes) -> str:
        if not sealed.startswith(self.mark):
            raise StoreFailed(LOST)
        return self.vault.open(sealed[MARK_BYTES:])

    def _hash(self, username: str, code: str) -> str:
        return self.vault.digest(f"{username} {code}")


def use(username: str, proof: Proof) -> bool:
    """Uses a proof up; says whether it was still good. Only within `database.writing`."""
    if proof.step is not None:
        return bool(database.change(
            "UPDATE users SET mfa_last_step = ? WHERE username = ? AND mfa_enabled = 1 AND mfa_secret = ? AND "
            "(mfa_last_step IS NULL OR mfa_last_step < ?)", proof.step, username, proof.sealed, proof.step))
    found = database.locked("SELECT mfa_backup_codes FROM users WHERE username = ? AND mfa_enabled = 1 AND mfa_secret = ?",
                            username, proof.sealed)
    before = msgspec.json.decode(found[0][0]) if found else []
    if proof.backup not in before:
        return False
    left = msgspec.json.encode([each for each in before if each != proof.backup]).decode()
    return bool(database.change("UPDATE users SET mfa_backup_codes = ? WHERE username = ? AND mfa_backup_codes = ?", left, username,
                                found[0][0]))


def remove(username: str) -> bool:
    """Switches the user's second factor off and forgets its secret and its backup codes; says whether it was on."""
    with database.writing():
        found = database.locked("SELECT mfa_enabled FROM users WHERE username = ?", username)
        database.change("UPDATE users SET mfa_enabled = 0, mfa_secret = NULL, mfa_backup_codes = '[]', mfa_last_step = NULL "
                        "WHERE username = ?", username)
        return bool(found) and bool(found[0][0])


def _row(username: str) -> tuple[bool, bytes | None, list[str]]:
    found = database.rows("SELECT mfa_enabled, mfa_secret, mfa_backup_codes FROM users WHERE username = ? AND deleted_at IS NULL",
                          username)
    if not found:
        return False, None, []
    enabled, sealed, hashes = found[0]
    return bool(enabled), None if sealed is None else bytes(sealed), msgspec.json.decode(hashes)


def _is_on() -> InvalidInput:
    return InvalidInput("The second factor is on already: switch it off first.", code="mfa_already_enabled")


def _not_set_up() -> InvalidInput:
    return InvalidInput("The second factor is not set up: begin with /mfa/setup, and take its code.", code="mfa_not_set_up")
