"""Old records of the log go to its archive: each is there once, whatever comes between, and the chain goes on."""
import json
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from ananta.domain.steps import Record
from ananta.store import database
from ananta.store.journal import Journal
from ananta.store.log_archive import LogArchive
from ananta.store.log_files import Archived, LogFiles, archived
from ananta.store.verification import ALTERED, INSERTED, REMOVED, verify
from tests.conftest import ROOT, WAIT_S

DAY_S = 24 * 3600.0
NOW = 1_000 * DAY_S


@pytest.fixture
def full(journals, record, data):
    """A journal of many small files: records 0 to 29, one a day until today, indexed."""
    def make(count=30, **options):
        journal = journals(rotate_bytes=1500, now=lambda: NOW, **options)
        for number in range(count):
            journal.finished(record(number, timestamp=NOW - (count - 1 - number) * DAY_S, task_id="T"))
        catch_up(journal)
        return journal
    return make


def catch_up(journal):
    import threading

    journal._index.catch_up(threading.Event())


def lines(path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def all_ids(data) -> list[str]:
    paths = [data / "terminal_log_archive.jsonl", *sorted(data.glob("terminal_log.0*.jsonl")), data / "terminal_log.jsonl"]
    return [json.loads(line)["id"] for path in paths for line in lines(path)]


def archived_ids(data) -> list[str]:
    return [json.loads(line)["id"] for line in lines(data / "terminal_log_archive.jsonl")]


def test_files_whose_records_are_all_old_are_moved(full, data):
    journal = full()
    before, whole = all_ids(data), sorted(data.glob("terminal_log.0*.jsonl"))
    assert len(whole) > 5 and verify(data).lines == 30
    moved = journal.archive(NOW - 10 * DAY_S)
    assert 0 < moved < len(whole) and sorted(data.glob("terminal_log.0*.jsonl")) == whole[moved:]
    assert all_ids(data) == before == [f"run-{number}" for number in range(30)]
    gone = archived_ids(data)
    assert 10 < len(gone) <= 19 and archived(data).generation == moved
    assert (data / "terminal_log_archive.jsonl").stat().st_mode & 0o777 == 0o600
    result = verify(data)
    assert result.ok and result.lines == result.chained == 30 and result.missing == ()
    # What was moved is not served any more, and what is left is.
    assert [json.loads(each)["id"] for each in journal.last(100, "T")] == before[len(gone):] and journal.count() == 30 - len(gone)
    assert database.rows("SELECT count(*) FROM journal") == [(30 - len(gone),)]
    assert journal.knows(["run-0", "run-29", "run-x"]) == {"run-0", "run-29"}
    assert journal.archive(NOW - 10 * DAY_S) == 0 and all_ids(data) == before


def test_it_goes_on_after_a_restart_and_with_everything_moved(full, journals, record, data):
    full().close()
    journal = journals(rotate_bytes=1500, now=lambda: NOW + 100 * DAY_S)
    catch_up(journal)
    journal.archive(NOW + 50 * DAY_S)
    # The last file was closed for its age; its records follow as soon as there is another one to go on with.
    journal.finished(record("new", timestamp=NOW + 100 * DAY_S))
    catch_up(journal)
    journal.archive(NOW + 50 * DAY_S)
    assert LogFiles(data).rotated() == [] and len(archived_ids(data)) == 30 and len(lines(data / "terminal_log.jsonl")) == 1
    journal.close()
    again = journals(rotate_bytes=1500, now=lambda: NOW + 100 * DAY_S)
    again.finished(record("newer", timestamp=NOW + 100 * DAY_S))
    result = verify(data)
    assert result.ok and result.lines == 32 and result.missing == ()
    assert LogFiles(data).newest == archived(data).generation + 1


def test_one_young_record_keeps_its_file_and_what_follows(full, record, journals, data):
    journal = journals(rotate_bytes=1 << 20, now=lambda: NOW)
    journal.finished(record(0, timestamp=NOW - 99 * DAY_S))
    journal.finished(record(1, timestamp=NOW - 1))
    journal.finished(record(2, timestamp=NOW - 99 * DAY_S))
    assert journal.archive(NOW - 40 * DAY_S) == 0 and len(LogFiles(data).rotated()) == 1
    journal.finished(record(3, timestamp=NOW))
    catch_up(journal)
    assert journal.archive(NOW - 40 * DAY_S) == 0 and archived_ids(data) == [] and len(journal.last(9)) == 4


def test_a_file_that_is_not_indexed_stays(full, data, journals, record):
    journal = journals(rotate_bytes=1500, now=lambda: NOW)
    for number in range(30):
        journal.finished(record(number, timestamp=NOW - 99 * DAY_S))
    assert journal.archive(NOW - DAY_S * 2) == 0
    journal.finished(record("last", timestamp=NOW))
    assert journal.archive(NOW - DAY_S * 2) == 0 and archived_ids(data) == []
    catch_up(journal)
    assert journal.archive(NOW - DAY_S * 2) > 5 and len(archived_ids(data)) == 30
    assert verify(data).ok and verify(data).lines == 31


@pytest.mark.parametrize("copied", [0.0, 0.4, 1.0])
def test_a_crash_while_a_file_is_moved_loses_and_doubles_nothing(full, data, copied):
    journal = full()
    journal.archive(NOW - 20 * DAY_S)
    before, state, archive = all_ids(data), archived(data), data / "terminal_log_archive.jsonl"
    source = LogFiles(data).path(state.generation + 1)
    content = source.read_bytes()
    (data / "terminal_log_archive.json").write_bytes(msgspec.json.encode(
        Archived(state.generation, state.size, state.generation + 1)))
    with archive.open("ab") as file:
        file.write(content[:int(len(content) * copied)])
    result = verify(data)
    assert result.ok and result.lines == 30 and result.missing == ()
    journal.archive(NOW - 10 * DAY_S)
    assert all_ids(data) == before and verify(data).ok and not archived(data).moving


def test_a_crash_after_the_file_was_removed_loses_nothing(full, data):
    journal = full()
    journal.archive(NOW - 20 * DAY_S)
    before, state = all_ids(data), archived(data)
    source = LogFiles(data).path(state.generation + 1)
    (data / "terminal_log_archive.json").write_bytes(msgspec.json.encode(
        Archived(state.generation, state.size, state.generation + 1)))
    with (data / "terminal_log_archive.jsonl").open("ab") as file:
        file.write(source.read_bytes())
    source.unlink()
    result = verify(data)
    assert result.ok and result.lines == 30 and result.missing == ()
    LogArchive(LogFiles(data)).resume()
    assert archived(data).generation == state.generation + 1 and all_ids(data) == before
    journal.archive(NOW - 10 * DAY_S)
    assert all_ids(data) == before and verify(data).ok


CHILD = """
import sys, threading
from pathlib import Path
from ananta.store import database
from ananta.store.journal import Journal
data = Path(sys.argv[1])
database.open(data / "ananta.db")
journal = Journal(data, agent="here", mask=str, rotate_bytes=1500, now=lambda: 1000 * 86400.0)
journal.open()
print("begun", flush=True)
journal.archive(999 * 86400.0)
print("done", flush=True)
"""


def test_killed_at_any_moment_each_record_is_there_once(full, data, journals):
    journal = full(count=300)
    journal.close()
    database.close()
    before, kills, done = [f"run-{number}" for number in range(300)], 0, False
    for delay_s in [0.002 * number for number in range(1, 40)]:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(data)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "begun\n"
        time.sleep(delay_s)
        child.send_signal(signal.SIGKILL)
        done = child.stdout.read() == "done\n"
        child.wait(WAIT_S)
        child.stdout.close()
        kills += 1
        result = verify(data)
        assert result.ok and result.lines == 300 and result.missing == (), (delay_s, result)
        if done:
            break
    database.open(data / "ananta.db")
    Journal(data, agent="here", mask=str, now=lambda: NOW).open()
    LogArchive(LogFiles(data)).resume()
    assert all_ids(data) == before and len(archived_ids(data)) > 200 and kills > 1


@pytest.mark.parametrize(("change", "kind"), [
    (lambda found: [found[0].replace(b"echo 0", b"echo 9"), *found[1:]], ALTERED), (lambda found: found[:5] + found[6:], REMOVED),
    (lambda found: [*found[:5], found[2], *found[5:]], INSERTED), (lambda found: found[:-1], REMOVED)])
def test_the_archive_is_verified_too(full, data, change, kind):
    full().archive(NOW - 10 * DAY_S)
    path = data / "terminal_log_archive.jsonl"
    path.write_bytes(b"".join(each + b"\n" for each in change(lines(path))))
    found = verify(data).finding
    assert found is not None and found.kind == kind


def test_what_somebody_has_moved_away_is_only_said_to_be_missing(full, data):
    journal = full()
    files = LogFiles(data)
    files.path(2).unlink()
    journal.archive(NOW - 20 * DAY_S)
    assert verify(data).ok and verify(data).missing == ("terminal_log.000002.jsonl",)
    assert journal.archive(NOW - 10 * DAY_S) and verify(data).ok and archived(data).gaps
    (data / "terminal_log_archive.jsonl").unlink()
    result = verify(data)
    assert result.ok and result.missing and result.lines < 20
    journal.archive(NOW - 5 * DAY_S)
    assert verify(data).ok and archived(data).gaps == ()


def test_a_full_disk_leaves_everything_where_it_was(full, data):
    from ananta.errors import StoreFailed

    journal = full()
    before = all_ids(data)
    (data / "terminal_log_archive.jsonl").mkdir()
    with pytest.raises(StoreFailed):
        journal.archive(NOW - 10 * DAY_S)
    (data / "terminal_log_archive.jsonl").rmdir()
    assert all_ids(data) == before and verify(data).ok
    script = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
              "from tests.store.test_log_archive import limited; limited(sys.argv[1])")
    done = subprocess.run([sys.executable, "-c", script, str(data)], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S,
                          check=False)
    assert done.stdout == "refused\n", done.stderr
    assert all_ids(data) == before and verify(data).ok
    assert journal.archive(NOW - 10 * DAY_S) and all_ids(data) == before


