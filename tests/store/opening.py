"""Opens the databases of a data directory of the tests, also in a process of its own."""
from pathlib import Path

from ananta.store import database


def open(data: Path) -> None:
    """Postgres when the directory has a file `url`, else SQLite."""
    url = data / "url"
    database.open(url.read_text() if url.exists() else data / "ananta.db", local_path=data / "journal.db")
