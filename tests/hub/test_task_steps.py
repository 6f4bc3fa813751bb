"""Propose and execute for a task: here, or at the agent that has it."""
import threading

import pytest

from tests.conftest import WAIT_S, eventually
from tests.hub.conftest import begin_team, proposes, task


def test_the_flow_of_the_product_description(team, model):
    hub, first, second = team
    for each in team:
        assert each.get("/health", auth=False).json() == {"status": "ok"}
    assert hub.post("/tasks", json={"title": "Repo-Analyse"}, auth=False).status_code == 401
    made = hub.post("/tasks", json={"title": "Repo-Analyse"})
    assert made.status_code == 201 and made.json()["id"] == "T-123456" and made.json()["status"] == "to-do"
    assigned = hub.post("/tasks/T-123456/assign", json={"agent_url": first.url, "token": "secret1"})
    assert assigned.status_code == 200
    shown = hub.get("/tasks/T-123456", auth=False)
    assert shown.json()["assignment"] == {"agent_url": first.url, "has_token": True} and "secret1" not in shown.text

    model.answer("REASON: Greet.\nCOMMAND: echo hello")
    proposed = hub.post("/tasks/T-123456/step/propose", json={"prompt": "Say hello"}, auth=False)
    assert proposed.status_code == 200 and proposed.json()["command"] == "echo hello"
    assert hub.get("/tasks/T-123456").json()["last_proposal"] is None and hub.get("/proposals").json() == []
    assert first.get("/proposals").json() == []

    done = hub.post("/tasks/T-123456/step/execute", json={"command": "echo hello"})
    assert done.status_code == 200 and done.json()["output"] == "hello" and done.json()["exit_code"] == 0
    records = hub.get("/tasks/T-123456/logs", auth=False).json()
    assert [(each["command"], each["exit_code"], each["agent"], each["forwarded_to"]) for each in records] == [
        ("echo hello", 0, "alpha", first.url)]
    assert [each["task_id"] for each in first.get("/logs").json()] == ["T-123456"]
    assert second.get("/logs").json() == []
    after = hub.get("/tasks/T-123456").json()
    assert (after["status"], after["run_state"], after["last_output"], after["last_exit_code"]) == (
        "in-progress", "completed", "hello", 0)
    assert [(each["command"], each["output"], each["exit_code"]) for each in after["history"]] == [("echo hello", "hello", 0)]


def test_a_proposal_is_kept_and_runs_as_it_was_shown(team, model):
    hub, first, _ = team
    task_id = task(hub, first, description="Greet the world")
    proposes(model, "echo world")
    proposed = hub.post(f"/tasks/{task_id}/step/propose", json={}).json()
    assert "Greet the world" in str([each for each in model.requests if each.method == "POST"][-1])
    assert proposed["status"] == "proposing" and proposed["decision"] == "allow" and proposed["id"]
    kept = hub.get(f"/tasks/{task_id}").json()
    assert kept["last_proposal"]["command"] == "echo world"
    assert (kept["status"], kept["run_state"]) == ("in-progress", "proposing")
    done = hub.post(f"/tasks/{task_id}/step/execute", json={})
    assert done.status_code == 200 and done.json()["output"] == "world"
    assert hub.get(f"/proposals/{proposed['id']}").json()["state"] == "run"
    assert first.get(f"/proposals/{proposed['id']}").json()["state"] == "run"
    again = hub.post("/step/execute", json={"proposal_id": proposed["id"]})
    assert (again.status_code, again.json()["code"]) == (409, "proposal_used")


def test_a_refusal_is_part_of_the_next_prompt_of_the_worker(team, model):
    hub, first, _ = team
    task_id = task(hub, first)
    proposes(model, "touch x")
    shown = hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "make x"}).json()
    assert hub.post("/step/reject", json={"proposal_id": shown["id"], "reason": "not on a Sunday"}).status_code == 200
    proposes(model, "echo no")
    hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "make x"})
    assert "not on a Sunday" in str(model.posts[-1])


def test_the_inbox_of_the_hub_runs_at_the_worker(team, model):
    hub, first, _ = team
    task_id = task(hub, first)
    proposes(model, "pwd; touch made-here")
    hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "x"})
    (waiting,) = hub.get("/proposals").json()
    done = hub.post("/step/execute", json={"proposal_id": waiting["id"]})
    assert done.status_code == 200 and (first.folder / "made-here").exists() and not (hub.folder / "made-here").exists()
    assert len(hub.get(f"/tasks/{task_id}").json()["history"]) == 1


