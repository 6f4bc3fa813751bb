"""Numbered steps that make the tables what the program needs. Steps are appended, never changed."""
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import peewee

from ananta.errors import CannotStart
from ananta.store.files import PRIVATE_FILE, private_directory, reason, sync_directory

Execute = Callable[[str], object]


def journal(execute: Execute) -> None:
    execute("CREATE TABLE journal (seq INTEGER PRIMARY KEY NOT NULL, run_id TEXT, task_id TEXT, "
            "timestamp REAL, step INTEGER, hash TEXT NOT NULL, record TEXT)")
    execute("CREATE INDEX journal_task_id_seq ON journal (task_id, seq)")
    execute("CREATE TABLE journal_position (generation INTEGER PRIMARY KEY NOT NULL, first_seq BIGINT NOT NULL, "
            "lines BIGINT NOT NULL, records BIGINT NOT NULL, \"offset\" BIGINT NOT NULL, last_line BIGINT NOT NULL, "
            "link TEXT NOT NULL)")
    execute("CREATE TABLE journal_break (link TEXT PRIMARY KEY NOT NULL, noticed REAL NOT NULL, record TEXT)")


def proposals(execute: Execute) -> None:
    execute("CREATE TABLE proposals (id TEXT PRIMARY KEY NOT NULL, digest TEXT NOT NULL, command BLOB NOT NULL, "
            "cwd BLOB NOT NULL, session BLOB NOT NULL, target BLOB NOT NULL, task_id TEXT, prompt TEXT NOT NULL, "
            "reason TEXT NOT NULL, decision TEXT NOT NULL, reasons TEXT NOT NULL, model TEXT, created_at REAL NOT NULL, "
            "expires_at REAL NOT NULL, state TEXT NOT NULL, decided_by TEXT, decided_at REAL, decide_reason TEXT, "
            "replaces TEXT, run_id TEXT, raw TEXT NOT NULL)")
    execute("CREATE INDEX proposals_state_created_at ON proposals (state, created_at)")
    execute("CREATE INDEX proposals_task_id_created_at ON proposals (task_id, created_at)")


def answers(execute: Execute) -> None:
    execute("CREATE TABLE answers (caller TEXT NOT NULL, idempotency_key TEXT NOT NULL, fingerprint TEXT NOT NULL, "
            "begun_at REAL NOT NULL, owner TEXT NOT NULL, run_id TEXT, status INTEGER, body BLOB, "
            "PRIMARY KEY (caller, idempotency_key))")
    execute("CREATE INDEX answers_begun_at ON answers (begun_at)")


STEPS: tuple[Callable[[Execute], None], ...] = (journal, proposals, answers)


def run(database: peewee.Database, path: Path, *, existed: bool, steps: tuple[Callable[[Execute], None], ...] = STEPS) -> None:
    """Takes the steps the database lacks, each in a transaction of its own; a copy of an existing one is made first.

    Raises CannotStart: for a database that a newer program has made, and when a step fails, which then has changed
    nothing."""
    try:
        done = _version(database)
        if done > len(steps):
            raise CannotStart(f"The database {path} was made by a newer version of Ananta (its step {done}, this version "
                              f"knows {len(steps)}): use that version, or restore a copy from {path.parent / 'backups'}.")
        if done < len(steps) and existed and database.get_tables():
            _copy(path, path.parent / "backups" / f"ananta-before-{done + 1}.db")
        for number in range(done + 1, len(steps) + 1):
            _take(database, number, steps[number - 1])
    except peewee.DatabaseError as cause:
        raise CannotStart(f"The database {path} cannot be brought up to date: {cause}.") from cause


def _version(database: peewee.Database) -> int:
    if not database.table_exists("schema_version"):
        return 0
    return database.execute_sql("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]


def _take(database: peewee.Database, number: int, step: Callable[[Execute], None]) -> None:
    with database.atomic("IMMEDIATE"):
        database.execute_sql("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY NOT NULL, "
                             "name TEXT NOT NULL, taken_at REAL NOT NULL)")
        step(database.execute_sql)
        database.execute_sql("INSERT INTO schema_version (version, name, taken_at) VALUES (?, ?, ?)",
                             (number, step.__name__, time.time()))


def _copy(path: Path, copy: Path) -> None:
    private_directory(copy.parent)
    new = copy.with_name(copy.name + ".new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(new)) as target:
            source.backup(target)
        os.replace(new, copy)
        sync_directory(copy.parent)
    except (OSError, sqlite3.Error) as cause:
        why = reason(cause) if isinstance(cause, OSError) else f"{cause}."
        raise CannotStart(f"Before its tables change, the database is copied to {copy}, and that failed: {why}") from cause
