"""Whether the agents of a hub are there: asked once a minute, by one of the hubs on a database."""
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ananta.domain.agents import OFFLINE, ONLINE, Agent
from ananta.errors import AnantaError
from ananta.hub import asking
from ananta.hub.asking import NoAnswer
from ananta.hub.registry import Registry
from ananta.store import agents, database, leases

log = logging.getLogger(__name__)
LEASE = "heartbeat"
EVERY_S, FIRST_S, ASK_S = 60.0, 2.0, 5.0
THREADS = 16
NAME_CHARS = 200


class Heartbeat:
    """One round is `round()`: ask all agents."""

    def __init__(self, registry: Registry, *, every_s: float = EVERY_S, now: Callable[[], float] = time.time):
        self.registry, self.every_s, self.now = registry, every_s, now
        self.stopping = threading.Event()
        self._owner = os.urandom(8).hex()

    def round(self) -> None:
        """Asks everyone once, unless another hub on this database does."""
        now = self.now()
        if not leases.take(LEASE, self._owner, now + 1.5 * self.every_s, now):
            return
        self._ask_all()
        if self.stopping.is_set():
            return
        self.registry.expire()

    def close(self) -> None:
        """Lets a round end early, and another hub take over at once."""
        self.stopping.set()
        try:
            leases.give_back(LEASE, self._owner)
        except AnantaError as failure:
            log.info("the lease of the heartbeat runs out by itself: %s", failure.message)

    # ---

    def _ask_all(self) -> None:
        waiting: queue.SimpleQueue[Agent] = queue.SimpleQueue()
        everyone = agents.everyone()
        for agent in everyone:
            waiting.put(agent)
        threads = [threading.Thread(target=self._work, args=(waiting,), name=f"heartbeat-{number}", daemon=True)
                   for number in range(min(THREADS, len(everyone)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            # One that waits for an answer does not hold up the stop.
            while thread.is_alive() and not self.stopping.is_set():
                thread.join(0.1)

    def _work(self, waiting: "queue.SimpleQueue[Agent]") -> None:
        while not self.stopping.is_set():
            try:
                agent = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                self._ask(agent)
            except Exception as failure:
                # Of one agent, or of the database: the others are asked all the same.
                if not self.stopping.is_set():
                    log.warning("whether the agent at %s is there cannot be said: %s", agent.url, failure)
        database.close_mine()

    def _ask(self, agent: Agent) -> None:
        online, said = self._answers(agent)
        if self.stopping.is_set():
            return
        if online:
            before = agents.seen(agent.url, _resources(said), _report(said), self.now())
            if before is not None and before.status != ONLINE:
                self.registry.tell_status(replace(before, status=ONLINE))
        elif agents.set_offline(agent.url):
            self.registry.tell_status(replace(agent, status=OFFLINE))

    def _answers(self, agent: Agent) -> tuple[bool, dict]:
        """Returns whether the agent answers, and what it says of itself."""
        for token in self.registry.credentials(agent.url)[1]:
            try:
                answer = asking.ask("GET", f"{agent.url}/stats", token=token, timeout_s=ASK_S)
            except NoAnswer as failure:
                if not failure.sent:
                    return False, {}
                break
            if answer.good:
                self.registry.worked(agent.url, token)
                # Some agents answer in an envelope.
                inner = answer.content.get("data")
                return True, inner if isinstance(inner, dict) else answer.content
            if answer.status != 401 or self.stopping.is_set():
                break
        try:
            return asking.ask("GET", f"{agent.url}/health", timeout_s=ASK_S).status < 500, {}
        except NoAnswer:
            return False, {}


def _resources(said: dict) -> dict | None:
    return _amounts(said.get("resources"), "cpu_percent", "ram_bytes")


def _report(said: dict) -> dict | None:
    """Returns {model, commands}, each null where it is not told; None where nothing at all is."""
    commands = _amounts(said.get("shell_pool"), "busy", "total")
    model = _model(said.get("model"))
    return None if not said else {"model": model, "commands": commands}


def _model(found: object) -> dict | None:
    if not isinstance(found, dict):
        return None
    provider, name, context = (found.get(each) for each in ("provider", "name", "context_tokens"))
    if not isinstance(provider, str) or not isinstance(name, str):
        return None
    # What a worker says is not taken at its word: it may be of any length.
    return {"provider": provider[:NAME_CHARS], "name": name[:NAME_CHARS], "context_tokens": context if _is_count(context) else None}


def _amounts(found: object, *names: str) -> dict | None:
    if not isinstance(found, dict):
        return None
    numbers = {name: found.get(name) for name in names}
    return numbers if all(map(_is_amount, numbers.values())) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_amount(value)


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 53
