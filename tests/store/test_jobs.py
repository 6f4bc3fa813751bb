"""Jobs in the background: done again and again, shown with their errors, and some by one process only."""
import threading

import pytest

from ananta.agent.background import Job, Jobs
from ananta.agent.housekeeping import Retention, jobs, remove_old
from ananta.errors import StoreFailed
from ananta.store import database, shared_journal
from ananta.store.journal import Journal
from ananta.store.shared_journal import TaskRecord


@pytest.fixture
def running():
    begun = []

    def begin(*work, **options):
        made = Jobs(work, **options)
        begun.append(made)
        made.start()
        return made

    yield begin
    for each in begun:
        each.close()


def by_name(made) -> dict:
    return {each.name: each for each in made.report()}


def test_a_job_is_done_again_and_again(data, running, eventually):
    done = []
    made = running(Job("one", lambda: done.append(1), 0.01, 0), Job("later", lambda: done.append(2), 60, 500))
    eventually(lambda: len(done) > 3)
    one, later = by_name(made)["one"], by_name(made)["later"]
    assert one.error is None and one.duration >= 0 and one.last_run <= one.next_run and one.interval == 0.01
    assert (later.last_run, later.duration, later.error, later.running) == (None, None, None, False) and 2 not in done
    assert later.next_run > one.next_run


def test_one_that_fails_is_shown_and_tried_again_soon(data, running, eventually, caplog):
    tries = []

    def work():
        tries.append(1)
        if len(tries) < 3:
            raise StoreFailed("The disk is full.")

    made = running(Job("fails", work, 3600, 0), Job("breaks", lambda: 1 / 0, 3600, 0), retry_s=0.05)
    eventually(lambda: by_name(made)["breaks"].error is not None)
    assert by_name(made)["breaks"].error == "ZeroDivisionError: division by zero"
    eventually(lambda: len(tries) == 3 and not by_name(made)["fails"].running)
    done = by_name(made)["fails"]
    assert done.error is None and done.next_run - done.last_run > 3000
    assert "fails: The disk is full." in caplog.text


def test_a_long_job_delays_no_other_and_never_overlaps_with_itself(data, running, eventually):
    gate, inside, others = threading.Event(), [], []

    def slow():
        inside.append(1)
        gate.wait(30)

    made = running(Job("slow", slow, 0.01, 0), Job("quick", lambda: others.append(1), 0.01, 0))
    eventually(lambda: len(others) > 5 and inside)
    assert by_name(made)["slow"].running and len(inside) == 1
    gate.set()
    eventually(lambda: len(inside) > 1)


def test_a_job_is_brought_forward_and_done_once_more_where_it_runs(data, running, eventually):
    gate, done = threading.Event(), []

    def work():
        done.append(1)
        gate.wait(30)

    made = running(Job("one", work, 3600, 3600))
    made.soon("one", 0)
    eventually(lambda: done)
    made.soon("one", 0)
    made.soon("one", 60)  # the earlier wish counts
    gate.set()
    eventually(lambda: len(done) == 2 and not by_name(made)["one"].running)
    assert by_name(made)["one"].next_run - by_name(made)["one"].last_run > 3000


def test_what_only_one_may_do_is_done_by_one(both, running, eventually):
    done = []
    first = running(Job("alone", lambda: done.append("first"), 60, 0, alone=True))
    eventually(lambda: by_name(first)["alone"].last_run is not None)
    second = running(Job("alone", lambda: done.append("second"), 0.05, 0, alone=True))
    if not database.shared():
        # Two processes never share this database.
        eventually(lambda: "second" in done)
        return
    eventually(lambda: by_name(second)["alone"].elsewhere)
    assert done == ["first"] and by_name(second)["alone"].last_run is None
    first.close()
    eventually(lambda: "second" in done)
    assert not by_name(second)["alone"].elsewhere


def test_the_jobs_of_a_worker_and_of_a_hub(both):
    journal = Journal(both, agent="here", mask=str)
    names = {hub: {each.name for each in jobs(Retention(1, 1, 1), journal, both, hub=hub, stopping=lambda: False)}
             for hub in (True, False)}
    assert names[False] == {"sign-ins", "answers", "proposals", "backups", "terminal log archive"}
    assert names[True] - names[False] == {"task archive", "archive clean-up", *(["shared records"] if database.shared() else [])}
    kept = {each.name for each in jobs(Retention(0, 0, 0), journal, both, hub=True, stopping=lambda: False)}
    assert kept == {"sign-ins", "answers", "proposals"}


def test_only_old_files_are_removed(tmp_path):
    import os

    folder = tmp_path / "backups"
    assert remove_old(folder, 100.0) == 0
    (folder / "kept").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("x")
    for name, at in (("old", 99.0), ("young", 101.0), ("kept/old", 99.0)):
        (folder / name).write_text("x")
        os.utime(folder / name, (at, at))
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert remove_old(folder, 100.0) == 1
    assert sorted(each.name for each in folder.iterdir()) == ["kept", "link", "young"] and (folder / "kept/old").exists()
    (tmp_path / "link").symlink_to(folder)
    assert remove_old(tmp_path / "link", 1e12) == 0 and (folder / "young").exists()


def test_old_shared_records_are_forgotten(both):
    if not database.shared():
        return
    with database.writing():
        shared_journal.share([TaskRecord(b"{}", f"run-{number}", "T", float(number)) for number in range(5)])
    assert [shared_journal.prune(3.0), shared_journal.prune(3.0)] == [3, 0]
    assert database.rows("SELECT run_id FROM shared_journal ORDER BY run_id") == [("run-3",), ("run-4",)]
