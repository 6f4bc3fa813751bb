"""Numbered steps that make the tables what the program needs. Steps are appended, never changed.

They are written for SQLite; `_postgres` turns their types into those of Postgres. What begins with ON_POSTGRES is for that
alone.
"""
import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import peewee

from ananta.errors import CannotStart
from ananta.store.files import PRIVATE_FILE, private_directory, reason, sync_directory

Execute = Callable[[str], object]
Steps = tuple[Callable[[Execute], None], ...]
# What happens to a shared database that lacks steps: they are taken; only an empty one is made; it is refused.
TAKE, MAKE, REFUSE = "take", "make", "refuse"
# In Postgres REAL has four bytes, which is not enough for a time.
_TYPES = {"REAL": "DOUBLE PRECISION", "BLOB": "BYTEA", "INTEGER PRIMARY KEY AUTOINCREMENT": "BIGSERIAL PRIMARY KEY"}
ON_POSTGRES = "/* postgres */"
_LOCK = 0x414E414E5441  # any number that nobody else takes


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


def hub(execute: Execute) -> None:
    task = ("id TEXT PRIMARY KEY NOT NULL, title TEXT, description TEXT, status TEXT NOT NULL, board TEXT NOT NULL, "
            "run_state TEXT NOT NULL, priority TEXT NOT NULL, template_id TEXT, tags TEXT NOT NULL, team_id TEXT, "
            "assigned_role_id TEXT, parent_task_id TEXT, assigned_agent_url TEXT, assigned_agent_token BLOB, "
            "last_proposal TEXT, last_output TEXT, last_exit_code INTEGER, subtasks TEXT NOT NULL, callback_url TEXT, "
            "callback_token BLOB, created_at REAL NOT NULL, updated_at REAL NOT NULL, steps BIGINT NOT NULL, "
            "recent TEXT NOT NULL, document TEXT NOT NULL")
    execute(f"CREATE TABLE tasks ({task})")
    # Every change moves its task in all of them that it is in: few, and only for tasks that can be asked for by it.
    for name, columns, where in (
            ("updated_at", "updated_at, id", ""), ("board", "board, updated_at, id, status, run_state", ""),
            ("created_at", "created_at", ""), ("failed", "updated_at, id", "run_state = 'failed'"),
            ("team_id", "team_id, updated_at, id", "team_id IS NOT NULL"),
            ("assigned_agent_url", "assigned_agent_url, updated_at, id", "assigned_agent_url IS NOT NULL"),
            ("parent_task_id", "parent_task_id", "parent_task_id IS NOT NULL"),
            ("template_id", "template_id", "template_id IS NOT NULL")):
        execute(f"CREATE INDEX tasks_{name} ON tasks ({columns}) {f'WHERE {where}' if where else ''}")
    execute(f"CREATE TABLE archived_tasks ({task}, archived_at REAL NOT NULL)")
    execute("CREATE INDEX archived_tasks_archived_at ON archived_tasks (archived_at)")
    execute("CREATE INDEX archived_tasks_template_id ON archived_tasks (template_id) WHERE template_id IS NOT NULL")
    execute("CREATE TABLE task_history (id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_id TEXT NOT NULL, "
            "document TEXT NOT NULL)")
    execute("CREATE UNIQUE INDEX task_history_run_id ON task_history (run_id)")
    execute("CREATE INDEX task_history_task_id_id ON task_history (task_id, id)")
    execute("CREATE TABLE counters (name TEXT PRIMARY KEY NOT NULL, value BIGINT NOT NULL)")
    execute("CREATE TABLE templates (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT, "
            "prompt_template TEXT NOT NULL, provider TEXT, model TEXT, defaults TEXT, created_at REAL NOT NULL, "
            "updated_at REAL NOT NULL)")
    execute("CREATE INDEX templates_name ON templates (name)")
    execute("CREATE TABLE agents (url TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL, token BLOB, "
            "previous_token BLOB, last_seen REAL NOT NULL, status TEXT NOT NULL, resources TEXT, "
            "registered_at REAL NOT NULL)")
    execute("CREATE TABLE users (username TEXT PRIMARY KEY NOT NULL, password_hash TEXT NOT NULL, role TEXT NOT NULL, "
            "mfa_enabled INTEGER NOT NULL, mfa_secret BLOB, mfa_backup_codes TEXT NOT NULL, "
            "failed_login_attempts INTEGER NOT NULL, lockout_until REAL, generation BIGINT NOT NULL, "
            "created_at REAL NOT NULL, deleted_at REAL)")
    execute("CREATE TABLE refresh_tokens (token_hash TEXT PRIMARY KEY NOT NULL, username TEXT NOT NULL, "
            "expires_at REAL NOT NULL)")
    execute("CREATE INDEX refresh_tokens_username ON refresh_tokens (username)")
    execute("CREATE TABLE password_history (id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL, "
            "password_hash TEXT NOT NULL, created_at REAL NOT NULL)")
    execute("CREATE INDEX password_history_username ON password_history (username)")
    execute("CREATE TABLE banned_ips (ip TEXT PRIMARY KEY NOT NULL, banned_until REAL NOT NULL, reason TEXT)")
    execute("CREATE TABLE attempts (id INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL, who TEXT NOT NULL, "
            "at REAL NOT NULL)")
    execute("CREATE INDEX attempts_scope_who_at ON attempts (scope, who, at)")
    execute("CREATE INDEX attempts_at ON attempts (at)")
    execute("CREATE TABLE stats_history (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL NOT NULL, "
            "document TEXT NOT NULL)")
    execute("CREATE INDEX stats_history_timestamp ON stats_history (timestamp)")
    execute("CREATE TABLE audit_logs (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL NOT NULL, username TEXT NOT NULL, "
            "ip TEXT, action TEXT NOT NULL, details TEXT NOT NULL, hash TEXT NOT NULL)")
    execute("CREATE INDEX audit_logs_timestamp ON audit_logs (timestamp)")
    execute("CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, origin TEXT NOT NULL, "
            "document TEXT NOT NULL)")
    execute("CREATE INDEX events_at ON events (at)")
    execute("CREATE TABLE leases (name TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL)")
    execute("CREATE TABLE shared_journal (place TEXT NOT NULL, run_id TEXT NOT NULL, task_id TEXT NOT NULL, "
            "timestamp REAL NOT NULL, record TEXT NOT NULL, PRIMARY KEY (place, run_id))")
    execute("CREATE INDEX shared_journal_task_id_timestamp ON shared_journal (task_id, timestamp)")
    execute("CREATE TABLE facts (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)")
    # Of several hubs on one database, only the one that took a proposal to run it can tell what became of that.
    execute("ALTER TABLE proposals ADD COLUMN place TEXT")


