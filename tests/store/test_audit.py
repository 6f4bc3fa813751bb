"""Who did what: nobody's entry is lost, changed or removed without a mark."""
import json
import logging
import threading

import pytest

from ananta.domain.redaction import Redactor
from ananta.store import audit, database
from ananta.store.audit import Audit


@pytest.fixture
def place(both):
    """Where the audit.log is, and how the database is found."""
    url = both / "url"
    return both / "audit.log", url.read_text() if url.exists() else both / "ananta.db"


@pytest.fixture
def trail(place):
    clock = iter(range(1000, 10_000))
    return Audit(place[0], mask=Redactor(["known-secret"]), now=lambda: float(next(clock)))


def change(sql, *values):
    with database.writing():
        assert database.change(sql, *values)


def test_entries_are_read_newest_first_and_stand_in_the_file(trail, place):
    trail.write("one", username="ada", ip="192.0.2.1", details={"keys": ["a"]}, rules=3)
    trail.write("two", username="system")
    trail.write("three", username="bob")
    found = audit.entries(2, 0)
    assert [(each.id, each.action, each.username) for each in found] == [(3, "three", "bob"), (2, "two", "system")]
    first = audit.entries(100, 2)
    assert first == [audit.Entry(1, first[0].timestamp, "ada", "192.0.2.1", "one", {"keys": ["a"], "rules": 3})]
    lines = [json.loads(line) for line in place[0].read_bytes().splitlines()]
    assert [(each["id"], each["event"], each["timestamp"]) for each in lines] == [
        (each.id, each.action, each.timestamp) for each in reversed(audit.entries(100, 0))]
    assert lines[0]["ip"] == "192.0.2.1" and lines[0]["details"] == {"keys": ["a"], "rules": 3}
    assert audit.verify(*place) == audit.AuditVerification(3)


def test_secrets_are_masked_in_both(trail, place):
    trail.write("x", username="known-secret", details={"text": "it is known-secret", "password": "abcdefgh"})
    kept = str(database.rows("SELECT * FROM audit_logs")) + place[0].read_text()
    assert "known-secret" not in kept and "abcdefgh" not in kept and audit.verify(*place).ok


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "ü🐎", '"\\', "\n"])
def test_odd_texts_are_kept_and_chained(trail, place, text):
    for _ in range(2):
        trail.write("x" + text, username=text, ip=text, details={"text": text, "deep": [{text: text}]})
    assert audit.verify(*place) == audit.AuditVerification(2) and len(audit.entries(10, 0)) == 2


