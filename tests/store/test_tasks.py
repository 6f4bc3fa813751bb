"""Tasks on SQLite and Postgres: what is kept, what is served, and that nothing gets lost when many change it."""
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from ananta.domain.tasks import Step, Task, Wanted
from ananta.domain.templates import Template
from ananta.errors import Conflict, NotFound
from ananta.store import archive as stored_archive
from ananta.store import database, tasks, templates

WAIT_S = 60


def new(task_id="", now=1.0, **fields) -> Task:
    return tasks.create(Task(task_id, **{"title": "a task", "created_at": now, "updated_at": now} | fields))


def step(number=0, **fields) -> Step:
    return Step(**{"prompt": "p", "reason": "r", "command": f"echo {number}", "output": str(number), "exit_code": 0,
                   "timestamp": float(number)} | fields)


def shown(task_id) -> dict:
    return json.loads(b"".join(tasks.served(task_id)))


def listed(wanted=Wanted(), **options) -> list[dict]:
    return json.loads(b"".join(tasks.listed(wanted, **options)))


def ids(wanted=Wanted(), **options) -> list[str]:
    return [each["id"] for each in listed(wanted, **options)]


def archive(task_id):
    stored_archive.archive(task_id, 5.0)


def in_threads(number, work):
    """Calls work(0) … work(number - 1) at once; raises what one of them raised."""
    failures, ready = [], threading.Barrier(number)

    def one(each):
        try:
            ready.wait(WAIT_S)
            work(each)
        except BaseException as failure:
            failures.append(failure)
        finally:
            database.close_mine()

    threads = [threading.Thread(target=one, args=(each,)) for each in range(number)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_S)
    if failures:
        raise failures[0]


# --- making


def test_ids_count_up_from_the_first_and_skip_what_is_taken(both):
    assert [new().id for _ in range(3)] == ["T-123456", "T-123457", "T-123458"]
    new("T-123459")
    archived = new("T-123460")
    archive(archived.id)
    assert [new().id, new().id] == ["T-123461", "T-123462"]
    assert sorted(ids()) == ["T-123456", "T-123457", "T-123458", "T-123459", "T-123461", "T-123462"]


def test_an_id_is_taken_once_also_by_an_archived_task(both):
    first = new("mine", title="first")
    for _ in range(2):
        with pytest.raises(Conflict) as raised:
            new("mine", title="second")
        assert raised.value.code == "conflict"
        if tasks.exists("mine"):
            assert tasks.find("mine") == first
            archive("mine")
    assert not tasks.exists("mine") and ids() == []


def test_a_refused_task_uses_up_no_number(both):
    with pytest.raises(NotFound) as raised:
        new(template_id="none")
    assert raised.value.code == "template_not_found" and raised.value.extras == {"template_id": "none"}
    assert new().id == "T-123456"


def test_everything_of_a_task_is_kept(both):
    templates.add(Template("t-1", "n", "p"))
    task = new("all", title="ü \U0001f600 \"'\\ \u2028", description="d\n{}", status="My_Status", priority="High",
               template_id="t-1", tags=("a", "ß"), team_id="team", assigned_role_id="role", parent_task_id="parent",
               assigned_agent_url="http://a", assigned_agent_token=b"\0\xff'tok", subtasks=({"id": "s", "last_output": "x"},),
               callback_url="http://c", callback_token=b"\1tok", last_proposal={"reason": "r", "command": None})
    assert tasks.find("all") == task and tasks.find("all").assigned_agent_token == b"\0\xff'tok"
    document = shown("all")
    assert document == listed()[0] == json.loads(b"".join(tasks.answer(task)))
    assert document["tags"] == ["a", "ß"] and document["history"] == [] and document["title"] == task.title
    assert document["assignment"] == {"agent_url": "http://a", "has_token": True}
    assert "tok" not in json.dumps(document).replace("has_token", "")


@pytest.mark.parametrize("task_id", ["none", "", "a\0b", "\ud800", "x" * 10_000, "' OR 1=1 --", "archived"])
def test_what_is_not_there_is_not_found(both, task_id):
    for ask in (tasks.find, tasks.served, lambda each: tasks.change(each, lambda task: task, 1.0),
                lambda each: tasks.record(each, "r", step(), 1.0)):
        with pytest.raises(NotFound) as raised:
            ask(task_id)
        assert raised.value.code == "not_found" and len(raised.value.message) < 300
    assert not tasks.exists(task_id) and tasks.history(task_id) == []
    assert database.rows("SELECT count(*) FROM task_history") == [(0,)]


