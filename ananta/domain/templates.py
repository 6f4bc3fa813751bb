"""Templates of prompts: text with placeholders, `{{name}}`, filled from a task and its surroundings."""
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ananta.domain.tasks import Task

PLACEHOLDER = re.compile(r"\{\{([A-Za-z0-9_]+)\}\}")


@dataclass(frozen=True)
class Template:
    """A prompt with placeholders. provider, model: whom to ask first; defaults: values for placeholders that have no
    other; created_at, updated_at: epoch seconds."""

    id: str
    name: str
    prompt_template: str
    description: str | None = None
    provider: str | None = None
    model: str | None = None
    defaults: dict | None = None
    created_at: float = 0.0
    updated_at: float = 0.0


def placeholders(text: str) -> list[str]:
    """Returns the names in a template's text, each once, in their order."""
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))


def warnings(text: str, allowed: Collection[str]) -> list[dict]:
    """Returns what is odd about a template's text: placeholders that are not among the allowed ones."""
    unknown = [name for name in placeholders(text) if name not in allowed]
    if not unknown:
        return []
    return [{"type": "unknown_variables", "details": f"Unknown variables: {', '.join(unknown)}", "allowed": list(allowed)}]


def fill(text: str, values: Mapping[str, str | None], defaults: Mapping | None = None) -> str:
    """Returns the text with its placeholders filled: by the value, else by the default; a name with neither stays as it
    is. What is filled in is not searched for placeholders."""
    def filled(found: re.Match) -> str:
        name = found[1]
        for value in (values.get(name), (defaults or {}).get(name)):
            if value not in (None, ""):
                return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return found[0] if values.get(name) is None and (defaults or {}).get(name) is None else ""

    return PLACEHOLDER.sub(filled, text)


def values_of(task: Task, *, agent_name: str, team_name: str | None = None, team_goal: str | None = None,
              role_name: str | None = None) -> dict[str, str | None]:
    """Returns the values that a task gives its template's placeholders; None for what it cannot have."""
    return {"agent_name": agent_name, "task_title": task.title or "", "task_description": task.description or "",
            "team_name": team_name, "role_name": role_name, "team_goal": team_goal}


def chosen(template_id: str | None, *, of_member: str | None = None, of_team_role: str | None = None,
           of_type_link: str | None = None, of_role: str | None = None) -> str | None:
    """Returns the id of the template that counts for a task: its own; else the one of the team's member that has the
    task; else the team's for the role; else that of the role in the team's type; else the role's."""
    return next((each for each in (template_id, of_member, of_team_role, of_type_link, of_role) if each), None)
