"""What this process and its team are doing, in figures."""
import time
from collections.abc import Callable

from ananta.agent.lanes import Lane

Counts = Callable[[], dict]


class Figures:
    """agents, tasks: on a hub, what counts them; a worker has none of both."""

    def __init__(self, commands: Lane, usage: Callable[[], tuple[float, int]], *, agents: Counts | None = None,
                 tasks: Counts | None = None, now: Callable[[], float] = time.time):
        self.commands, self.usage, self.now = commands, usage, now
        self.agents = agents or (lambda: {"total": 0, "online": 0, "offline": 0})
        self.tasks = tasks or _no_tasks

    def snapshot(self) -> dict:
        """Returns {timestamp, agents, tasks, shell_pool, resources}. Nothing is started to find out."""
        cpu_percent, ram_bytes = self.usage()
        total, busy = self.commands.places, self.commands.busy
        return {"timestamp": self.now(), "agents": self.agents(), "tasks": self.tasks(),
                "shell_pool": {"total": total, "free": total - busy, "busy": busy},
                "resources": {"cpu_percent": cpu_percent, "ram_bytes": ram_bytes}}


def _no_tasks() -> dict:
    from ananta.domain.tasks import counted  # a start counts nothing

    return counted([])
