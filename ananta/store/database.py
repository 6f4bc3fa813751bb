"""The database: open by URL, write in turn, close.

There are one or two of them. `main` keeps what the product is about and is SQLite, or a Postgres that several hubs
share; `local` is always SQLite and belongs to this data directory, because it holds the index of its log files. Without
Postgres they are the same. Reading needs nothing but `rows`; everything that writes goes through `writing`. SQL is
written once, with `?` for values, in the words both kinds understand.
"""
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ananta.errors import CannotStart, FileDamaged, StoreFailed
from ananta.store.files import PRIVATE_FILE, private_directory, reason, replace

# Importing Peewee imports every Postgres driver it finds: 170 ms and 18 MB that SQLite does not need.
_absent = [name for name in ("psycopg", "psycopg2", "psycopg2cffi") if name not in sys.modules]
for _name in _absent:
    sys.modules[_name] = None  # type: ignore[assignment]
try:
    import peewee
finally:
    for _name in _absent:
        del sys.modules[_name]

from ananta.store import migrations, proxies  # noqa: E402  (they import Peewee, too)

if TYPE_CHECKING:
    from ananta.store.postgres import Postgres

PRAGMAS = {"journal_mode": "wal", "synchronous": "normal", "busy_timeout": 5000, "foreign_keys": 1, "cache_size": -2000}
LOCAL_NAME = "journal.db"  # of the local one, beside a Postgres
HEADER = b"SQLite format 3\0"
# Begin, end and undo a transaction, and one within it.
_TRANSACTION = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_WITHIN = ("SAVEPOINT ours", "RELEASE ours", ("ROLLBACK TO ours", "RELEASE ours"))
IDLE_CONNECTIONS, LOOK_FOR_DEAD = 16, 16

_FAILURES = (peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error)
IntegrityFailed = (peewee.IntegrityError, sqlite3.IntegrityError)


class Sqlite(peewee.SqliteDatabase):
    """A SQLite file. A connection belongs to a thread from its first question until `close_mine`, and then to the next
    one that asks: opening one costs more than most questions."""

    postgres: Literal[False] = False
    # Which data directory this is, for what several hubs share.
    place = "here"

    def __init__(self, path: Path):
        super().__init__(str(path), pragmas=PRAGMAS, check_same_thread=False)
        self._held: dict[threading.Thread, sqlite3.Connection] = {}
        self._idle: list[sqlite3.Connection] = []
        self._known_lock = threading.Lock()
        # Two writers would make each other wait for the file, unfairly and up to seconds; here they queue.
        self._turn = threading.RLock()
        # How many transactions of the one whose turn it is are open, one in the other.
        self._depth = 0

    def _connect(self) -> sqlite3.Connection:
        with self._known_lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = super()._connect()  # type: ignore[misc]
        with self._known_lock:
            if len(self._held) >= LOOK_FOR_DEAD:
                for thread in [each for each in self._held if not each.is_alive()]:
                    self._held.pop(thread).close()
            self._held[threading.current_thread()] = connection
        return connection

    def _close(self, connection: sqlite3.Connection) -> None:
        with self._known_lock:
            known = self._held.pop(threading.current_thread(), None) is connection
            # One that is not known was closed with all others, by a stop that did not wait for this thread.
            if known and len(self._idle) < IDLE_CONNECTIONS and not connection.in_transaction:
                self._idle.append(connection)
                return
        connection.close()

    def close_all(self) -> None:
        if not self.is_closed():
            self.close()
        with self._known_lock:
            while self._held:
                self._held.popitem()[1].close()
            while self._idle:
                self._idle.pop().close()

    def close_mine(self) -> None:
        """Gives the connection of this thread back."""
        if not self.is_closed():
            self.close()

    @contextmanager
    def writing(self, *, for_good: bool = False) -> Iterator[None]:
        """See the function `writing`."""
        with _ours(), self._turn:
            # Past Peewee, at a third of the cost.
            run = self.connection().execute
            begin, end, undo = _TRANSACTION if self._depth == 0 else _WITHIN
            if for_good:
                run("PRAGMA synchronous = FULL")
            try:
                run(begin)
                self._depth += 1
                try:
                    yield
                    run(end)
                except BaseException:
                    # After a full disk, SQLite has rolled back by itself.
                    if self.connection().in_transaction:
                        for each in undo:
                            run(each)
                    raise
                finally:
                    self._depth -= 1
            finally:
                if for_good:
                    run("PRAGMA synchronous = NORMAL")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See the function `reading`."""
        if self.connection().in_transaction:
            yield  # what is open sees one state anyway
            return
        with _ours(), self.atomic("DEFERRED"):
            yield

    def rows(self, sql: str, *values: object) -> list[tuple]:
        """See the function `rows`."""
        try:
            return self.connection().execute(sql, values).fetchall()
        except IntegrityFailed:
            raise
        except _FAILURES as cause:
            raise failed(cause) from cause

    def change(self, sql: str, *values: object) -> int:
        """See the function `change`."""
        return self.connection().execute(sql, values).rowcount

    def change_many(self, sql: str, values: list[tuple]) -> None:
        """See the function `change_many`."""
        self.connection().executemany(sql, values)


@contextmanager
def _ours() -> Iterator[None]:
    """Turns failures of the database into StoreFailed; what the caller's values cause stays what it is."""
    try:
        yield
    except IntegrityFailed:
        raise
    except _FAILURES as cause:
        raise failed(cause) from cause


