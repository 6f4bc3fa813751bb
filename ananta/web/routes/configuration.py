"""Read and change what may be changed while running."""
from bottle import Bottle, request

from ananta.agent.configuration import LiveConfiguration
from ananta.domain.configuration import MASK
from ananta.store.audit import Audit
from ananta.web import payloads, server
from ananta.web.access import ADMIN, AUTH, READ, Access

USUAL_MODELS = {"ollama": ("llama3", "mistral"), "openai": ("gpt-4o", "gpt-4-turbo"),
                "anthropic": ("claude-3-5-sonnet-20240620",), "lmstudio": ("auto",)}
ANY_OBJECT = ({"type": "object"},)
NEEDS_KEY = ("openai", "anthropic")


class ConfigurationRoutes:
    """Configuration, and the models that can be chosen."""

    def __init__(self, configuration: LiveConfiguration, audit: Audit, access: Access):
        self.configuration, self.audit, self.access = configuration, audit, access

    def mount(self, app: Bottle) -> None:
        app.get("/config", callback=self.show, access=READ, gives=dict)
        app.post("/config", callback=self.change, access=ADMIN, takes=ANY_OBJECT, gives=dict, fails=(400, 403))
        app.get("/providers", callback=self.providers, access=AUTH, gives=list[dict])

    def show(self) -> dict:
        """The effective configuration; a secret is a mask when it is set and null when it is not."""
        return self.configuration.shown()

    def change(self) -> dict:
        """Merges the given keys; null resets a key to its default. Counts at once and survives a restart."""
        changed = self.configuration.change(payloads.value(request.environ["wsgi.input"].read() or b"{}"))
        self.audit.write("config_updated", username=server.caller().name,
                         ip=self.access.address(request.environ), details={"keys": changed})
        return {"status": "updated", "config": self.configuration.shown()}

    def providers(self) -> list[dict]:
        """Models that can be asked, as `provider:model`; exactly one is selected."""
        shown = self.configuration.shown()
        chosen = f"{shown['default_provider']}:{shown['default_model']}"
        names = [chosen]
        for provider, models in USUAL_MODELS.items():
            if provider not in NEEDS_KEY or shown.get(f"{provider}_api_key") == MASK:
                names += [f"{provider}:{model}" for model in models]
        return [{"id": name, "name": name.replace(":", " · ", 1), "selected": name == chosen}
                for name in dict.fromkeys(names)]
