"""What can be said of a database without opening it for work: nothing is made, nothing is changed."""
import contextlib
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ananta.errors import StoreFailed
from ananta.store import migrations

CONNECT_S = 3


@dataclass(frozen=True)
class Facts:
    """kind: "SQLite" or "Postgres"; version: of that program; step: the last migration that was taken, 0 without any;
    known: how many this program knows; size_bytes: on disk, with what is not yet written back."""

    kind: str
    version: str
    step: int
    known: int
    size_bytes: int


def inspect(url: str | Path) -> Facts | None:
    """Returns what the database says of itself, None for a file that is not there. Raises StoreFailed, with a sentence
    that says what to do; waits CONNECT_S seconds at most for a server."""
    text = str(url)
    if text.startswith(("postgresql://", "postgres://")):
        return _postgres(re.sub(r"^postgres://", "postgresql://", text))
    path = Path(text.removeprefix("sqlite:///"))
    return _sqlite(path) if path.exists() else None


def _sqlite(path: Path) -> Facts:
    size = sum(each.stat().st_size for name in ("", "-wal") if (each := path.with_name(path.name + name)).exists())
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=CONNECT_S)) as file:
            found = file.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'").fetchone()[0]
            step = file.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0] if found else 0
    except sqlite3.Error as cause:
        raise StoreFailed(f"{path} cannot be read: {cause}. Restore a copy from {path.parent / 'backups'}, or move it away "
                          "to start with an empty one.") from cause
    return Facts("SQLite", sqlite3.sqlite_version, step, len(migrations.STEPS), size)


def _postgres(url: str) -> Facts:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_S, autocommit=True, application_name="ananta doctor") as server:
            def ask(sql: str):
                return server.execute(sql).fetchone()[0]  # type: ignore[index,call-overload]

            version, size = ask("SHOW server_version"), ask("SELECT pg_database_size(current_database())")
            step = ask("SELECT coalesce(max(version), 0) FROM schema_version") if ask(
                "SELECT to_regclass('schema_version') IS NOT NULL") else 0
    except psycopg.Error as cause:
        # The message names host, user and database, never the password.
        raise StoreFailed(f"Postgres does not answer: {' '.join(str(cause).split())}. Look whether it runs, and whether host, "
                          "user, password and database name in DATABASE_URL are right.") from cause
    return Facts("Postgres", str(version), step, len(migrations.SHARED), size)
