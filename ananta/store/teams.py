"""Teams and their members.

Whatever is changed about teams, their types and roles, and what these refer to, is changed in `changing`: one at a time,
by all hubs together. So nothing refers to what is just being removed, and what is made when it is missing is made once.
"""
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

from ananta.domain.tasks import Task
from ananta.domain.teams import Member, Surroundings, Team, member_for, spellings
from ananta.errors import NotFound
from ananta.store import database, tasks
from ananta.store.records import plain

_TEAMS = "SELECT id, name, description, team_type_id, is_active FROM teams"
_MEMBERS = "SELECT id, team_id, agent_url, role_id, custom_template_id FROM team_members"
_ROLE_TEMPLATES = "SELECT team_id, role_id, template_id FROM team_role_templates"
_ROLE = "SELECT name, default_template_id FROM roles WHERE id = ?"
_OF_TEAM_ROLE = "SELECT template_id FROM team_role_templates WHERE team_id = ? AND role_id = ?"
_OF_TYPE_LINK = "SELECT template_id FROM team_type_role_links WHERE team_type_id = ? AND role_id = ?"
_SAVE = ("INSERT INTO teams (id, name, description, team_type_id, is_active) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
         "SET name = excluded.name, description = excluded.description, team_type_id = excluded.team_type_id, "
         "is_active = excluded.is_active")
# What a template is taken from when it goes: kind, table, column, and by which column the row is told.
_REFERENCES = (("roles", "roles", "default_template_id", "id"),
               ("team_type_links", "team_type_role_links", "template_id", "role_id"),
               ("team_members", "team_members", "custom_template_id", "id"))


@contextmanager
def changing() -> Iterator[None]:
    """One transaction in which nobody else changes teams, types or roles, also on other hubs. It may be nested; within
    another one it would come too late to wait for its turn."""
    with database.writing():
        database.turn("teams")
        yield


def save(team: Team, was: Team | None = None) -> None:
    """Stores a team with its members, in place of what it was; an active one is then the only one."""
    with changing():
        if team.is_active:
            database.change("UPDATE teams SET is_active = 0 WHERE is_active = 1 AND id <> ?", team.id)
        database.change(_SAVE, team.id, team.name, team.description, team.team_type_id, int(team.is_active))
        if was is None or team.members != was.members:
            database.change("DELETE FROM team_members WHERE team_id = ?", team.id)
            database.change_many("INSERT INTO team_members (id, team_id, position, agent_url, role_id, custom_template_id) "
                                 "VALUES (?, ?, ?, ?, ?, ?)", [
                (each.id, team.id, position, each.agent_url, each.role_id, each.custom_template_id)
                for position, each in enumerate(team.members)])
        if was is None or team.role_templates != was.role_templates:
            database.change("DELETE FROM team_role_templates WHERE team_id = ?", team.id)
            database.change_many("INSERT INTO team_role_templates (team_id, role_id, template_id) VALUES (?, ?, ?)",
                                 [(team.id, role_id, each) for role_id, each in team.role_templates.items()])


def find(team_id: str) -> Team:
    """Returns the team. Raises NotFound."""
    team_id = plain(team_id)
    with database.reading():
        found = database.rows(f"{_TEAMS} WHERE id = ?", team_id)
        if not found:
            raise _missing(team_id)
        return _team(found[0], database.rows(f"{_MEMBERS} WHERE team_id = ? ORDER BY position", team_id),
                     database.rows(f"{_ROLE_TEMPLATES} WHERE team_id = ? ORDER BY role_id", team_id))


def everyone() -> list[Team]:
    """Returns all teams, by name; capitals make no difference."""
    with database.reading():
        rows = database.rows(_TEAMS)
        members = _by_team(database.rows(f"{_MEMBERS} ORDER BY team_id, position"), 1)
        role_templates = _by_team(database.rows(f"{_ROLE_TEMPLATES} ORDER BY team_id, role_id"), 0)
    found = [_team(row, members.get(row[0], []), role_templates.get(row[0], [])) for row in rows]
    return sorted(found, key=lambda each: (each.name.casefold(), each.name, each.id))


