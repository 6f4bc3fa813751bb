"""Backup and restoring of a Postgres by the tools it brings for that: pg_dump and pg_restore.

Only our own tables are dumped and replaced: the database may hold others. A password is handed to the tools in their
environment, never as an argument, which every user of the machine can read.
"""
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ananta.errors import Conflict, StoreFailed
from ananta.store.backup_file import CHUNK

CONNECT_S, LIST_S = 5, 600
# Where the packages of Debian and Ubuntu, and the installer for Windows, put each version.
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "C:/Program Files/PostgreSQL/*/bin")
KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE", "APPDATA")


class Dump:
    """A dump of our tables. Raises StoreFailed where the server does not answer, or its tool is missing or too old."""

    def __init__(self, url: str):
        self.url = url
        with connected(url) as server:
            number = server.info.server_version
            self.server_version, self.schema, self.tables = _version(number), _schema(server), our_tables(server)
            self.step = _step(server, self.tables)
        if not self.tables:
            raise StoreFailed("The database of DATABASE_URL holds no tables of Ananta: start the hub once, or correct the address.")
        self.tool = tool("pg_dump", number // 10000, "back up")

    def pieces(self) -> Iterator[bytes]:
        """The dump in pieces, as its tool writes it. Raises StoreFailed when that fails."""
        with tempfile.TemporaryFile() as errors:
            process = _start([self.tool, "--format=custom", "--compress=0", "--no-owner", "--no-privileges", "--no-password",
                              *(f'--table="{self.schema}"."{name}"' for name in self.tables)], self.url, stdout=subprocess.PIPE, stderr=errors)
            try:
                while piece := process.stdout.read(CHUNK):  # type: ignore[union-attr]
                    yield piece
                if process.wait() != 0:
                    raise StoreFailed(f"pg_dump failed: {_said(errors)}")
            finally:
                process.stdout.close()  # type: ignore[union-attr]
                if process.poll() is None:
                    process.kill()
                    process.wait()


class Load:
    """Puts a dump in the place of our tables. The old ones move to a schema of their own, from where they can come back.
    kept: its name; dumped: the manifest's facts about the dump. Raises StoreFailed and Conflict; nothing is changed then."""

    def __init__(self, url: str, dump: Path, *, kept: str, dumped: dict[str, str]):
        self.url, self.dump, self.kept = url, dump, kept
        with connected(url) as server:
            major, self.schema = server.info.server_version // 10000, _schema(server)
        if int(dumped.get("server", "0").split(".")[0] or 0) > major:
            raise StoreFailed(f"The backup is of a Postgres {dumped['server']}, and the server here has version {major}: use one that is not "
                              "older.")
        if dumped.get("schema") != self.schema:
            raise StoreFailed(f"The backup holds the schema {dumped.get('schema')!r}, and DATABASE_URL leads to {self.schema!r}: set the search_path "
                              "of its user to the same.")
        self.tool = tool("pg_restore", major, "restore")
        self._run("--list", "--file", os.devnull, connect=False)

    def others(self) -> None:
        """Raises Conflict while another hub works on the database."""
        with connected(self.url) as server:
            found = server.execute("SELECT count(*), min(host(client_addr)) FROM pg_stat_activity WHERE datname = current_database() AND "
                                   "application_name = 'ananta' AND pid <> pg_backend_pid()").fetchone()
        if found and found[0]:
            raise Conflict(f"Another hub works on the database of DATABASE_URL ({found[1] or 'on this machine'}): stop it first, what it does now "
                           "would be lost.")

    def swap(self) -> None:
        """Moves our tables to the schema `kept` and loads the dump. Raises StoreFailed: then `back` helps."""
        with connected(self.url) as server, server.transaction():
            server.execute(f'CREATE SCHEMA "{self.kept}"')
            for name in our_tables(server):
                server.execute(f'ALTER TABLE "{self.schema}"."{name}" SET SCHEMA "{self.kept}"')
        self._run("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password")

    def back(self) -> None:
        """Puts the old tables back; does nothing where they have not moved."""
        put_back(self.url, self.kept)

    def _run(self, *options: str, connect: bool = True) -> None:
        with tempfile.TemporaryFile() as errors:
            process = _start([self.tool, *options, str(self.dump)], self.url if connect else None, stdout=subprocess.DEVNULL, stderr=errors)
            try:
                if process.wait() != 0:
                    raise StoreFailed(f"pg_restore failed: {_said(errors)}")
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def put_back(url: str, kept: str) -> None:
    """Puts the tables that were moved to the schema `kept` back in their place; does nothing without it. Raises
    StoreFailed."""
    with connected(url) as server, server.transaction():
        moved = [row[0] for row in server.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [kept]).fetchall()]
        exists = server.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [kept]).fetchone()
        if not exists:
            return
        schema = _schema(server)
        for name in our_tables(server):
            server.execute(f'DROP TABLE "{schema}"."{name}" CASCADE')
        for name in moved:
            server.execute(f'ALTER TABLE "{kept}"."{name}" SET SCHEMA "{schema}"')
        server.execute(f'DROP SCHEMA "{kept}"')


