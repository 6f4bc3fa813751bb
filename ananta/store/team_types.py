"""The kinds of team, the roles each of them has, and the templates of these."""
from ananta.domain.teams import LinkedRole, TeamType
from ananta.errors import Conflict, NotFound
from ananta.store import database
from ananta.store.records import plain
from ananta.store.teams import changing

_SELECT = "SELECT id, name, description FROM team_types"
# A link by the name of its role, as all lists are.
_LINKS = "SELECT team_type_id, role_id, template_id FROM team_type_role_links JOIN roles ON roles.id = role_id"
_ROLES = ("SELECT roles.id, roles.name, roles.description, roles.default_template_id, template_id FROM team_type_role_links "
          "JOIN roles ON roles.id = role_id WHERE team_type_id = ? ORDER BY roles.name, roles.id")
_BY_NAME = "ORDER BY roles.name, roles.id"


def add(type_id: str, name: str, description: str | None) -> None:
    """Stores a new type, without roles. Raises Conflict if there is one of this name."""
    with changing():
        if database.change("INSERT INTO team_types (id, name, description) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
                           type_id, name, description) == 0:
            raise Conflict(f"There is a type of team {name[:100]!r} already: choose another name, or use that one.",
                           details=name)


def find(type_id: str) -> TeamType:
    """Returns the type. Raises NotFound `team_type_not_found`."""
    type_id = plain(type_id)
    with database.reading():
        found = database.rows(f"{_SELECT} WHERE id = ?", type_id)
        if not found:
            raise _missing(type_id)
        return _type(found[0], database.rows(f"{_LINKS} WHERE team_type_id = ? {_BY_NAME}", type_id))


def named(name: str) -> TeamType | None:
    """Returns the type of this name, None if there is none."""
    found = database.rows("SELECT id FROM team_types WHERE name = ?", plain(name))
    return find(found[0][0]) if found else None


def is_empty() -> bool:
    """Whether there is no type at all."""
    return not database.rows("SELECT 1 FROM team_types LIMIT 1")


def everyone() -> list[TeamType]:
    """Returns all types, by name; capitals make no difference."""
    with database.reading():
        rows, links = database.rows(_SELECT), database.rows(f"{_LINKS} {_BY_NAME}")
    of_type: dict[str, list[tuple]] = {}
    for each in links:
        of_type.setdefault(each[0], []).append(each)
    found = [_type(row, of_type.get(row[0], [])) for row in rows]
    return sorted(found, key=lambda each: (each.name.casefold(), each.name, each.id))


def delete(type_id: str) -> None:
    """Removes the type; its teams stay, without a type. Raises NotFound."""
    type_id = plain(type_id)
    with changing():
        if database.change("DELETE FROM team_types WHERE id = ?", type_id) == 0:
            raise _missing(type_id)
        database.change("DELETE FROM team_type_role_links WHERE team_type_id = ?", type_id)
        database.change("UPDATE teams SET team_type_id = NULL WHERE team_type_id = ?", type_id)


def roles(type_id: str) -> list[LinkedRole]:
    """Returns the roles of the type, by name. Raises NotFound `team_type_not_found`."""
    type_id = plain(type_id)
    with database.reading():
        if not database.rows("SELECT 1 FROM team_types WHERE id = ?", type_id):
            raise _missing(type_id)
        return [LinkedRole(*row) for row in database.rows(_ROLES, type_id)]


def link(type_id: str, role_id: str, template_id: str | None) -> None:
    """Gives the type this role, with this template there. A role that it has already keeps its template there when
    template_id is None. Type, role and template must be there."""
    with changing():
        database.change("INSERT INTO team_type_role_links (team_type_id, role_id, template_id) VALUES (?, ?, ?) "
                        "ON CONFLICT (team_type_id, role_id) DO UPDATE SET "
                        "template_id = coalesce(excluded.template_id, team_type_role_links.template_id)",
                        plain(type_id), plain(role_id), template_id)


def set_template(type_id: str, role_id: str, template_id: str | None) -> None:
    """Gives the role of the type this template, or none. Raises NotFound for a role that the type does not have."""
    with changing():
        if database.change("UPDATE team_type_role_links SET template_id = ? WHERE team_type_id = ? AND role_id = ?",
                           template_id, plain(type_id), plain(role_id)) == 0:
            raise _not_linked(type_id, role_id)


def unlink(type_id: str, role_id: str) -> None:
    """Takes the role from the type. Raises NotFound for one that it does not have."""
    with changing():
        if database.change("DELETE FROM team_type_role_links WHERE team_type_id = ? AND role_id = ?", plain(type_id),
                           plain(role_id)) == 0:
            raise _not_linked(type_id, role_id)


# ---


def _type(row: tuple, links: list[tuple]) -> TeamType:
    type_id, name, description = row
    return TeamType(type_id, name, description, tuple(role_id for _, role_id, _ in links),
                    {role_id: template_id for _, role_id, template_id in links})


def _missing(type_id: str) -> NotFound:
    return NotFound(f"There is no type of team {plain(type_id)[:100]}: GET /teams/types lists those there are.",
                    code="team_type_not_found", team_type_id=plain(type_id))


def _not_linked(type_id: str, role_id: str) -> NotFound:
    return NotFound(f"The type of team {plain(type_id)[:100]} has no role {plain(role_id)[:100]}: "
                    "GET /teams/types lists the roles of each type.", role_id=plain(role_id))
