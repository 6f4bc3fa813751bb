"""What a command prints at a worker, seen at the hub while it runs."""
import threading

import pytest

from tests.api.test_output import Listener
from tests.conftest import WAIT_S, eventually
from tests.hub.conftest import task, team  # noqa: F401  (fixture)
from tests.hub.stranger import Stranger, reply


@pytest.fixture
def begun(team, tmp_path):  # noqa: F811
    """A task whose command runs at a worker until the gate is there: (hub, its id, the gate, the answer to come)."""
    hub, worker, _ = team
    gate, task_id = tmp_path / "gate", task(hub, worker)
    answer: list = []
    command = f"echo early; touch {gate}.begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo late"

    def run() -> None:
        answer.append(hub.post(f"/tasks/{task_id}/step/execute", json={"command": command}))

    def begin() -> None:
        threads.append(threading.Thread(target=run))
        threads[-1].start()
        eventually(gate.with_name("gate.begun").exists)

    threads: list = []
    yield hub, task_id, gate, answer, begin
    gate.touch()
    for each in threads:
        each.join(WAIT_S)


def told_until_the_end(listener, gate) -> list:
    told = listener.messages()
    found = [next(told), next(told)]
    gate.touch()
    return found + list(told)


@pytest.mark.parametrize("looks_first", [True, False])
def test_output_of_a_run_at_a_worker_is_seen_at_the_hub(begun, looks_first):
    hub, task_id, gate, answer, begin = begun
    if looks_first:
        listener = Listener(hub, task_id)
        begin()
    else:
        begin()
        listener = Listener(hub, task_id)
    found = told_until_the_end(listener, gate)
    assert (found[0][0], found[-1][0]) == ("run_started", "run_ended") and {kind for kind, _ in found[1:-1]} == {"run_output"}
    assert found[1][1]["text"] == "early\n" and found[-1][1]["exit_code"] == 0 and found[-1][1]["state"] == "finished"
    eventually(lambda: answer)
    # It is known here by the number it has here.
    assert {data["run_id"] for _, data in found} == {answer[0].json()["id"]}


def test_a_run_that_did_not_take_place_ends_there_too(team):  # noqa: F811
    hub, _, _ = team
    refusing = Stranger(lambda number, request, connection: reply({"error": "conflict", "code": "busy_here", "message": "not now"}, 409))
    task_id = hub.post("/tasks", json={"title": "x"}).json()["id"]
    hub.post(f"/tasks/{task_id}/assign", json={"agent_url": refusing.url, "token": "t"})
    listener = Listener(hub, task_id)
    assert hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo x"}).status_code == 409
    kinds = list(listener.messages())
    assert [kind for kind, _ in kinds] == ["run_started", "run_ended"] and kinds[-1][1]["state"] == "not_run"
    # Who comes now sees nothing of it.
    again = Listener(hub, task_id)
    assert hub.post(f"/tasks/{task_id}/assign", json={}).status_code == 200
    assert hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo here"}).json()["output"] == "here"
    assert [data["command"] for kind, data in again.messages() if kind == "run_started"] == ["echo here"]
    refusing.close()