def test_what_a_task_was_proposed_for_another_agent_does_not_run(team, model):
    hub, first, second = team
    task_id = task(hub, first)
    proposes(model, "touch made")
    shown = hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "x"}).json()
    hub.post(f"/tasks/{task_id}/assign", json={"agent_url": second.url, "token": second.token})
    refused = hub.post(f"/tasks/{task_id}/step/execute", json={"proposal_id": shown["id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "proposal_changed")
    assert not (first.folder / "made").exists() and not (second.folder / "made").exists()


def test_what_the_worker_denies_is_denied_and_recorded(team):
    hub, first, _ = team
    task_id = task(hub, first)
    (first.data / "blacklist.txt").write_text("forbidden-word\n")
    refused = hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo forbidden-word"})
    assert (refused.status_code, refused.json()["code"]) == (403, "command_denied") and refused.json()["reasons"]
    assert hub.get(f"/tasks/{task_id}").json()["history"] == []
    assert [each["state"] for each in hub.get(f"/tasks/{task_id}/logs").json()] == ["denied"]


def test_what_the_hub_denies_is_not_handed_on(team):
    hub, first, _ = team
    task_id = task(hub, first)
    (hub.data / "blacklist.txt").write_text("forbidden-word\n")
    refused = hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo forbidden-word"})
    assert (refused.status_code, refused.json()["code"]) == (403, "command_denied") and first.get("/logs").json() == []


def test_without_a_proposal_there_is_nothing_to_run(team):
    hub, first, _ = team
    for task_id in (task(hub), task(hub, first)):
        answer = hub.post(f"/tasks/{task_id}/step/execute", json={})
        assert (answer.status_code, answer.json()["code"]) == (400, "no_proposal")


def test_a_task_of_the_hub_itself_runs_there(team, model):
    hub, *_ = team
    task_id = task(hub)
    assert hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo here"}).json()["output"] == "here"
    assert hub.post("/step/execute", json={"command": "exit 3", "task_id": task_id}).json()["exit_code"] == 3
    proposes(model, "echo later")
    assert hub.post("/step/propose", json={"prompt": "later", "task_id": task_id}).status_code == 200
    shown = hub.get(f"/tasks/{task_id}").json()
    assert [each["exit_code"] for each in shown["history"]] == [0, 3] and shown["run_state"] == "proposing"
    assert shown["last_proposal"]["command"] == "echo later" and shown["last_exit_code"] == 3
    assert [each["step"] for each in hub.get(f"/tasks/{task_id}/logs").json()] == [1, 2]


def test_a_dead_worker_is_an_error_and_the_task_stays_as_it_was(team):
    hub, first, _ = team
    task_id = task(hub, first)
    before = hub.get(f"/tasks/{task_id}").json()
    first.kill()
    for verb, body in (("propose", {"prompt": "x"}), ("execute", {"command": "echo x"})):
        answer = hub.post(f"/tasks/{task_id}/step/{verb}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (502, "forwarding_failed"), answer.text
        assert first.token not in answer.text
    after = hub.get(f"/tasks/{task_id}").json()
    assert {**before, "updated_at": 0} == {**after, "updated_at": 0}
    assert [each["state"] for each in hub.get(f"/tasks/{task_id}/logs").json()] == ["not_run"]


def test_a_template_gives_text_model_and_defaults(team, model):
    hub, first, _ = team
    made = hub.post("/templates", json={"name": "T", "prompt_template": "You are {{sprache}} for {{task_title}}. {{other}}",
                                        "provider": "lmstudio", "model": "special", "defaults": {"sprache": "polite"}})
    assert made.status_code == 201, made.text
    task_id = task(hub, first, template_id=made.json()["id"])
    proposes(model, "echo x")
    proposed = hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "go"}).json()
    asked = model.posts[-1].body
    assert "You are polite for Repo-Analyse. {{other}}" in str(asked) and "special" in str(asked), asked
    assert proposed["model"] == "lmstudio:special"


def test_of_many_steps_at_once_every_one_is_in_the_history(start, model):
    hub, first, _ = begin_team(start, model)
    for task_id in (task(hub, first), task(hub)):
        answers = []

        def step(number: int, task_id=task_id, answers=answers) -> None:
            answers.append(hub.post(f"/tasks/{task_id}/step/execute", json={"command": f"echo {number}"}))

        threads = [threading.Thread(target=step, args=(number,)) for number in range(64)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(WAIT_S)
        assert [each.status_code for each in answers] == [200] * 64
        shown = hub.get(f"/tasks/{task_id}").json()["history"]
        assert sorted(int(each["output"]) for each in shown) == list(range(64))
        assert len(hub.get(f"/tasks/{task_id}/logs", params={"limit": 1000}).json()) == 64


@pytest.mark.parametrize("key", ["k-1", "another key"])
def test_a_repeated_execution_with_a_key_runs_once(team, key):
    hub, first, _ = team
    task_id = task(hub, first)
    command = {"command": "echo x >> counted; wc -l < counted"}
    first_answer = hub.post(f"/tasks/{task_id}/step/execute", json=command, headers={"Idempotency-Key": key})
    second_answer = hub.post(f"/tasks/{task_id}/step/execute", json=command, headers={"Idempotency-Key": key})
    assert first_answer.json() == second_answer.json() and first_answer.json()["output"] == "1"
    assert len(hub.get(f"/tasks/{task_id}").json()["history"]) == 1


def test_after_a_crash_of_the_hub_the_history_has_what_the_log_has(start, model):
    hub, first, _ = begin_team(start, model)
    task_id = task(hub, first)
    hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo before"})
    sleeping = threading.Thread(target=lambda: _ignored(lambda: hub.post(f"/tasks/{task_id}/step/execute",
                                                                         json={"command": "sleep 2; echo late"})))
    sleeping.start()
    until_running(hub, task_id)
    hub.kill()
    sleeping.join(WAIT_S)
    again = start("hub", "--role", "hub", "--host", "127.0.0.1", token="hubsecret")
    shown = again.get(f"/tasks/{task_id}").json()
    assert [each["exit_code"] for each in shown["history"]] == [0, -1] and "unknown" in shown["history"][1]["output"]


def until_running(hub, task_id: str) -> None:
    eventually(lambda: hub.get(f"/tasks/{task_id}").json()["run_state"] == "executing")


def _ignored(call) -> None:
    import requests

    try:
        call()
    except requests.RequestException:
        return


def test_a_stranger_who_registers_an_agent_changes_no_task(team):
    hub, first, _ = team
    task_id = task(hub, first)
    said = hub.post("/register", json={"name": "evil", "url": first.url, "token": "bogus-token-of-a-stranger"}, auth=False)
    assert said.status_code in (200, 409)
    done = hub.post(f"/tasks/{task_id}/step/execute", json={"command": "echo still"})
    assert done.status_code == 200 and done.json()["output"] == "still"
