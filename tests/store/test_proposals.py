"""A proposal is decided once, by whoever is first, and what was decided survives."""
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from ananta.domain.prompts import Earlier
from ananta.domain.proposals import EDITED, EXPIRED, OPEN, REFUSED, RUN, StoredProposal, digest
from ananta.errors import Conflict, NotFound
from ananta.store import database, proposals
from tests.store import opening

DAY_S = 24 * 3600

PROGRAM = """
import os, sys, threading, time
from pathlib import Path
from ananta.errors import Conflict
from ananta.store import database, proposals
from tests.store import opening
opening.open(Path(sys.argv[1]))
def say(text):
    os.write(1, (text + "\\n").encode())
"""


@pytest.fixture
def data(both):
    """Everything here is tried on SQLite and on Postgres."""
    return both


@pytest.fixture
def sqlite(tmp_path):
    """A data directory on SQLite only."""
    opening.open(tmp_path / "data")
    yield tmp_path / "data"
    database.close()


def proposal(number, **fields):
    command = fields.get("command", f"touch {number}")
    return StoredProposal(**{
        "id": f"p-{number}", "digest": digest(command, "/work", "T", "here"), "command": command, "cwd": "/work",
        "session": "T", "target": "here", "task_id": "T", "prompt": "make it", "reason": "because", "decision": "ask",
        "reasons": ("It writes.", "It is new."), "model": "mock:m", "created_at": float(number),
        "expires_at": 1000.0, "raw": "{}"} | fields)


def added(number, **fields):
    proposals.add(proposal(number, **fields))
    return f"p-{number}"


def conflict(call, *arguments):
    with pytest.raises(Conflict) as raised:
        call(*arguments)
    return raised.value


def together(*calls):
    """Starts the calls at the same moment, each in a thread; returns what each returned or raised."""
    results, ready = [None] * len(calls), threading.Barrier(len(calls))

    def work(number):
        ready.wait()
        try:
            results[number] = calls[number]()
        except Exception as failure:
            results[number] = failure
        finally:
            database.close_mine()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return results