def test_an_archived_task_with_steps_is_not_found(both):
    new("old")
    tasks.record("old", "run-1", step(), 2.0)
    archive("old")
    with pytest.raises(NotFound):
        tasks.served("old")
    assert [each.output for each in tasks.history("old")] == ["0"]


# --- changing


def test_updated_at_grows_also_when_the_clock_does_not(both):
    new("one", now=100.0)
    seen = [100.0]
    for number, now in enumerate((100.0, 50.0, 100.0, 200.0, 200.0)):
        task = tasks.change("one", lambda task, number=number: replace(task, title=f"t{number}"), now)
        assert task == tasks.find("one") and shown("one")["updated_at"] == task.updated_at
        seen.append(task.updated_at)
    assert seen == sorted(set(seen)) and seen[4] == 200.0


def test_what_changes_nothing_is_no_change(both):
    task = new("one", title="same")
    again = tasks.change("one", lambda task: replace(task, title="same"), 50.0)
    assert again == task and not again.changed and tasks.find("one").updated_at == 1.0
    assert tasks.unassign("one", 60.0).changed is False


def test_changes_of_different_fields_at_once_all_count(both):
    new("one")
    names = ("title", "description", "status", "priority", "team_id", "assigned_role_id", "parent_task_id", "callback_url")
    in_threads(len(names), lambda number: tasks.change("one", lambda task: replace(task, **{names[number]: f"v{number}"}), 2.0))
    task = tasks.find("one")
    assert [getattr(task, name) for name in names] == [f"v{number}" for number in range(len(names))]
    assert shown("one")["priority"] == "v3" and ids(Wanted(status="v2")) == ["one"]


def test_an_edit_that_fails_changes_nothing(both):
    before = new("one")

    def failing(task):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        tasks.change("one", failing, 2.0)
    with pytest.raises(NotFound):
        tasks.change("one", lambda task: replace(task, title="x", template_id="none"), 2.0, template_id="none")
    assert tasks.find("one") == before


def test_assignments_come_and_go(both):
    new("one", status="backlog")
    task = tasks.assign("one", "http://a", b"sealed", 2.0)
    assert (task.run_state, task.status, task.assigned_agent_token) == ("assigned", "backlog", b"sealed")
    assert shown("one")["assignment"] == {"agent_url": "http://a", "has_token": True}
    assert tasks.assign("one", "http://b", None, 3.0).assigned_agent_token is None
    assert shown("one")["assignment"] == {"agent_url": "http://b", "has_token": False}
    task = tasks.unassign("one", 4.0)
    assert (task.run_state, shown("one")["assignment"], task.was.assigned_agent_url) == ("created", None, "http://b")


def test_a_new_token_of_an_agent_reaches_the_assignments_that_had_one(both):
    for name, url, token in (("a", "http://a", b"old"), ("b", "http://a", None), ("c", "http://c", b"old")):
        new(name)
        tasks.assign(name, url, token, 2.0)
    before = [shown(name) for name in "abc"]
    assert tasks.set_tokens_for_url("http://a", b"new") == 1
    assert [tasks.find(name).assigned_agent_token for name in "abc"] == [b"new", None, b"old"]
    assert [shown(name) for name in "abc"] == before


# --- steps


def test_a_step_is_recorded_once(both):
    new("one", status="done")
    tasks.set_proposal("one", {"reason": "why", "command": "ls", "tool_calls": [{"name": "n", "args": {"x": 2**70}}]}, 2.0)
    assert tasks.find("one").last_proposal["tool_calls"][0]["args"] == {"x": 2**70}
    assert tasks.begin("one", 3.0).run_state == "executing"
    task = tasks.record("one", "run-1", step(7), 4.0)
    assert (task.run_state, task.status, task.last_output, task.last_exit_code, task.steps, task.moved) == (
        "completed", "in-progress", "7", 0, 1, True)
    again = tasks.record("one", "run-1", step(8, exit_code=1), 5.0)
    assert again == tasks.find("one") == task and not again.changed and not again.moved
    assert tasks.history("one") == [step(7)] and shown("one")["history"][0]["output"] == "7"
    assert tasks.record("one", "run-2", step(9, exit_code=2), 6.0).run_state == "failed"
    assert tasks.last_steps("one", 1) == [step(9, exit_code=2)] and tasks.last_steps("one", 0) == []
    assert [each["command"] for each in listed()[0]["history"]] == ["echo 7", "echo 9"]


