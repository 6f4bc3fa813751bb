"""The archive on SQLite and Postgres: nothing gets lost on the way there and back, also while something runs."""
import json

import pytest

from ananta.domain.tasks import Step
from ananta.errors import Conflict, NotFound
from ananta.store import archive, database, tasks
from tests.store.test_tasks import ids, in_threads, listed, new, shown, step

EVERYTHING = {"title": "t", "description": "d", "status": "done", "priority": "High", "tags": ("a", "ü"), "team_id": "team",
              "assigned_role_id": "role", "parent_task_id": "parent", "assigned_agent_url": "http://a",
              "assigned_agent_token": b"sealed", "last_proposal": {"reason": "r"}, "callback_url": "http://b",
              "callback_token": b"other", "subtasks": ({"id": "s"},)}


def archived(**options) -> list[dict]:
    return json.loads(b"".join(archive.listed(**{"limit": 100} | options)))


def test_a_task_comes_back_as_it_went(both):
    task = new("A", **EVERYTHING)
    for number in range(7):
        tasks.record("A", f"run-{number}", step(number), 2.0)
    before, whole, lists = tasks.find("A"), shown("A"), listed()
    assert archive.archive(task.id, 5.5).id == "A" and ids() == []
    assert archived() == [{**lists[0], "archived_at": 5.5}]
    with pytest.raises(NotFound):
        tasks.find("A")
    assert archive.known("A") and not archive.known("B")
    back = archive.restore("A", 9.0)
    assert back == tasks.find("A") and archived() == []
    assert {name for name, value in vars(back).items() if value != vars(before)[name]} == {"updated_at"}
    assert back.updated_at == 9.0 and shown("A") == {**whole, "updated_at": 9.0} and len(whole["history"]) == 7


def test_only_what_is_there_moves(both):
    new("A")
    for call in (lambda: archive.restore("A", 2.0), lambda: archive.archive("B", 2.0), lambda: archive.restore("\0\ud800", 2.0)):
        with pytest.raises(NotFound):
            call()
    archive.archive("A", 2.0)
    with pytest.raises(NotFound):
        archive.archive("A", 3.0)
    assert [each["archived_at"] for each in archived()] == [2.0]


@pytest.mark.parametrize(("status", "becomes"), [("archived", "to-do"), ("Archived", "to-do"), ("done", "done"), ("own", "own")])
def test_a_status_of_the_archive_is_none_of_the_board(data, status, becomes):
    new("A", status=status)
    archive.archive("A", 2.0)
    assert archive.restore("A", 3.0).status == becomes and ids(tasks.Wanted(status=becomes)) == ["A"]


def test_an_id_that_is_in_use_again_is_not_taken_back(both):
    new("A", title="old")
    archive.archive("A", 2.0)
    with database.writing():
        tasks.insert(tasks.Task("A", title="new"))
    with pytest.raises(Conflict):
        archive.restore("A", 3.0)
    assert tasks.find("A").title == "new" and archived()[0]["title"] == "old"


def test_what_runs_meanwhile_is_added_to_the_archived_task(both):
    new("A", assigned_agent_url="http://a", assigned_agent_token=b"old")
    tasks.begin("A", 2.0)
    archive.archive("A", 3.0)
    tasks.set_run_state("A", "assigned", 4.0)
    assert archived()[0]["run_state"] == "assigned"
    tasks.record("A", "run", step(1, output="late"), 5.0)
    tasks.record("A", "run", step(1, output="late"), 5.0)
    tasks.set_proposal("A", {"reason": "late"}, 6.0)
    assert tasks.set_tokens_for_url("http://a", b"new") == 1 == tasks.set_tokens_for_url("http://a", b"newer")
    for refused in (lambda: tasks.change("A", lambda task: task, 7.0), lambda: tasks.assign("A", "http://b", None, 7.0)):
        with pytest.raises(NotFound):
            refused()
    back = archive.restore("A", 8.0)
    assert (back.last_output, back.steps, back.last_proposal, back.assigned_agent_token) == ("late", 1, {"reason": "late"}, b"newer")
    assert [each.output for each in tasks.history("A")] == ["late"]


def test_it_is_listed_in_pages_last_archived_first(both):
    for number in range(5):
        new(f"A{number}")
        archive.archive(f"A{number}", float(number))
    assert [each["id"] for each in archived(limit=2, offset=1)] == ["A3", "A2"]
    assert archived(limit=3, offset=9) == []


def test_what_has_long_been_done_is_archived(both):
    for name, status, updated in (("a", "done", 1.0), ("b", "Completed", 2.0), ("c", "done", 50.0), ("d", "to-do", 1.0),
                                  ("e", "failed", 1.0)):
        new(name, status=status, now=updated)
    new("f", status="in-progress", run_state="completed")
    assert [archive.archive_done(10.0, 99.0), archive.archive_done(10.0, 99.0)] == [2, 0]
    assert sorted(each["id"] for each in archived()) == ["a", "b"] and sorted(ids()) == ["c", "d", "e", "f"]


def test_many_are_archived_and_deleted_in_batches(data):
    for number in range(archive.BATCH + 5):
        new(f"A{number}", status="done")
    assert [archive.archive_done(10.0, 20.0) for _ in range(3)] == [archive.BATCH, 5, 0]
    assert [archive.delete_old(21.0) for _ in range(3)] == [archive.BATCH, 5, 0] and archived() == []


def test_old_archived_tasks_are_deleted_with_their_steps(both):
    for name, at in (("old", 5.0), ("young", 15.0)):
        new(name)
        tasks.record(name, f"run-{name}", Step(output=name), 2.0)
        archive.archive(name, at)
    assert archive.delete_old(10.0) == 1 and [each["id"] for each in archived()] == ["young"]
    assert tasks.history("old") == [] and [each.output for each in tasks.history("young")] == ["young"]
    assert new("old").id == "old"


def test_two_that_archive_and_restore_at_once(both):
    new("A")

    def there_and_back(number):
        for _ in range(20):
            for move in (archive.archive, archive.restore):
                try:
                    move("A", 5.0)
                except NotFound:
                    continue
            tasks.record("A", f"{number}-{_}", step(), 3.0)

    in_threads(3, there_and_back)
    assert len(ids()) + len(archived()) == 1 and len(tasks.history("A")) == 60
    if archived():
        archive.restore("A", 9.0)
    assert tasks.find("A").steps == 60


def test_its_questions_have_an_index(data):
    for question in (
            "SELECT 1 FROM archived_tasks ORDER BY archived_at DESC, id DESC LIMIT 5",
            "SELECT id FROM archived_tasks WHERE archived_at < 5 ORDER BY archived_at LIMIT 5",
            "SELECT id FROM tasks WHERE board = 'done' AND updated_at < 5 ORDER BY updated_at LIMIT 5",
            "DELETE FROM delegations WHERE task_id IN ('x')",
            "UPDATE archived_tasks SET assigned_agent_token = x'' WHERE assigned_agent_url = 'x'"):
        assert "INDEX" in database.rows(f"EXPLAIN QUERY PLAN {question}")[0][-1], question
