"""Templates of prompts: make, list, change, remove."""
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, ClassVar

import msgspec
from bottle import Bottle, request
from msgspec import UNSET, Meta, UnsetType

from ananta.domain.templates import Template, warnings
from ananta.errors import InvalidInput
from ananta.store import templates
from ananta.store.audit import Audit
from ananta.store.identifiers import new_id
from ananta.web import server
from ananta.web.access import ADMIN, READ, Access

NO_NUL = r"^[^\x00]*$"
DEFAULTS_BYTES, DEFAULTS_DEPTH = 64 << 10, 20
Name = Annotated[str, Meta(max_length=200, pattern=NO_NUL)]
Prompt = Annotated[str, Meta(max_length=200_000, pattern=NO_NUL)]
Description = Annotated[str, Meta(max_length=10_000, pattern=NO_NUL)]
Short = Annotated[str, Meta(max_length=200, pattern=NO_NUL)]


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

    def __init__(self, access: Access, audit: Audit, allowed: Callable[[], Collection[str]]):
        self.access, self.audit, self.allowed = access, audit, allowed

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
        now = time.time()
        values = _checked({each.name: getattr(body, each.name) for each in fields(body)})
        template = Template(id=new_id(), created_at=now, updated_at=now, **values)
        templates.add(template)
        self._note("template_created", template.id, name=template.name)
        return self._answer(template)

    def change(self, template_id: str, body: TemplateChange) -> dict:
        """Changes the named fields; unknown placeholders are only warned about."""
        values = _checked({each.name: getattr(body, each.name) for each in fields(body)
                           if getattr(body, each.name) is not UNSET})
        template = templates.change(template_id, values, time.time())
        self._note("template_updated", template.id, fields=sorted(values))
        return self._answer(template)

    def delete(self, template_id: str) -> DeletedAnswer:
        """Removes a template and every reference to it."""
        cleared = templates.delete(template_id, time.time())
        self._note("template_deleted", template_id)
        return DeletedAnswer("deleted", cleared)

    def _answer(self, template: Template) -> dict:
        return {**asdict(template), "warnings": warnings(template.prompt_template, self.allowed())}

    def _note(self, action: str, template_id: str, **details: object) -> None:
        self.audit.write(action, username=server.caller().name, ip=self.access.address(request.environ),
                         details={"template_id": template_id, **details})


def _checked(values: dict) -> dict:
    for name in ("name", "prompt_template"):
        if name in values and not values[name].strip():
            raise InvalidInput(f"{name} is missing.", code=f"{name}_required", details=name)
    defaults = values.get("defaults")
    if defaults is not None and (len(msgspec.json.encode(defaults)) > DEFAULTS_BYTES or _deeper(defaults, DEFAULTS_DEPTH)):
        raise InvalidInput(f"defaults may have at most 64 KiB, and {DEFAULTS_DEPTH} levels.", details="defaults")
    return values


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(each, levels - 1) for each in inner)
