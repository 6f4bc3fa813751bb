"""Teams, types, roles and links in both databases; who refers to them, and what is left when they go."""
import subprocess
import sys
import threading

import msgspec
import pytest

from ananta.domain import standard_teams
from ananta.domain.tasks import Task
from ananta.domain.teams import LinkedRole, Member, NewMember, Role, Surroundings, Team
from ananta.domain.templates import Template
from ananta.errors import Conflict, InvalidInput, NotFound
from ananta.hub.teams import Teams
from ananta.store import database, roles, tasks, team_types, teams, templates
from tests.conftest import ROOT, WAIT_S
from tests.store.test_tasks import archive

NOBODY = ("none", "a\0", "\ud800", "' OR 1=1", "")


def team(team_id, name="n", **fields) -> Team:
    given = {"description": None, "team_type_id": None, "is_active": False, "role_templates": {}, "members": ()} | fields
    return Team(team_id, name, **given)


def member(member_id, team_id, url="http://a", role_id=None, template_id=None) -> Member:
    return Member(member_id, team_id, url, role_id, template_id)


def some_roles(*names) -> None:
    for number, name in enumerate(names):
        roles.add(Role(name, name.title(), None, None), float(number))


# --- as they are kept


def test_a_team_is_kept_as_it_is(both):
    made = team("t", "Nämé ?%s", description="d\n", team_type_id="k", role_templates={"r": "p", "q": "p"},
                members=(member("m2", "t", "http://z/", "r", "p"), member("m1", "t"), member("m3", "t", "http://a", "q")))
    teams.save(made)
    other = team("u", "alpha", members=(member("m4", "u"),))
    teams.save(other)
    assert teams.find("t") == made and teams.everyone() == [other, made]
    changed = team("t", "new", members=(member("m1", "t"), member("m5", "t", "http://b")))
    teams.save(changed, made)
    assert teams.find("t") == changed and teams.find("u") == other
    assert database.rows("SELECT count(*) FROM team_members") == [(3,)]
    assert database.rows("SELECT count(*) FROM team_role_templates") == [(0,)]


def test_one_team_at_most_is_active(both):
    for each in "abc":
        teams.save(team(each, each, is_active=True))
    assert [each.is_active for each in teams.everyone()] == [False, False, True]
    teams.activate("a")
    teams.activate("a")
    assert [each.is_active for each in teams.everyone()] == [True, False, False]
    with pytest.raises(NotFound):
        teams.activate("none")
    assert [each.is_active for each in teams.everyone()] == [True, False, False]
    teams.save(team("a", "a"), teams.find("a"))
    assert not any(each.is_active for each in teams.everyone())
    with pytest.raises(database.IntegrityFailed), database.writing():
        database.change("UPDATE teams SET is_active = 1")


def test_types_and_roles_are_kept_as_they_are(both):
    some_roles("b", "a")
    team_types.add("k", "Kind", "d")
    with pytest.raises(Conflict):
        team_types.add("l", "Kind", None)
    team_types.link("k", "b", None)
    team_types.link("k", "a", "p")
    team_types.link("k", "a", None)
    found = team_types.find("k")
    assert (found.name, found.description, found.role_ids, found.role_templates) == (
        "Kind", "d", ("a", "b"), {"a": "p", "b": None})
    assert team_types.everyone() == [found] == [team_types.named("Kind")] and team_types.named("kind") is None
    assert team_types.roles("k") == [LinkedRole("a", "A", None, None, "p"), LinkedRole("b", "B", None, None, None)]
    team_types.link("k", "a", "q")
    assert team_types.find("k").role_templates["a"] == "q"
    team_types.set_template("k", "a", None)
    team_types.unlink("k", "b")
    assert team_types.find("k").role_templates == {"a": None}
    for refused in (lambda: team_types.set_template("k", "b", None), lambda: team_types.unlink("k", "b"),
                    lambda: team_types.unlink("l", "a")):
        with pytest.raises(NotFound) as raised:
            refused()
        assert raised.value.code == "not_found"


def test_of_several_roles_with_one_name_the_oldest_is_meant(both):
    for number, role_id in enumerate(("z", "a", "m")):
        roles.add(Role(role_id, "Same", None, None), 10.0 + number)
    assert roles.named("Same").id == "z" and roles.named("same") is None
    assert [each.id for each in roles.everyone()] == ["a", "m", "z"]
    for number, template_id in enumerate(("z", "a")):
        templates.add(Template(template_id, "Same", "p", created_at=10.0 + number))
    assert templates.named("Same").id == "z" and templates.named("other") is None


