"""The sgpt proxy."""
import pytest


@pytest.fixture
def worker(start, tmp_path):
    answers = tmp_path / "answers.txt"
    answers.write_text("`echo from the model`\nfind . -delete\nThe answer is 42.\n")
    return start("sgpt", "--mock-answers", str(answers), DEFAULT_PROVIDER="mock")


def test_a_command_an_execution_and_a_refusal(worker):
    def ask(**body):
        return worker.post("/api/sgpt/execute", json=body)

    shown = ask(prompt="say it", options=["--shell", "--evil", "--model=m1", "--temperature", "0.5"])
    assert shown.json()["output"] == "echo from the model" and "--evil" in shown.json()["errors"]
    held = ask(prompt="delete all", options=["--shell"], execute=True)
    assert (held.status_code, held.json()["code"]) in ((409, "approval_required"), (403, "command_denied"))
    assert held.json()["command"] == "find . -delete" and (worker.folder / "data").exists()
    assert ask(prompt="what is it?").json() == {"output": "The answer is 42.", "errors": ""}
    assert worker.get("/logs").json() == [] or worker.get("/logs").json()[-1]["state"] == "denied"


@pytest.mark.parametrize(("body", "code"), [
    ({}, "missing_prompt"), ({"prompt": " "}, "missing_prompt"), ({"prompt": "x", "options": "--shell"}, "invalid_value"),
    ({"prompt": "x", "options": ["--model", "; rm"]}, "invalid_value"),
    ({"prompt": "x", "execute": True}, "shell_option_required")])
def test_wrong_input_is_named(start, body, code):
    worker = start(DEFAULT_PROVIDER="mock")
    answer = worker.post("/sgpt/execute", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_five_calls_a_minute(start):
    worker = start(DEFAULT_PROVIDER="mock")
    codes = [worker.post("/api/sgpt/execute", json={"prompt": "x"}).status_code for _ in range(6)]
    assert codes == [200] * 5 + [429]


def test_what_the_policy_allows_runs_and_is_recorded(start):
    worker = start(DEFAULT_PROVIDER="mock")
    done = worker.post("/api/sgpt/execute", json={"prompt": "hello", "options": ["--shell"], "execute": True})
    if done.status_code == 409:
        pytest.fail(f"a reader was held: {done.text}")
    assert done.json() == {"output": "hello from ananta", "errors": "", "command": "echo hello from ananta", "exit_code": 0}
    assert worker.get("/logs").json()[-1]["decided_by"] == "policy"


def test_an_installed_program_is_used_with_clean_arguments(start, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "sgpt"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; echo "key=$OPENAI_API_KEY token=$AGENT_TOKEN" >&2\n')
    program.chmod(0o755)
    import os

    worker = start("program", "--host", "127.0.0.1", token="a-token-of-some-length",
                   PATH=f"{folder}:{os.environ['PATH']}")
    answer = worker.post("/api/sgpt/execute", json={"prompt": "--rm -rf", "options": ["--md", "--exec", "--top-p=0.5"]})
    assert answer.json()["output"].split("\n") == ["--md", "--top-p", "0.5", "--", "--rm -rf"]
    assert "a-token" not in answer.text and "--exec" in answer.json()["errors"]
