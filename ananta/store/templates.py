"""Templates of prompts."""
from dataclasses import fields, replace

import msgspec

from ananta.domain.templates import Template
from ananta.errors import NotFound
from ananta.store import database, tasks, teams
from ananta.store.records import plain

COLUMNS = tuple(field.name for field in fields(Template))
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM templates"


def add(template: Template) -> None:
    """Stores a new template."""
    with database.writing():
        database.change(f"INSERT INTO templates ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",
                        *_values(template))


def find(template_id: str) -> Template:
    """Returns the template. Raises NotFound."""
    found = database.rows(f"{_SELECT} WHERE id = ?", plain(template_id))
    if not found:
        raise _missing(template_id)
    return _template(found[0])


def named(name: str) -> Template | None:
    """Returns the oldest template of this name, None if there is none."""
    found = database.rows(f"{_SELECT} WHERE name = ? ORDER BY created_at, id LIMIT 1", plain(name))
    return _template(found[0]) if found else None


def all_by_name() -> list[Template]:
    """Returns all templates, by name; capitals make no difference."""
    found = [_template(row) for row in database.rows(_SELECT)]
    return sorted(found, key=lambda each: (each.name.casefold(), each.name, each.id))


def change(template_id: str, values: dict[str, object], now: float) -> Template:
    """Stores these fields of the template and returns it. Raises NotFound."""
    with database.writing():
        found = database.locked(f"{_SELECT} WHERE id = ?", plain(template_id))
        if not found:
            raise _missing(template_id)
        before = _template(found[0])
        after = replace(before, **values | {"updated_at": max(now, before.updated_at + 1e-6)})  # type: ignore[arg-type]
        database.change(f"UPDATE templates SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ?",
                        *_values(after), after.id)
    return after


def delete(template_id: str, now: float) -> dict[str, list[str]]:
    """Removes the template, and with it every reference to it; returns the ids of what referred to it, by kind.

    team_type_links are told by the id of their role. Raises NotFound."""
    with teams.changing():
        if database.change("DELETE FROM templates WHERE id = ?", plain(template_id)) == 0:
            raise _missing(template_id)
        return {**teams.clear_template(template_id), "tasks": tasks.clear("template_id", template_id, now)}


# ---


def _missing(template_id: str) -> NotFound:
    return NotFound(f"There is no template {plain(template_id)[:100]}: GET /templates lists those there are.",
                    code="template_not_found", template_id=plain(template_id))


def _values(template: Template) -> list[object]:
    values = {**vars(template), "defaults": None if template.defaults is None else
              msgspec.json.encode(template.defaults).decode()}
    return [values[name] for name in COLUMNS]


def _template(row: tuple) -> Template:
    values = dict(zip(COLUMNS, row, strict=True))
    defaults = values["defaults"]
    return Template(**values | {"defaults": None if defaults is None else msgspec.json.decode(defaults)})