def activate(team_id: str) -> None:
    """Makes this the only active team. Raises NotFound."""
    team_id = plain(team_id)
    with changing():
        if not database.rows("SELECT 1 FROM teams WHERE id = ?", team_id):
            raise _missing(team_id)
        database.change("UPDATE teams SET is_active = 0 WHERE is_active = 1 AND id <> ?", team_id)
        database.change("UPDATE teams SET is_active = 1 WHERE id = ?", team_id)


def delete(team_id: str, now: float) -> None:
    """Removes the team with its members; its tasks stay, without a team. Raises NotFound."""
    team_id = plain(team_id)
    with changing():
        if database.change("DELETE FROM teams WHERE id = ?", team_id) == 0:
            raise _missing(team_id)
        database.change("DELETE FROM team_members WHERE team_id = ?", team_id)
        database.change("DELETE FROM team_role_templates WHERE team_id = ?", team_id)
        tasks.clear("team_id", team_id, now)


def clear_template(template_id: str) -> dict[str, list[str]]:
    """Takes the template from all that refer to it, tasks excepted; returns their ids by kind. Only within `changing`."""
    template_id = plain(template_id)
    cleared = {}
    for kind, table, column, told in _REFERENCES:
        rows = database.rows(f"UPDATE {table} SET {column} = NULL WHERE {column} = ? RETURNING {told}", template_id)
        cleared[kind] = sorted(each for (each,) in rows)
    rows = database.rows("DELETE FROM team_role_templates WHERE template_id = ? RETURNING team_id", template_id)
    return {**cleared, "teams": sorted({each for (each,) in rows})}


def surroundings(task: Task) -> Surroundings:
    """Returns what the task's team and role give its prompt; a team or role that is not there gives nothing."""
    if task.team_id is None and task.assigned_role_id is None:
        return Surroundings()
    with database.reading():
        team = database.rows(f"{_TEAMS} WHERE id = ?", task.team_id) if task.team_id else []
        member = _member_with(task) if team else None
        role_id = task.assigned_role_id or (member.role_id if member else None)
        role = database.rows(_ROLE, role_id) if role_id else []
        _, team_name, team_goal, type_id, _ = team[0] if team else (None,) * 5
        role_name, of_role = role[0] if role else (None, None)
        return Surroundings(
            team_name, team_goal, role_name, of_member=member.custom_template_id if member else None,
            of_team_role=_first(_OF_TEAM_ROLE, task.team_id, role_id) if team and role else None,
            of_type_link=_first(_OF_TYPE_LINK, type_id, role_id) if type_id and role else None, of_role=of_role)


# ---


def _member_with(task: Task) -> Member | None:
    """The membership in the task's team of the agent that has the task."""
    if task.assigned_agent_url is None:
        return None
    rows = database.rows(f"{_MEMBERS} WHERE team_id = ? AND agent_url IN (?, ?) ORDER BY position", task.team_id,
                         *spellings(task.assigned_agent_url))
    return member_for((Member(*row) for row in rows), task.assigned_role_id)


def _first(sql: str, *values: object) -> str | None:
    found = database.rows(sql, *values)
    return found[0][0] if found else None


def _by_team(rows: list[tuple], column: int) -> dict[str, list[tuple]]:
    return {team_id: list(found) for team_id, found in groupby(rows, key=lambda row: row[column])}


def _team(row: tuple, members: list[tuple], role_templates: list[tuple]) -> Team:
    team_id, name, description, type_id, is_active = row
    return Team(team_id, name, description, type_id, bool(is_active),
                {role_id: template_id for _, role_id, template_id in role_templates}, tuple(Member(*each) for each in members))


def _missing(team_id: str) -> NotFound:
    return NotFound(f"There is no team {team_id[:100]}: GET /teams lists those there are.")
