import pytest

from ananta.domain import tasks as rules
from ananta.domain.tasks import Step, Task


@pytest.mark.parametrize(("status", "board"), [
    ("to-do", "to-do"), ("todo", "to-do"), ("TODO", "to-do"), ("created", "to-do"), ("open", "to-do"),
    ("in_progress", "in-progress"), ("In-Progress", "in-progress"), ("assigned", "in-progress"),
    ("proposing", "in-progress"), ("completed", "done"), ("DONE", "done"), ("backlog", "backlog"),
    ("failed", "failed"), ("waiting_for_Anna", "waiting-for-anna"), (" done", " done"), ("", "")])
def test_statuses_are_compared_by_what_they_mean(status, board):
    assert rules.normalised(status) == board and rules.normalised(board) == board


@pytest.mark.parametrize(("status", "run_state", "bucket"), [
    ("done", "failed", "completed"), ("completed", "created", "completed"), ("to-do", "failed", "failed"),
    ("waiting", "failed", "failed"), ("in_progress", "executing", "in_progress"), ("todo", "assigned", "todo"),
    ("backlog", "created", "backlog"), ("waiting", "completed", None), ("failed", "created", None)])
def test_a_task_counts_in_one_bucket_at_most(status, run_state, bucket):
    assert rules.bucket(status, run_state) == bucket


def test_counts_add_up():
    assert rules.counted([("todo", "created", 2), ("to-do", "created", 1), ("to-do", "failed", 4), ("x", "created", 8)]) == {
        "total": 15, "completed": 0, "failed": 4, "todo": 3, "in_progress": 0, "backlog": 0,
        "by_status": {"todo": 2, "to-do": 5, "x": 8}}
    assert rules.counted([])["by_status"] == {}


def test_states_follow_what_happens():
    task = Task("T-1", status="backlog")
    given = rules.assigned(task, "http://a", b"sealed")
    assert (given.status, given.run_state, given.assigned_agent_url) == ("backlog", "assigned", "http://a")
    shown = rules.proposed(given, {"reason": "r"})
    assert (shown.status, shown.run_state, shown.last_proposal) == ("in-progress", "proposing", {"reason": "r"})
    runs = rules.executing(shown)
    assert (runs.status, runs.run_state) == ("in-progress", "executing")
    done = rules.executed(rules.executing(Task("T-1", status="done")), Step(output="o", exit_code=0))
    assert (done.status, done.run_state, done.last_output, done.last_exit_code, done.steps) == (
        "in-progress", "completed", "o", 0, 1)
    assert rules.executed(runs, Step(exit_code=-1)).run_state == "failed"
    assert rules.executed(runs, Step(exit_code=None)).run_state == "failed"
    free = rules.unassigned(done if done.assigned_agent_url else rules.assigned(done, "http://a", b"x"))
    assert (free.assigned_agent_url, free.assigned_agent_token, free.run_state) == (None, None, "created")
    assert rules.unassigned(done) is done


def test_a_task_knows_whether_its_change_was_one():
    before = Task("T-1", updated_at=1.0)
    assert before.changed and not before.moved
    assert not Task("T-1", updated_at=1.0, was=before).changed
    titled, moved = Task("T-1", title="t", updated_at=2.0, was=before), Task("T-1", run_state="failed", updated_at=2.0, was=before)
    assert titled.changed and not titled.moved and moved.changed and moved.moved


def test_nothing_that_is_shown_holds_a_token():
    task = Task("T-1", assigned_agent_url="http://a", assigned_agent_token=b"tok-a", callback_url="http://c",
                callback_token=b"tok-c", last_output="o", last_exit_code=1)
    shown = rules.document(task)
    assert shown["assignment"] == {"agent_url": "http://a", "has_token": True} and "history" not in shown
    assert list(shown)[-1] == "last_output" and "data" not in shown
    for each in (shown, rules.callback_document(task), rules.event(task), task):
        assert "tok-" not in repr(each)
    assert rules.document(Task("T-1"))["assignment"] is None
    assert rules.callback_document(Task("T-1")) == {"id": "T-1", "status": "to-do", "parent_task_id": None}
    assert rules.callback_document(task)["last_output"] == "o"


@pytest.mark.parametrize("good", ["T-1", "a", "sub-1_2.3", "A" * 64, "..a", "archived2"])
def test_ids_a_client_may_give(good):
    assert rules.is_id(good)


@pytest.mark.parametrize("bad", ["", "A" * 65, "a b", "a/b", "ä", "a\n", "a\0", ".", "..", "archived", "٣"])
def test_ids_a_client_may_not_give(bad):
    assert not rules.is_id(bad)


@pytest.mark.parametrize("good", ["http://h", "https://h:8443/x?y=1&z", "http://[::1]:5000/tasks/T-1/subtask-callback"])
def test_addresses_of_callbacks(good):
    assert rules.is_callback(good)


@pytest.mark.parametrize("bad", [
    "", "ftp://h/", "file:///etc/passwd", "//h", "http://", "http:///x", "http://u:p@h/", "http://h/#f", "http://h:0/",
    "http://h:99999/", "http://h/\r\nX: y", "http://h/ y", "http://h\0/", "http://ä/", "HTTP//h", "http://h/" + "x" * 2000,
    "http://[::1/"])
def test_addresses_that_are_none(bad):
    assert not rules.is_callback(bad)


@pytest.mark.parametrize(("description", "title"), [
    (None, None), ("", None), (" \n\t\n", None), ("\n  look \nhere", "look"), ("x" * 100, "x" * 100),
    ("x" * 101, "x" * 99 + "…")])
def test_a_title_is_made_of_a_description(description, title):
    assert rules.title_from(description) == title


def test_lists_show_steps_cut():
    step = Step("p" * 600, "r" * 500, None, [{"name": "n", "args": {"a": "x" * 600}}], "o" * 501, 0, 1.0)
    shown = rules.short(step)
    assert shown["prompt"] == "p" * 499 + "…" and shown["reason"] == "r" * 500 and len(shown["output"]) == 500
    assert shown["tool_calls"] is None and shown["command"] is None and shown["exit_code"] == 0
    assert rules.short(Step(tool_calls=[{"name": "n", "args": {}}]))["tool_calls"] == [{"name": "n", "args": {}}]
