"""What is sealed with a passphrase: the secrets in a backup.

The key comes from the passphrase by Argon2id (3 passes over 256 MiB, libsodium's "moderate"), what it seals is a SecretBox
(XSalsa20-Poly1305). These numbers belong to the format of a backup: a file does not say how hard it is to open.
"""
from ananta.errors import InvalidInput

SALT_BYTES = 16
SHORTEST, LONGEST = 12, 1024


def check_passphrase(passphrase: str) -> None:
    """Raises InvalidInput for one that would protect nothing: who has the file can try as often as they like."""
    if not SHORTEST <= len(passphrase) <= LONGEST:
        raise InvalidInput(f"The passphrase must have {SHORTEST} to {LONGEST} characters, for example five words: whoever gets the "
                           "backup can try as many as they like.")


def seal(content: bytes, passphrase: str) -> bytes:
    """Returns salt and sealed content. Takes 256 MiB and about a second."""
    import nacl.utils
    from nacl.secret import SecretBox

    salt = nacl.utils.random(SALT_BYTES)
    return salt + bytes(SecretBox(_key(passphrase, salt)).encrypt(content))


def unseal(sealed: bytes, passphrase: str) -> bytes:
    """Returns the content. Raises InvalidInput for another passphrase, or what somebody has altered."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        return SecretBox(_key(passphrase, sealed[:SALT_BYTES])).decrypt(sealed[SALT_BYTES:])
    except (CryptoError, ValueError) as cause:
        raise InvalidInput("The secrets in the backup cannot be opened: the passphrase is another one, or they were altered. Nothing was "
                           "changed.") from cause


def _key(passphrase: str, salt: bytes) -> bytes:
    from nacl import pwhash

    return pwhash.argon2id.kdf(32, passphrase.encode("utf-8", "surrogateescape"), salt, opslimit=pwhash.argon2id.OPSLIMIT_MODERATE,
                               memlimit=pwhash.argon2id.MEMLIMIT_MODERATE)