def open(url: str | Path, *, local_path: Path | None = None, lacking: str = migrations.TAKE) -> None:
    """Opens the database, a path or a URL (`sqlite:///relative`, `sqlite:////absolute`, `postgresql://…`), and brings
    its tables up to date; makes what is missing of a file, for its owner only. local_path: with Postgres, the SQLite
    file that belongs to the data directory; lacking: what happens where a Postgres lacks tables (migrations.MAKE, REFUSE),
    for those who must not change it under the hubs that use it.

    Raises CannotStart (also for one that a newer program has made) and FileDamaged: then the file is as it was."""
    text = str(url)
    if is_shared(text):
        if local_path is None:
            raise CannotStart("With Postgres a local file for the index of the log is needed, too.")
        from ananta.store.postgres import Postgres

        beside = _open_file(local_path, migrations.LOCAL)
        beside.place = _place(local_path.with_name("place"))
        proxies.local.initialize(beside)
        try:
            shared = Postgres(text)
            proxies.database.initialize(shared)
            shared.prepare(lacking)
        except BaseException:
            close()
            raise
        return
    file = _open_file(file_of(url), migrations.STEPS)
    proxies.database.initialize(file)
    proxies.local.initialize(file)


def look_at(path: Path, steps: migrations.Steps) -> None:
    """Opens a SQLite file as a start does, brings its tables up to date, and closes it. Raises CannotStart and
    FileDamaged."""
    _open_file(path, steps).close_all()


def _open_file(path: Path, steps: migrations.Steps) -> Sqlite:
    private_directory(path.parent)
    existed = _prepare(path)
    file = Sqlite(path)
    try:
        try:
            file.execute_sql("SELECT count(*) FROM sqlite_master").fetchall()
        except peewee.DatabaseError as cause:
            if isinstance(cause, peewee.OperationalError):
                raise CannotStart(f"The database {path} cannot be opened: {cause}.") from cause
            raise _damaged(path, str(cause)) from cause
        migrations.run(file, path, existed=existed, steps=steps)
    except BaseException:
        file.close_all()
        raise
    return file


def main() -> "Sqlite | Postgres":
    """The database of the product; shared by several hubs when it is Postgres."""
    return proxies.database.obj


def local() -> Sqlite:
    """The database of this data directory."""
    return proxies.local.obj


def is_shared(url: str | None) -> bool:
    """Whether this DATABASE_URL names a Postgres."""
    return (url or "").startswith(("postgresql://", "postgres://"))


def index_file(url: str | Path, data_dir: Path) -> Path:
    """Returns the SQLite file that holds the index of the log in this data directory, with such a DATABASE_URL."""
    return data_dir / LOCAL_NAME if is_shared(str(url)) else file_of(url)


def shared() -> bool:
    """Whether other processes may work on the main database, too."""
    return main().postgres


def close() -> None:
    """Closes the connections of all threads."""
    for proxy in (proxies.database, proxies.local):
        if proxy.obj is not None:
            proxy.obj.close_all()


def close_mine() -> None:
    """Gives back the connections of this thread, which is about to end, or has answered its request."""
    for proxy in (proxies.database, proxies.local):
        if proxy.obj is not None:
            proxy.obj.close_mine()


def writing(*, for_good: bool = False) -> AbstractContextManager[None]:
    """One transaction on the main database; in SQLite one at a time. It may be nested, for_good may not: that outlives
    a loss of power, for what a process acts on next. Raises StoreFailed if the database fails.

    Two of them may run at once on Postgres: what is read to be changed is read with `locked`."""
    return main().writing(for_good=for_good)


def reading() -> AbstractContextManager[None]:
    """Several questions that see the same state of the main database; also within `writing`."""
    return main().reading()


def rows(sql: str, *values: object) -> list[tuple]:
    """Returns the rows of a question in SQL; twenty times faster than by model. Raises StoreFailed."""
    return main().rows(sql, *values)


def change(sql: str, *values: object) -> int:
    """Returns how many rows were changed; only within `writing`."""
    return main().change(sql, *values)


def change_many(sql: str, values: list[tuple]) -> None:
    """The same change with many rows of values; only within `writing`."""
    main().change_many(sql, values)


def locked(sql: str, *values: object) -> list[tuple]:
    """Returns the rows of a question, which nobody else can change until this transaction ends; only within
    `writing`."""
    return main().rows(sql + " FOR UPDATE" if main().postgres else sql, *values)


def turn(name: str) -> None:
    """Waits until nobody else is in the turn of this name, and keeps it until this transaction ends; only within
    `writing`. For what is about more than the rows one can lock."""
    if shared():
        from ananta.store.postgres import number

        rows("SELECT pg_advisory_xact_lock(?)", number(name))


def failed(cause: BaseException) -> StoreFailed:
    # SQLite has rolled back by itself after a full disk; the complaint about a second time hides why.
    while "cannot rollback" in str(cause) and cause.__context__ is not None:
        cause = cause.__context__
    cure = " Make room." if "full" in str(cause) else ""
    return StoreFailed(f"The database failed: {' '.join(str(cause).split())}.{cure}", retry_after=5)


def file_of(url: str | Path) -> Path:
    """Returns the SQLite file that a path or a URL names. Raises CannotStart for another URL."""
    text = str(url)
    if "://" not in text:
        return Path(url)
    if not text.startswith("sqlite:///") or text == "sqlite:///":
        scheme = text.partition("://")[0]
        raise CannotStart(f"DATABASE_URL begins with {scheme}://, and only SQLite and Postgres can be used: leave it out, "
                          "or set sqlite:///path/to/file or postgresql://user:password@host/database.")
    return Path(text.removeprefix("sqlite:///"))


def _place(path: Path) -> str:
    """Returns the name of this data directory that no other one has; made at the first time."""
    try:
        if not path.exists():
            replace(path, os.urandom(8).hex().encode() + b"\n")
        place = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise CannotStart(f"{path} cannot be used: {cause}.") from cause
    if not place:
        raise FileDamaged(f"{path} is empty: restore it, or remove it if this directory has never served a hub.")
    return place


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