def python(data, code, *arguments):
    return subprocess.Popen([sys.executable, "-W", "error", "-c", PROGRAM + code, str(data), *arguments], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_proposal_comes_back_as_it_was_shown(data):
    shown = proposal(1, command="printf 'ü\r\n\t' > \"$HOME/\udcff\"; echo token=abc\0def\ud800\U0001f600 ", cwd="/srv/\udce9",
                     session="T \udcff", target="nö", task_id=None, model=None, prompt="ü\n", raw="x" * 100_000, reasons=())
    proposals.add(shown)
    database.close()
    opening.open(data)
    found = proposals.find("p-1")
    assert found == shown and found.command.encode("utf-8", "surrogatepass") == shown.command.encode("utf-8", "surrogatepass")
    assert digest(found.command, found.cwd, found.session, found.target) != digest(found.command, "/work", "T", "here")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_owner_can_read_what_is_stored(sqlite):
    added(1, command="curl -H 'Authorization: Bearer a-secret-of-mine'")
    holding = [each for each in sqlite.iterdir() if b"a-secret-of-mine" in each.read_bytes()]
    assert holding and all(each.stat().st_mode & 0o077 == 0 for each in holding)


@pytest.mark.parametrize("wanted", ["p-2", "", "p-1\0", "\udcff", "' OR 1=1 --"])
def test_an_unknown_proposal(data, wanted):
    added(1)
    for call in (lambda: proposals.find(wanted), lambda: proposals.claim(wanted, "run", "admin", 10),
                 lambda: proposals.refuse(wanted, "no", "admin", 10),
                 lambda: proposals.edit(proposal(3, replaces=wanted), "admin", 10)):
        with pytest.raises(NotFound) as raised:
            call()
        assert raised.value.code == "proposal_not_found"
    assert [each.id for each in proposals.waiting(10, 10)] == ["p-1"]


def test_those_that_wait_oldest_first(data):
    for number in (3, 1, 5, 2, 4, 6):
        added(number, expires_at=7.0 if number == 5 else 1000.0)
    proposals.claim("p-4", "run", "admin", 6)
    proposals.refuse("p-6", "no", "admin", 6)
    assert [each.id for each in proposals.waiting(10, 6)] == ["p-1", "p-2", "p-3", "p-5"]
    assert [each.id for each in proposals.waiting(10, 7)] == ["p-1", "p-2", "p-3"]
    assert [each.id for each in proposals.waiting(2, 7)] == ["p-1", "p-2"]
    assert proposals.waiting(0, 7) == proposals.waiting(-1, 7) == []


def test_a_claimed_one_is_used(data):
    claimed = proposals.claim(added(1), "run-1", "admin", 10)
    assert claimed == proposal(1, state=RUN, run_id="run-1", decided_by="admin", decided_at=10.0) == proposals.find("p-1")
    for again in (conflict(proposals.claim, "p-1", "run-2", "other", 11), conflict(proposals.refuse, "p-1", "no", "other", 11),
                  conflict(proposals.edit, proposal(2, replaces="p-1"), "other", 11)):
        assert again.code == "proposal_used" and again.extras == {"run_id": "run-1"}
    assert proposals.find("p-1") == claimed and proposals.waiting(10, 11) == []


def test_a_refused_one_never_runs(data):
    refused = proposals.refuse(added(1), "too wide", "admin", 10)
    assert refused == proposal(1, state=REFUSED, decide_reason="too wide", decided_by="admin", decided_at=10.0)
    for again in (conflict(proposals.claim, "p-1", "run", "other", 11), conflict(proposals.refuse, "p-1", "no", "other", 11),
                  conflict(proposals.edit, proposal(2, replaces="p-1"), "other", 11)):
        assert again.code == "proposal_refused" and "too wide" in again.message
    assert proposals.find("p-1") == refused


def test_one_that_nobody_answered_never_runs_whether_it_was_marked_or_not(data):
    added(1, expires_at=10.0)
    for _ in range(2):
        for late in (conflict(proposals.claim, "p-1", "run", "admin", 10), conflict(proposals.refuse, "p-1", "no", "admin", 10),
                     conflict(proposals.edit, proposal(2, replaces="p-1"), "admin", 10)):
            assert late.code == "proposal_expired"
        proposals.expire(10)
    assert proposals.find("p-1") == proposal(1, expires_at=10.0, state=EXPIRED)
    # A clock that is set back does not open it again.
    assert conflict(proposals.claim, "p-1", "run", "admin", 5).code == "proposal_expired"


def test_expiring_ends_only_what_is_open_and_overdue(data):
    for number in range(1, 6):
        added(number, expires_at=10.0 if number < 5 else 11.0)
    proposals.claim("p-1", "run", "admin", 9)
    proposals.refuse("p-2", "no", "admin", 9)
    assert proposals.expire(9) == 0 and proposals.expire(10) == 2 and proposals.expire(10) == 0
    assert [proposals.find(f"p-{number}").state for number in range(1, 6)] == [RUN, REFUSED, EXPIRED, EXPIRED, OPEN]


def test_an_edit_remembers_what_it_replaces_and_ends_it(data):
    added(1)
    edited = proposal(2, command="touch better", replaces="p-1")
    proposals.edit(edited, "admin", 10)
    assert proposals.find("p-2") == edited and proposals.find("p-2").replaces == "p-1"
    old = proposals.find("p-1")
    assert (old.state, old.decide_reason, old.decided_by, old.decided_at) == (REFUSED, EDITED, "admin", 10.0)
    assert conflict(proposals.claim, "p-1", "run", "admin", 11).code == "proposal_refused"
    assert proposals.claim("p-2", "run", "admin", 11).command == "touch better"


def test_an_edit_that_comes_too_late_stores_nothing(data):
    proposals.claim(added(1), "run", "admin", 10)
    conflict(proposals.edit, proposal(2, replaces="p-1"), "admin", 11)
    assert database.rows("SELECT id, state FROM proposals") == [("p-1", RUN)]


def test_refusals_for_the_next_prompt(data):
    for number in range(1, 8):
        added(number, task_id=None if number == 7 else "other" if number == 6 else "T", expires_at=20.0)
    for number in (4, 1, 2, 6, 7):
        proposals.refuse(f"p-{number}", f"no {number}", "admin", 10)
    proposals.claim("p-3", "run", "admin", 10)
    proposals.edit(proposal(8, replaces="p-5", expires_at=20.0), "admin", 10)
    proposals.expire(20)

    def refused(number):
        return Earlier(prompt="make it", reason="because", command=f"touch {number}", refusal=f"no {number}")
    assert proposals.refusals("T", 10) == [refused(1), refused(2), refused(4)]
    assert proposals.refusals("T", 2) == [refused(2), refused(4)]
    assert proposals.refusals("other", 10) == [refused(6)] and proposals.refusals(None, 10) == [refused(7)]
    assert proposals.refusals("absent", 10) == proposals.refusals("T", 0) == []


def test_a_claim_of_which_nothing_was_started_is_taken_back(data):
    added(1)
    proposals.claim("p-1", "run-1", "admin", 10)
    proposals.release("p-1", "run-2")
    assert proposals.find("p-1").state == RUN
    proposals.release("p-1", "run-1")
    assert proposals.find("p-1") == proposal(1)
    assert proposals.claim("p-1", "run-3", "admin", 11).run_id == "run-3"
    proposals.release("p-1", "run-1")
    assert proposals.find("p-1").run_id == "run-3"


def test_what_ended_long_ago_is_forgotten(data):
    for number in range(1, 6):
        added(number)
    proposals.claim("p-1", "run", "admin", 10)
    proposals.refuse("p-2", "no", "admin", 10)
    added(6, expires_at=20.0)
    proposals.expire(20)
    proposals.claim("p-3", "run", "admin", 500)
    assert proposals.prune(10 + 30 * DAY_S) == 0
    assert proposals.prune(15 + 30 * DAY_S) == 2 and proposals.prune(21 + 30 * DAY_S) == 1
    assert [row[0] for row in database.rows("SELECT id FROM proposals ORDER BY id")] == ["p-3", "p-4", "p-5"]
    assert proposals.prune(10**9) == 1 and proposals.find("p-4").state == OPEN


def test_of_a_hundred_threads_one_gets_it(data):
    added(1)
    results = together(*(lambda n=n: proposals.claim("p-1", f"run-{n}", "admin", 10) for n in range(100)))
    won = [each for each in results if isinstance(each, StoredProposal)]
    assert len(won) == 1 and won[0] == proposals.find("p-1")
    assert [each.code for each in results if isinstance(each, Conflict)] == ["proposal_used"] * 99
    assert {each.extras["run_id"] for each in results if isinstance(each, Conflict)} == {won[0].run_id}


def test_of_running_refusing_editing_and_expiring_one_happens(data):
    for number in range(1, 11):
        wanted = added(number, expires_at=100.0)
        edits = [proposal(number * 100 + n, replaces=wanted) for n in range(3)]
        results = together(*[call for edited in edits for call in (
            partial(proposals.claim, wanted, "run", "admin", 99), partial(proposals.refuse, wanted, "no", "admin", 99),
            partial(proposals.edit, edited, "admin", 99), partial(proposals.expire, 100))])
        ended = proposals.find(wanted)
        successors = database.rows("SELECT count(*) FROM proposals WHERE replaces = ?", ended.id)[0][0]
        assert sum(isinstance(each, StoredProposal) for each in results) == (
            ended.state in (RUN, REFUSED) and ended.decide_reason != EDITED)
        assert successors == (ended.decide_reason == EDITED) and sum(each == 1 for each in results) == (ended.state == EXPIRED)
        assert all(isinstance(each, Conflict | StoredProposal | int | None) for each in results)


RACE = """
def work(number):
    try:
        say("won " + proposals.claim("p-1", f"run-{os.getpid()}-{number}", "admin", 10).run_id)
    except Conflict as failure:
        say(failure.code)
    database.close_mine()
threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
say("ready")
sys.stdin.readline()
for each in threads: each.start()
for each in threads: each.join()
database.close()
"""


def test_of_a_hundred_threads_in_ten_processes_one_gets_it(data):
    added(1)
    processes = [python(data, RACE) for _ in range(10)]
    assert [each.stdout.readline() for each in processes] == ["ready\n"] * 10
    for each in processes:
        each.stdin.write("\n")
        each.stdin.flush()
    said = [line for each in processes for line in each.communicate()[0].splitlines()]
    assert all(each.returncode == 0 for each in processes)
    won = [line.split()[1] for line in said if line.startswith("won")]
    assert len(said) == 100 and len(won) == 1 and said.count("proposal_used") == 99
    assert proposals.find("p-1").run_id == won[0]


def test_a_process_that_is_killed_after_it_claimed_does_not_open_it_again(data):
    process = python(data, "proposals.claim('p-1', 'run-1', 'admin', 10); say('claimed'); time.sleep(60)")
    added(1)
    added(2)
    assert process.stdout.readline() == "claimed\n"
    process.kill()
    process.communicate()
    database.close()
    opening.open(data)
    assert conflict(proposals.claim, "p-1", "run-2", "admin", 11).extras == {"run_id": "run-1"}
    assert [each.id for each in proposals.waiting(10, 11)] == ["p-2"]


@pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.01, 0.03, 0.1])
def test_killed_at_any_moment_no_decision_that_was_acted_on_is_lost(data, delay_s):
    with database.writing():
        for number in range(2000):
            proposals.add(proposal(number))
    process = python(data, """
for number in range(0, 2000, 2):
    proposals.claim(f"p-{number}", f"run-{number}", "admin", 10); say(f"run {number}")
    proposals.refuse(f"p-{number + 1}", "no", "admin", 10); say(f"refused {number + 1}")
""")
    first = process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    # Not communicate(), which forgets what was read ahead with the first line.
    with process:
        said = [line.split() for line in (first + process.stdout.read()).splitlines()]
    for state, number in said:
        assert proposals.find(f"p-{number}").state == state
        assert conflict(proposals.claim, f"p-{number}", "again", "admin", 11).code in ("proposal_used", "proposal_refused")
    assert 2000 - len(said) - 1 <= len(proposals.waiting(3000, 11)) <= 2000 - len(said)


def test_the_lists_are_read_by_index(sqlite):
    for question in ("SELECT * FROM proposals WHERE state = 'open' AND expires_at > 1 ORDER BY created_at, id LIMIT 5",
                     "SELECT * FROM proposals WHERE task_id = 'T' AND state = 'refused' ORDER BY created_at DESC LIMIT 5"):
        plan = " ".join(row[3] for row in database.rows("EXPLAIN QUERY PLAN " + question))
        assert "USING INDEX proposals_" in plan and "SCAN" not in plan


def test_other_writes_are_as_quick_as_before(sqlite):
    added(1)
    proposals.claim("p-1", "run", "admin", 10)
    assert database.rows("PRAGMA synchronous") == [(1,)]
    with pytest.raises(Conflict):
        proposals.claim("p-1", "run", "admin", 10)
    assert database.rows("PRAGMA synchronous") == [(1,)]
    assert replace(proposals.find("p-1"), state=OPEN, decided_by=None, decided_at=None, run_id=None) == proposal(1)
