"""The passphrase of a backup: from a prompt or the environment, never an argument, which every user could read."""
import sys
from collections.abc import Mapping
from pathlib import Path

from ananta.errors import InvalidInput
from ananta.settings import BACKUP_PASSPHRASE as NAME


def ask(environment: Mapping[str, str], *, twice: bool) -> str:
    """Returns the passphrase. twice: for a new one, at a prompt. Raises InvalidInput where nobody can be asked, or the two
    differ."""
    if environment.get(NAME):
        return environment[NAME]
    place = environment.get(f"{NAME}_FILE")
    if place:
        try:
            return Path(place).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError, ValueError) as cause:
            raise InvalidInput(f"{NAME}_FILE={place!r} cannot be read: name a readable text file.") from cause
    if not sys.stdin.isatty():
        raise InvalidInput(f"Nobody can be asked for the passphrase here: set {NAME}_FILE or {NAME}.")
    import getpass

    passphrase = getpass.getpass("Passphrase of the backup: ")
    if twice and getpass.getpass("The same again: ") != passphrase:
        raise InvalidInput("These are two different passphrases: nothing was written.")
    return passphrase
