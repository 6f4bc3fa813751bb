"""What a hub makes of answers that no agent of ours gives: it goes on, and so does everybody else's work."""
import pytest

from tests.api.test_tasks import get
from tests.hub.conftest import task, team  # noqa: F401  (fixture)
from tests.hub.stranger import Stranger, reply

DONE = {"output": "hi", "stdout": "hi", "stderr": "", "status": "completed"}


@pytest.fixture
def answering():
    made = []

    def begin(answer: dict) -> Stranger:
        made.append(Stranger(lambda number, request, connection: reply(answer)))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def assigned(hub, stranger) -> str:
    task_id = task(hub)
    assert hub.post(f"/tasks/{task_id}/assign", json={"agent_url": stranger.url, "token": "t"}).status_code == 200
    return task_id


def run(hub, task_id, command="echo hi"):
    return hub.post(f"/tasks/{task_id}/step/execute", json={"command": command})


@pytest.mark.parametrize("code", [1 << 63, -(1 << 40), 1 << 32, 1.5, True, None])
def test_an_exit_code_that_no_system_has_is_no_outcome(team, answering, code):  # noqa: F811
    hub, worker, _ = team
    foreign, own = assigned(hub, answering({**DONE, "exit_code": code})), task(hub, worker)
    answer = run(hub, foreign)
    assert answer.status_code == 502 and "exit_code" in answer.json()["details"]
    assert [each["state"] for each in hub.get(f"/tasks/{foreign}/logs").json()] == ["unknown"]
    for number in range(3):
        assert run(hub, own, f"echo {number}").status_code == 200
        assert [each["output"] for each in get(hub, own)["history"]] == [str(each) for each in range(number + 1)]


@pytest.mark.parametrize("code", [3221225786, -2147483648, 4294967295])
def test_exit_codes_of_windows_are_kept(team, answering, code):  # noqa: F811
    hub, _, _ = team
    task_id = assigned(hub, answering({**DONE, "exit_code": code}))
    assert run(hub, task_id).json()["exit_code"] == code
    shown = get(hub, task_id)
    assert (shown["last_exit_code"], [each["exit_code"] for each in shown["history"]]) == (code, [code])


@pytest.mark.parametrize("answer", [{"hello": "I am the page of a router"}, {}, {"reason": 5, "command": ["a"], "tool_calls": "x"}])
def test_what_is_no_proposal_is_told_and_changes_nothing(team, answering, answer):  # noqa: F811
    hub, _, _ = team
    task_id = assigned(hub, answering(answer))
    before = get(hub, task_id)
    told = hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "x"})
    assert (told.status_code, told.json()["code"]) == (502, "forwarding_failed")
    after = get(hub, task_id)
    assert (after["last_proposal"], after["run_state"]) == (before["last_proposal"], before["run_state"])


def test_a_log_with_what_nobody_understands_keeps_no_hub_from_starting(team, answering, start):  # noqa: F811
    hub, worker, _ = team
    task_id = task(hub, worker)
    assert run(hub, task_id).status_code == 200
    hub.stop()
    with (hub.data / "terminal_log.jsonl").open("a") as file:
        for more in (f'"exit_code":{1 << 63}', '"exit_code":0,"tool_calls":[{"no":"name"}]', '"exit_code":0,"timestamp":"soon"'):
            file.write(f'{{"id":"{abs(hash(more)):016x}","timestamp":1.0,"task_id":"{task_id}","command":"x","output":"y",{more}}}\n')
    again = start("hub", "--role", "hub", "--host", "127.0.0.1", token=hub.token)
    assert again.get("/health").status_code == 200