def test_writers_at_the_same_moment_make_one_chain(trail, place):
    def write():
        for _ in range(10):
            trail.write("x", username="ada")
        database.close_mine()

    threads = [threading.Thread(target=write) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert audit.verify(*place) == audit.AuditVerification(60)


@pytest.mark.parametrize(("column", "value"), [("username", "eve"), ("details", "{}"), ("action", "other"), ("timestamp", 5.5),
                                               ("ip", None), ("hash", "0" * 64)])
def test_an_altered_entry_is_named(trail, place, column, value):
    for number in range(4):
        trail.write(f"action-{number}", username="ada", ip="192.0.2.1", details={"number": number})
    change(f"UPDATE audit_logs SET {column} = ? WHERE id = 2", value)
    found = audit.verify(*place)
    assert not found.ok and (found.entries, found.finding.kind, found.finding.id) == (1, "altered", 2)
    place[0].unlink()
    assert audit.verify(*place).finding.id == 2


@pytest.mark.parametrize("gone", [1, 2, 4])
def test_a_removed_entry_is_named(trail, place, gone):
    for number in range(4):
        trail.write(f"action-{number + 1}", username="ada")
    change("DELETE FROM audit_logs WHERE id = ?", gone)
    finding = audit.verify(*place).finding
    assert (finding.kind, finding.id, finding.action) == ("removed", gone, f"action-{gone}")


def test_a_rewritten_chain_shows_beside_the_file(trail, place):
    for _ in range(3):
        trail.write("x", username="ada")
    change("DELETE FROM audit_logs")
    change("DELETE FROM facts WHERE name = 'audit_head'")
    Audit(place[0].with_name("other.log"), mask=str).write("x", username="ada")
    assert audit.verify(*place).finding.kind == "altered"


def test_full_files_count_as_well(place):
    trail = Audit(place[0], mask=str, now=lambda: 1000.0)
    trail.file.rotate_bytes, trail.file.keep = 1000, 9
    for number in range(1, 21):
        trail.write(f"action-{number}", username="ada")
    names = sorted(each.name for each in place[0].parent.glob("audit*"))
    assert "audit.3.log" in names and '"id":2,' not in place[0].read_text()
    assert audit.verify(*place) == audit.AuditVerification(20)
    # From the first altered entry on the table is written anew, so that it fits itself; only the old file tells.
    change("DELETE FROM audit_logs")
    change("DELETE FROM facts WHERE name = 'audit_head'")
    forger = Audit(place[0].with_name("forged.txt"), mask=str, now=lambda: 1000.0)
    for number in range(1, 21):
        forger.write(f"action-{number}" if number != 2 else "nothing", username="ada")
    found = audit.verify(*place)
    assert (found.entries, found.finding.kind, found.finding.id, found.finding.action) == (1, "altered", 2, "nothing")


def test_a_removed_entry_is_named_from_a_full_file(place):
    trail = Audit(place[0], mask=str)
    trail.file.rotate_bytes, trail.file.keep = 1000, 9
    for number in range(1, 21):
        trail.write(f"action-{number}", username="ada")
    change("DELETE FROM audit_logs WHERE id = 3")
    finding = audit.verify(*place).finding
    assert (finding.kind, finding.id, finding.action) == ("removed", 3, "action-3")
    change("DELETE FROM audit_logs")
    change("DELETE FROM facts WHERE name = 'audit_head'")
    place[0].unlink()
    assert audit.verify(*place).finding.action == "action-1"


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"id": true, "hash": "x"}', b'{"id": "1", "hash": "x", "timestamp": 1, "event": "x"}',
                                  b'{"id": 99999999999999999999999, "hash": "x", "timestamp": 1, "event": "x"}',
                                  b'{"id": 0, "hash": "x", "timestamp": 1, "event": "x"}', b"\xff", b"[" * 100_000])
def test_lines_that_tell_of_no_entry_are_passed_over(trail, place, line):
    trail.write("one", username="ada")
    with place[0].open("ab") as file:
        file.write(line + b"\n")
    trail.write("two", username="ada")
    assert audit.verify(*place) == audit.AuditVerification(2)


def test_a_failing_table_stops_nobody_and_is_told_once(trail, place, caplog):
    trail.write("one", username="ada")
    with database.writing():
        database.change("ALTER TABLE audit_logs RENAME TO elsewhere")
    with caplog.at_level(logging.WARNING):
        trail.write("two", username="ada")
        trail.write("three", username="ada")
    assert len(caplog.records) == 1 and "audit" in caplog.text
    with database.writing():
        database.change("ALTER TABLE elsewhere RENAME TO audit_logs")
    trail.write("four", username="ada")
    assert [json.loads(line)["event"] for line in place[0].read_bytes().splitlines()] == ["one", "two", "three", "four"]
    assert audit.verify(*place) == audit.AuditVerification(2)


def test_without_a_table_there_is_nothing_to_verify(tmp_path):
    assert audit.verify(tmp_path / "audit.log", tmp_path / "ananta.db") == audit.AuditVerification(0)
    assert not (tmp_path / "ananta.db").exists()


def test_a_removed_end_stays_visible_when_the_trail_goes_on(both):
    trail = Audit(both / "audit.log", mask=str)
    for number in range(5):
        trail.write("did", username="ada", number=number)
    with database.writing():
        database.change("DELETE FROM audit_logs WHERE id > 3")
    url = (both / "url").read_text() if (both / "url").exists() else both / "ananta.db"
    assert not audit.verify(both / "missing.log", url).ok
    trail.write("did", username="ada", number=6)
    found = audit.verify(both / "missing.log", url)
    assert found.finding is not None and (found.finding.kind, found.finding.id) == ("removed", 4)
