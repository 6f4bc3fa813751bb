"""Figures of now, and of the last hour."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from bottle import Bottle
from msgspec import UNSET, Meta, UnsetType

from ananta.agent.background import JobReport
from ananta.agent.watch import ModelInUse
from ananta.store import stats
from ananta.web.access import AUTH
from ananta.web.responses import Raw


@dataclass
class Snapshot:
    timestamp: float
    agents: dict[str, int]
    tasks: dict[str, int | dict[str, int]]
    shell_pool: dict[str, int]
    resources: dict[str, float]


@dataclass
class StatsAnswer(Snapshot):
    """model: what the last look at the model server found, null where no model can be used."""

    agent_name: str
    model: ModelInUse | None
    jobs: list[JobReport] | UnsetType = UNSET


@dataclass
class StatsQuery:
    """jobs: 1 for how the jobs in the background stand, too."""

    jobs: Annotated[int, Meta(ge=0, le=1)] = 0


@dataclass
class HistoryQuery:
    limit: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class StatsRoutes:
    """What the agent is doing. snapshot: the figures of now; model: the one in use; jobs: how its jobs stand."""

    def __init__(self, agent_name: str, snapshot: Callable[[], dict], model: Callable[[], ModelInUse | None],
                 jobs: Callable[[], list[JobReport]]):
        self.agent_name, self.snapshot, self.model, self.jobs = agent_name, snapshot, model, jobs

    def mount(self, app: Bottle) -> None:
        for prefix in ("", "/api/system"):
            app.get(f"{prefix}/stats", callback=self.now, access=AUTH, query=StatsQuery, gives=StatsAnswer)
            app.get(f"{prefix}/stats/history", callback=self.history, access=AUTH, query=HistoryQuery, gives=list[Snapshot])

    def now(self, query: StatsQuery) -> dict:
        """The figures of now: agents and tasks of a hub, commands and use of this process, and its model; with `jobs=1` how the jobs in the
        background stand."""
        return {**self.snapshot(), "agent_name": self.agent_name, "model": self.model(), **({"jobs": self.jobs()} if query.jobs else {})}

    def history(self, query: HistoryQuery) -> Raw:
        """The figures of each minute, oldest first: the newest `limit`, without the newest `offset`."""
        return Raw(f"[{','.join(stats.newest(query.limit, query.offset))}]".encode())