@pytest.mark.parametrize("nobody", NOBODY)
def test_what_is_not_there_is_not_found(both, nobody):
    cases = [(teams.find, "not_found"), (teams.activate, "not_found"), (lambda each: teams.delete(each, 1.0), "not_found"),
             (roles.find, "role_not_found"), (lambda each: roles.delete(each, 1.0), "role_not_found"),
             (team_types.find, "team_type_not_found"), (team_types.delete, "team_type_not_found"),
             (team_types.roles, "team_type_not_found")]
    for ask, code in cases:
        with pytest.raises(NotFound) as raised:
            ask(nobody)
        assert raised.value.code == code
        msgspec.json.encode(raised.value.extras)


# --- what is left when something goes


@pytest.fixture
def linked(both):
    """A team `t` and another `u`, roles `r` and `s`, a type `k`, templates `gone` and `stays`, and tasks with all these."""
    for name in ("gone", "stays"):
        templates.add(Template(name, name, "p"))
    roles.add(Role("r", "R", None, "gone"), 1.0)
    roles.add(Role("s", "S", None, "stays"), 1.0)
    team_types.add("k", "K", None)
    team_types.link("k", "r", "gone")
    team_types.link("k", "s", "stays")
    teams.save(team("t", team_type_id="k", role_templates={"r": "gone", "s": "gone"},
                    members=(member("m1", "t", "http://a", "r", "gone"), member("m2", "t", "http://b", "s", "stays"))))
    teams.save(team("u", team_type_id="k", role_templates={"r": "stays"}, members=(member("m3", "u", "http://a", "r", "gone"),)))
    for task_id, team_id, role_id, template_id in (("a", "t", "r", "gone"), ("b", "u", "s", "stays"), ("c", "t", None, None),
                                                   ("d", None, "r", None), ("old", "t", "r", "gone")):
        tasks.create(Task(task_id, f'"team_id":"{team_id}",', team_id=team_id, assigned_role_id=role_id,
                          template_id=template_id, created_at=1.0, updated_at=1.0))
    archive("old")


def shown(task_id) -> dict:
    return msgspec.json.decode(b"".join(tasks.served(task_id)))


def archived() -> tuple[Task, dict]:
    """The archived task by its columns, and as it is shown."""
    (row,) = database.rows(f"{tasks._SELECT} archived_tasks")
    return tasks._task(row), msgspec.json.decode(database.rows("SELECT document || '}' FROM archived_tasks")[0][0])


def test_with_a_team_go_its_members_and_its_tasks_stay(linked):
    before = {each: shown(each) for each in "abcd"}
    teams.delete("t", 5.0)
    assert [each.id for each in teams.everyone()] == ["u"]
    assert database.rows("SELECT id FROM team_members") == [("m3",)]
    assert database.rows("SELECT DISTINCT team_id FROM team_role_templates") == [("u",)]
    assert [tasks.find(each).team_id for each in "abcd"] == [None, "u", None, None]
    for each in "ac":
        assert shown(each) == {**before[each], "team_id": None, "updated_at": 5.0}
    for each in "bd":
        assert shown(each) == before[each]
    row, document = archived()
    assert row.team_id is None and document["team_id"] is None and document["assigned_role_id"] == row.assigned_role_id == "r"
    assert row.updated_at == document["updated_at"] == 5.0


def test_with_a_role_go_all_references_to_it(linked):
    before = {each: shown(each) for each in "abcd"}
    roles.delete("r", 0.5)
    assert [each.id for each in roles.everyone()] == ["s"] and team_types.find("k").role_ids == ("s",)
    assert [[each.role_id for each in found.members] for found in teams.everyone()] == [[None, "s"], [None]]
    assert teams.find("t").role_templates == {"s": "gone"} and teams.find("u").role_templates == {}
    assert [tasks.find(each).assigned_role_id for each in "abcd"] == [None, "s", None, None]
    at = shown("a")["updated_at"]
    assert at > 1.0 and shown("a") == {**before["a"], "assigned_role_id": None, "updated_at": at}
    assert shown("b") == before["b"] and shown("c") == before["c"]
    assert archived()[1]["assigned_role_id"] is archived()[0].assigned_role_id is None


def test_with_a_type_go_its_links_and_its_teams_stay(linked):
    team_types.delete("k")
    assert team_types.is_empty() and database.rows("SELECT * FROM team_type_role_links") == []
    assert [each.team_type_id for each in teams.everyone()] == [None, None] and len(roles.everyone()) == 2


