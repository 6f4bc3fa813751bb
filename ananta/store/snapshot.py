"""What goes into a backup, read while the service works: each database as it was at one moment, of every log the whole lines.

The order is part of what is promised. Lines of audit.log tell of rows in the database, so the database comes behind them.
The table `journal` tells of lines of the log, and so do started.jsonl and the proposals, so the log comes behind them: what
it says more than they is what a start after a crash reads in, too.
"""
import os
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ananta.domain import configuration as rules
from ananta.errors import FileDamaged, StoreFailed
from ananta.store import backup_file, directory, files
from ananta.store.backup_file import (
    CHUNK,
    CONFIGURATION,
    DATABASE,
    DUMP,
    LOCAL_DATABASE,
    POSTGRES,
    SECRETS,
    SQLITE,
    ArchiveWriter,
    Manifest,
)
from ananta.store.configuration import ConfigFile
from ananta.store.log_archive import open_all
from ananta.store.log_files import ARCHIVE, ARCHIVE_STATE, whole_lines

if TYPE_CHECKING:
    from ananta.store.postgres_tools import Dump

SMALL = ("blacklist.txt", "policy.json", "llm_model_history.json")
SMALL_BYTES, SECRET_BYTES, SECRET_FILES = 16 << 20, 64 << 10, 100
PAGES = 2000
_AUDIT = re.compile(r"audit(\.[0-9]{1,3})?\.log", re.ASCII)


@dataclass(frozen=True)
class Place:
    """What is backed up. database: the URL of a Postgres, or the SQLite file; secrets_dir: read only for `passphrase`."""

    data_dir: Path
    database: str | Path
    secrets_dir: Path
    role: str
    agent: str
    version: str


def make(path: Path, place: Place, *, passphrase: str | None = None, check: Callable[[], None] = lambda: None,
         now: Callable[[], float] = time.time) -> Manifest:
    """Makes the backup at path and returns what it holds. passphrase: the secrets go with it, sealed; None: without them.
    check: called again and again, and may raise to end it.

    Raises StoreFailed when something cannot be read or written, or a tool of Postgres is missing, and CannotStart in the
    middle of a restoring; then there is no file, and one that was there is as it was."""
    directory.require_whole(place.data_dir)
    reserve = backup_file.RESERVE_BYTES if _same_disk(path.parent, place.data_dir) else 0
    with ArchiveWriter(path, check=check, reserve_bytes=reserve) as into:
        return _Snapshot(place, into, now()).take(passphrase)


