"""People who sign in: their names, their roles, and which passwords are good enough."""
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from ananta.errors import InvalidInput

USER, ADMIN = "user", "admin"
ROLES = (USER, ADMIN)
USERNAME = re.compile(r"[A-Za-z0-9._@+-]{1,64}")
# Who acts without being a user; a user of such a name could be taken for it in the records.
COMMAND_LINE = "command-line"
RESERVED = frozenset({"system", "local", "anonymous", "admin_via_token", "console", COMMAND_LINE})
LONGEST_PASSWORD = 256
FAILURES, LOCKED_S = 5, 900
KEPT_PASSWORDS, BARRED_PASSWORDS = 5, 3
ACCESS_S, REFRESH_S = 3600, 7 * 24 * 3600


@dataclass(frozen=True)
class User:
    """Somebody who can sign in. generation: tokens that name a smaller one are not valid any more."""

    username: str
    role: str
    mfa_enabled: bool
    generation: int
    created_at: float


@dataclass(frozen=True)
class Standing:
    """What counts about the bearer of a token: role, generation, and whether the user is gone."""

    role: str
    generation: int
    deleted: bool


def check_username(username: str) -> None:
    """Raises InvalidInput for a name that no user can have."""
    if USERNAME.fullmatch(username) is None or not username.strip("."):
        # Names stand unescaped in paths, where dots alone mean another one.
        raise InvalidInput("A user name has 1 to 64 of the characters A-Z a-z 0-9 . _ @ + - and is more than dots.",
                           code="invalid_username", details="username")
    if username.lower() in RESERVED:
        raise InvalidInput(f"The name {username} is reserved for the agent itself: choose another one.",
                           code="invalid_username", details="username")


def check_role(role: str) -> None:
    """Raises InvalidInput for a role that does not exist."""
    if role not in ROLES:
        raise InvalidInput(f"The role must be one of {', '.join(ROLES)}.", code="invalid_role", details="role")


def check_password(password: str, username: str, min_length: int) -> None:
    """Raises InvalidInput for a password that is too short, too long, or among the first that somebody tries; what it is
    composed of does not matter (NIST SP 800-63B)."""
    same = canonical(password)
    problem = None
    if len(same) < min_length:
        problem = f"The password must have at least {min_length} characters."
    elif len(password) > LONGEST_PASSWORD or len(same) > LONGEST_PASSWORD:
        problem = f"The password may have at most {LONGEST_PASSWORD} characters."
    elif same.casefold() == username.casefold():
        problem = "The password must not be the user name."
    elif same.casefold() in common_passwords():
        problem = "This is one of the most common passwords: choose another one."
    if problem:
        raise InvalidInput(problem, code="password_too_weak", details="password")


def canonical(password: str) -> str:
    """Returns the password as it is hashed: keyboards of different systems send the same letter in different ways."""
    if password.isascii():
        return password
    import unicodedata

    return unicodedata.normalize("NFKC", password)


def signing_key(secret: str) -> bytes:
    """Returns the key for signing tokens with HS256. A short secret is filled with zeros, as HMAC does it by itself
    (RFC 2104): the signatures are the same, and PyJWT has nothing to warn about. Whoever set it has been warned."""
    return secret.encode().ljust(32, b"\0")


@functools.cache
def common_passwords() -> frozenset[str]:
    """The ten thousand most common passwords, in lower case (from the lists of zxcvbn, MIT licence)."""
    return frozenset(Path(__file__).with_name("common_passwords.txt").read_text(encoding="ascii").splitlines())
