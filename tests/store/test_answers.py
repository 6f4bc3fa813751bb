"""A request with an Idempotency-Key runs once; who asks again gets the first answer, or is told why there is none."""
import subprocess
import sys
import threading
import time

import pytest

from ananta.errors import Conflict, InvalidInput
from ananta.store import answers, database
from ananta.store.answers import Stored
from tests.store import opening

DAY_S = 24 * 3600
ME = "admin"

PROGRAM = """
import os, sys, threading, time
from pathlib import Path
from ananta.errors import Conflict
from ananta.store import answers, database
from tests.store import opening
data = Path(sys.argv[1])
opening.open(data)
def say(text):
    os.write(1, (text + "\\n").encode())
"""


@pytest.fixture
def data(both):
    """Everything here is tried on SQLite and on Postgres."""
    return both


def python(data, code):
    return subprocess.Popen([sys.executable, "-W", "error", "-c", PROGRAM + code, str(data)], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def conflict(key, fingerprint="f", now=10.0, *, caller=ME, **options):
    with pytest.raises(Conflict) as raised:
        answers.begin(key, caller, fingerprint, now, **options)
    return raised.value


def reopened(data):
    database.close()
    opening.open(data)


def test_the_same_request_gets_the_same_answer_also_after_a_restart(data):
    body = b'{"output": "\xc3\xbc\\u0000"}\0\xff'
    assert answers.begin("k", ME, "f", 10.0) is None
    answers.attach("k", ME, "run-1")
    answers.finish("k", ME, 200, body)
    assert answers.begin("k", ME, "f", 11.0) == Stored(200, body, "run-1")
    reopened(data)
    assert answers.begin("k", ME, "f", 10.0 + DAY_S - 1) == Stored(200, body, "run-1")


@pytest.mark.parametrize(("status", "body"), [(204, b""), (403, b"{}"), (500, b"x" * 3_000_000)])
def test_every_answer_is_kept_as_it_is(data, status, body):
    answers.begin("k", ME, "f", 10.0)
    answers.finish("k", ME, status, body)
    assert answers.begin("k", ME, "f", 10.0) == Stored(status, body, None)


def test_another_request_with_the_same_key_is_told_so(data):
    answers.begin("k", ME, "f", 10.0)
    assert conflict("k", "other").code == "idempotency_key_reused"
    answers.finish("k", ME, 200, b"secret answer")
    refused = conflict("k", "other")
    assert refused.code == "idempotency_key_reused" and "secret" not in f"{refused}{refused.extras}"


def test_a_key_belongs_to_its_caller(data):
    answers.begin("k", ME, "f", 10.0)
    answers.finish("k", ME, 200, b"mine")
    assert answers.begin("k", "somebody", "f", 10.0) is None
    answers.finish("k", "somebody", 200, b"theirs")
    assert answers.begin("k", ME, "f", 10.0).body == b"mine" and answers.begin("K", ME, "f", 10.0) is None


def test_while_the_first_one_runs(data):
    answers.begin("k", ME, "f", 10.0)
    early = conflict("k")
    assert early.code == "in_progress" and early.extras == {"retry_after": 1}
    answers.attach("k", ME, "run-1")
    assert conflict("k", wait_s=0.05).extras == {"retry_after": 1, "run_id": "run-1"}


def test_a_request_of_which_nothing_ran_may_be_tried_again(data):
    answers.begin("k", ME, "f", 10.0)
    answers.attach("k", ME, "run-1")
    answers.release("k", ME)
    assert answers.begin("k", ME, "another", 11.0) is None
    assert conflict("k", "another").extras == {"retry_after": 1}


def test_an_answer_that_was_given_is_neither_changed_nor_freed(data):
    answers.begin("k", ME, "f", 10.0)
    answers.attach("k", ME, "run-1")
    answers.finish("k", ME, 200, b"first")
    answers.finish("k", ME, 500, b"second")
    answers.attach("k", ME, "run-2")
    answers.release("k", ME)
    assert answers.begin("k", ME, "f", 11.0) == Stored(200, b"first", "run-1")


def test_finishing_what_was_never_begun_stores_nothing(data):
    answers.finish("k", ME, 200, b"x")
    answers.attach("k", ME, "run")
    answers.release("k", ME)
    assert database.rows("SELECT count(*) FROM answers") == [(0,)]


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\n", "a\tb", "\x7f", "a\0", "\udcff", "\x1b[0m"])
def test_what_is_no_key(data, key):
    with pytest.raises(InvalidInput) as raised:
        answers.begin(key, ME, "f", 10.0)
    assert "Idempotency-Key" in raised.value.message and database.rows("SELECT count(*) FROM answers") == [(0,)]


@pytest.mark.parametrize("key", ["x", "x" * 255, "8e03978e-40d5-43dd-bc93-6894a57f9324", '"a b"', "~!'; --"])
def test_what_is_a_key(data, key):
    assert answers.begin(key, ME, "f", 10.0) is None and conflict(key).code == "in_progress"


def test_after_a_day_the_key_is_free(data):
    answers.begin("k", ME, "f", 10.0)
    answers.finish("k", ME, 200, b"old")
    assert answers.begin("k", ME, "other", 10.0 + DAY_S) is None
    answers.finish("k", ME, 200, b"new")
    assert answers.begin("k", ME, "other", 11.0 + DAY_S) == Stored(200, b"new")


def test_what_still_runs_keeps_its_key_longer_than_a_day(data):
    answers.begin("k", ME, "f", 10.0)
    assert answers.prune(10.0 + 2 * DAY_S) == 0
    assert conflict("k", now=10.0 + 2 * DAY_S).code == "in_progress"


def test_pruning_forgets_what_is_older_than_a_day(data):
    for key, now in (("a", 10.0), ("b", 20.0), ("c", 10.0)):
        answers.begin(key, ME, "f", now)
        answers.finish(key, ME, 200, b"x")
    assert answers.prune(9.0 + DAY_S) == 0 and answers.prune(10.0 + DAY_S) == 2
    assert database.rows("SELECT idempotency_key FROM answers") == [("b",)]


def test_the_fingerprint_is_of_path_and_body():
    made = {answers.fingerprint(path, body) for path, body in
            [("/a", b"{}"), ("/b", b"{}"), ("/a", b"{} "), ("/a{}", b""), ("/a", b"\0{}"), ("/a\udcff", b"{}")]}
    assert len(made) == 6 and all(len(each) == 64 for each in made)
    assert answers.fingerprint("/a", b"{}") in made


# --- two at once

def test_of_a_hundred_threads_one_runs_and_all_get_its_answer(data):
    ready, ran, results = threading.Barrier(100), [], []

    def work(number):
        ready.wait()
        stored = answers.begin("k", ME, "f", 10.0, wait_s=60)
        if stored is None:
            ran.append(number)
            answers.attach("k", ME, f"run-{number}")
            answers.finish("k", ME, 200, b"of %d" % number)
        else:
            results.append(stored)
        database.close_mine()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(100)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(ran) == 1 and results == [Stored(200, b"of %d" % ran[0], f"run-{ran[0]}")] * 99


def test_who_waits_for_a_request_that_then_did_not_run_runs_itself(data):
    answers.begin("k", ME, "f", 10.0)
    results = []

    def work():
        results.append(answers.begin("k", ME, "f", 10.0, wait_s=60))
        database.close_mine()

    thread = threading.Thread(target=work)
    thread.start()
    answers.release("k", ME)
    thread.join()
    assert results == [None] and conflict("k").code == "in_progress"


RACE = """
def work(number):
    stored = answers.begin("k", "admin", "f", 10.0, wait_s=60)
    if stored is None:
        with open(data / "ran", "a") as file:
            file.write(f"{os.getpid()}\\n")
        answers.finish("k", "admin", 200, b"%d" % os.getpid())
        say(f"ran {os.getpid()}")
    else:
        say("got " + stored.body.decode())
    database.close_mine()
threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
say("ready")
sys.stdin.readline()
for each in threads: each.start()
for each in threads: each.join()
say("done")
sys.stdin.readline()
database.close()
"""


def test_of_a_hundred_threads_in_ten_processes_one_runs_and_all_get_its_answer(data):
    processes = [python(data, RACE) for _ in range(10)]
    assert [each.stdout.readline() for each in processes] == ["ready\n"] * 10
    for each in processes:
        each.stdin.write("\n")
        each.stdin.flush()
    said = [line for each in processes for line in each.communicate("\n")[0].splitlines()]
    assert all(each.returncode == 0 for each in processes)
    pid = (data / "ran").read_text().strip()
    assert pid.isdigit() and said.count(f"ran {pid}") == 1 and said.count(f"got {pid}") == 99


def test_one_that_runs_in_another_process(data):
    process = python(data, """
answers.begin("k", "admin", "f", 10.0); answers.attach("k", "admin", "run-1"); say("begun")
sys.stdin.readline()
answers.finish("k", "admin", 200, b"theirs"); say("finished")
""")
    assert process.stdout.readline() == "begun\n"
    assert conflict("k").extras == {"retry_after": 1, "run_id": "run-1"}
    # What is not ours is left alone.
    answers.release("k", ME)
    answers.finish("k", ME, 500, b"ours")
    answers.attach("k", ME, "run-2")
    assert conflict("k").extras == {"retry_after": 1, "run_id": "run-1"}
    assert process.communicate("\n")[0] == "finished\n"
    assert answers.begin("k", ME, "f", 11.0) == Stored(200, b"theirs", "run-1")


# --- a process that ended in between

def ended(data, code, *, reap=True):
    process = python(data, code + "\nsay('on')\ntime.sleep(60)")
    assert process.stdout.readline() == "on\n"
    process.kill()
    if reap:
        process.communicate()
    return process


def test_when_the_process_died_the_outcome_is_unknown_and_nothing_runs_again(data):
    ended(data, "answers.begin('k', 'admin', 'f', 10.0); answers.attach('k', 'admin', 'run-1')")
    for _ in range(2):
        lost = conflict("k", now=11.0, wait_s=60)
        assert lost.code == "outcome_unknown" and lost.extras == {"run_id": "run-1"} and "run-1" in lost.message
        assert "not repeated" in lost.message and conflict("k", "other", now=11.0).code == "idempotency_key_reused"
        answers.finish("k", ME, 200, b"invented")
        answers.release("k", ME)
        reopened(data)


def test_when_it_died_before_a_run_is_known_it_is_not_run_either(data):
    ended(data, "answers.begin('k', 'admin', 'f', 10.0)")
    lost = conflict("k", now=11.0)
    assert lost.code == "outcome_unknown" and lost.extras == {} and "None" not in lost.message


def test_a_dead_process_that_nobody_has_reaped_is_dead(data):
    process = ended(data, "answers.begin('k', 'admin', 'f', 10.0)", reap=False)
    try:
        # It dies by itself; until then it is alive, and the second request waits for its answer.
        assert conflict("k", wait_s=60).code == "outcome_unknown" and process.returncode is None
    finally:
        process.communicate()


def test_who_waits_learns_that_the_other_process_died(data):
    process = python(data, "answers.begin('k', 'admin', 'f', 10.0); say('on'); sys.stdin.readline(); os.kill(os.getpid(), 9)")
    assert process.stdout.readline() == "on\n"
    codes = []

    def work():
        codes.append(conflict("k", wait_s=60).code)
        database.close_mine()

    thread = threading.Thread(target=work)
    thread.start()
    process.communicate("\n")
    thread.join()
    assert codes == ["outcome_unknown"]


def test_an_unknown_outcome_is_forgotten_after_a_day(data):
    ended(data, "answers.begin('k', 'admin', 'f', 10.0); answers.begin('l', 'admin', 'f', 10.0)")
    assert answers.begin("k", ME, "f", 10.0 + DAY_S) is None
    assert answers.prune(10.0 + DAY_S) == 1
    assert database.rows("SELECT idempotency_key FROM answers") == [("k",)]


@pytest.mark.parametrize("owner", ["", "1", "1 ", "999999999 x 1", "-1 x", "x y"])
def test_an_owner_that_cannot_be_found_is_dead(data, owner):
    with database.writing():
        database.change("INSERT INTO answers (caller, idempotency_key, fingerprint, begun_at, owner) "
                        "VALUES ('admin', 'k', 'f', 10.0, ?)", owner)
    assert conflict("k").code == "outcome_unknown"


@pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.01, 0.03, 0.1])
def test_killed_at_any_moment_no_request_runs_twice(data, delay_s):
    code = """
for number in range(2000):
    key = f"k-{number}"
    try:
        stored = answers.begin(key, "admin", "f", 10.0)
    except Conflict as failure:
        say(f"{failure.code} {number}"); continue
    if stored is None:
        answers.attach(key, "admin", f"run-{number}")
        say(f"ran {number}")
        answers.finish(key, "admin", 200, b"%d" % number)
        say(f"answered {number}")
    else:
        say(f"stored {stored.body.decode()}")
    if len(sys.argv) == 2 and number == LAST: break
"""
    process = python(data, code.replace("LAST", "-1"))
    first = process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    # Not communicate(), which forgets what was read ahead with the first line.
    with process:
        before = [line.split() for line in (first + process.stdout.read()).splitlines()]
    last = len({number for _, number in before}) + 3
    again = python(data, code.replace("LAST", str(last)))
    after = dict(reversed(line.split()) for line in again.communicate()[0].splitlines() if not line.startswith("ran"))
    ran = {number for word, number in before if word == "ran"}
    answered = {number for word, number in before if word == "answered"}
    assert again.returncode == 0 and all(after[number] == "stored" for number in answered)
    assert all(after[number] in ("stored", "outcome_unknown") for number in ran)
    assert sum(word == "outcome_unknown" for word in after.values()) <= 1
