"""The agents that have registered with this hub."""
from dataclasses import fields, replace

import msgspec

from ananta.domain.agents import OFFLINE, ONLINE, Agent
from ananta.errors import NotFound
from ananta.store import database
from ananta.store.records import plain

COLUMNS = tuple(field.name for field in fields(Agent))
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM agents"
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("url", "registered_at"))
_UPSERT = (f"INSERT INTO agents ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
           f"ON CONFLICT (url) DO UPDATE SET {_CHANGED}")


def save(agent: Agent, was: Agent | None) -> bool:
    """Stores an agent in place of what it was when that was looked up (None: it was not there); registered_at of a known
    one stays. False: its tokens have been changed meanwhile, and nothing was stored."""
    with database.writing():
        found = database.locked(f"{_SELECT} WHERE url = ?", plain(agent.url))
        now = _agent(found[0]) if found else None
        if _tokens(now) != _tokens(was):
            return False
        if now is None:
            # On Postgres nothing was there to be locked: of two that come at once, the second one looks again.
            return database.change(f"{_UPSERT.partition(' ON CONFLICT')[0]} ON CONFLICT (url) DO NOTHING",
                                   *_values(agent)) == 1
        database.change(_UPSERT, *_values(agent))
        return True


def find(url: str) -> Agent:
    """Returns the agent of this address. Raises NotFound."""
    found = database.rows(f"{_SELECT} WHERE url = ?", plain(url))
    if not found:
        raise NotFound(f"No agent at {plain(url)[:200]} is registered: GET /agents lists those there are.",
                       code="agent_not_found")
    return _agent(found[0])


def get(url: str) -> Agent | None:
    """Returns the agent of this address, None if none has registered with it."""
    found = database.rows(f"{_SELECT} WHERE url = ?", plain(url))
    return _agent(found[0]) if found else None


def everyone() -> list[Agent]:
    """Returns all agents, by address."""
    return [_agent(row) for row in database.rows(f"{_SELECT} ORDER BY url")]


def remove(url: str) -> Agent:
    """Removes the agent of this address and returns what it was; tasks and teams go on naming it. Raises NotFound."""
    with database.writing():
        agent = find(url)
        database.change("DELETE FROM agents WHERE url = ?", agent.url)
    return agent


def tokens() -> list[tuple[str, bytes | None, bytes | None]]:
    """Returns of each agent that has a token its name, its token and its previous one, both sealed."""
    found = database.rows("SELECT name, token, previous_token FROM agents WHERE token IS NOT NULL ORDER BY url")
    return [(name, bytes(token), None if previous is None else bytes(previous)) for name, token, previous in found]


def counts() -> dict[str, int]:
    """Returns how many agents there are: {total, online, offline}."""
    found = dict(database.rows("SELECT status, count(*) FROM agents GROUP BY status"))
    online = found.get(ONLINE, 0)
    return {"total": sum(found.values()), "online": online, "offline": sum(found.values()) - online}


def seen(url: str, resources: dict | None, report: dict | None, now: float) -> Agent | None:
    """Stores that the agent answers, and what it says of its resources and its work (None: what was known stays). Returns
    what it was before, None if it is not registered any more."""
    with database.writing():
        found = database.locked(f"{_SELECT} WHERE url = ?", plain(url))
        if not found:
            return None
        before = _agent(found[0])
        database.change("UPDATE agents SET status = ?, last_seen = ?, resources = ?, report = ? WHERE url = ?", ONLINE,
                        max(now, before.last_seen), _json(before.resources if resources is None else resources),
                        _json(before.report if report is None else report), before.url)
        return before


def set_offline(url: str) -> bool:
    """Says whether the agent was online until now."""
    with database.writing():
        return database.change("UPDATE agents SET status = ? WHERE url = ? AND status <> ?", OFFLINE, plain(url), OFFLINE) == 1


def expire(before: float) -> list[Agent]:
    """Sets online agents that were last seen before this moment (epoch seconds) to offline; returns them as they are now."""
    late = "status = ? AND last_seen < ?"
    if not database.rows(f"SELECT 1 FROM agents WHERE {late} LIMIT 1", ONLINE, before):
        return []
    with database.writing():
        found = [_agent(row) for row in database.locked(f"{_SELECT} WHERE {late} ORDER BY url", ONLINE, before)]
        for agent in found:
            database.change("UPDATE agents SET status = ? WHERE url = ?", OFFLINE, agent.url)
    return [replace(agent, status=OFFLINE) for agent in found]


def worked(url: str, token: bytes) -> None:
    """Forgets the previous token of the agent, because this one, which it has now, is accepted there."""
    with database.writing():
        database.change("UPDATE agents SET previous_token = NULL WHERE url = ? AND token = ? AND previous_token IS NOT NULL",
                        plain(url), token)


# ---


def _tokens(agent: Agent | None) -> tuple | None:
    return None if agent is None else (agent.token, agent.previous_token)


def _values(agent: Agent) -> list[object]:
    values = {**vars(agent), "resources": _json(agent.resources), "report": _json(agent.report), "url": plain(agent.url), "name": plain(agent.name)}
    return [values[name] for name in COLUMNS]


def _json(value: dict | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _agent(row: tuple) -> Agent:
    values = dict(zip(COLUMNS, row, strict=True))
    for name in ("token", "previous_token"):
        if values[name] is not None:
            values[name] = bytes(values[name])
    for name in ("resources", "report"):
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name])
    return Agent(**values)
