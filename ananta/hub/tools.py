"""The tools over what only a hub has: agents and templates."""
from collections.abc import Callable
from dataclasses import asdict

from ananta.agent.tools import By, Tool
from ananta.domain.agents import Agent, entry
from ananta.domain.templates import Template
from ananta.errors import InvalidInput
from ananta.hub.templates import Description, Name, Prompt, Templates
from ananta.store import templates as stored


class HubTools:
    """agents: gives the registered agents, as they count now."""

    def __init__(self, agents: Callable[[], list[Agent]], templates: Templates):
        self.agents, self.templates = agents, templates

    def all(self) -> list[Tool]:
        return [Tool(self.list_agents), Tool(self.list_templates), Tool(self.create_template, changes=True),
                Tool(self.update_template, changes=True), Tool(self.delete_template, changes=True)]

    def list_agents(self, by: By) -> list[dict]:
        """Gives the registered agents: name, address, whether they are online."""
        return [entry(each) for each in self.agents()]

    def list_templates(self, by: By) -> list[Template]:
        """Gives the prompt templates."""
        return stored.all_by_name()

    def create_template(self, by: By, name: Name, prompt_template: Prompt, description: Description | None = None) -> str:
        """Makes a prompt template; {{task_title}} and the like are filled in later."""
        made = self.templates.create(
            {"name": name, "prompt_template": prompt_template, "description": description or None}, by)
        return f"template {made.name!r} has the id {made.id}"

    def update_template(self, by: By, template_id: str, name: Name | None = None, description: Description | None = None,
                        prompt_template: Prompt | None = None) -> dict:
        """Changes what is named of a prompt template."""
        named = {"name": name, "description": description, "prompt_template": prompt_template}
        values = {field: each for field, each in named.items() if each is not None}
        if not values:
            raise InvalidInput("Name what shall change: name, description or prompt_template.")
        return asdict(self.templates.change(template_id, values, by))

    def delete_template(self, by: By, template_id: str) -> str:
        """Removes a prompt template, and every reference to it."""
        cleared = {kind: ids for kind, ids in self.templates.delete(template_id, by).items() if ids}
        told = ", ".join(f"{kind} {' '.join(ids)}" for kind, ids in cleared.items())
        return f"template {template_id} is deleted" + (f"; not used any more by {told}" if told else "")
