"""Templates of prompts: make, list, change, remove."""
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields
from typing import ClassVar

from bottle import Bottle
from msgspec import UNSET, UnsetType

from ananta.domain.templates import Template, warnings
from ananta.hub.templates import Description, Name, Prompt, Short, Templates
from ananta.store import templates
from ananta.web import server
from ananta.web.access import ADMIN, READ, Access


@dataclass
class TemplateAnswer:
    """A template. provider, model: whom proposals ask first; defaults: values for placeholders without any other."""

    id: str
    name: str
    description: str | None
    prompt_template: str
    provider: str | None
    model: str | None
    defaults: dict | None
    created_at: float
    updated_at: float


@dataclass
class Warning:
    type: str
    details: str
    allowed: list[str]


@dataclass
class StoredTemplateAnswer(TemplateAnswer):
    """A template as it is kept now, and what is odd about it."""

    warnings: list[Warning] = field(default_factory=list)


@dataclass
class TemplateRequest:
    CLEARS: ClassVar[frozenset[str]] = frozenset({"description", "provider", "model", "defaults"})

    name: Name = ""
    prompt_template: Prompt = ""
    description: Description | None = None
    provider: Short | None = None
    model: Short | None = None
    defaults: dict | None = None


@dataclass
class TemplateChange:
    """What is not named stays as it is. null or "" takes away what a template can be without."""

    CLEARS: ClassVar[frozenset[str]] = TemplateRequest.CLEARS

    name: Name | UnsetType = UNSET
    prompt_template: Prompt | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    provider: Short | None | UnsetType = UNSET
    model: Short | None | UnsetType = UNSET
    defaults: dict | None | UnsetType = UNSET


@dataclass
class DeletedAnswer:
    """cleared: the ids of what referred to the template and does not any more, by kind."""

    status: str
    cleared: dict[str, list[str]]


class TemplateRoutes:
    """Templates of prompts: make, list, change, remove. allowed: the placeholders that are known."""

    def __init__(self, access: Access, templates: Templates, allowed: Callable[[], Collection[str]]):
        self.access, self.templates, self.allowed = access, templates, allowed

    def mount(self, app: Bottle) -> None:
        app.get("/templates", callback=self.all, access=READ, gives=list[TemplateAnswer])
        app.get("/templates/<template_id>", callback=self.find, access=READ, gives=TemplateAnswer, fails=(404,))
        app.post("/templates", callback=self.create, access=ADMIN, body=TemplateRequest, gives=StoredTemplateAnswer,
                 status=201)
        for method in ("PATCH", "PUT"):
            app.route("/templates/<template_id>", method, callback=self.change, access=ADMIN, body=TemplateChange,
                      gives=StoredTemplateAnswer, fails=(404,))
        app.delete("/templates/<template_id>", callback=self.delete, access=ADMIN, gives=DeletedAnswer, fails=(404,))

    def all(self) -> list[Template]:
        """Templates, by name."""
        return templates.all_by_name()

    def find(self, template_id: str) -> Template:
        """One template."""
        return templates.find(template_id)

    def create(self, body: TemplateRequest) -> dict:
        """Makes a template; unknown placeholders are only warned about."""
        values = {each.name: getattr(body, each.name) for each in fields(body)}
        return self._answer(self.templates.create(values, server.by(self.access)))

    def change(self, template_id: str, body: TemplateChange) -> dict:
        """Changes the named fields; unknown placeholders are only warned about."""
        values = {each.name: getattr(body, each.name) for each in fields(body) if getattr(body, each.name) is not UNSET}
        return self._answer(self.templates.change(template_id, values, server.by(self.access)))

    def delete(self, template_id: str) -> DeletedAnswer:
        """Removes a template and every reference to it."""
        return DeletedAnswer("deleted", self.templates.delete(template_id, server.by(self.access)))

    def _answer(self, template: Template) -> dict:
        return {**asdict(template), "warnings": warnings(template.prompt_template, self.allowed())}
