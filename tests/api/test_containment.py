"""What nobody decided about changes only its working directory, or only looks, and never reads the agent's secrets."""
import base64
import json

import pytest

from tests.conftest import ananta

# `./build` is a program of the user's own: no reading of the command line says what it changes.
RULES = {"rules": [{"prefix": ["touch"], "decision": "allow", "reason": "small"},
                   {"prefix": ["./build"], "decision": "allow", "reason": "our own"}]}


def prepared(worker):
    """The worker with the rules, a program of the user's own, and a folder beside its own."""
    assert worker.request("PUT", "/policy", json=RULES).status_code == 200
    program(worker.folder)
    return worker


def program(folder) -> None:
    (folder / "build").write_text("#!/bin/sh\necho made > \"$1\"\n")
    (folder / "build").chmod(0o755)
    (folder / "sub").mkdir(exist_ok=True)
    (folder.parent / "outside").mkdir(exist_ok=True)


def run(worker, command: str, **fields):
    return worker.post("/step/execute", json={"command": command, "autonomous": True, **fields})


def propose(worker, model, command: str, **fields) -> dict:
    model.answer(json.dumps({"reason": "because", "command": command}))
    return worker.post("/step/propose", json={"prompt": "do it", **fields}).json()


def held(answer) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code")


def outside(folder) -> list[str]:
    return sorted(path.name for path in (folder.parent / "outside").iterdir())


@pytest.mark.parametrize("command", ["touch {}", "./build {}"])
def test_what_nobody_decided_changes_only_its_working_directory(start, command):
    worker = prepared(start())
    inside = run(worker, command.format("sub/made"), task_id="T-1")
    assert inside.status_code == 200 and inside.json()["exit_code"] == 0, inside.text
    assert (worker.folder / "sub" / "made").exists()
    for place in ("../outside/new", str(worker.folder.parent / "outside" / "new")):
        failed = run(worker, command.format(place), task_id="T-1")
        assert failed.status_code == 200 and failed.json()["exit_code"] != 0 and failed.json()["status"] == "failed"
    assert outside(worker.folder) == []
    records = worker.get("/logs?task_id=T-1").json()
    assert len(records) == 3 and all(each["contained"] is True for each in records)
    assert {(each["decided_by"], each["decision"]) for each in records} == {("policy", "allow")}
    assert records == worker.records()


def test_a_reader_is_contained_too_and_reads_everywhere(start):
    worker = prepared(start())
    (worker.folder.parent / "outside" / "file").write_text("seen")
    done = run(worker, "cat ../outside/file")
    assert done.status_code == 200 and done.json()["stdout"] == "seen"
    assert worker.records()[-1]["contained"] is True


def test_what_nobody_decided_leaves_the_data_alone_and_says_what_gives_the_folder_back(start):
    worker = prepared(start())
    rules, journal = (worker.data / "policy.json").read_bytes(), worker.data / "terminal_log.jsonl"
    for place in ("data/policy.json", "data/terminal_log.jsonl", "data/ananta.db", "data/new", "new"):
        before = journal.read_bytes()
        failed = run(worker, f"./build {place}").json()
        assert failed["exit_code"] != 0 and "DATA_DIR" in failed["output"], failed
        assert journal.read_bytes().startswith(before)
    assert (worker.data / "policy.json").read_bytes() == rules and not (worker.data / "new").exists()
    assert ananta(worker.folder, "log", "verify").returncode == 0
    assert "DATA_DIR" not in run(worker, "ls nothing").text


def test_with_the_data_elsewhere_the_whole_folder_can_be_changed(start, tmp_path):
    worker = start(DATA_DIR=str(tmp_path / "elsewhere"))
    assert worker.request("PUT", "/policy", json=RULES).ok
    assert run(worker, "touch made").json()["exit_code"] == 0 and (worker.folder / "made").exists()
    assert run(worker, f"touch {tmp_path}/elsewhere/new").status_code == 403