def step(url: str) -> int:
    """Returns the last step that the tables of the database have taken. Raises StoreFailed."""
    with connected(url) as server:
        return _step(server, our_tables(server))


def tool(name: str, least: int, doing: str) -> str:
    """Returns the path of a client tool of this major version or newer. Raises StoreFailed, which says how to get it."""
    found: dict[str, int] = {}
    places = [shutil.which(name), *(str(each) for pattern in FOLDERS for each in _glob(pattern, name))]
    for place in places:
        if place and place not in found:
            found[place] = _major(place)
            if found[place] >= least:
                return place
    cure = (f"install the client tools of version {least} or newer (Debian and Ubuntu: postgresql-client-{least}; Windows: the Command Line "
            "Tools of the installer), or put their folder first in PATH")
    if not found:
        raise StoreFailed(f"{name} is missing, and only it can {doing} a Postgres: {cure}.")
    raise StoreFailed(f"{name} is of version {max(found.values())} and cannot {doing} a Postgres {least}: {cure}.")


@contextmanager
def connected(url: str):
    """Gives a connection (psycopg) on which every statement counts at once. Raises StoreFailed."""
    import psycopg

    try:
        with psycopg.connect(_address(url), connect_timeout=CONNECT_S, autocommit=True, application_name="ananta backup") as server:
            yield server
    except psycopg.Error as cause:
        raise StoreFailed(f"The database of DATABASE_URL failed: {' '.join(str(cause).split())}. Look whether it runs, and whether user, password "
                          "and database name are right.") from cause


def our_tables(server) -> list[str]:
    """Returns the names of our tables that are there, in alphabetical order."""
    from ananta.store import tables

    names, todo = {"schema_version"}, [tables.Table]
    while todo:
        each = todo.pop()
        names.add(each._meta.table_name)  # type: ignore[attr-defined]
        todo += each.__subclasses__()
    found = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename").fetchall()
    return [row[0] for row in found if row[0] in names]


def _schema(server) -> str:
    schema = server.execute("SELECT current_schema()").fetchone()[0]
    if schema is None or '"' in schema:
        raise StoreFailed("The user of DATABASE_URL has no schema to work in: set its search_path.")
    return schema


def _step(server, names: list[str]) -> int:
    return server.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0] if "schema_version" in names else 0


def _version(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"


def _address(url: str) -> str:
    return re.sub(r"^postgres://", "postgresql://", url)


def _start(command: list[str], url: str | None, **streams) -> subprocess.Popen:
    environment = {name: text for name, text in os.environ.items() if name.upper() in KEPT or name.upper().startswith("PG")}
    if url is not None:
        from psycopg import conninfo

        # libpq: conninfo strings take everything that a URL can say.
        parts = conninfo.conninfo_to_dict(_address(url))
        password = parts.pop("password", None)
        if password is not None:
            environment["PGPASSWORD"] = str(password)
        shown = conninfo.make_conninfo("", **{**parts, "application_name": "ananta backup"})  # type: ignore[arg-type]
        command = [command[0], "--dbname", shown, *command[1:]]
    try:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **streams)
    except OSError as cause:
        raise StoreFailed(f"{command[0]} cannot be started: {cause.strerror}.") from cause


def _said(errors) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 2000))
    text = " ".join(errors.read().decode(errors="replace").split())
    return (text or "it gave no reason") + "."


def _major(place: str) -> int:
    try:
        said = subprocess.run([place, "--version"], capture_output=True, text=True, errors="replace", timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\) (\d+)", said)
    return int(found[1]) if found else 0


def _glob(pattern: str, name: str) -> list[Path]:
    import glob

    folders = sorted(glob.glob(pattern), key=lambda each: [int(part) for part in re.findall(r"\d+", each)], reverse=True)
    programs = [Path(folder) / (name + (".exe" if os.name == "nt" else "")) for folder in folders]
    return [each for each in programs if each.is_file()]
