import re

import pytest

from ananta.domain import standard_teams
from ananta.domain.standard_teams import KANBAN, SCRUM, SCRUM_TASKS, STANDARDS, standard
from ananta.domain.teams import Member, is_same_agent, member_for, require_role, spellings
from ananta.domain.templates import fill, placeholders
from ananta.errors import InvalidInput


def member(member_id, role_id=None):
    return Member(member_id, "t", "http://a", role_id, None)


@pytest.mark.parametrize(("members", "role_id", "counts"), [
    ([], "r", None), ([], None, None), ([member("1"), member("2")], None, "1"),
    ([member("1", "x"), member("2", "r")], "r", "2"), ([member("1", "x"), member("2", "r")], None, "1"),
    ([member("1", "x"), member("2", None)], "r", "1"), ([member("1", "x"), member("2", None)], None, "1")])
def test_which_membership_counts(members, role_id, counts):
    found = member_for(iter(members), role_id)
    assert (found.id if found else None) == counts


def test_an_address_is_the_same_with_and_without_its_last_slash():
    assert spellings("http://a:1/") == spellings("http://a:1") == ("http://a:1", "http://a:1/")
    assert is_same_agent("http://a:1/", "http://a:1") and not is_same_agent("http://a:1", "http://a:12")


def test_a_type_with_roles_takes_no_others():
    require_role("r", ("x", "r"))
    require_role("r", ())
    with pytest.raises(InvalidInput) as refused:
        require_role("r", ("x",))
    assert refused.value.code == "invalid_role_for_team_type" and refused.value.extras == {"role_id": "r"}


@pytest.mark.parametrize(("name", "found"), [
    ("Scrum", SCRUM), ("scrum", SCRUM), (" KANBAN ", KANBAN), ("ſcrum", SCRUM), ("Scrumban", None), ("", None)])
def test_standard_types_by_name(name, found):
    assert standard(name) is found


def test_what_the_standards_say():
    assert [each.name for each in STANDARDS] == ["Scrum", "Kanban"]
    assert [each.name for each in SCRUM.roles] == ["Product Owner", "Scrum Master", "Developer"]
    assert [each.name for each in KANBAN.roles] == ["Service Delivery Manager", "Flow Manager", "Developer"]
    for kind in STANDARDS:
        for role in kind.roles:
            assert role.template == f"{kind.name} - {role.name}" and role.description
            assert placeholders(role.prompt) == ["team_goal"]
            assert "{" not in fill(role.prompt, {"team_goal": None}, standard_teams.DEFAULTS)


def test_the_first_tasks_of_a_scrum_team():
    assert [(each.title, each.status, each.priority) for each in SCRUM_TASKS] == [
        ("Scrum Backlog", "backlog", "High"), ("Sprint Board Setup", "to-do", "High"), ("Burndown Chart", "to-do", "Medium"),
        ("Roadmap", "backlog", "Medium"), ("Setup & Usage Instructions", "to-do", "High")]
    assert len(re.findall(r"^[1-9]\. ", SCRUM_TASKS[-1].description, re.MULTILINE)) >= 3
    assert all(each.description for each in SCRUM_TASKS)