class _Snapshot:
    def __init__(self, place: Place, into: ArchiveWriter, now: float):
        self.place, self.into, self.now = place, into, now
        self.data = place.data_dir

    def take(self, passphrase: str | None) -> Manifest:
        try:
            self._audit_lines()
            schema, dump = self._databases()
            self._lines("started.jsonl")
            self._log()
            config_secrets = self._configuration()
            for name in SMALL:
                self._small(name)
            if passphrase is not None:
                self._secrets(passphrase, config_secrets)
        except OSError as cause:
            raise StoreFailed(f"The backup failed at {cause.filename or self.data}: {files.reason(cause)}") from cause
        about = {} if dump is None else {"server": dump.server_version, "schema": dump.schema}
        return self.into.finish(Manifest(
            backup_file.FORMAT, self.place.version, schema, self.place.role, self.place.agent, SQLITE if dump is None else POSTGRES,
            self.now, (), () if passphrase is not None else tuple(sorted(config_secrets)), about))

    def _audit_lines(self) -> None:
        names: list[str] = []
        with ExitStack() as stack:
            while True:
                names = sorted(each for each in os.listdir(self.data) if _AUDIT.fullmatch(each))
                opened = [(name, self._opened(self.data / name, stack)) for name in names]
                # Full ones are renamed: a name that came or went would hide or double one.
                if names == sorted(each for each in os.listdir(self.data) if _AUDIT.fullmatch(each)):
                    break
            for name, fd in opened:
                if fd is not None:
                    self.into.add(name, whole_lines(fd))

    def _databases(self) -> "tuple[int, Dump | None]":
        database = self.place.database
        if not isinstance(database, str):
            return self._sqlite(database, DATABASE), None
        from ananta.store.postgres_tools import Dump

        self._sqlite(self.data / LOCAL_DATABASE, LOCAL_DATABASE)
        self._small("place")
        dump = Dump(database)
        self.into.add(DUMP, dump.pieces())
        return dump.step, dump

    def _sqlite(self, file: Path, name: str) -> int:
        if not file.exists():
            raise StoreFailed(f"There is no database at {file}: name the agent's folder with DATA_DIR.")
        copy = self.into.new.with_name(f"{self.into.new.name}.{name}")
        try:
            step = copy_sqlite(file, copy, self.into.check)
            with copy.open("rb") as content:
                self.into.add(name, iter(lambda: content.read(CHUNK), b""))
            return step
        finally:
            for each in (copy, copy.with_name(copy.name + "-journal"), copy.with_name(copy.name + "-wal"), copy.with_name(copy.name + "-shm")):
                with suppress(OSError):
                    each.unlink()

    def _log(self) -> None:
        with ExitStack() as stack:
            whole = open_all(self.data, stack)
            for generation, fd in whole.opened:
                self.into.add(whole.files.path(generation).name, whole_lines(fd))
            if whole.archive is not None:
                fd, end = whole.archive
                self.into.add(ARCHIVE, whole_lines(fd, end))
                # A half copy is left out, and so is the note that there is one.
                state = msgspec.structs.replace(whole.state, size=end, moving=0)
                self.into.add(ARCHIVE_STATE, [msgspec.json.encode(state) + b"\n"])

    def _lines(self, name: str) -> None:
        with ExitStack() as stack:
            fd = self._opened(self.data / name, stack)
            if fd is not None:
                self.into.add(name, whole_lines(fd))

    @staticmethod
    def _opened(path: Path, stack: ExitStack) -> int | None:
        try:
            fd = files.open_shared(path)
        except FileNotFoundError:
            return None
        stack.callback(os.close, fd)
        return fd

    def _configuration(self) -> dict[str, object]:
        """Adds the configuration without its secrets, and returns these."""
        path = self.data / CONFIGURATION
        if not path.exists():
            return {}
        try:
            rest, secrets = rules.parted(ConfigFile(path).load())
        except FileDamaged as cause:
            raise StoreFailed(f"The backup failed: {cause.message}") from cause
        self.into.add(CONFIGURATION, [msgspec.json.format(msgspec.json.encode(rest), indent=2) + b"\n"])
        return secrets

    def _small(self, name: str) -> None:
        content = _content(self.data / name, SMALL_BYTES)
        if content is not None:
            self.into.add(name, [content])

    def _secrets(self, passphrase: str, config_secrets: dict[str, object]) -> None:
        from ananta.store.sealing import seal

        kept = {}
        folder = self.place.secrets_dir
        for path in sorted(folder.iterdir())[:SECRET_FILES] if folder.is_dir() else ():
            content = _content(path, SECRET_BYTES) if path.is_file() and not path.name.startswith(".") else None
            if content is not None:
                kept[path.name] = content
        sealed = Sealed(kept, config_secrets, {each.name: each.sha256 for each in self.into.members})
        self.into.add(SECRETS, [seal(msgspec.json.encode(sealed), passphrase)])


@dataclass(frozen=True)
class Sealed:
    """The secrets in a backup. files: those of the secrets folder; configuration: keys that were taken out of config.json;
    members: the SHA-256 of everything else in the archive, which nobody without the passphrase can exchange then."""

    files: dict[str, bytes]
    configuration: dict[str, object]
    members: dict[str, str]


def copy_sqlite(source: Path, copy: Path, check: Callable[[], None] = lambda: None) -> int:
    """Makes a copy, mode 0600, of the database as it is at one moment, while others write to it; returns the last step
    that its tables have taken. check: see `make`. Raises StoreFailed."""
    try:
        with suppress(FileNotFoundError):
            copy.unlink()
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, files.PRIVATE_FILE))
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)) as old, \
                closing(sqlite3.connect(copy, isolation_level=None)) as new:
            # It is thrown away when it is not finished.
            new.execute("PRAGMA synchronous = OFF")
            # With a moment of its own the copy goes on where it was, however much is written meanwhile.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_master").fetchone()
            old.backup(new, pages=PAGES, progress=lambda *_: check())
            # One file, without a log beside it.
            new.execute("PRAGMA journal_mode = DELETE")
            return step_of(new)
    except (OSError, sqlite3.Error) as cause:
        why = files.reason(cause) if isinstance(cause, OSError) else f"{cause}." + (" Make room." if "full" in str(cause) else "")
        raise StoreFailed(f"The database {source} cannot be copied to {copy}: {why}") from cause


def step_of(database: sqlite3.Connection) -> int:
    """Returns the last step that the tables of a SQLite database have taken, 0 for one without any."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone():
        return 0
    return database.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]


def _content(path: Path, most_bytes: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        return None
    if len(content) > most_bytes:
        raise StoreFailed(f"The backup failed: {path} is larger than {most_bytes >> 10} KiB, which cannot be meant. Move it away.")
    return content


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False
