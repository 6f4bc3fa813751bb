"""Templates of prompts: made, changed and removed, over the interface or by a tool, under the same rules."""
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from ananta.agent.tools import By
from ananta.domain.nesting import deeper
from ananta.domain.templates import Template
from ananta.errors import InvalidInput
from ananta.store import templates
from ananta.store.audit import Audit
from ananta.store.identifiers import new_id

NO_NUL = r"^[^\x00]*$"
DEFAULTS_BYTES, DEFAULTS_DEPTH = 64 << 10, 20
Name = Annotated[str, Meta(max_length=200, pattern=NO_NUL)]
Prompt = Annotated[str, Meta(max_length=200_000, pattern=NO_NUL)]
Description = Annotated[str, Meta(max_length=10_000, pattern=NO_NUL)]
Short = Annotated[str, Meta(max_length=200, pattern=NO_NUL)]


class Templates:
    """Every change is in the audit trail. The values fit the types above."""

    def __init__(self, audit: Audit, now: Callable[[], float] = time.time):
        self.audit, self.now = audit, now

    def create(self, values: dict, by: By) -> Template:
        """Makes a template and returns it. Raises InvalidInput."""
        now = self.now()
        template = Template(id=new_id(), created_at=now, updated_at=now, **_checked(values))
        templates.add(template)
        self._note("template_created", template.id, by, name=template.name)
        return template

    def change(self, template_id: str, values: dict, by: By) -> Template:
        """Changes these fields of a template and returns it. Raises NotFound, InvalidInput."""
        template = templates.change(template_id, _checked(values), self.now())
        self._note("template_updated", template.id, by, fields=sorted(values))
        return template

    def delete(self, template_id: str, by: By) -> dict[str, list[str]]:
        """Removes a template and every reference to it; returns the ids of what referred to it, by kind. Raises NotFound."""
        cleared = templates.delete(template_id, self.now())
        self._note("template_deleted", template_id, by)
        return cleared

    def _note(self, action: str, template_id: str, by: By, **details: object) -> None:
        self.audit.write(action, username=by.name, ip=by.address, details={"template_id": template_id, **details})


def _checked(values: dict) -> dict:
    for name in ("name", "prompt_template"):
        if name in values and not values[name].strip():
            raise InvalidInput(f"{name} is missing.", code=f"{name}_required", details=name)
    defaults = values.get("defaults")
    if defaults is not None and (len(msgspec.json.encode(defaults)) > DEFAULTS_BYTES or deeper(defaults, DEFAULTS_DEPTH)):
        raise InvalidInput(f"defaults may have at most 64 KiB, and {DEFAULTS_DEPTH} levels.", details="defaults")
    return values
