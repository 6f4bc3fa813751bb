import sqlite3
import subprocess
import sys
import threading

import peewee
import pytest

from ananta.errors import CannotStart, FileDamaged, StoreFailed
from ananta.store import database, migrations, tables


def _tables(base):
    return [each for table in base.__subclasses__() for each in (_tables(table) or [table])]


def test_a_new_database_has_every_table_column_and_index(both):
    for table in _tables(tables.Table) + _tables(tables.LocalTable):
        name, where = table._meta.table_name, database.main() if issubclass(table, tables.Table) else database.local()
        assert {each.name for each in where.get_columns(name)} == {field.column_name for field in table._meta.sorted_fields}
        made = {tuple(each.columns) for each in where.get_indexes(name)}
        keys = {tuple(table._meta.fields[each].column_name for each in table._meta.primary_key.field_names)
                if isinstance(table._meta.primary_key, peewee.CompositeKey) else (table._meta.primary_key.column_name,)}
        wanted = {(field.column_name,) for field in table._meta.sorted_fields if field.index or field.unique} | {
            columns for columns, _ in table._meta.indexes}
        assert wanted <= made and made - wanted <= keys, name
    steps = migrations.SHARED if database.shared() else migrations.STEPS
    assert database.rows("SELECT version, name FROM schema_version ORDER BY version") == [
        (number, step.__name__) for number, step in enumerate(steps, 1)]


def test_files_of_the_database_are_private(both):
    found = [each for each in both.iterdir() if each.is_file()]
    assert found and all(each.stat().st_mode & 0o777 == 0o600 for each in found) and both.stat().st_mode & 0o777 == 0o700


def test_how_it_is_opened(data):
    assert database.rows("PRAGMA journal_mode") == [("wal",)] and database.rows("PRAGMA synchronous") == [(1,)]
    assert database.rows("PRAGMA busy_timeout") == [(5000,)] and database.rows("PRAGMA foreign_keys") == [(1,)]


def test_it_is_opened_by_url(tmp_path):
    database.open(f"sqlite:///{tmp_path / 'other.db'}")
    database.close()
    assert (tmp_path / "other.db").exists()


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "mysql://x", "sqlite:///", "sqlite://x"])
def test_other_databases_are_refused(url):
    with pytest.raises(CannotStart, match="only SQLite and Postgres") as refused:
        database.open(url)
    assert "secret" not in str(refused.value)


def test_drivers_of_postgres_are_not_imported(tmp_path):
    (tmp_path / "psycopg.py").write_text("raise SystemExit('imported')")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import ananta.store.database; assert 'psycopg' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_writers_take_turns(data):
    def work():
        for _ in range(50):
            with database.writing():
                last = database.rows("SELECT coalesce(max(seq), 0) FROM journal")[0][0]
                database.change("INSERT INTO journal (seq, hash) VALUES (?, 'x')", last + 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert database.rows("SELECT count(*), max(seq) FROM journal") == [(400, 400)]


def test_one_may_read_within_writing_and_reading(both):
    with database.writing():
        database.change("INSERT INTO facts (name, value) VALUES ('a', '1')")
        with database.reading(), database.reading():
            assert database.rows("SELECT value FROM facts WHERE name = 'a'") == [("1",)]
        database.change("UPDATE facts SET value = '2' WHERE name = 'a'")
    with database.reading(), database.reading():
        assert database.rows("SELECT value FROM facts WHERE name = 'a'") == [("2",)]


def test_a_failed_transaction_leaves_nothing(data):
    with pytest.raises(ZeroDivisionError), database.writing():
        database.change("INSERT INTO journal (seq, hash) VALUES (1, 'x')")
        1 / 0  # noqa: B018
    assert database.rows("SELECT count(*) FROM journal") == [(0,)]


def test_a_failure_of_the_database_is_ours(data):
    with pytest.raises(StoreFailed, match="no such table"):
        database.rows("SELECT 1 FROM absent")


@pytest.mark.parametrize("content", [b"{}", b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_stops_the_start_and_stays(tmp_path, content):
    path = tmp_path / "ananta.db"
    path.write_bytes(content)
    with pytest.raises(FileDamaged, match="damaged"):
        database.open(path)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [50, 4096, 5000])
def test_a_database_cut_short_stops_the_start_and_stays(tmp_path, keep):
    path = tmp_path / "ananta.db"
    database.open(path)
    database.close()
    content = path.read_bytes()[:keep]
    path.write_bytes(content)
    with pytest.raises(FileDamaged, match="damaged"):
        database.open(path)
    assert path.read_bytes() == content


def test_opening_twice_changes_nothing(tmp_path):
    for _ in range(2):
        database.open(tmp_path / "ananta.db")
        database.close()
    assert not (tmp_path / "backups").exists()


def test_a_newer_database_is_refused(tmp_path):
    database.open(tmp_path / "ananta.db")
    with database.writing():
        database.change("INSERT INTO schema_version VALUES (999, 'later', 1)")
    database.close()
    with pytest.raises(CannotStart, match="newer version"):
        database.open(tmp_path / "ananta.db")


def steps(*more):
    return (*migrations.STEPS, *more)


def test_a_copy_is_made_before_an_existing_database_changes(data):
    def colours(execute):
        execute("CREATE TABLE colour (name TEXT)")

    migrations.run(tables.database.obj, data / "ananta.db", existed=True, steps=steps(colours))
    known = len(migrations.STEPS)
    assert database.rows("SELECT max(version) FROM schema_version") == [(known + 1,)]
    copy = data / "backups" / f"ananta-before-{known + 1}.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (known,)
    connection.close()


def test_a_step_that_fails_changes_nothing(data):
    def good(execute):
        execute("CREATE TABLE good (name TEXT)")

    def bad(execute):
        execute("CREATE TABLE bad (name TEXT)")
        execute("nonsense")

    with pytest.raises(CannotStart, match="up to date"):
        migrations.run(tables.database.obj, data / "ananta.db", existed=True, steps=steps(good, bad))
    assert database.rows("SELECT max(version) FROM schema_version") == [(len(migrations.STEPS) + 1,)]
    assert tables.database.table_exists("good") and not tables.database.table_exists("bad")
