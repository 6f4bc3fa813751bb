"""The secrets directory: files of mode 0600 in a directory of mode 0700."""
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ananta.errors import FileDamaged
from ananta.store import files

KEY, MFA_KEY, TOKEN = "secret_key", "mfa_encryption_key", "agent_token.json"
LOST_WITH = {KEY: "users sign in anew", MFA_KEY: "second factors that are in use have to be switched off with `ananta user mfa-off`"}


@dataclass(frozen=True)
class KeptToken:
    """The agent token as it is kept. last_rotation: epoch seconds; replaced_hash: SHA-256 of the AGENT_TOKEN it took
    the place of, None if there was none."""

    agent_token: str
    last_rotation: float
    replaced_hash: str | None = None


class Secrets:
    """Makes the directory if it is missing. Raises CannotStart."""

    def __init__(self, directory: Path):
        self.directory = directory
        files.private_directory(directory)

    def tighten(self) -> list[str]:
        """Takes the rights of others from the directory and its files; returns a sentence for each that was open."""
        if os.name == "nt":
            return []
        warnings = []
        for path in (self.directory, *sorted(each for each in self.directory.iterdir() if each.is_file())):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                path.chmod(mode & 0o700)
                warnings.append(f"{path} could be read or changed by others (mode {mode:o}); it is {mode & 0o700:o} now. "
                                "Replace the secret if others use this machine.")
        return warnings

    def key(self) -> str:
        """Returns the key that signs user tokens; makes it at the first time."""
        return self._key(KEY) or self._made(KEY)

    def mfa_key(self, *, instead: str | None) -> str:
        """Returns the key that the secrets of second factors are sealed with; where none is kept `instead`, and if that
        is None a new one, which is kept."""
        return self._key(MFA_KEY) or instead or self._made(MFA_KEY)

    def _key(self, name: str) -> str | None:
        found = self._read(name)
        if found is not None and len(found.strip()) < 16:
            raise FileDamaged(f"The file {self.directory / name} does not hold a key: put the old one back, or remove the "
                              f"file; then {LOST_WITH[name]}.")
        return None if found is None else found.strip()

    def _made(self, name: str) -> str:
        made = secrets.token_urlsafe(48)
        files.replace(self.directory / name, made.encode() + b"\n")
        return made

    def token(self) -> KeptToken | None:
        """Returns the kept token, None if none is kept. Raises FileDamaged: a lost token must not open anything."""
        text = self._read(TOKEN)
        if text is None:
            return None
        try:
            found = msgspec.json.decode(text, type=KeptToken)
        except msgspec.MsgspecError as cause:
            raise self._damaged(str(cause)) from cause
        if not found.agent_token.strip():
            raise self._damaged("agent_token is empty")
        return found

    def keep_token(self, token: str, *, now: float, replaced: str | None) -> KeptToken:
        """Keeps a token, durably, in place of the one that was set as AGENT_TOKEN (replaced). Raises StoreFailed."""
        kept = KeptToken(token, now, fingerprint(replaced) if replaced else None)
        files.replace(self.directory / TOKEN, msgspec.json.encode(kept) + b"\n")
        return kept

    def forget_token(self) -> None:
        (self.directory / TOKEN).unlink(missing_ok=True)

    def _read(self, name: str) -> str | None:
        try:
            return (self.directory / name).read_bytes().decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as cause:
            raise FileDamaged(f"The file {self.directory / name} cannot be read: {cause}") from cause

    def _damaged(self, what: str) -> FileDamaged:
        return FileDamaged(f"The file {self.directory / TOKEN} is damaged: {what}. It was left as it is: restore it, or "
                           "make a new token with `ananta token new --force`.")


def new_token() -> str:
    """Returns 32 random bytes as 43 characters without a dot: nothing that could be taken for a user token."""
    return secrets.token_urlsafe(32)


def fingerprint(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def effective_token(configured: str | None, kept: KeptToken | None) -> str | None:
    """Returns the token that counts: the kept one wins over the AGENT_TOKEN it replaced, and over none; an AGENT_TOKEN
    that the operator has set since wins over the kept one."""
    if kept is None:
        return configured
    if configured and fingerprint(configured) != kept.replaced_hash:
        return configured
    return kept.agent_token