def limited(data):
    import resource
    from pathlib import Path

    from ananta.errors import StoreFailed

    data = Path(data)
    archive = LogArchive(LogFiles(data))
    size = LogFiles(data).path(1).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
    try:
        archive.move_old(NOW, 99, lambda: False)
    except StoreFailed:
        print("refused")


def test_a_damaged_state_is_named_and_nothing_is_touched(full, data, journals):
    from ananta.errors import CannotStart, JournalFailed

    full().archive(NOW - 10 * DAY_S)
    before = all_ids(data)
    (data / "terminal_log_archive.json").write_text("{")
    with pytest.raises(JournalFailed):
        verify(data)
    with pytest.raises(CannotStart):
        journals()
    assert all_ids(data) == before


def test_a_proposal_whose_run_was_archived_is_not_open_again(full, data):
    from ananta.agent.decisions import Decisions
    from ananta.domain.proposals import StoredProposal
    from ananta.domain.steps import Verdict
    from ananta.store import proposals

    journal = full()
    proposals.add(StoredProposal("P-1", "d", "echo 0", "/", "s", "here", None, "", "", "ask", (), None, NOW - 29 * DAY_S, NOW + DAY_S))
    proposals.claim("P-1", "run-0", "ann", NOW - 29 * DAY_S)
    journal.archive(NOW - 2 * DAY_S)
    assert "run-0" in archived_ids(data)
    decisions = Decisions(target="here", lifetime_s=60, judge=lambda command, cwd: Verdict("ask", ()), directory=str, now=lambda: NOW)
    decisions.open(journal)
    assert proposals.find("P-1").state == "run"


def test_a_record_of_a_run(data, journals):
    journal = journals(now=lambda: NOW)
    journal.finished(Record("r", NOW, "here", "x", "", 0, scheduled_id="S-1"))
    assert json.loads(lines(data / "terminal_log.jsonl")[0])["scheduled_id"] == "S-1"
