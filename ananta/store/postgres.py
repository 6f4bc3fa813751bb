"""Postgres as the main database: a pool that survives a restart of the server, and the ways to wake other hubs.

Imported only when DATABASE_URL names one: the driver costs 170 ms and 18 MB.
"""
import functools
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

import peewee
import psycopg
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.types.json import Json, Jsonb

from ananta.errors import NotThereYet, StoreFailed
from ananta.store import migrations
from ananta.store.database import IntegrityFailed, failed

# Peewee was imported without drivers (see database.py); its adapter looks for them by these names.
peewee.psycopg, peewee.TransactionStatus = psycopg, TransactionStatus  # type: ignore[attr-defined]
peewee.Json_pg3, peewee.Jsonb_pg3 = Json, Jsonb  # type: ignore[attr-defined]

T = TypeVar("T")
R = TypeVar("R")
CONNECTIONS, WAIT_S, CONNECT_S = 8, 10, 5
_FAILURES = (peewee.DatabaseError, peewee.InterfaceError, psycopg.Error, MaxConnectionsExceeded)
_LOST = (peewee.OperationalError, peewee.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


class _Adapter(peewee.Psycopg3Adapter):  # type: ignore[name-defined]
    txn_idle, txn_inerror, txn_unknown = TransactionStatus.IDLE, TransactionStatus.INERROR, TransactionStatus.UNKNOWN

    def is_connection_closed(self, conn) -> bool:
        # Peewee asks the server here, a round trip for every use. A connection that the server has given up shows at
        # its first statement, and that one is simply asked again on a fresh connection.
        return self.txn_status(conn) != TransactionStatus.IDLE


class Postgres(PooledPostgresqlDatabase):
    """The shared database. A connection belongs to a thread for one question or one transaction only."""

    postgres: Literal[True] = True
    psycopg3_adapter = _Adapter

    def __init__(self, url: str):
        self._url = re.sub(r"^postgres://", "postgresql://", url)
        super().__init__(self._url, max_connections=CONNECTIONS, timeout=WAIT_S, prefer_psycopg3=True,
                         connect_timeout=CONNECT_S, application_name="ananta")
        self._depth = threading.local()
        self._name = f"shared {os.urandom(16).hex()}"
        self._presence: psycopg.Connection | None = None
        self._announcing = threading.Lock()

    def prepare(self, lacking: str = migrations.TAKE) -> None:
        """Brings the tables up to date, or says what they lack (see migrations.run_shared). Raises NotThereYet, a CannotStart."""
        try:
            migrations.run_shared(self, lacking=lacking)
        except (StoreFailed, *_FAILURES) as cause:
            said = " ".join((cause.message if isinstance(cause, StoreFailed) else str(cause)).split()).rstrip(".?")
            raise NotThereYet(f"The database of DATABASE_URL cannot be used: {said}. Look whether it runs, and whether user, "
                              "password and database name are right.") from cause
        finally:
            self.close_mine()

    def close_mine(self) -> None:
        if not self.is_closed():
            self.close()

    def close_all(self) -> None:
        # Those of other threads that are in use end with them.
        with self._announcing:
            if self._presence is not None:
                self._presence.close()
                self._presence = None
        self.close_mine()
        self.close_idle()

    @contextmanager
    def writing(self, *, for_good: bool = False) -> Iterator[None]:
        """See database.writing. Every commit of Postgres outlives a loss of power."""
        with self._transaction():
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See database.reading."""
        with self._transaction("REPEATABLE READ"):
            yield

    @contextmanager
    def _transaction(self, isolation: str | None = None) -> Iterator[None]:
        if self._in_transaction():
            # A savepoint, as SQLite's nested transactions are.
            try:
                with self.atomic():
                    yield
            except IntegrityFailed:
                raise
            except _FAILURES as cause:
                raise failed(cause) from cause
            return
        begin = "BEGIN" if isolation is None else f"BEGIN TRANSACTION ISOLATION LEVEL {isolation}"
        try:
            self._first(begin.encode(), self._command)
            self._depth.transactions = 1
            self.push_transaction(self.transaction())
            try:
                yield
            except BaseException:
                self._end("ROLLBACK")
                raise
            else:
                self._end("COMMIT")
        except IntegrityFailed:
            raise
        except _FAILURES as cause:
            raise failed(cause) from cause
        finally:
            self.close_mine()

    def _end(self, statement: str) -> None:
        self.pop_transaction()
        self._depth.transactions = 0
        connection = self.connection()
        if statement == "ROLLBACK" and connection.closed:
            return
        try:
            self._command(statement.encode())
        except psycopg.Error as cause:
            self._drop()
            if statement == "COMMIT":
                # Whether it counts is unknown to nobody but the server; the caller is told that it failed.
                raise failed(cause) from cause

    def _in_transaction(self) -> bool:
        return getattr(self._depth, "transactions", 0) > 0

    def _first(self, statement: T, run: Callable[..., R], *values: object) -> R:
        """The first statement on a connection: if the server has given that up meanwhile, on a fresh one again."""
        try:
            return run(statement, *values)
        except _LOST:
            if not self.is_closed() and not self.connection().closed and (
                    self.connection().info.transaction_status != TransactionStatus.UNKNOWN):
                raise
            self._drop()
            # The others were given up at the same moment.
            self.close_idle()
            return run(statement, *values)

    def _command(self, statement: bytes) -> None:
        """Sends what has neither values nor rows; a fifth of the cost of a statement with a cursor."""
        result = self.connection().pgconn.exec_(statement)
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(result.get_error_message().strip())

    def _ask(self, sql: str, values: Sequence[object]) -> psycopg.Cursor:
        """Sends a statement past Peewee, at a third of the cost. Its rows are to be fetched before the next one."""
        connection = self.connection()
        # Making a cursor takes longer than using it; nobody else has this connection meanwhile.
        cursor = connection.__dict__.get("kept_cursor")
        if cursor is None:
            cursor = connection.kept_cursor = connection.cursor()
        try:
            return cursor.execute(translated(sql), tuple(map(_plain, values)))
        except psycopg.IntegrityError as cause:
            raise peewee.IntegrityError(*cause.args) from cause

    def _drop(self) -> None:
        if not self.is_closed():
            self.manual_close()

    def rows(self, sql: str, *values: object) -> list[tuple]:
        """See database.rows."""
        inside = self._in_transaction()
        try:
            cursor = self._ask(sql, values) if inside else self._first(sql, self._ask, values)
            # Not its `description`: that makes an object for every column.
            return cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []
        except IntegrityFailed:
            raise
        except _FAILURES as cause:
            raise failed(cause) from cause
        finally:
            if not inside:
                self.close_mine()

    def change(self, sql: str, *values: object) -> int:
        """See database.change."""
        return self._ask(sql, values).rowcount

    def change_many(self, sql: str, values: list[tuple]) -> None:
        """See database.change_many."""
        self.connection().cursor().executemany(translated(sql), [tuple(map(_plain, each)) for each in values])

    def owner(self) -> str:
        """Returns the name of this process, whose life other hubs can see: it holds a lock of this name as long as it
        lives. Raises StoreFailed when the server does not answer."""
        with self._announcing:
            try:
                if self._presence is not None:
                    self._presence.execute("SELECT 1")
                    return self._name
            except psycopg.Error:
                self._presence = None
            try:
                self._presence = self.own_connection()
                self._presence.execute("SELECT pg_advisory_lock(%s)", (number(self._name),))
            except psycopg.Error as cause:
                self._presence = None
                raise failed(cause) from cause
        return self._name

    def lives(self, owner: str) -> bool:
        """Whether the process of this name holds its lock. After a restart of the server a living one may look dead
        until it has taken its lock again: what depends on that must be safe then, too."""
        taken = self.rows("SELECT CASE WHEN pg_try_advisory_xact_lock(?) THEN 0 ELSE 1 END", number(owner))
        return bool(taken[0][0])

    def own_connection(self) -> psycopg.Connection:
        """Returns a connection outside of the pool, for what lasts: listening, and locks that live as long as it."""
        # Whoever only listens would wait for ever for a server that is gone without a word.
        return psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_S, application_name="ananta",
                               keepalives_idle=30, keepalives_interval=10, keepalives_count=3)


@functools.lru_cache(maxsize=1024)
def translated(sql: str) -> str:
    """The statement with the placeholders of this driver."""
    return sql.replace("%", "%%").replace("?", "%s")


def number(name: str) -> int:
    """Returns the number of an advisory lock for a name: 63 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def _plain(value: object) -> object:
    # Postgres has no NUL in texts, and no lone surrogates.
    if isinstance(value, str) and ("\0" in value or not value.isascii()):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return value
