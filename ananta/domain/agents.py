"""Registered agents: when one counts as online, and how they are shown."""
from collections.abc import Iterable
from dataclasses import dataclass, field

ONLINE, OFFLINE = "online", "offline"
REMOVED = "removed"  # told once, of one that is no agent of this hub any more
ROLES = ("worker", "hub")
# A client would take an object with these keys for an envelope.
RESERVED_NAMES = ("data", "status")


@dataclass(frozen=True)
class Agent:
    """A registered agent. token, previous_token: sealed; the previous one stays until the new one has worked;
    resources: {cpu_percent, ram_bytes}; report: what it said last of its work: {model, commands}; last_seen, registered_at:
    epoch seconds."""

    url: str
    name: str
    role: str = "worker"
    token: bytes | None = field(default=None, repr=False)
    previous_token: bytes | None = field(default=None, repr=False)
    last_seen: float = 0.0
    status: str = ONLINE
    resources: dict | None = None
    registered_at: float = 0.0
    report: dict | None = None


def entry(agent: Agent) -> dict:
    """Returns what is shown of an agent: never a token."""
    return {"name": agent.name, "url": agent.url, "role": agent.role, "status": agent.status,
            "last_seen": agent.last_seen, "resources": agent.resources, "model": (agent.report or {}).get("model"),
            "commands": (agent.report or {}).get("commands"), "has_token": agent.token is not None}


def by_name(agents: Iterable[Agent]) -> dict[str, dict]:
    """Returns the entries by name. Of several of one name the one seen last has it, the others `name (url)`."""
    named: dict[str, dict] = {}
    for agent in sorted(agents, key=lambda each: (-each.last_seen, each.url)):
        key, full = agent.name, f"{agent.name} ({agent.url})"
        named[full if key in named else key] = entry(agent)
    return dict(sorted(named.items()))