def teams(execute: Execute) -> None:
    execute("CREATE TABLE team_types (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT)")
    execute("CREATE UNIQUE INDEX team_types_name ON team_types (name)")
    execute("CREATE TABLE roles (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT, "
            "default_template_id TEXT, created_at REAL NOT NULL)")
    execute("CREATE TABLE team_type_role_links (team_type_id TEXT NOT NULL, role_id TEXT NOT NULL, template_id TEXT, "
            "PRIMARY KEY (team_type_id, role_id))")
    execute("CREATE TABLE teams (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, description TEXT, team_type_id TEXT, "
            "is_active INTEGER NOT NULL)")
    execute("CREATE TABLE team_role_templates (team_id TEXT NOT NULL, role_id TEXT NOT NULL, template_id TEXT NOT NULL, "
            "PRIMARY KEY (team_id, role_id))")
    execute("CREATE TABLE team_members (id TEXT PRIMARY KEY NOT NULL, team_id TEXT NOT NULL, position INTEGER NOT NULL, "
            "agent_url TEXT NOT NULL, role_id TEXT, custom_template_id TEXT)")
    # Whatever else the program does, there is at most one.
    execute("CREATE UNIQUE INDEX teams_is_active ON teams (is_active) WHERE is_active = 1")
    execute("CREATE INDEX roles_name ON roles (name, created_at, id)")
    execute("CREATE INDEX team_members_team_id ON team_members (team_id, position)")
    execute("CREATE INDEX team_type_role_links_role_id ON team_type_role_links (role_id)")
    execute("CREATE INDEX team_role_templates_role_id ON team_role_templates (role_id)")
    execute("CREATE INDEX team_role_templates_template_id ON team_role_templates (template_id)")
    # What refers to something that goes is found at once.
    for table, column in (("roles", "default_template_id"), ("team_type_role_links", "template_id"),
                          ("teams", "team_type_id"), ("team_members", "role_id"), ("team_members", "custom_template_id"),
                          ("tasks", "assigned_role_id"), ("archived_tasks", "assigned_role_id"),
                          ("archived_tasks", "team_id")):
        execute(f"CREATE INDEX {table}_{column} ON {table} ({column}) WHERE {column} IS NOT NULL")


