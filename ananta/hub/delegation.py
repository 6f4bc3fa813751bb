"""Handing a part of a task on to another agent, and hearing how that goes.

The subtask is a task here, assigned to that agent, so it can be proposed for and executed as any other. An agent that is
a hub is told of it besides, and gets a token of its own for telling how it stands: it opens nothing but that.
"""
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from ananta.domain import delegation as rules
from ananta.domain import tasks
from ananta.domain.addresses import Refused, check_host
from ananta.domain.delegation import Report
from ananta.domain.redaction import masked
from ananta.domain.tasks import Task
from ananta.errors import DelegationFailed, ForwardingFailed, InvalidInput, NotFound, ShuttingDown, StoreFailed
from ananta.hub.callbacks import TaskNews
from ananta.hub.forwarding import OutcomeUnknown, Workers, failed, unwrapped
from ananta.hub.registry import Registry
from ananta.store import delegations
from ananta.store.vault import Vault

log = logging.getLogger(__name__)
HAND_OVER_S, RESPONSE_BYTES = 15.0, 64 << 10
# A worker has no tasks of its own; its subtask is carried out by proposing and executing.
NO_HUB = (404, 405)


@dataclass(frozen=True)
class Wanted:
    """What is delegated. agent_token: what that agent asks for; None: the one it has registered with."""

    agent_url: str
    description: str
    priority: str = "Medium"
    agent_token: str | None = None


@dataclass(frozen=True)
class Delegated:
    """response: what another hub answered, None from a worker."""

    subtask_id: str
    agent_url: str
    response: dict | None


class Delegation:
    """own_url: where other hubs reach this one; mask: a text without the secrets this hub knows; stopping: whether it
    takes no more work."""

    def __init__(self, *, workers: Workers, registry: Registry, vault: Vault, news: TaskNews, mask: Callable[[str], str],
                 stopping: Callable[[], bool], now: Callable[[], float] = time.time):
        self.workers, self.registry, self.vault, self.news, self.mask = workers, registry, vault, news, mask
        self.stopping, self.now = stopping, now
        self.own_url: Callable[[], str] = lambda: ""
        news.also.append(self._follow)

    def delegate(self, parent_id: str, wanted: Wanted) -> Delegated:
        """Makes a subtask for another agent, and tells it. Raises NotFound `parent_task_not_found`, InvalidInput, Conflict,
        Busy, and DelegationFailed: then there is no subtask."""
        _check(wanted.agent_url)
        if self.stopping():
            raise ShuttingDown("This agent is stopping: try again when it has started anew.", retry_after=10)
        token, now = secrets.token_urlsafe(32), self.now()
        subtask = Task(
            id=rules.PREFIX + _uuid(), title=tasks.title_from(wanted.description), description=wanted.description,
            priority=wanted.priority, parent_task_id=parent_id, run_state=tasks.ASSIGNED, created_at=now, updated_at=now,
            assigned_agent_url=wanted.agent_url,
            assigned_agent_token=None if wanted.agent_token is None else self.vault.seal(wanted.agent_token))
        parent, made = delegations.add(parent_id, subtask, token, now)
        try:
            response = None if self.workers.is_self(wanted.agent_url) else self._hand_over(made, wanted, token)
        except BaseException:
            self._take_back(parent_id, made.id)
            raise
        self.news.tell(parent)
        self.news.tell(made)
        return Delegated(made.id, wanted.agent_url, response)

    def report(self, parent_id: str, said: Report) -> None:
        """Takes how a subtask stands. Raises NotFound: `parent_task_not_found`, `subtask_not_found`."""
        if said.last_output is not None:
            said = Report(said.id, said.status, self.mask(said.last_output), said.last_exit_code)
        parent, subtask = delegations.report(parent_id, said, self.now())
        self.news.tell(parent)
        if subtask is not None:
            # Its parent knows it already, in the words of the report.
            self.news.tell(subtask, inside=False)

    # ---

    def _hand_over(self, subtask: Task, wanted: Wanted, token: str) -> dict | None:
        _, registered = self.registry.credentials(wanted.agent_url)
        tokens = list(dict.fromkeys([*([wanted.agent_token] if wanted.agent_token is not None else []), *registered]))
        body = {"id": subtask.id, "title": subtask.title, "description": subtask.description,
                "parent_task_id": subtask.parent_task_id, "priority": subtask.priority,
                "callback_url": f"{self.own_url()}/tasks/{subtask.parent_task_id}/subtask-callback", "callback_token": token}
        try:
            status, answer = self.workers.hand_over(wanted.agent_url, tokens or [None], body,
                                                    idempotency_key=f"hub-{subtask.id}", timeout_s=HAND_OVER_S)
        except OutcomeUnknown as failure:
            raise DelegationFailed(f"Whether the agent at {wanted.agent_url} has taken the subtask is not known, so it was "
                                   "taken back here: look there before it is delegated again.",
                                   details=failure.details) from failure
        except ForwardingFailed as failure:
            raise DelegationFailed(f"{failure.message} The task was not delegated.", details=failure.details) from failure
        if status in NO_HUB:
            # It has not looked at the token for what it does not have.
            refusal = self.workers.refuses(wanted.agent_url, tokens or [None], timeout_s=HAND_OVER_S)
        else:
            refusal = None if 200 <= status < 300 else failed(wanted.agent_url, status, answer)
        if refusal is not None:
            raise DelegationFailed(refusal.message.replace("Nothing was run.", "The task was not delegated."), details=refusal.details)
        if status in NO_HUB:
            return None
        return self._shown(unwrapped(answer or {}), [token, *filter(None, tokens)])

    def _shown(self, answer: dict, secret: list[str]) -> dict:
        """What the other hub said, without tokens and not longer than a list of tasks would show it."""
        def text(value: str) -> str:
            for each in secret:
                value = value.replace(each, "***")
            return self.mask(value)

        if len(msgspec.json.encode(answer)) > RESPONSE_BYTES:
            answer = {name: answer[name] for name in ("id", "status") if isinstance(answer.get(name), str)
                      and len(answer[name]) < 1000}
        return masked(answer, text)  # type: ignore[return-value]

    def _take_back(self, parent_id: str, subtask_id: str) -> None:
        try:
            delegations.take_back(parent_id, subtask_id, self.now())
        except StoreFailed as failure:
            log.warning("the subtask %s was not taken by its agent and is still there: %s", subtask_id, failure.message)

    def _follow(self, task: Task) -> None:
        """A subtask that was changed here shows at its parent, too."""
        if not task.moved or task.parent_task_id is None or not task.id.startswith(rules.PREFIX):
            return
        try:
            self.news.tell(delegations.follow(task, self.now()))
        except (NotFound, StoreFailed) as failure:
            log.info("the parent of %s does not show how it stands: %s", task.id, failure.message)


def _check(url: str) -> None:
    try:
        check_host(urlsplit(url).hostname or "")
    except Refused as refused:
        raise InvalidInput(f"agent_url is not possible: {refused}", details="agent_url") from refused


def _uuid() -> str:
    import uuid

    return str(uuid.uuid4())
