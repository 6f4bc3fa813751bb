"""Secrets of others that are stored: sealed with a key made from the secret key."""
import hashlib


class Vault:
    """Seals texts and opens them again. Imports PyNaCl when it is first used."""

    def __init__(self, secret_key: str):
        self._key = hashlib.blake2b(secret_key.encode(), digest_size=32, person=b"ananta-vault").digest()

    def seal(self, text: str) -> bytes:
        from nacl.secret import SecretBox

        return bytes(SecretBox(self._key).encrypt(text.encode()))

    def open(self, sealed: bytes) -> str:
        """Returns the text. Raises nacl.exceptions.CryptoError for what another key has sealed."""
        from nacl.secret import SecretBox

        return SecretBox(self._key).decrypt(bytes(sealed)).decode()