def test_with_a_template_go_all_references_to_it(linked):
    assert templates.delete("gone", 5.0) == {"roles": ["r"], "team_type_links": ["r"], "team_members": ["m1", "m3"],
                                             "teams": ["t"], "tasks": ["a", "old"]}
    assert roles.find("r").default_template_id is None and roles.find("s").default_template_id == "stays"
    assert team_types.find("k").role_templates == {"r": None, "s": "stays"}
    assert [each.custom_template_id for each in teams.find("t").members] == [None, "stays"]
    assert teams.find("t").role_templates == {} and teams.find("u").role_templates == {"r": "stays"}
    assert shown("a")["template_id"] is None and shown("b")["template_id"] == "stays"


def test_clearing_changes_nothing_else_of_a_long_list(both):
    proposal = {"reason": "ü", "tool_calls": [{"name": "assign_role", "args": {"team_id": "t", "n": 2**70, "f": 1e-7}}]}
    teams.save(team("t"))
    with database.writing():
        for number in range(250):
            tasks.create(Task(f"T-{number}", "t", team_id="t", created_at=1.0, updated_at=1.0))
    tasks.set_proposal("T-7", proposal, 2.0)
    teams.delete("t", 9.0)
    assert database.rows("SELECT count(*) FROM tasks WHERE team_id IS NULL AND updated_at = 9.0") == [(250,)]
    assert shown("T-7")["last_proposal"] == proposal == tasks.find("T-7").last_proposal and shown("T-7")["team_id"] is None


# --- what a team means for a task


def test_the_surroundings_of_a_task(linked):
    def around(**fields):
        return teams.surroundings(Task("x", **fields))

    assert around() == Surroundings() == around(team_id="none", assigned_role_id="none", assigned_agent_url="http://a")
    assert around(team_id="t") == Surroundings("n")
    assert around(assigned_role_id="r") == Surroundings(role_name="R", of_role="gone")
    assert around(team_id="t", assigned_role_id="r") == Surroundings(
        "n", None, "R", of_team_role="gone", of_type_link="gone", of_role="gone")
    assert around(team_id="t", assigned_agent_url="http://b") == Surroundings(
        "n", None, "S", of_member="stays", of_team_role="gone", of_type_link="stays", of_role="stays")
    assert around(team_id="t", assigned_agent_url="http://a/", assigned_role_id="s") == Surroundings(
        "n", None, "S", of_member="gone", of_team_role="gone", of_type_link="stays", of_role="stays")
    assert around(team_id="t", assigned_agent_url="http://c") == Surroundings("n")
    teams.save(team("v", "V", description="goal", members=(
        member("m7", "v", "http://a/", "s", "stays"), member("m8", "v", "http://a", "r", "gone"))))
    assert around(team_id="v", assigned_agent_url="http://a") == Surroundings(
        "V", "goal", "S", of_member="stays", of_role="stays")
    assert around(team_id="v", assigned_agent_url="http://a", assigned_role_id="r") == Surroundings(
        "V", "goal", "R", of_member="gone", of_role="gone")


# --- the operations


@pytest.fixture
def told():
    return []


@pytest.fixture
def operations(both, told):
    return Teams(told.append)


def stand() -> dict:
    return {"types": team_types.everyone(), "roles": roles.everyone(), "templates": templates.all_by_name()}


def test_the_standard_types_are_made_once(operations):
    kinds = operations.types()
    assert [each.name for each in kinds] == ["Kanban", "Scrum"] and operations.types() == kinds
    by_id = {each.id: each.name for each in roles.everyone()}
    names = {each.id: each.name for each in templates.all_by_name()}
    assert sorted(by_id.values()) == ["Developer", "Flow Manager", "Product Owner", "Scrum Master", "Service Delivery Manager"]
    for kind in kinds:
        assert len(kind.role_ids) == 3
        assert {role_id: names[each] for role_id, each in kind.role_templates.items()} == {
            role_id: f"{kind.name} - {by_id[role_id]}" for role_id in kind.role_ids}
    assert names[roles.named("Developer").default_template_id] == "Scrum - Developer"
    before = stand()
    assert operations.ensure(["kanban", "SCRUM", "Scrum"]) == kinds and stand() == before
    with pytest.raises(InvalidInput, match="Scrum and Kanban"):
        operations.ensure(["Waterfall"])


def test_what_was_changed_of_a_standard_type_stays(operations):
    roles.add(Role("mine", "Developer", "my own", None), 1.0)
    templates.add(Template("own", "Scrum - Developer", "own text"))
    (scrum,) = operations.ensure(["Scrum"])
    assert scrum.role_templates["mine"] == "own" and roles.find("mine") == Role("mine", "Developer", "my own", "own")
    owner = roles.named("Product Owner").id
    operations.set_link_template(scrum.id, "mine", None)
    team_types.unlink(scrum.id, owner)
    templates.delete(templates.named("Scrum - Scrum Master").id, 2.0)
    (again,) = operations.ensure(["Scrum"])
    assert again.role_templates["mine"] is None and again.role_templates[owner] is not None and len(again.role_ids) == 3
    master = roles.named("Scrum Master")
    assert master.default_template_id == templates.named("Scrum - Scrum Master").id
    assert again.role_templates[master.id] is None


