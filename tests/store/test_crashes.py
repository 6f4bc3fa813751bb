"""Killed, out of disk, torn: what was acknowledged is there, and nothing runs twice."""
import json
import signal
import subprocess
import sys
import time

import pytest

from ananta.errors import CannotStart
from ananta.store.journal import unfinished

PROGRAM = """
import os, sys
from pathlib import Path
from ananta.store import database
from ananta.store.journal import Journal
from ananta.domain.steps import Record
data = Path(sys.argv[1])
database.open(data / "ananta.db")
journal = Journal(data, agent="here", mask=str)
journal.open()
journal.start()
def run(number, **fields):
    return Record(**{"id": f"run-{number}", "timestamp": 1.0, "agent": "here", "command": f"echo {number}", "output": "o",
                     "exit_code": 0, "task_id": "T"} | fields)
def say(text):
    os.write(1, (text + "\\n").encode())
"""


def python(data, code, **options):
    return subprocess.Popen([sys.executable, "-c", PROGRAM + code, str(data)], stdout=subprocess.PIPE, text=True, **options)


def records(data):
    return [json.loads(each) for each in (data / "terminal_log.jsonl").read_bytes().splitlines()]


def test_a_run_that_was_going_on_becomes_unknown_once(data, journals):
    process = python(data, "journal.started(run(1, command='sleep 9', cwd='/tmp')); say('on'); import time; time.sleep(60)")
    assert process.stdout.readline() == "on\n"
    process.kill()
    process.communicate()
    first = journals(on_unknown=lambda run_id: f"Processes of {run_id}: none.")
    assert [each.id for each in first.lost] == ["run-1"]
    stored = records(data)
    assert len(stored) == 1 and stored[0]["state"] == "unknown" and stored[0]["exit_code"] == -1
    assert stored[0]["command"] == "sleep 9" and stored[0]["cwd"] == "/tmp" and stored[0]["step"] == 1
    assert "not known whether it finished" in stored[0]["output"] and "not repeated" in stored[0]["output"]
    assert unfinished(data) == 0
    first.close()
    assert journals().lost == [] and len(records(data)) == 1


def test_a_run_that_became_unknown_is_over_also_when_that_start_was_killed_too(data, journals):
    for code in ("journal.started(run(1)); journal.started(run(2)); journal.finished(run(2)); say('on')", "say('on')"):
        process = python(data, code + "; import time; time.sleep(60)")
        assert process.stdout.readline() == "on\n"
        process.kill()
        process.communicate()
    assert unfinished(data) == 0 and [(each["id"], each["state"]) for each in records(data)] == [
        ("run-2", "finished"), ("run-1", "unknown")]
    assert journals().lost == [] and len(records(data)) == 2


@pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.01, 0.03, 0.1])
def test_killed_at_any_moment_what_was_acknowledged_is_there(data, journals, delay_s):
    process = python(data, """
for number in range(100000):
    journal.started(run(number)); say(f"started {number}"); journal.finished(run(number)); say(f"finished {number}")
""")
    process.stdout.readline()
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    with process:
        said = [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
    journal = journals()
    by_id = {each["id"]: each for each in records(data)}
    assert len(by_id) == len(records(data))
    for word, number in said:
        assert word == "started" or by_id[f"run-{number}"]["state"] == "finished"
        assert f"run-{number}" in by_id
    assert sum(each["state"] == "unknown" for each in by_id.values()) <= 1
    assert [json.loads(each) for each in journal.last(10**6, "T")] == records(data)
    assert [each["step"] for each in records(data)] == list(range(1, len(by_id) + 1))


def test_a_result_written_before_the_intent_was_cleared_is_not_unknown(data, journals, record):
    journal = journals()
    journal.started(record(1))
    intent = (data / "started.jsonl").read_bytes()
    journal.finished(record(1))
    journal.close()
    (data / "started.jsonl").write_bytes(intent)
    assert unfinished(data) == 0
    again = journals()
    assert again.lost == [] and [each["state"] for each in records(data)] == ["finished"]
    again.close()
    assert (data / "started.jsonl").read_bytes() == b""


def test_torn_ends_are_cut_and_kept(data, journals, record):
    journal = journals()
    journal.finished(record(1))
    journal.started(record(2))
    journal.close()
    with (data / "terminal_log.jsonl").open("ab") as log, (data / "started.jsonl").open("ab") as started:
        log.write(b'{"command": "to')
        started.write(b'{"id": "ru')
    again = journals()
    assert [each.id for each in again.lost] == ["run-2"]
    assert [each["id"] for each in records(data)] == ["run-1", "run-2"]
    assert (data / "terminal_log.torn").read_bytes() == b'{"command": "to\n'
    assert (data / "started.torn").read_bytes() == b'{"id": "ru\n'


def test_a_whole_record_without_a_line_break_is_kept(data, journals):
    (data / "terminal_log.jsonl").write_bytes(b'{"command": "a", "exit_code": 0}')
    assert len(journals().last(5)) == 1 and not (data / "terminal_log.torn").exists()


def test_a_file_of_zeros_is_torn_as_a_whole(data, journals, record):
    (data / "terminal_log.jsonl").write_bytes(b"\0" * 200_000)
    journal = journals()
    journal.finished(record(1))
    assert len(records(data)) == 1


def test_when_no_more_can_be_written_nothing_starts_and_no_result_is_lost(data):
    """The limit for the size of a file stands for the full disk: a write comes back short, the next one fails."""
    process = python(data, """
import resource, signal
from ananta.errors import JournalFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
done = 0
while True:
    journal.started(run(done))
    try:
        journal.finished(run(done, output="x" * 3000))
    except JournalFailed as failure:
        say(str(failure)); break
    done += 1
assert (data / "terminal_log.jsonl").read_bytes().endswith(b"}\\n")
try:
    journal.started(run("never")); say("started")
except JournalFailed:
    say("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
import time
while f'"run-{done}"' not in (data / "terminal_log.jsonl").read_text():
    time.sleep(0.05)
journal.started(run("next")); journal.finished(run("next"))
journal.close(); database.close()
say(str(done))
""")
    failure, refused, done = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0 and "terminal_log.jsonl cannot be written" in failure and refused == "refused"
    assert [each["id"] for each in records(data)] == [*(f"run-{n}" for n in range(int(done) + 1)), "run-next"]
    assert (data / "started.jsonl").read_bytes() == b""


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_says_so_and_loses_nothing(small_disk):
    data = small_disk / "data"
    process = python(data, """
from ananta.errors import JournalFailed
filler = small = data / "filler"
done = 0
journal.started(run(done))
with open(filler, "wb", 0) as file:
    try:
        while True: file.write(b"x" * 4096)
    except OSError: pass
try:
    journal.finished(run(done, output="y" * 9000)); say("written")
except JournalFailed as failure:
    say(str(failure))
filler.unlink()
journal.close(); say("closed")
""")
    said = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0 and "the disk is full" in said[0] and said[1] == "closed"
    assert [each["id"] for each in records(data)] == ["run-0"]


def test_a_log_that_cannot_be_opened_stops_the_start(data, journals):
    (data / "terminal_log.jsonl").mkdir()
    with pytest.raises(CannotStart, match="cannot be used"):
        journals()
