"""What the members of teams can be."""
from ananta.domain.teams import Role
from ananta.errors import NotFound
from ananta.store import database, tasks
from ananta.store.records import plain
from ananta.store.teams import changing

COLUMNS = "id, name, description, default_template_id"
_SELECT = f"SELECT {COLUMNS} FROM roles"


def add(role: Role, now: float) -> None:
    """Stores a new role; of several with one name, the oldest is what that name means."""
    with changing():
        database.change(f"INSERT INTO roles ({COLUMNS}, created_at) VALUES (?, ?, ?, ?, ?)", role.id, role.name,
                        role.description, role.default_template_id, now)


def find(role_id: str) -> Role:
    """Returns the role. Raises NotFound `role_not_found`."""
    found = database.rows(f"{_SELECT} WHERE id = ?", plain(role_id))
    if not found:
        raise _missing(role_id)
    return Role(*found[0])


def named(name: str) -> Role | None:
    """Returns the oldest role of this name, None if there is none."""
    found = database.rows(f"{_SELECT} WHERE name = ? ORDER BY created_at, id LIMIT 1", plain(name))
    return Role(*found[0]) if found else None


def everyone() -> list[Role]:
    """Returns all roles, by name; capitals make no difference."""
    found = [Role(*row) for row in database.rows(_SELECT)]
    return sorted(found, key=lambda each: (each.name.casefold(), each.name, each.id))


def set_default_template(role_id: str, template_id: str) -> None:
    """Gives the role this template; one that is not there stays so."""
    with changing():
        database.change("UPDATE roles SET default_template_id = ? WHERE id = ?", template_id, plain(role_id))


def delete(role_id: str, now: float) -> None:
    """Removes the role from all types and teams; its members and tasks stay, without a role. Raises NotFound."""
    role_id = plain(role_id)
    with changing():
        if database.change("DELETE FROM roles WHERE id = ?", role_id) == 0:
            raise _missing(role_id)
        database.change("DELETE FROM team_type_role_links WHERE role_id = ?", role_id)
        database.change("DELETE FROM team_role_templates WHERE role_id = ?", role_id)
        database.change("UPDATE team_members SET role_id = NULL WHERE role_id = ?", role_id)
        tasks.clear("assigned_role_id", role_id, now)


def _missing(role_id: str) -> NotFound:
    return NotFound(f"There is no role {plain(role_id)[:100]}: GET /teams/roles lists those there are.",
                    code="role_not_found", role_id=plain(role_id))