def test_a_scrum_team_has_first_tasks(operations, told):
    (scrum, kanban) = operations.ensure(["Scrum", "Kanban"])
    made = operations.create("A", type_id=scrum.id)
    assert not made.is_active and teams.find(made.id) == made
    assert [(each.title, each.status, each.priority, each.team_id) for each in told] == [
        (f"A: {each.title}", each.status, each.priority, made.id) for each in standard_teams.SCRUM_TASKS]
    assert [tasks.find(each.id) for each in told] == told
    operations.create("B", type_id=kanban.id)
    operations.create("C")
    assert len(told) == 5
    active, number = operations.setup_scrum()
    assert (active.name, active.is_active, active.team_type_id, number) == ("Neues Scrum Team", True, scrum.id, 5)
    assert len(told) == 10 and told[5].title == "Neues Scrum Team: Scrum Backlog"
    assert [each.name for each in teams.everyone() if each.is_active] == ["Neues Scrum Team"]


def test_a_team_that_cannot_be_made_leaves_nothing(operations, told):
    (scrum,) = operations.ensure(["Scrum"])
    before = stand()
    with pytest.raises(NotFound) as raised:
        operations.create("A", type_id=scrum.id, members=[NewMember("http://a", None, "none")])
    assert raised.value.code == "template_not_found" and raised.value.extras == {"template_id": "none"}
    assert teams.everyone() == [] == told and tasks.counts()["total"] == 0 and stand() == before


def test_a_team_as_a_tool_makes_it(operations, told):
    made = operations.create_active("A", "scrum", "the goal")
    assert made.is_active and made.description == "the goal" and len(told) == 5
    assert team_types.find(made.team_type_id).name == "Scrum"
    operations.create_type("Own")
    own = operations.create_active("B", "Own")
    assert [each.id for each in operations.teams() if each.is_active] == [own.id]
    with pytest.raises(NotFound) as raised:
        operations.create_active("C", "Waterfall")
    assert raised.value.code == "team_type_not_found"
    for values in (("", "Scrum"), (5, "Scrum"), ("x" * 201, "Scrum"), ("a\0", "Scrum"), ("a\nb", "Scrum"), ("A", None),
                   ("A", "Scrum", 5), ("A", "Scrum", "x" * 10_001)):
        with pytest.raises(InvalidInput):
            operations.create_active(*values)
    assert operations.create_active("\ud800", "Own", "two\nlines").name == "?"
    assert len(operations.teams()) == 3


def test_a_role_is_assigned(operations):
    made = operations.create_active("A", "Kanban")
    flow, other = roles.named("Flow Manager").id, roles.named("Developer").id
    joined = operations.assign_role(made.id, "http://a", flow)
    assert [(each.agent_url, each.role_id) for each in joined.members] == [("http://a", flow)]
    again = operations.assign_role(made.id, "http://a/", other)
    assert [(each.id, each.agent_url, each.role_id) for each in again.members] == [
        (joined.members[0].id, "http://a", other)] and teams.find(made.id) == again
    assert operations.assign_role(made.id, "http://a", other) == again
    assert len(operations.assign_role(made.id, "http://b", other).members) == 2
    roles.add(Role("stranger", "X", None, None), 1.0)
    for values, code in (((made.id, "http://a", "none"), "role_not_found"), (("none", "http://a", flow), "not_found"),
                         ((made.id, "http://a", "stranger"), "invalid_role_for_team_type"),
                         ((made.id, "", flow), "invalid_value"), ((made.id, 5, flow), "invalid_value"),
                         ((made.id, "http://a", None), "invalid_value"), (([], "http://a", flow), "invalid_value"),
                         ((made.id, "http://a\n", flow), "invalid_value")):
        with pytest.raises((NotFound, InvalidInput)) as raised:
            operations.assign_role(*values)
        assert raised.value.code == code, values


# --- several at once


def test_many_that_ask_for_the_types_at_once_get_the_same(operations):
    ready, found = threading.Barrier(8), []

    def ask():
        ready.wait(WAIT_S)
        found.append(operations.types())
        database.close_mine()

    run([ask] * 8)
    assert len(found) == 8 and all(each == found[0] for each in found) and len(found[0]) == 2
    assert (len(roles.everyone()), len(templates.all_by_name())) == (5, 6)


