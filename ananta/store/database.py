"""The database: open by URL, write in turn, close.

Reading needs nothing but `rows`; everything that writes goes through `writing`. Each thread has its own connection,
opened when it first asks.
"""
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ananta.errors import CannotStart, FileDamaged, StoreFailed
from ananta.store.files import PRIVATE_FILE, private_directory, reason

# Importing Peewee imports every Postgres driver it finds: 170 ms and 18 MB that SQLite does not need.
_absent = [name for name in ("psycopg", "psycopg2", "psycopg2cffi") if name not in sys.modules]
for _name in _absent:
    sys.modules[_name] = None  # type: ignore[assignment]
try:
    import peewee
finally:
    for _name in _absent:
        del sys.modules[_name]

from ananta.store import migrations, tables  # noqa: E402  (they import Peewee, too)

PRAGMAS = {"journal_mode": "wal", "synchronous": "normal", "busy_timeout": 5000, "foreign_keys": 1, "cache_size": -8000}
HEADER = b"SQLite format 3\0"

_FAILURES = (peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error)
_OF_THE_CALLER = (peewee.IntegrityError, sqlite3.IntegrityError)
# Two writers would make each other wait for the file, unfairly and up to seconds; here they queue.
_turn = threading.RLock()


class _Sqlite(peewee.SqliteDatabase):
    """Knows the connections of all threads, so that closing closes them all."""

    def __init__(self, path: Path):
        super().__init__(str(path), pragmas=PRAGMAS, check_same_thread=False)
        self._known: dict[threading.Thread, sqlite3.Connection] = {}
        self._known_lock = threading.Lock()

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()  # type: ignore[misc]
        with self._known_lock:
            for thread in [each for each in self._known if not each.is_alive()]:
                self._known.pop(thread).close()
            self._known[threading.current_thread()] = connection
        return connection

    def close_all(self) -> None:
        if not self.is_closed():
            self.close()
        with self._known_lock:
            while self._known:
                self._known.popitem()[1].close()


def open(url: str | Path) -> None:
    """Opens the database, a path or a URL (`sqlite:///relative`, `sqlite:////absolute`), and brings its tables up to
    date; makes what is missing, for its owner only.

    Raises CannotStart (also for one that a newer program has made) and FileDamaged: then the file is as it was."""
    path = _path(url)
    private_directory(path.parent)
    existed = _prepare(path)
    database = _Sqlite(path)
    try:
        try:
            database.execute_sql("SELECT count(*) FROM sqlite_master").fetchall()
        except peewee.DatabaseError as cause:
            if isinstance(cause, peewee.OperationalError):
                raise CannotStart(f"The database {path} cannot be opened: {cause}.") from cause
            raise _damaged(path, str(cause)) from cause
        tables.database.initialize(database)
        migrations.run(database, path, existed=existed)
    except BaseException:
        database.close_all()
        raise


def close() -> None:
    """Closes the connections of all threads."""
    if tables.database.obj is not None:
        tables.database.obj.close_all()


def close_mine() -> None:
    """Closes the connection of this thread, which is about to end."""
    if tables.database.obj is not None and not tables.database.is_closed():
        tables.database.close()


@contextmanager
def writing() -> Iterator[None]:
    """One transaction at a time in this process. It may be nested. Raises StoreFailed if the database fails."""
    try:
        with _turn, tables.database.atomic("IMMEDIATE"):
            yield
    except _OF_THE_CALLER:
        raise
    except _FAILURES as cause:
        raise _failed(cause) from cause


@contextmanager
def reading() -> Iterator[None]:
    """Several questions that see the same state of the database."""
    try:
        with tables.database.atomic("DEFERRED"):
            yield
    except _OF_THE_CALLER:
        raise
    except _FAILURES as cause:
        raise _failed(cause) from cause


def rows(sql: str, *values: object) -> list[tuple]:
    """Returns the rows of a question in SQL; twenty times faster than by model. Raises StoreFailed."""
    try:
        return tables.database.execute_sql(sql, values).fetchall()
    except _OF_THE_CALLER:
        raise
    except _FAILURES as cause:
        raise _failed(cause) from cause


def change(sql: str, *values: object) -> int:
    """Returns how many rows were changed; only within `writing`."""
    return tables.database.execute_sql(sql, values).rowcount


def change_many(sql: str, values: list[tuple]) -> None:
    """The same change with many rows of values; only within `writing`."""
    tables.database.connection().executemany(sql, values)


def _failed(cause: BaseException) -> StoreFailed:
    # SQLite has rolled back by itself after a full disk; the complaint about a second time hides why.
    while "cannot rollback" in str(cause) and cause.__context__ is not None:
        cause = cause.__context__
    cure = " Make room." if "full" in str(cause) else ""
    return StoreFailed(f"The database failed: {cause}.{cure}", retry_after=5)


def _path(url: str | Path) -> Path:
    text = str(url)
    if "://" not in text:
        return Path(url)
    if not text.startswith("sqlite:///") or text == "sqlite:///":
        scheme = text.partition("://")[0]
        raise CannotStart(f"DATABASE_URL begins with {scheme}://, and only SQLite can be used: leave it out, or set "
                          "sqlite:///path/to/file.")
    return Path(text.removeprefix("sqlite:///"))


def _prepare(path: Path) -> bool:
    """Says whether there was a database, and looks whether the file can be one; makes an empty one otherwise."""
    try:
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
            return False
        with path.open("rb") as file:
            head = file.read(100)
        size = path.stat().st_size
    except OSError as cause:
        raise CannotStart(f"The database {path} cannot be opened: {reason(cause)}") from cause
    if not head:
        return False
    if len(head) < 100 or not head.startswith(HEADER):
        raise _damaged(path, "it does not begin as a SQLite database does")
    page = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    log = path.with_name(path.name + "-wal")
    # With a write-ahead log the missing pages may still be in there.
    if head[24:28] == head[92:96] and (65536 if page == 1 else page) * pages > size and not (
            log.exists() and log.stat().st_size):
        raise _damaged(path, f"it is shorter than it says: {size} bytes")
    return True


def _damaged(path: Path, why: str) -> FileDamaged:
    return FileDamaged(f"{path} is damaged: {why}. It was left as it is: restore a copy, or move it away to start "
                       "with an empty database.")
