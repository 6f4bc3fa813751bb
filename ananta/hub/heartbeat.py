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
        online, resources = self._answers(agent)
        if self.stopping.is_set():
            return
        if online:
            before = agents.seen(agent.url, resources, self.now())
            if before is not None and before.status != ONLINE:
                self.registry.tell_status(replace(before, status=ONLINE))
        elif agents.set_offline(agent.url):
            self.registry.tell_status(replace(agent, status=OFFLINE))

    def _answers(self, agent: Agent) -> tuple[bool, dict | None]:
        """Returns whether the agent answers, and what it says of its resources."""
        for token in self.registry.credentials(agent.url)[1]:
            try:
                answer = asking.ask("GET", f"{agent.url}/stats", token=token, timeout_s=ASK_S)
            except NoAnswer as failure:
                if not failure.sent:
                    return False, None
                break
            if answer.good:
                self.registry.worked(agent.url, token)
                return True, _resources(answer.content)
            if answer.status != 401 or self.stopping.is_set():
                break
        try:
            return asking.ask("GET", f"{agent.url}/health", timeout_s=ASK_S).status < 500, None
        except NoAnswer:
            return False, None


def _resources(answer: dict) -> dict | None:
    # Some agents answer in an envelope.
    inner = answer.get("data") if isinstance(answer.get("data"), dict) else answer
    found = inner.get("resources")  # type: ignore[union-attr]
    if not isinstance(found, dict):
        return None
    numbers = {name: found.get(name) for name in ("cpu_percent", "ram_bytes")}
    return numbers if all(map(_is_amount, numbers.values())) else None


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 53
