import json

import pytest

from tests.conftest import Ananta

HUB, FIRST, SECOND = "hubsecret", "secret1", "secret2"


@pytest.fixture
def team(start, model, database_url):
    """A hub and two workers, as processes; their models are the fake one."""
    return begin_team(start, model, database_url)


def begin_team(start, model, database_url=None, **hub_settings) -> tuple[Ananta, Ananta, Ananta]:
    extra = {"DATABASE_URL": database_url} if database_url else {}
    common = {"LMSTUDIO_URL": model.url}
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, **extra, **common, **hub_settings)
    workers = [start(name, "--host", "127.0.0.1", "--agent-name", name, token=token, **common)
               for name, token in (("alpha", FIRST), ("beta", SECOND))]
    return hub, *workers


def task(hub, worker=None, **fields) -> str:
    """A new task, assigned to the worker; returns its id."""
    answer = hub.post("/tasks", json={"title": "Repo-Analyse", **fields})
    assert answer.status_code == 201, answer.text
    task_id = answer.json()["id"]
    if worker is not None:
        assigned = hub.post(f"/tasks/{task_id}/assign", json={"agent_url": worker.url, "token": worker.token})
        assert assigned.status_code == 200, assigned.text
    return task_id


def proposes(model, command: str, reason: str = "because") -> None:
    model.answer(json.dumps({"reason": reason, "command": command}))