def test_steps_at_once_are_all_kept(both):
    new("one")
    in_threads(16, lambda number: [tasks.record("one", f"run-{number}-{each}", step(number), 2.0) for each in range(3)])
    assert tasks.find("one").steps == 48 == len(tasks.history("one")) == len(shown("one")["history"])
    order = [each["command"] for each in shown("one")["history"]]
    assert order == [each.command for each in tasks.history("one")]
    assert [each["command"] for each in listed()[0]["history"]] == order[-5:]


def test_a_list_shows_little_of_much_and_a_task_shows_it_all(both):
    new("one")
    long = "ü\0" + "x" * 30_000 + '","last_output":"' + "\N{SNOWMAN}" * 100
    for number in range(7):
        tasks.record("one", f"run-{number}", step(number, output=long), 2.0)
    kept = long.replace("\0", "\N{REPLACEMENT CHARACTER}")
    task, line = shown("one"), listed()[0]
    assert task["last_output"] == kept and [each["output"] for each in task["history"]] == [kept] * 7
    assert json.loads(b"".join(tasks.answer(tasks.find("one")))) == task
    assert line["last_output"] == kept[:499] + "…" and len(line["history"]) == 5
    assert [len(each["output"]) for each in line["history"]] == [500] * 5
    assert {**line, "history": 0, "last_output": 0} == {**task, "history": 0, "last_output": 0}


def test_texts_of_steps_are_cut_and_cleaned(both):
    new("one")
    tasks.record("one", "run-1", step(prompt="\ud800", command="c" * 200_000, output="o" * 200_000, exit_code=-1,
                                      tool_calls=[{"name": "\udfff", "args": {"\ud800": ["\ud801"]}}]), 2.0)
    tasks.set_proposal("one", {"reason": "\ud800"}, 3.0)
    kept = tasks.history("one")[0]
    assert kept.prompt == "?" and len(kept.output) <= 65_536 and len(kept.command) <= 65_536 and "bytes cut" in kept.output
    assert kept.tool_calls == [{"name": "?", "args": {"?": ["?"]}}]
    assert shown("one")["last_proposal"] == {"reason": "?"} and listed()[0]["history"][0]["prompt"] == "?"


