"""What a hub has beyond a worker: tasks that others may carry out, the agents and their teams, and what is sealed."""
import logging
from collections.abc import Callable

from ananta.agent.configuration import LiveConfiguration
from ananta.agent.decisions import Decisions
from ananta.agent.events import Events
from ananta.agent.steps import Steps
from ananta.agent.tools import Tool
from ananta.domain.tasks import Task
from ananta.hub.callbacks import Callbacks, TaskNews
from ananta.hub.delegation import Delegation
from ananta.hub.forwarding import Workers
from ananta.hub.registry import Registry
from ananta.hub.task_steps import Target, TaskSteps
from ananta.hub.team_tools import TeamTools
from ananta.hub.teams import Teams
from ananta.hub.templates import Templates
from ananta.hub.tools import HubTools
from ananta.store.audit import Audit
from ananta.store.vault import Vault

log = logging.getLogger(__name__)


class Hub:
    """Composition of the hub's parts. own_urls: addresses that are this process itself."""

    def __init__(self, *, steps: Steps, decisions: Decisions, events: Events, vault: Vault, registration_token: str | None,
                 configuration: LiveConfiguration, own_urls: Callable[[], frozenset[str]], flush: Callable[[], None], mask: Callable[[str], str],
                 audit: Audit):
        self.audit, self.templates = audit, Templates(audit)
        self.vault = vault
        self.callbacks = Callbacks(vault.open)
        self.news = TaskNews(events, self.callbacks)
        self.teams = Teams(self.news.tell)
        self.workers = Workers(own_urls=own_urls, mask=mask)
        self.registry = Registry(
            vault=vault, events=events, registration_token=registration_token, own_token=lambda credential: False,
            is_self=self.workers.is_self, offline_after_s=lambda: configuration["agent_offline_timeout"])
        self.delegation = Delegation(workers=self.workers, registry=self.registry, vault=vault, news=self.news, mask=mask,
                                     stopping=steps.stopping.is_set)
        self.steps = TaskSteps(steps=steps, decisions=decisions, workers=self.workers, target_of=self.target_of,
                               changed=self.news.tell, flush=flush)

    def tools(self) -> list[Tool]:
        """Returns what a model may be offered of what only a hub has."""
        return [*HubTools(self.registry.everyone, self.templates).all(), *TeamTools(self.teams, self.audit).all()]

    def target_of(self, task: Task) -> Target | None:
        """Returns the agent that has the task, None when that is this hub itself."""
        url = task.assigned_agent_url
        if url is None or self.workers.is_self(url):
            return None
        assigned = None if task.assigned_agent_token is None else self.vault.open(task.assigned_agent_token)
        name, registered = self.registry.credentials(url)
        # What the task was given first; then what the agent has told of itself, or had told before it changed its token.
        tokens = dict.fromkeys([*([assigned] if assigned is not None else []), *registered])
        return Target(url, name, tuple(tokens) or (None,))

    def open(self) -> None:
        """Takes up what the last stop interrupted; the journal is open."""
        self.steps.history.reconcile()

    def interrupt(self) -> None:
        """Ends the calls under way; the steps they were for are unknown."""
        self.workers.close()

    def close(self) -> None:
        self.workers.close()
        self.steps.history.running.close()
        self.callbacks.close()
