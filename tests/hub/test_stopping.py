"""Stopping at the hub what a worker runs, and editing at the hub what a worker proposed."""
import threading

from tests.conftest import WAIT_S, eventually
from tests.hub.conftest import proposes, task


def test_the_hub_stops_what_a_worker_runs(team, tmp_path):
    hub, worker, _ = team
    task_id, begun, done = task(hub, worker), tmp_path / "begun", []
    thread = threading.Thread(target=lambda: done.append(
        hub.post(f"/tasks/{task_id}/step/execute", json={"command": f"touch {begun}; sleep 300"})))
    thread.start()
    eventually(begun.exists)
    answer = hub.post("/step/stop", json={"task_id": task_id})
    thread.join(WAIT_S)
    assert answer.json() == {"stopped": True}
    assert done[0].status_code == 200 and done[0].json()["exit_code"] == -1
    assert hub.post("/step/stop", json={"task_id": task_id}).json() == {"stopped": False}
    worker.stop()
    assert hub.post("/step/stop", json={"task_id": task_id}).json()["code"] == "forwarding_failed"


def test_what_a_worker_proposed_can_be_edited_at_the_hub_and_runs_there(team, model):
    hub, worker, _ = team
    task_id = task(hub, worker)
    proposes(model, "echo as-proposed")
    shown = hub.post(f"/tasks/{task_id}/step/propose", json={}).json()
    edited = hub.post("/step/edit", json={"proposal_id": shown["id"], "command": "echo as-edited"}).json()
    done = hub.post("/step/execute", json={"proposal_id": edited["id"]})
    assert done.status_code == 200 and done.json()["output"] == "as-edited", done.text
    assert worker.records()[-1]["command"] == "echo as-edited"
    assert hub.post("/step/execute", json={"proposal_id": shown["id"]}).json()["code"] == "proposal_refused"