def test_processes_that_seed_at_the_same_moment_do_not_double(both):
    code = ("import sys; from pathlib import Path; from tests.store import opening; opening.open(Path(sys.argv[1]))\n"
            "from ananta.hub.teams import Teams\nfrom ananta.store import database\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "print(*[each.id for each in Teams(lambda task: None).types()]); database.close()")
    many = [subprocess.Popen([sys.executable, "-c", code, str(both)], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE) for _ in range(4)]
    try:
        for each in many:
            assert each.stdout.readline() == "ready\n"
        for each in many:
            each.stdin.write("\n")
            each.stdin.flush()
        printed = [each.communicate(timeout=WAIT_S)[0] for each in many]
    finally:
        for each in many:
            each.kill()
            each.communicate()
    assert [each.returncode for each in many] == [0] * 4 and len(set(printed)) == 1 and len(printed[0].split()) == 2
    assert (len(roles.everyone()), len(templates.all_by_name())) == (5, 6)


def test_what_is_removed_while_others_refer_to_it_is_referred_to_by_nobody(operations):
    def refer(number):
        try:
            operations.create(f"{number}", members=[NewMember("http://a", "r", "p")], role_templates={"r": "p"})
        except NotFound:
            pass
        database.close_mine()

    def remove(ask):
        ask()
        database.close_mine()

    for _ in range(5):
        templates.add(Template("p", "p", "p"))
        roles.add(Role("r", "R", None, None), 1.0)
        run([lambda number=number: refer(number) for number in range(6)]
            + [lambda: remove(lambda: roles.delete("r", 1.0)), lambda: remove(lambda: templates.delete("p", 1.0))])
        for found in teams.everyone():
            assert found.role_templates == {}
            assert all((each.role_id, each.custom_template_id) == (None, None) for each in found.members)


def test_of_many_that_activate_at_once_one_is_active(operations):
    ids = [operations.create(f"{number}").id for number in range(6)]

    def activate(team_id):
        teams.activate(team_id)
        database.close_mine()

    run([lambda each=each: activate(each) for each in ids * 3])
    assert sum(each.is_active for each in teams.everyone()) == 1


def run(calls) -> None:
    failures = []

    def guarded(call):
        try:
            call()
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(each,)) for each in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_S)
    assert failures == []


# --- indexes


def plan(sql, *values) -> str:
    return "\n".join(row[3] for row in database.rows(f"EXPLAIN QUERY PLAN {sql}", *values))


@pytest.mark.parametrize("sql", [
    *(f"SELECT id FROM {table} WHERE {column} = ? ORDER BY id" for table in ("tasks", "archived_tasks")
      for column in ("team_id", "assigned_role_id", "template_id")),
    f"{teams._MEMBERS} WHERE team_id = ? ORDER BY position", f"{teams._ROLE_TEMPLATES} WHERE team_id = ? ORDER BY role_id",
    f"{teams._MEMBERS} WHERE team_id = ? AND agent_url IN ('a', 'b') ORDER BY position",
    teams._ROLE, f"{teams._TEAMS} WHERE id = ?", f"{roles._SELECT} WHERE name = ? ORDER BY created_at, id LIMIT 1",
    *(f"UPDATE {table} SET {column} = NULL WHERE {column} = ?" for _, table, column, _ in teams._REFERENCES),
    "DELETE FROM team_role_templates WHERE template_id = ?", "DELETE FROM team_role_templates WHERE role_id = ?",
    "DELETE FROM team_type_role_links WHERE role_id = ?", "UPDATE team_members SET role_id = NULL WHERE role_id = ?",
    "UPDATE teams SET team_type_id = NULL WHERE team_type_id = ?", "SELECT id FROM team_types WHERE name = ?",
    f"{team_types._LINKS} WHERE team_type_id = ?", "UPDATE teams SET is_active = 0 WHERE is_active = 1 AND id <> ?",
    "DELETE FROM team_members WHERE team_id = ?", "DELETE FROM team_type_role_links WHERE team_type_id = ?"])
def test_no_question_looks_through_a_whole_table(data, sql):
    found = plan(sql, *["x"] * sql.count("?"))
    assert "SCAN" not in found and "SEARCH" in found, found


@pytest.mark.parametrize("sql", [teams._OF_TEAM_ROLE, teams._OF_TYPE_LINK, team_types._ROLES.replace("roles.name, ", "")])
def test_no_question_about_a_role_does(data, sql):
    found = plan(sql, *["x"] * sql.count("?"))
    assert "SCAN" not in found and "SEARCH" in found, found
