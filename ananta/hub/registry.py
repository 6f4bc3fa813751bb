"""The agents of this hub: who may say that it is one, which token it gets, and whether it is there."""
import hmac
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ananta.agent.events import Events
from ananta.agent.lanes import Lane
from ananta.domain.agents import ONLINE, REMOVED, RESERVED_NAMES, Agent, entry
from ananta.domain.configuration import is_address, same_host
from ananta.domain.events import AGENT_REGISTERED, AGENT_STATUS
from ananta.errors import Conflict, InvalidInput, NotAuthenticated, StoreFailed, Unavailable, Unprocessable
from ananta.hub import asking
from ananta.hub.asking import NoAnswer
from ananta.store import agents, database, tasks
from ananta.store.vault import Vault

log = logging.getLogger(__name__)
PROBE_S, PROOF_S = 2.0, 5.0
PLACES, AGENTS, TOKEN_CHARS = 8, 2000, 512
TRIES = 3  # of a registration whose agent is changed by another one meanwhile


@dataclass(frozen=True)
class Announcement:
    """What an agent says of itself. token: what the hub shall present there."""

    name: str
    url: str
    role: str = "worker"
    token: str | None = None
    registration_token: str | None = None


class Registry:
    """Thread-safe; what it knows stands in the database. own_token: whether a credential is this hub's own; is_self:
    whether an address is; offline_after_s: how long an agent that was not seen still counts as online."""

    def __init__(self, *, vault: Vault, events: Events, registration_token: str | None, own_token: Callable[[str], bool],
                 offline_after_s: Callable[[], float], is_self: Callable[[str], bool] = lambda url: False,
                 now: Callable[[], float] = time.time):
        self.vault, self.events, self.registration_token, self.own_token = vault, events, registration_token, own_token
        self.offline_after_s, self.is_self, self.now = offline_after_s, is_self, now
        # Anybody may register, and each time others are asked: that must not take all threads of the server.
        self.lane = Lane("registrations", PLACES, retry_after_s=2)
        self._lock = threading.Lock()
        self._digests: dict[bytes, str | None] = {}

    def register(self, said: Announcement, credential: str | None) -> Agent:
        """Stores what an agent says of itself and returns it. credential: what the request carries as Authorization.

        Raises NotAuthenticated, Unprocessable, InvalidInput `agent_unreachable`, Conflict `agent_token_mismatch`, Busy."""
        said = _checked(said)
        if self.registration_token is not None and not _same(said.registration_token, self.registration_token):
            raise NotAuthenticated("registration_token is missing or wrong: set REGISTRATION_TOKEN of the agent to that of "
                                   "its hub.")
        with self.lane.take():
            _probe(said.url)
            if self.is_self(said.url):
                raise InvalidInput(f"{said.url} is the address of this hub itself: set AGENT_URL of the agent to an address "
                                   "under which the hub reaches it.", code="agent_unreachable", details=said.url)
            for _ in range(TRIES):
                was = agents.get(said.url)
                agent = self._agreed(said, was, credential)
                if self._save(agent, was):
                    self._tell(agent, was)
                    return agent
        raise Conflict(f"The agent at {said.url} is registered by several at once: try again.", code="agent_token_mismatch")

    def credentials(self, url: str) -> tuple[str, list[str | None]]:
        """Returns the name of the agent there, and the tokens to try, in this order; None: without one. The address and
        [] if it is not registered."""
        agent = agents.get(url.rstrip("/"))
        if agent is None:
            return url, []
        sealed = [each for each in (agent.token, agent.previous_token) if each is not None]
        return agent.name, [text for text in map(self._opened, sealed) if text is not None] or [None]

    def who_has(self, credential: str) -> str | None:
        """Returns the name of the agent that goes by this token, None if none does.

        Anybody may ask, so no token is opened for it twice: of each a digest is kept as long as the agent has it."""
        if not credential.isascii() or len(credential) > TOKEN_CHARS:
            return None
        shown, found, everyone = self.vault.digest(credential), None, agents.tokens()
        with self._lock:
            known, self._digests = self._digests, {}
            for name, *tokens in everyone:
                for sealed in tokens:
                    if sealed is not None:
                        digest = known[sealed] if sealed in known else self._digest(sealed)
                        self._digests[sealed] = digest
                        if digest is not None and hmac.compare_digest(shown, digest):
                            found = name
        return found

    def worked(self, url: str, token: str | None) -> None:
        """To be called when the agent has accepted a token: once that is the new one, the previous one is forgotten."""
        agent = agents.get(url.rstrip("/"))
        if agent is not None and agent.token is not None and agent.previous_token is not None and _same(
                token, self._opened(agent.token)):
            agents.worked(agent.url, agent.token)

    def everyone(self) -> list[Agent]:
        """Returns all agents; those not seen for long are offline from now on."""
        self.expire()
        return agents.everyone()

    def remove(self, url: str) -> Agent:
        """Removes the agent of this address and returns what it was. One that still runs comes back with its next
        registration. Raises NotFound."""
        agent = agents.remove(url.strip().rstrip("/"))
        log.info("the agent %s at %s is removed", agent.name, agent.url)
        self.events.publish(AGENT_STATUS, {**_event(agent), "status": REMOVED})
        return agent

    def expire(self) -> None:
        """Sets the agents that were not seen for too long to offline."""
        for agent in agents.expire(self.now() - self.offline_after_s()):
            self.tell_status(agent)

    def tell_status(self, agent: Agent) -> None:
        log.info("the agent %s at %s is %s", agent.name, agent.url, agent.status)
        self.events.publish(AGENT_STATUS, _event(agent))

    # ---

    def _agreed(self, said: Announcement, was: Agent | None, credential: str | None) -> Agent:
        """Returns the agent as it is from now on. Raises Conflict for a change that nobody proves to be the agent's."""
        now = self.now()
        if was is None:
            if agents.counts()["total"] >= AGENTS:
                raise Unavailable(f"This hub has {AGENTS} agents already, and takes no further ones.")
            return Agent(said.url, said.name, said.role, self._sealed(said.token), None, now, ONLINE, None, now)
        current, previous = self._opened(was.token), self._opened(was.previous_token)
        seen = replace(was, name=said.name, role=said.role, last_seen=max(now, was.last_seen), status=ONLINE)
        if said.token is not None and _same(said.token, current):
            # Whoever shows it as the one it goes by uses it: no other one is needed any more.
            return replace(seen, previous_token=None) if _same(credential, current) else seen
        if said.token is None and (was.token is None or (said.name, said.role) == (was.name, was.role)):
            return seen
        by_previous, by_current = _same(credential, previous), _same(credential, current)
        known = by_current or by_previous or (credential is not None and (
            self.own_token(credential) or _same(credential, self.registration_token)))
        if not known and not _accepted(said.url, said.token):
            log.warning("somebody who does not know the token of the agent at %s wants to change it", said.url)
            raise Conflict(f"The agent at {said.url} is registered with another token, and does not accept this one: send "
                           "the old one as Authorization, or start the agent with the new one first.",
                           code="agent_token_mismatch")
        if said.token is None:
            # Without a new token the old one stays, unless the agent has shown that it asks for none.
            return seen if known else replace(seen, token=None, previous_token=None)
        if not known or _same(said.token, previous):
            return replace(seen, token=self._sealed(said.token), previous_token=None)
        # The new one is not in use there yet: the one that has worked last stays beside it.
        keeps = was.previous_token if by_previous or (was.previous_token and not by_current) else was.token
        return replace(seen, token=self._sealed(said.token), previous_token=keeps)

    def _save(self, agent: Agent, was: Agent | None) -> bool:
        with database.writing():
            if not agents.save(agent, was):
                return False
            # Of an agent that was not known nobody has proved anything: tasks keep the token they were given.
            if agent.token is not None and was is not None and agent.token != was.token:
                tasks.set_tokens_for_url(agent.url, agent.token)
        return True

    def _tell(self, agent: Agent, was: Agent | None) -> None:
        log.info("the agent %s at %s is registered", agent.name, agent.url)
        self.events.publish(AGENT_REGISTERED, _event(agent))
        if was is not None and was.status != agent.status:
            self.tell_status(agent)

    def _sealed(self, token: str | None) -> bytes | None:
        return None if token is None else self.vault.seal(token)

    def _digest(self, sealed: bytes) -> str | None:
        token = self._opened(sealed)
        return None if token is None else self.vault.digest(token)

    def _opened(self, sealed: bytes | None) -> str | None:
        if sealed is None:
            return None
        try:
            return self.vault.open(sealed)
        except StoreFailed:
            log.warning("the token of an agent cannot be opened with this SECRET_KEY: the agent has to register anew")
            return None