def test_readers_of_the_whole_folder_run_and_do_not_see_the_secrets(start):
    worker = start(token="the-token-that-was-set-by-hand")
    assert worker.request("PUT", "/policy", json={"rules": [{"prefix": ["python3"], "decision": "allow"}]}).ok
    (worker.folder / "code").write_text("TODO\n")
    key = (worker.data / "secrets" / "secret_key").read_text().strip()
    shown = (key, base64.b64encode(key.encode()).decode()[:60], key[::-1])
    for command in ("grep -r TODO .", "grep -rh . . | rev", "find . -type f -exec base64 -w0 {} +", "find . -type f | xargs rev", "cat * */* | base64 -w0",
                    "python3 -c 'import glob; print([open(f).read()[::-1] for f in glob.glob(\"*/s*/*\")])'"):
        done = run(worker, command)
        assert done.status_code == 200 and not any(each in done.text for each in shown), done.text[:500]
    assert "code:TODO" in run(worker, "grep -r TODO .").text
    for command in ("cat data/secrets/secret_key", "grep . data/secrets/*", "cp -r data src", "cat data/config.json"):
        assert held(run(worker, command)) == (403, "command_denied")


def test_without_containment_readers_of_the_whole_folder_are_asked_about(start):
    worker = start(CONTAINMENT="off")
    for command in ("grep -r TODO .", "find . -type f | xargs cat"):
        assert worker.post("/policy/check", json={"command": command}).json()["decision"] == "ask"
        assert held(run(worker, command)) == (409, "approval_required")
        checked = ananta(worker.folder, "policy", "check", command, "--json", CONTAINMENT="off")
        assert json.loads(checked.stdout)["decision"] == "ask"
    checked = ananta(worker.folder, "policy", "check", "grep -r TODO .", "--json")
    assert json.loads(checked.stdout)["decision"] == "allow"


def test_where_a_session_has_gone_is_not_its_working_directory(start):
    worker = prepared(start())
    worker.execute("cd ../outside", task_id="T-1")
    assert run(worker, "touch new", task_id="T-1").json()["exit_code"] != 0 and outside(worker.folder) == []
    assert run(worker, f"touch {worker.folder}/sub/made", task_id="T-1").json()["exit_code"] == 0


def test_the_working_directory_is_a_setting(start, tmp_path):
    (tmp_path / "place").mkdir()
    worker = start(WORK_DIR=str(tmp_path / "place"))
    assert worker.request("PUT", "/policy", json=RULES).ok
    assert run(worker, "touch made").json()["exit_code"] == 0 and (tmp_path / "place" / "made").exists()
    assert run(worker, f"touch {worker.folder}/new").json()["exit_code"] != 0 and not (worker.folder / "new").exists()


def test_what_would_be_asked_is_held_and_what_is_denied_refused(start):
    worker = prepared(start())
    assert held(run(worker, "touch sub/made; mkdir dir")) == (409, "approval_required")
    assert run(worker, "mkdir dir").json()["reasons"]
    assert held(run(worker, "touch sub/made; rm -r -f data")) == (403, "command_denied")
    assert not (worker.folder / "sub" / "made").exists() and not (worker.folder / "dir").exists() and worker.data.exists()
    assert [(each["state"], each["decided_by"]) for each in worker.records()] == [("denied", "policy")]


@pytest.mark.parametrize("containment", ["workspace", "off"])
def test_what_a_person_sends_is_not_contained(start, containment):
    worker = prepared(start(CONTAINMENT=containment))
    for number, command in enumerate(("touch ../outside/new-{}", "./build ../outside/new-{}", "mkdir ../outside/new-{}")):
        assert worker.execute(command.format(number))["exit_code"] == 0
    assert outside(worker.folder) == ["new-0", "new-1", "new-2"]
    assert not any("contained" in each for each in worker.records())
    assert {each["decided_by"] for each in worker.records()} == {"local"}


def test_a_person_and_nobody_take_turns_in_one_session(start):
    worker = prepared(start())
    assert run(worker, "touch ../outside/a", task_id="T-1").json()["exit_code"] != 0
    assert worker.execute("touch ../outside/b", task_id="T-1")["exit_code"] == 0
    assert run(worker, "touch ../outside/c", task_id="T-1").json()["exit_code"] != 0
    assert outside(worker.folder) == ["b"]
    assert [each.get("contained") for each in worker.records()] == [True, None, True]


def test_a_proposal_that_nobody_decided_is_contained(start, model):
    worker = prepared(start(LMSTUDIO_URL=model.url))
    for place, code in (("sub/made", 0), ("../outside/new", 2)):
        shown = propose(worker, model, f"./build {place}")
        assert shown["decision"] == "allow"
        done = worker.post("/step/execute", json={"proposal_id": shown["id"], "autonomous": True}).json()
        assert done["exit_code"] == code, done
        assert worker.records()[-1]["contained"] is True and worker.records()[-1]["proposal_id"] == shown["id"]
    assert (worker.folder / "sub" / "made").exists() and outside(worker.folder) == []


# --- without containment


