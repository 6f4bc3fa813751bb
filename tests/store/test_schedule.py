"""Scheduled commands on SQLite and Postgres: who runs them, and what is counted."""
from dataclasses import replace

import pytest

from ananta.domain.schedule import Entry, approval, missed
from ananta.domain.steps import Verdict
from ananta.errors import Conflict, NotFound
from ananta.store import database, schedule
from tests.store.test_tasks import in_threads


def new(entry_id="S-1", scope="hub", next_run=100.0, **fields) -> Entry:
    entry = Entry(entry_id, scope, "echo ü %s ?", 10, next_run, "ann", 1.0, **fields)
    schedule.add(entry)
    return entry


def find(entry_id="S-1") -> Entry:
    return schedule.find("hub", entry_id)


def test_an_entry_is_kept_as_it_is(both):
    entry = new(last_run=2.5, approved_digest="d", approved_by="bob", approved_at=3.0, misfires=4, last_exit_code=-1,
                last_run_id="r")
    other = new("S-2", scope="place")
    assert find() == entry and schedule.everything("hub") == [entry] and schedule.everything("place") == [other]
    for ask in (lambda: schedule.find("hub", "S-2"), lambda: schedule.delete("hub", "S-2"), lambda: schedule.find("hub", "\0\ud800"),
                lambda: schedule.approve("S-3", "d", "bob", 1.0)):
        with pytest.raises(NotFound):
            ask()
    schedule.delete("hub", "S-1")
    assert schedule.everything("hub") == []


def test_what_is_due_is_given_out_once(both):
    entry = new()
    assert schedule.due("hub", 99.9) == [] and schedule.due("place", 200.0) == [] and schedule.due("hub", 100.0) == [entry]
    won = []
    in_threads(6, lambda number: won.append(number) if schedule.claim(entry, f"hub-{number}", 200.0, 100.5) else None)
    assert len(won) == 1 and find().owner == f"hub-{won[0]}" and find().runs(199.0) and not find().runs(200.0)
    assert (find().last_run, find().next_run, find().misfires) == (100.5, 110.5, 0)
    assert schedule.due("hub", 150.0) == [] and not schedule.claim(replace(find()), "other", 300.0, 150.0)
    schedule.finish("S-1", "somebody else", 0, "run", 105.0)
    assert find().owner is not None
    schedule.finish("S-1", f"hub-{won[0]}", 3, "run", 105.0)
    assert (find().owner, find().last_exit_code, find().last_run_id, find().misfires, find().next_run) == (None, 3, "run", 0, 110.5)


def test_missed_times_are_counted_and_not_made_up_for(both):
    entry = new()
    assert schedule.claim(entry, "me", 500.0, 135.0)
    assert (find().misfires, find().next_run) == (3, 145.0)
    schedule.finish("S-1", "me", 0, "run", 170.0)
    assert (find().misfires, find().next_run) == (6, 175.0) and schedule.due("hub", 174.0) == []


def test_a_wait_for_a_person_is_no_miss(both):
    entry = new()
    assert schedule.hold(entry, "ask") and not schedule.hold(find(), "ask") and not schedule.hold(entry, "ask")
    schedule.approve("S-1", "digest", "bob", 500.0)
    assert (find().held, find().next_run, find().approved_by) == (None, 500.0, "bob")
    assert schedule.hold(find(), "deny") and schedule.claim(find(), "me", 900.0, 700.0)
    assert (find().misfires, find().held) == (0, None)


def test_what_did_not_run_after_all_is_due_again(both):
    entry = new(misfires=1, last_run=5.0)
    assert schedule.claim(entry, "me", 500.0, 135.0)
    schedule.give_back(entry, "me")
    assert find() == entry


def test_the_run_of_an_owner_that_is_gone_is_not_repeated(both):
    for number in (1, 2):
        assert schedule.claim(new(f"S-{number}"), f"owner-{number}", 500.0, 100.0)
    assert schedule.reclaim("owner-1") == 1 and schedule.due("hub", 105.0) == []
    assert (find().owner, find().last_exit_code, find().next_run) == (None, -1, 110.0) and find("S-2").owner == "owner-2"
    # Another process of which nobody has heard: its time is over.
    assert [each.id for each in schedule.due("hub", 501.0)] == ["S-1", "S-2"]


def test_a_run_of_what_was_deleted_ends_quietly(both):
    assert schedule.claim(new(), "me", 500.0, 100.0)
    schedule.delete("hub", "S-1")
    schedule.finish("S-1", "me", 0, "run", 105.0)
    assert schedule.everything("hub") == []


def test_there_are_not_too_many(data, monkeypatch):
    with database.writing():
        database.change_many("INSERT INTO scheduled_tasks (id, scope, command, interval_seconds, next_run, enabled, created_by, "
                             "created_at, misfires) VALUES (?, 'hub', 'x', 1, 1, 1, 'ann', 1, 0)",
                             [(f"X-{number}",) for number in range(schedule.ENTRIES)])
    with pytest.raises(Conflict) as raised:
        new()
    assert raised.value.code == "too_many_schedules"
    new(scope="place")


@pytest.mark.parametrize(("due", "interval_s", "now", "number"), [(100.0, 10, 99.0, 0), (100.0, 10, 109.9, 0), (100.0, 10, 110.0, 1),
                                                                  (100.0, 1, 1e9, 999_999_900)])
def test_how_many_times_have_passed(due, interval_s, now, number):
    assert missed(due, interval_s, now) == number


def test_an_approval_is_bound_to_all_that_was_shown():
    verdict = Verdict("ask", ("it writes",))
    bound = approval("rm x", "/a", "S-1", "here", verdict)
    others = [approval("rm y", "/a", "S-1", "here", verdict), approval("rm x", "/b", "S-1", "here", verdict),
              approval("rm x", "/a", "S-2", "here", verdict), approval("rm x", "/a", "S-1", "there", verdict),
              approval("rm x", "/a", "S-1", "here", Verdict("ask", ("a rule asks",))),
              approval("rm x", "/a", "S-1", "here", Verdict("allow", ("it writes",)))]
    assert approval("rm x", "/a", "S-1", "here", verdict) == bound and bound not in others and len(set(others)) == 6
