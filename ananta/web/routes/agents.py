"""The agents of a hub: register, list, remove."""
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from bottle import Bottle, request
from msgspec import Meta

from ananta.agent.watch import ModelInUse
from ananta.domain.agents import by_name, entry
from ananta.hub.registry import Announcement, Registry
from ananta.store.llm_log import LLMLog
from ananta.web import server
from ananta.web.access import ADMIN, AUTH, OPEN, Access, Counter


@dataclass
class RegisterRequest:
    """What an agent says of itself. token: what the hub shall present there."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    role: Literal["worker", "hub"] = "worker"
    token: Annotated[str, Meta(max_length=512)] | None = None
    registration_token: Annotated[str, Meta(max_length=512)] | None = None


@dataclass
class StatusAnswer:
    """status: what has been done."""

    status: str


@dataclass
class AgentAnswer:
    """last_seen: epoch seconds; resources: {cpu_percent, ram_bytes}; model: what it asks, null where it has none or does
    not say; commands: how many run there, of how many that may."""

    name: str
    url: str
    role: str
    status: str
    last_seen: float
    resources: dict[str, float] | None
    model: ModelInUse | None
    commands: dict[str, float] | None
    has_token: bool


@dataclass
class ListQuery:
    format: Literal["map", "list"] = "map"


@dataclass
class RemoveQuery:
    """url: the address that the agent is registered with."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]


class AgentRoutes:
    """Who belongs to this hub. limit: how often one address may register."""

    def __init__(self, registry: Registry, access: Access, audit: LLMLog, limit: Counter):
        self.registry, self.access, self.audit, self.limit = registry, access, audit, limit

    def mount(self, app: Bottle) -> None:
        for prefix in ("", "/api/system"):
            app.post(f"{prefix}/register", callback=self.register, access=OPEN, body=RegisterRequest, schema=True,
                     gives=StatusAnswer, fails=(400, 401, 409, 429, 503),
                     limited=lambda: self.limit.count(self.access.address(request.environ)))
            app.get(f"{prefix}/agents", callback=self.all, access=AUTH, query=ListQuery,
                    gives=dict[str, AgentAnswer] | list[AgentAnswer])

            app.delete(f"{prefix}/agents", callback=self.remove, access=ADMIN, query=RemoveQuery, gives=StatusAnswer,
                       fails=(404,))

    def register(self, body: RegisterRequest) -> StatusAnswer:
        """Adds an agent, or changes a known one: its token only for who knows the old one, or if the agent accepts it."""
        address = self.access.address(request.environ)
        try:
            shown = self.access.credential(request.environ)
        except ValueError:
            shown = None
        agent = self.registry.register(Announcement(**asdict(body)), shown[0] if shown and shown[1] == "header" else None)
        self.audit.write("agent_registered", username=agent.name, ip=address,
                         details={"name": agent.name, "url": agent.url, "role": agent.role})
        return StatusAnswer("registered")

    def all(self, query: ListQuery) -> dict | list:
        """The agents by name; of several of one name the one seen last has it, the others `name (url)`. ?format=list
        gives the same as an array."""
        agents = self.registry.everyone()
        return [entry(each) for each in agents] if query.format == "list" else by_name(agents)

    def remove(self, query: RemoveQuery) -> StatusAnswer:
        """Removes an agent from the list; its tasks keep its address. One that still runs comes back with its next
        registration: stop it first."""
        agent = self.registry.remove(query.url)
        self.audit.write("agent_removed", username=server.caller().name, ip=self.access.address(request.environ),
                         details={"name": agent.name, "url": agent.url})
        return StatusAnswer("removed")