def _checked(said: Announcement) -> Announcement:
    url, name, token = said.url.strip().rstrip("/"), said.name.strip(), said.token or None
    if not name or len(name) > 64 or not name.isprintable() or name in RESERVED_NAMES:
        raise _misfit("name", "has 1 to 64 printable characters, and is neither `data` nor `status`")
    if token is not None and (len(token) > TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token):
        raise _misfit("token", f"has 1 to {TOKEN_CHARS} printable ASCII characters without spaces")
    if not is_address(url) or not url.isascii() or not url.isprintable() or "?" in url or "#" in url:
        raise InvalidInput(f"url={url[:100]!r} is not the address of an agent: write it like http://localhost:5001.",
                           code="agent_unreachable", details="url")
    return replace(said, url=same_host(url), name=name, token=token)


def _misfit(field: str, rule: str) -> Unprocessable:
    return Unprocessable(f"{field}: it {rule}.", details=field, errors=[{"loc": ["body", field], "msg": rule, "type": "value"}])


def _probe(url: str) -> None:
    """Raises InvalidInput if nothing answers at the address."""
    why = ""
    for path in ("/health", ""):
        try:
            status = asking.ask("GET", url + path, timeout_s=PROBE_S).status
        except NoAnswer as failure:
            why = str(failure)
            continue
        if status < 500:
            return
        why = f"it answers {status}"
    raise InvalidInput(f"The agent cannot be reached at {url}: {why}. Set its AGENT_URL to an address that works on the hub.",
                       code="agent_unreachable", details="url")


def _accepted(url: str, token: str | None) -> bool:
    """Whether the agent lets this token in."""
    try:
        return asking.ask("GET", f"{url}/stats", token=token, timeout_s=PROOF_S).good
    except NoAnswer:
        return False


def _same(shown: str | None, kept: str | None) -> bool:
    return shown is not None and kept is not None and hmac.compare_digest(shown.encode("utf-8", "replace"), kept.encode())


def _event(agent: Agent) -> dict:
    return {each: entry(agent)[each] for each in ("name", "url", "status")}
