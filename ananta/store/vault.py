"""Secrets of others that are stored: sealed with a key made from the secret key."""
import hashlib

from ananta.errors import CannotStart, StoreFailed
from ananta.store import facts

FACT = "vault_key"
TOKEN_LOST = ("A token in the database cannot be opened: it was altered, or sealed with another SECRET_KEY. Assign the task anew, "
              "or let the agent register.")


class Vault:
    """Seals texts and opens them again. purpose: what one of another purpose has sealed stays closed, also with the same
    key; lost: the sentence for what cannot be opened. Imports PyNaCl when it is first used."""

    def __init__(self, secret_key: str, *, purpose: bytes = b"ananta-vault", lost: str = TOKEN_LOST):
        self._key = hashlib.blake2b(secret_key.encode(), digest_size=32, person=purpose).digest()
        self._lost = lost

    def check(self) -> None:
        """Raises CannotStart if the database was sealed with another key: nothing in it could be opened, and what this
        one seals could not be opened by others."""
        if facts.agreed(FACT, self.fingerprint) != self.fingerprint:
            raise CannotStart(
                "SECRET_KEY is not the one that this database was sealed with, so the tokens in it cannot be opened: put "
                "the old key back (SECRET_KEY, or the file secret_key with the secrets). Several hubs on one database need "
                "the same SECRET_KEY.")

    @property
    def fingerprint(self) -> str:
        """32 hex digits that name the key and do not tell it."""
        return hashlib.blake2b(self._key, digest_size=16, person=b"ananta-facts").hexdigest()

    def digest(self, text: str) -> str:
        """Returns what can be compared and, without the key, not be guessed, however short the text is."""
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=32, person=b"ananta-digest").hexdigest()

    def seal(self, text: str) -> bytes:
        from nacl.secret import SecretBox

        return bytes(SecretBox(self._key).encrypt(text.encode()))

    def open(self, sealed: bytes) -> str:
        """Returns the text. Raises StoreFailed for what this key has not sealed, or somebody has altered."""
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox

        try:
            return SecretBox(self._key).decrypt(bytes(sealed)).decode()
        except (CryptoError, ValueError) as cause:
            raise StoreFailed(self._lost) from cause