def second_factor(execute: Execute) -> None:
    execute("ALTER TABLE users ADD COLUMN mfa_last_step BIGINT")


def upkeep(execute: Execute) -> None:
    execute("CREATE INDEX archived_tasks_assigned_agent_url ON archived_tasks (assigned_agent_url) "
            "WHERE assigned_agent_url IS NOT NULL")
    execute("CREATE INDEX shared_journal_timestamp ON shared_journal (timestamp)")
    execute("CREATE TABLE delegations (subtask_id TEXT PRIMARY KEY NOT NULL, task_id TEXT NOT NULL, "
            "token_hash BLOB NOT NULL, created_at REAL NOT NULL, ended_at REAL)")
    execute("CREATE INDEX delegations_task_id ON delegations (task_id)")
    execute("CREATE TABLE scheduled_tasks (id TEXT PRIMARY KEY NOT NULL, scope TEXT NOT NULL, command TEXT NOT NULL, "
            "interval_seconds BIGINT NOT NULL, next_run REAL NOT NULL, last_run REAL, enabled INTEGER NOT NULL, "
            "created_by TEXT NOT NULL, created_at REAL NOT NULL, approved_digest TEXT, approved_by TEXT, approved_at REAL, "
            "held TEXT, misfires BIGINT NOT NULL, last_exit_code INTEGER, last_run_id TEXT, owner TEXT, busy_until REAL)")
    execute("CREATE INDEX scheduled_tasks_scope_next_run ON scheduled_tasks (scope, next_run)")


def sessions(execute: Execute) -> None:
    execute("CREATE TABLE sessions (token_hash TEXT PRIMARY KEY NOT NULL, page_hash TEXT NOT NULL, kind TEXT NOT NULL, "
            "username TEXT NOT NULL, role TEXT NOT NULL, generation BIGINT NOT NULL, basis TEXT NOT NULL, "
            "signed_in_at REAL NOT NULL, expires_at REAL NOT NULL)")
    execute("CREATE INDEX sessions_username_expires_at ON sessions (username, expires_at)")
    execute("CREATE INDEX sessions_expires_at ON sessions (expires_at)")


def board_counts(execute: Execute) -> None:
    # Counting reads an index that lies in the order of the groups.
    execute("CREATE INDEX tasks_counts ON tasks (status, run_state)")
    execute("DROP INDEX tasks_board")
    execute("CREATE INDEX tasks_board ON tasks (board, updated_at, id)")


def wide_exit_codes(execute: Execute) -> None:
    # Windows tells them as unsigned numbers of 32 bits. For SQLite an integer is wide enough as it is.
    for table in ("tasks", "archived_tasks", "scheduled_tasks"):
        execute(f"{ON_POSTGRES} ALTER TABLE {table} ALTER COLUMN last_exit_code TYPE BIGINT")