@pytest.mark.parametrize("command", ["touch sub/made", "./build sub/made", "ls && touch sub/made"])
def test_without_containment_rules_let_nothing_but_reading_run(start, command):
    worker = prepared(start(CONTAINMENT="off"))
    assert worker.post("/policy/check", json={"command": command}).json()["decision"] == "allow"
    answer = run(worker, command)
    assert held(answer) == (409, "approval_required") and answer.json()["reasons"]
    assert not (worker.folder / "sub" / "made").exists() and worker.get("/logs").json() == []
    assert worker.execute(command)["exit_code"] == 0 and (worker.folder / "sub" / "made").exists()


def test_without_containment_readers_run_and_the_record_says_so(start):
    worker = prepared(start(CONTAINMENT="off"))
    done = run(worker, "ls | wc -l")
    assert done.status_code == 200 and done.json()["exit_code"] == 0
    record = worker.records()[-1]
    assert record["contained"] is False and record["decided_by"] == "policy" and record["decision"] == "allow"


@pytest.mark.parametrize(("decision", "told"), [("ask", (409, "approval_required")), ("deny", (403, "command_denied"))])
def test_without_containment_rules_still_make_it_stricter(start, decision, told):
    worker = start(CONTAINMENT="off")
    assert worker.request("PUT", "/policy", json={"rules": [{"prefix": ["ls"], "decision": decision, "reason": "x"}]}).ok
    assert held(run(worker, "ls")) == told
    assert run(worker, "pwd").status_code == 200


def test_without_containment_a_proposal_is_no_way_around(start, model):
    worker = prepared(start(CONTAINMENT="off", LMSTUDIO_URL=model.url))
    shown = propose(worker, model, "./build ../outside/new")
    assert shown["decision"] == "allow"
    answer = worker.post("/step/execute", json={"proposal_id": shown["id"], "autonomous": True})
    assert held(answer) == (409, "approval_required") and outside(worker.folder) == []
    assert worker.get(f"/proposals/{shown['id']}").json()["state"] == "open"
    assert worker.post("/step/execute", json={"proposal_id": shown["id"]}).status_code == 200
    assert outside(worker.folder) == ["new"]
    reader = propose(worker, model, "ls")
    assert worker.post("/step/execute", json={"proposal_id": reader["id"], "autonomous": True}).status_code == 200


# --- sgpt


def sgpt(worker):
    return worker.post("/api/sgpt/execute", json={"prompt": "do it", "options": ["--shell"], "execute": True})


def answering(start, tmp_path, *answers_of_the_model: str, **environment: str):
    answers = tmp_path / "answers"
    answers.write_text("".join(f"{each}\n" for each in answers_of_the_model))
    return prepared(start(DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(answers), **environment))


def test_what_sgpt_runs_is_contained(start, tmp_path):
    worker = answering(start, tmp_path, "touch sub/made", "touch ../outside/new", "./build ../outside/new", "mkdir dir")
    done = sgpt(worker).json()
    assert (done["exit_code"], done["command"]) == (0, "touch sub/made") and (worker.folder / "sub" / "made").exists()
    assert sgpt(worker).json()["exit_code"] != 0 and sgpt(worker).json()["exit_code"] != 0
    assert held(sgpt(worker)) == (409, "approval_required") and not (worker.folder / "dir").exists()
    assert outside(worker.folder) == []
    assert [each["contained"] for each in worker.records()] == [True] * 3


def test_without_containment_sgpt_only_reads(start, tmp_path):
    worker = answering(start, tmp_path, "ls", "touch sub/made", CONTAINMENT="off")
    assert sgpt(worker).json()["exit_code"] == 0
    answer = sgpt(worker)
    assert held(answer) == (409, "approval_required") and answer.json()["command"] == "touch sub/made"
    assert not (worker.folder / "sub" / "made").exists()
    assert [each["contained"] for each in worker.records()] == [False]


# --- ask --yes


def ask(folder, command: str, *arguments: str, **environment: str):
    """`ask --yes` in this process or by the worker of this folder; the model proposes the command."""
    (folder / "answers").write_text(json.dumps({"reason": "r", "command": command}) + "\n")
    return ananta(folder, "ask", "do it", "--yes", *arguments, DEFAULT_PROVIDER="mock",
                  MOCK_ANSWERS=str(folder / "answers"), **environment)


@pytest.fixture
def alone(tmp_path):
    """A folder with the rules and no worker."""
    folder = tmp_path / "alone"
    (folder / "data").mkdir(parents=True, mode=0o700)
    (folder / "data" / "policy.json").write_text(json.dumps(RULES))
    program(folder)
    return folder


