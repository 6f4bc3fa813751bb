"""Read and change what may be changed while running."""
from bottle import Bottle, request

from ananta.agent.configuration import LiveConfiguration
from ananta.store.audit import Audit
from ananta.web import payloads, server
from ananta.web.access import ADMIN, READ, Access

ANY_OBJECT = ({"type": "object"},)


class ConfigurationRoutes:
    """Configuration."""

    def __init__(self, configuration: LiveConfiguration, audit: Audit, access: Access):
        self.configuration, self.audit, self.access = configuration, audit, access

    def mount(self, app: Bottle) -> None:
        app.get("/config", callback=self.show, access=READ, gives=dict)
        app.post("/config", callback=self.change, access=ADMIN, takes=ANY_OBJECT, gives=dict, fails=(400, 403))

    def show(self) -> dict:
        """The effective configuration; a secret is a mask when it is set and null when it is not."""
        return self.configuration.shown()

    def change(self) -> dict:
        """Merges the given keys; null resets a key to its default. Counts at once and survives a restart."""
        changed = self.configuration.change(payloads.value(request.environ["wsgi.input"].read() or b"{}"))
        self.audit.write("config_updated", username=server.caller().name,
                         ip=self.access.address(request.environ), details={"keys": changed})
        return {"status": "updated", "config": self.configuration.shown()}
