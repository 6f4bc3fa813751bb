"""Read and change what may be changed while running."""
from dataclasses import dataclass
from typing import Any

from bottle import Bottle, request

from ananta.agent.configuration import LiveConfiguration
from ananta.domain.configuration import KEYS
from ananta.settings import listed
from ananta.store.audit import Audit
from ananta.web import payloads, server
from ananta.web.access import ADMIN, AUTH, READ, Access

ANY_OBJECT = ({"type": "object"},)


@dataclass
class KeyAnswer:
    """meaning: what the key is for; allowed: its bounds, in words; secret: its value is never shown; default: the value that
    counts while changed is false."""

    name: str
    meaning: str
    allowed: str
    secret: bool
    default: Any
    changed: bool


class ConfigurationRoutes:
    """Configuration."""

    def __init__(self, configuration: LiveConfiguration, audit: Audit, access: Access):
        self.configuration, self.audit, self.access = configuration, audit, access

    def mount(self, app: Bottle) -> None:
        app.get("/config", callback=self.show, access=READ, gives=dict)
        app.get("/config/keys", callback=self.keys, access=AUTH, gives=list[KeyAnswer])
        app.post("/config", callback=self.change, access=ADMIN, takes=ANY_OBJECT, gives=dict, fails=(400, 403))

    def show(self) -> dict:
        """The effective configuration; a secret is a mask when it is set and null when it is not."""
        return self.configuration.shown()

    def keys(self) -> list[KeyAnswer]:
        """What may be changed: each key with its meaning, what is allowed, whether it is a secret, its default, and whether
        somebody has changed it. Those that are settings, too, mean what `ananta --help` says."""
        about = {field.name: field.metadata["meaning"] for field in listed()}
        defaults, changed = self.configuration.defaults(), self.configuration.changed()
        return [KeyAnswer(name, about.get(name) or key.meaning, key.allowed, key.secret, defaults.get(name), name in changed)
                for name, key in KEYS.items()]

    def change(self) -> dict:
        """Merges the given keys; null resets a key to its default. Counts at once and survives a restart."""
        changed = self.configuration.change(payloads.value(request.environ["wsgi.input"].read() or b"{}"))
        self.audit.write("config_updated", username=server.caller().name,
                         ip=self.access.address(request.environ), details={"keys": changed})
        return {"status": "updated", "config": self.configuration.shown()}