def task_numbers(execute: Execute) -> None:
    execute("CREATE TABLE task_numbers (task_id TEXT PRIMARY KEY NOT NULL, step BIGINT NOT NULL)")


def agent_reports(execute: Execute) -> None:
    """What an agent says of its model and of the commands that run there."""
    execute("ALTER TABLE agents ADD COLUMN report TEXT")


LOCAL: Steps = (journal,)
STEPS: Steps = (*LOCAL, proposals, answers, hub, teams, second_factor, upkeep, sessions, board_counts, wide_exit_codes, task_numbers,
                agent_reports)
SHARED: Steps = STEPS[len(LOCAL):]


def run(database: peewee.Database, path: Path, *, existed: bool, steps: Steps = STEPS) -> None:
    """Takes the steps the database lacks, each in a transaction of its own; a copy of an existing one is made first.

    Raises CannotStart: for a database that a newer program has made, and when a step fails, which then has changed
    nothing."""
    def execute(sql: str) -> object:
        return None if sql.startswith(ON_POSTGRES) else database.execute_sql(sql)

    try:
        done = _version(database)
        if done > len(steps):
            raise CannotStart(f"The database {path} was made by a newer version of Ananta (its step {done}, this version "
                              f"knows {len(steps)}): use that version, or restore a copy from {path.parent / 'backups'}.")
        if done < len(steps) and existed and database.get_tables():
            _copy(path, path.parent / "backups" / f"ananta-before-{done + 1}.db")
        for number in range(done + 1, len(steps) + 1):
            with database.atomic("IMMEDIATE"):
                # Another process may have begun at the same moment.
                if _version(database) < number:
                    _take(execute, number, steps[number - 1])
    except peewee.DatabaseError as cause:
        raise CannotStart(f"The database {path} cannot be brought up to date: {_first(cause)}.") from cause


def run_shared(database, steps: Steps = SHARED, *, lacking: str = TAKE) -> None:
    """The same on Postgres, where several programs may start at once: one takes the steps, the others wait. lacking: what
    happens where steps are missing.

    Raises CannotStart and what the database raises."""
    def execute(sql: str) -> object:
        return database.execute_sql(_postgres(sql))

    taken = True
    while taken:
        with database.writing():
            database.rows("SELECT pg_advisory_xact_lock(?)", _LOCK)
            done = _version(database)
            if done > len(steps):
                raise CannotStart(f"The database of DATABASE_URL was made by a newer version of Ananta (its step {done}, this "
                                  f"version knows {len(steps)}): use that version.")
            taken = done < len(steps)
            if taken and done == 0 and lacking == MAKE:
                lacking = TAKE
            if taken and lacking != TAKE:
                raise CannotStart(_lacks(done, len(steps)))
            if taken:
                _take(execute, done + 1, steps[done])


def _first(cause: BaseException) -> BaseException:
    # SQLite has rolled back by itself after a full disk; the complaint about a second time hides why.
    while "cannot rollback" in str(cause) and cause.__context__ is not None:
        cause = cause.__context__
    return cause


def _lacks(done: int, needed: int) -> str:
    if done == 0:
        return ("There are no tables in the database of DATABASE_URL: see that it is the right one. A hub makes them when it "
                "starts, and so does `ananta user add`.")
    return (f"The database of DATABASE_URL has the tables of an older version of Ananta (its step {done}, this version needs "
            f"{needed}), and hubs of that version may be using it: use their program, or start a hub of this version first.")


def _version(database: peewee.Database) -> int:
    if not database.table_exists("schema_version"):
        return 0
    return database.execute_sql("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]


def _take(execute: Execute, number: int, step: Callable[[Execute], None]) -> None:
    execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, "
            "taken_at REAL NOT NULL)")
    step(execute)
    execute(f"INSERT INTO schema_version (version, name, taken_at) VALUES ({number}, '{step.__name__}', {time.time()})")


def _postgres(sql: str) -> str:
    for ours, theirs in _TYPES.items():
        sql = re.sub(rf"\b{ours}\b", theirs, sql)
    return sql


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
