"""Makes the secrets of build/compose.yaml in build/secrets, each a random one; what is there already stays.

  python3 build/secrets_of_compose.py [FOLDER]
"""
import os
import secrets
import sys
from pathlib import Path

RANDOM = ("hub_token", "alpha_token", "beta_token", "registration_token", "admin_password", "database_password")


def make(folder: Path) -> list[str]:
    """Returns the names of the secrets that were made."""
    folder.mkdir(parents=True, exist_ok=True)
    # The files are read by the containers' users, who are nobody here; nobody else gets through the folder.
    folder.chmod(0o700)
    made = [name for name in RANDOM if _write(folder / name, secrets.token_urlsafe(24))]
    password = (folder / "database_password").read_text(encoding="ascii").strip()
    return made + (["database_url"] if _write(folder / "database_url",
                                              f"postgresql://ananta:{password}@database/ananta") else [])


def _write(file: Path, text: str) -> bool:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="ascii") as opened:
            opened.write(text + "\n")
    except FileExistsError:
        return False
    file.chmod(0o644)
    return True


if __name__ == "__main__":
    made = make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "secrets")
    print(f"made: {', '.join(made)}" if made else "All secrets were there already.")