@pytest.mark.parametrize("steps", [tasks.STEPS_CHUNK - 1, tasks.STEPS_CHUNK, tasks.STEPS_CHUNK + 1, 3 * tasks.STEPS_CHUNK])
def test_a_long_history_comes_in_pieces_and_whole(both, steps):
    new("one")
    new("other")
    with database.writing():
        for number in range(steps):
            tasks.record("one", f"run-{number}", step(number), 2.0)
            tasks.record("other", f"other-{number}", step(-1), 2.0)
    for pieces in (list(tasks.served("one")), list(tasks.answer(tasks.find("one")))):
        assert [each["timestamp"] for each in json.loads(b"".join(pieces))["history"]] == list(map(float, range(steps)))
        assert len(pieces) == 2 + max(0, (steps - 1) // tasks.STEPS_CHUNK)


# --- lists


@pytest.fixture
def many(both):
    """Nine tasks in every state, updated in the order of their numbers."""
    states = (("to-do", None), ("todo", None), ("backlog", None), ("in_progress", None), ("done", None), ("completed", 1),
              ("in-progress", 1), ("to-do", 0), ("odd", None))
    for number, (status, _) in enumerate(states):
        new(f"t{number}", now=float(number), status=status, team_id=f"team-{number % 2}")
    for number, (status, exit_code) in enumerate(states):
        if exit_code is not None:
            tasks.record(f"t{number}", f"run-{number}", step(exit_code=exit_code), float(number))
            tasks.change(f"t{number}", lambda task, status=status: replace(task, status=status), float(number))
    tasks.assign("t0", "http://a", None, 20.0)
    tasks.assign("t3", "http://a", None, 10.0)


@pytest.mark.parametrize(("wanted", "found"), [
    (Wanted(), "t0 t3 t8 t7 t6 t5 t4 t2 t1"), (Wanted(status="todo"), "t0 t7 t1"), (Wanted(status="TO_DO"), "t0 t7 t1"),
    (Wanted(status="in-progress"), "t3 t6"), (Wanted(status="assigned"), "t3 t6"), (Wanted(status="completed"), "t5 t4"),
    (Wanted(status="done"), "t5 t4"), (Wanted(status="failed"), "t6"), (Wanted(status="backlog"), "t2"),
    (Wanted(status="ODD"), "t8"), (Wanted(status="none"), ""), (Wanted(agent="http://a"), "t0 t3"),
    (Wanted(agent="http://none"), ""), (Wanted(team_id="team-1"), "t3 t7 t5 t1"),
    (Wanted(since=6.0), "t8 t7 t6"), (Wanted(until=1.0), "t0 t1"), (Wanted(since=3.0, until=4.0), "t3 t4"),
    (Wanted(since=1e300), ""), (Wanted(status="todo", team_id="team-1", agent="http://a"), ""),
    (Wanted(status="todo", team_id="team-0", agent="http://a", since=0.0, until=0.0), "t0"),
    (Wanted(status="x' OR '1'='1"), ""), (Wanted(agent="\ud800\0"), "")])
def test_lists_have_what_is_wanted_newest_change_first(many, wanted, found):
    assert ids(wanted) == found.split() and ids(wanted, limit=100) == found.split()


def test_parts_of_a_list(many):
    whole = ids()
    for limit, offset in ((1, 0), (3, 2), (9, 0), (9, 8), (2, 9), (10**18, 10**18), (10**18, 3)):
        assert ids(limit=limit, offset=offset) == whole[offset:offset + limit]
    assert ids(offset=4) == whole[4:] and b"".join(tasks.listed(Wanted(status="none"))) == b"[]"


def test_counts_are_those_of_the_lists(many):
    counts = tasks.counts()
    assert counts == {"total": 9, "completed": 2, "failed": 1, "todo": 3, "in_progress": 1, "backlog": 1, "by_status": {
        "to-do": 2, "todo": 1, "backlog": 1, "in-progress": 2, "done": 1, "completed": 1, "odd": 1}}
    assert len(ids(Wanted(status="failed"))) == counts["failed"] and len(ids(Wanted(status="completed"))) == counts["completed"]


def test_a_long_list_has_every_task_once_while_they_change(both):
    number = 2 * tasks.CHUNK + 7
    with database.writing():
        for each in range(number):
            new(f"t{each:04}", now=float(each))
    pieces = tasks.listed(Wanted())
    first = next(pieces)
    # What comes last would have moved to the front, what was first is elsewhere, and one is gone.
    for now, each in enumerate(("t0000", f"t{number - 1:04}", "t0003")):
        tasks.change(each, lambda task: replace(task, title="moved"), 1e6 + now)
    archive("t0001")
    new("later", now=1e7)
    found = json.loads(first + b"".join(pieces))
    assert [each["id"] for each in found] == [f"t{each:04}" for each in reversed(range(number)) if each != 1]
    assert found[-1]["title"] == "moved"
    assert ids()[:3] == ["later", "t0003", f"t{number - 1:04}"]


def test_of_the_same_moment_the_higher_id_is_first(both):
    for each in "bca":
        new(each, now=5.0)
    assert ids() == ["c", "b", "a"]


QUESTIONS = [Wanted(), Wanted(status="todo"), Wanted(status="failed"), Wanted(agent="http://a"), Wanted(team_id="t"),
             Wanted(since=1.0), Wanted(until=2.0), Wanted(since=1.0, until=2.0), Wanted(status="todo", team_id="t"),
             Wanted(status="failed", agent="http://a", since=1.0)]


def plan(sql, *values) -> str:
    return "\n".join(row[3] for row in database.rows(f"EXPLAIN QUERY PLAN {sql}", *values))


@pytest.mark.parametrize("wanted", QUESTIONS)
def test_every_list_has_an_index(data, wanted):
    where, values = tasks._where(wanted)
    found = plan(f"SELECT {tasks.LISTED} FROM tasks {where} {tasks._NEWEST} LIMIT ? OFFSET ?", *values, 100, 0)
    assert re.fullmatch(r"(SCAN|SEARCH) tasks USING (COVERING )?INDEX \S+.*(\nUSE TEMP B-TREE.*)?", found), found
    if wanted.since is None and wanted.until is None:
        assert "TEMP B-TREE" not in found, found


def test_every_other_question_has_an_index(data):
    served = plan(tasks._SERVED, "x", "x", 10)
    assert "SCAN" not in served and "SEARCH tasks" in served and "SEARCH task_history" in served
    for sql, values in ((tasks._STEPS, ("x", 0, 1)), (f"{tasks._SELECT} tasks WHERE template_id = ?", ("x",)),
                        (f"{tasks._SELECT} archived_tasks WHERE template_id = ?", ("x",)),
                        ("UPDATE tasks SET assigned_agent_token = ? WHERE assigned_agent_url = ?", (b"", "x"))):
        assert "SEARCH" in plan(sql, *values), sql
    counting = plan("SELECT status, run_state, count(*) FROM tasks GROUP BY status, run_state")
    assert "USING COVERING INDEX" in counting


# --- many at once


def test_many_threads_write(both):
    made = [new("shared")]

    def work(number):
        task = new(title=f"of {number}")
        made.append(task)
        for each in range(3):
            tasks.change(task.id, lambda task, each=each: replace(task, title=f"{number}-{each}"), 2.0)
            tasks.change("shared", lambda task, each=each: replace(task, tags=(*task.tags, f"{number}-{each}")), 2.0)
            tasks.record(task.id, f"{number}-{each}", step(number), 2.0)

    in_threads(64, work)
    assert sorted(task.id for task in made[1:]) == [f"T-{number}" for number in range(123456, 123456 + 64)]
    assert sorted(tasks.find("shared").tags) == sorted(f"{number}-{each}" for number in range(64) for each in range(3))
    for task in made[1:]:
        now = shown(task.id)
        assert now["title"].endswith("-2") and len(now["history"]) == 3
    assert len(ids()) == 65 and tasks.counts()["total"] == 65


PROGRAM = """
import os, sys, threading
from pathlib import Path
from ananta.domain.tasks import Task
from ananta.store import database, tasks
data = Path(sys.argv[1])
database.open(sys.argv[2] or data / "ananta.db", local_path=data / "other.db")
def work():
    for _ in range(25):
        os.write(1, (tasks.create(Task("", title="x", created_at=1.0, updated_at=1.0)).id + "\\n").encode())
    database.close_mine()
print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
database.close()
"""


def test_processes_that_create_at_once_get_different_ids(both, database_url):
    processes = [subprocess.Popen([sys.executable, "-W", "error", "-c", PROGRAM, str(both), database_url or ""], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for each in processes:
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        each.stdin.write("go\n")
        each.stdin.flush()
    made = [line for each in processes for line in each.communicate(timeout=WAIT_S)[0].split()]
    assert [each.returncode for each in processes] == [0, 0]
    assert sorted(made) == [f"T-{number}" for number in range(123456, 123456 + 200)] and len(ids()) == 200


def test_a_template_that_goes_while_tasks_take_it_leaves_no_reference(both):
    for number in range(10):
        templates.add(Template(f"t{number}", "n", "p"))
    new("shared")

    def work(each):
        for number in range(10):
            try:
                if each == 0:
                    templates.delete(f"t{number}", 3.0)
                elif each % 2:
                    new(template_id=f"t{number}")
                else:
                    tasks.change("shared", lambda task, number=number: replace(task, template_id=f"t{number}"), 2.0,
                                 template_id=f"t{number}")
            except NotFound as missing:
                assert missing.code == "template_not_found"

    in_threads(6, work)
    assert templates.all_by_name() == [] and {each["template_id"] for each in listed()} == {None}
    assert database.rows("SELECT count(*) FROM tasks WHERE template_id IS NOT NULL") == [(0,)]