def recorded(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "data" / "terminal_log.jsonl").read_text().splitlines()]


def test_ask_yes_runs_contained_what_the_policy_allows(alone):
    assert ask(alone, "ls build").stdout == "build\n"
    assert ask(alone, "./build sub/made").returncode == 0 and (alone / "sub" / "made").exists()
    for command in ("touch ../outside/new", "./build ../outside/new"):
        assert ask(alone, command).returncode == 1
    held_back = ask(alone, "mkdir dir")
    assert held_back.returncode == 3 and "not run" in held_back.stderr and not (alone / "dir").exists()
    refused = ask(alone, "rm -r -f data")
    assert refused.returncode in (3, 5) and (alone / "data").exists()
    assert outside(alone) == []
    assert [each["contained"] for each in recorded(alone) if each["state"] == "finished"] == [True] * 4


def test_without_containment_ask_yes_only_reads(alone):
    assert ask(alone, "ls build", CONTAINMENT="off").stdout == "build\n"
    for command in ("touch sub/made", "./build ../outside/new"):
        done = ask(alone, command, CONTAINMENT="off")
        assert done.returncode == 3 and "Traceback" not in done.stderr, done
    assert not (alone / "sub" / "made").exists() and outside(alone) == []
    assert [each["contained"] for each in recorded(alone)] == [False]


def test_what_a_person_lets_run_with_ask_is_not_contained(alone):
    (alone / "answers").write_text('{"reason": "r", "command": "./build ../outside/new"}\n')
    done = ananta(alone, "ask", "do it", stdin="r\nq\n", DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(alone / "answers"))
    assert done.returncode == 0 and outside(alone) == ["new"]
    assert "contained" not in recorded(alone)[-1]


@pytest.mark.parametrize("containment", ["workspace", "off"])
def test_ask_yes_by_a_running_worker_is_the_same(start, tmp_path, containment):
    contained = containment == "workspace"
    expected = {"ls build": 0, "touch sub/made": 0 if contained else 3, "./build ../outside/new": 1 if contained else 3,
                "mkdir dir": 3}
    worker = answering(start, tmp_path, *(json.dumps({"reason": "r", "command": each}) for each in expected),
                       CONTAINMENT=containment)
    for command, code in expected.items():
        done = ananta(worker.folder, "ask", "do it", "--yes")
        assert done.returncode == code and command in done.stderr and "Traceback" not in done.stderr, (command, done)
    assert (worker.folder / "sub" / "made").exists() is contained and not (worker.folder / "dir").exists()
    assert outside(worker.folder) == [] and {each["contained"] for each in worker.records()} == {contained}


def test_what_names_all_it_changes_may_make_new_things_beside_the_data(start):
    worker = start(token="a-token-of-some-length")
    rules = {"rules": [{"prefix": [name], "decision": "allow"} for name in ("touch", "mkdir", "./tool")]}
    assert worker.request("PUT", "/policy", json=rules).ok
    (worker.folder / "tool").write_text("#!/bin/sh\ntouch new; echo x > data/planted; cat data/secrets/secret_key\n")
    (worker.folder / "tool").chmod(0o755)
    assert worker.execute("touch made && mkdir dir", autonomous=True)["exit_code"] == 0
    assert (worker.folder / "made").exists() and (worker.folder / "dir").is_dir()
    done = worker.execute("./tool", autonomous=True)
    assert done["exit_code"] != 0 and not (worker.folder / "new").exists() and not (worker.data / "planted").exists()
    assert (worker.data / "secrets" / "secret_key").read_text().strip() not in done["output"]
    refused = worker.post("/step/execute", json={"command": "touch data/policy.json", "autonomous": True})
    assert refused.status_code == 403


def test_what_a_service_manager_has_laid_out_cannot_be_read(start, tmp_path):
    laid_out = tmp_path / "credentials"
    laid_out.mkdir(mode=0o700)
    (laid_out / "agent_token").write_text("a-token-of-some-length\n")
    worker = start("worker", "--host", "127.0.0.1", CREDENTIALS_DIRECTORY=str(laid_out))
    assert worker.get("/providers").status_code == 401
    worker.token = "a-token-of-some-length"
    assert run(worker, f"cat {laid_out}/agent_token").status_code == 403
    found = run(worker, f"grep -r some-length {tmp_path}")
    assert found.status_code == 200 and "a-token" not in found.json()["output"]
