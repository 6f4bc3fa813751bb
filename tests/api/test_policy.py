"""Checking commands, and the rules of this agent: over HTTP and on the command line."""
import json
import time
from pathlib import Path

import jwt
import pytest

from tests.conftest import ananta

RULES = {"rules": [{"prefix": ["touch"], "decision": "allow", "reason": "harmless here", "match": ["touch a", "cd x && touch b"],
                    "not_match": ["rm a"]},
                   {"prefix": ["git", ["push", "fetch"]], "decision": "deny", "reason": "no network", "match": ["git push -f"],
                    "not_match": ["git status"]}]}
FAILING = {"rules": [{"prefix": ["ls"], "decision": "deny", "reason": "fine by itself", "match": ["ls -l"]},
                     {"prefix": ["touch"], "decision": "deny", "reason": "no", "match": ["mkdir a"]}]}


def check(worker, command: str, **fields) -> dict:
    answer = worker.post("/policy/check", json={"command": command, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(worker, rules: object, **options):
    return worker.request("PUT", "/policy", json=rules, **options)


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- POST /policy/check


@pytest.mark.parametrize(("shell", "command", "decision"), [
    (None, "ls -la | grep x", "allow"), ("bash", "find . -name '*.tmp'", "allow"), ("bash", "find x -delete", "ask"),
    ("bash", "r\"\"m -r -f /", "deny"), ("bash", "sudo ls", "ask"), ("bash", "echo $(touch a)", "ask"),
    ("bash", "if then fi (", "ask"),
    ("powershell", "Get-ChildItem | Select-Object Name, Length", "allow"), ("powershell", "Remove-Item a.txt", "ask"),
    ("powershell", "Remove-Item -Recurse -Force /", "deny"), ("powershell", "iex $command", "ask"),
    ("cmd", "dir /s | findstr x", "allow"), ("cmd", "del a.txt", "ask"), ("cmd", "d^el a.txt", "ask"),
    ("cmd", "format c: /y", "deny")])
def test_each_shell_is_judged_by_its_own_grammar(server, shell, command, decision):
    answer = check(server, command, **({"shell": shell} if shell else {}))
    assert answer["decision"] == decision, answer
    assert answer["reasons"] and all(isinstance(each, str) and each for each in answer["reasons"])
    assert set(answer) == {"decision", "reasons", "parts"} and answer["parts"]
    assert all(set(each) == {"text", "decision", "reason"} for each in answer["parts"])
    assert decision in [each["decision"] for each in answer["parts"]]


def test_each_part_of_a_line_has_its_own_verdict(server):
    answer = check(server, "ls && touch a; cat b")
    assert [(each["text"], each["decision"]) for each in answer["parts"]] == [
        ("ls", "allow"), ("touch a", "ask"), ("cat b", "allow")]
    assert answer["decision"] == "ask" and any("touch a" in each for each in answer["reasons"])


def test_a_check_runs_and_records_nothing(start):
    worker = start()
    before = set(everything_below(worker.folder))
    for shell in ("bash", "powershell", "cmd"):
        for command in ("touch made", "echo x > made", "echo $(touch made)", "echo x >made & type nul >made"):
            check(worker, command, shell=shell)
    assert set(everything_below(worker.folder)) == before and worker.get("/logs").json() == []
    assert not (worker.data / "terminal_log.jsonl").exists() or (worker.data / "terminal_log.jsonl").read_bytes() == b""


def test_a_check_is_what_an_execution_is_decided_by(start):
    worker = start()
    (worker.data / "blacklist.txt").write_text("krak[ea]n\n")
    denied = check(worker, "echo kraken")
    assert denied["decision"] == "deny"
    answer = worker.post("/step/execute", json={"command": "echo kraken"})
    assert answer.status_code == 403 and answer.json()["reasons"] == denied["reasons"]


def test_where_it_would_run_counts(start):
    worker = start()
    own = check(worker, "cd ..; rm -r data", cwd=str(worker.data / "secrets"))["decision"]
    assert check(worker, "rm terminal_log.jsonl")["decision"] == "ask"
    assert check(worker, "rm terminal_log.jsonl", cwd=str(worker.data))["decision"] == "deny"
    assert own in ("ask", "deny") and check(worker, "rm -r data")["decision"] == "deny"


@pytest.mark.parametrize(("body", "code"), [({}, "missing_command"), ({"command": 5}, "invalid_value"),
                                            ({"command": "ls", "shell": "fish"}, "invalid_value"),
                                            ({"command": "ls", "cwd": 5}, "invalid_value")])
def test_a_wrong_check_is_400(server, body, code):
    answer = server.post("/policy/check", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("command", ["", "\0", "a\0b", "(" * 2000, "$(" * 1000, "x" * 500_000, "\ud83d\ude00 \u202e"])
def test_an_odd_line_has_a_verdict(server, command):
    assert check(server, command)["decision"] in ("allow", "ask", "deny")


@pytest.mark.parametrize(("method", "path"), [("POST", "/policy/check"), ("GET", "/policy"), ("PUT", "/policy")])
def test_the_policy_needs_a_token(guarded, method, path):
    answer = guarded.request(method, path, auth=False, json={"command": "ls", "rules": []})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


# --- GET and PUT /policy


def test_only_administrators_see_and_change_the_rules(start):
    worker = start("guarded", "--host", "127.0.0.1", token="a-token-of-some-length")
    key = (worker.data / "secrets" / "secret_key").read_text().strip()
    for role, status in (("user", 403), ("admin", 200)):
        token = jwt.encode({"sub": "ada", "role": role, "exp": time.time() + 600}, key, algorithm="HS256")
        headers = {"Authorization": f"Bearer {token}"}
        assert worker.get("/policy", headers=headers).status_code == status
        assert put(worker, RULES, headers=headers).status_code == status
        assert (worker.data / "policy.json").exists() is (role == "admin")
        assert worker.post("/policy/check", json={"command": "ls"}, headers=headers).status_code == 200


def test_rules_are_read_back_and_count_at_once(start):
    worker = start("rules")
    (worker.folder / "sub").mkdir()
    assert worker.get("/policy").json() == {"rules": []}
    assert check(worker, "touch a")["decision"] == "ask" and check(worker, "git push")["decision"] == "ask"
    answer = put(worker, RULES)
    assert (answer.status_code, answer.json()) == (200, {"status": "updated", "rules": 2})
    assert worker.get("/policy").json() == RULES
    assert check(worker, "touch a")["decision"] == "allow" and "harmless here" in check(worker, "touch a")["reasons"][0]
    assert check(worker, "touch a; git push")["decision"] == "deny"
    assert worker.post("/step/execute", json={"command": "git fetch"}).status_code == 403
    assert worker.execute("touch sub/made", autonomous=True)["exit_code"] == 0 and (worker.folder / "sub" / "made").exists()
    worker.kill()
    again = start("rules")
    assert again.get("/policy").json() == RULES and check(again, "git push")["decision"] == "deny"
    assert put(again, {"rules": []}).json() == {"status": "updated", "rules": 0}
    assert check(again, "git push")["decision"] == check(again, "touch a")["decision"] == "ask"


def test_a_set_with_a_failing_example_is_refused_as_a_whole(start):
    worker = start()
    assert put(worker, RULES).ok
    before = (worker.data / "policy.json").read_bytes()
    answer = put(worker, FAILING)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value")
    assert "rule 2" in answer.json()["message"] and "mkdir a" in answer.json()["message"]
    assert (worker.data / "policy.json").read_bytes() == before and worker.get("/policy").json() == RULES
    assert check(worker, "ls -l")["decision"] == "allow" and check(worker, "git push")["decision"] == "deny"


@pytest.mark.parametrize("document", [
    {}, {"rules": {}}, {"rules": ["touch"]}, {"rules": [{"decision": "allow"}]}, {"rules": [{"prefix": [], "decision": "allow"}]},
    {"rules": [{"prefix": "touch", "decision": "allow"}]}, {"rules": [{"prefix": ["a"], "decision": "yes"}]},
    {"rules": [{"prefix": ["a"], "decision": "allow", "typo": 1}]}, {"rules": [{"prefix": ["a"], "decision": "allow", "shell": "x"}]},
    {"rules": [{"prefix": ["a"], "decision": "allow", "match": "a"}]},
    {"rules": [{"prefix": ["a"], "decision": "allow", "not_match": ["a b"]}]}, [], "x", None])
def test_what_are_no_rules_is_400_and_changes_nothing(server, document):
    answer = put(server, document)
    assert answer.status_code == 400, answer.text
    assert server.get("/policy").json() == {"rules": []} and not (server.data / "policy.json").exists()


def test_no_rule_lifts_the_floor_or_the_blacklist(start):
    worker = start()
    assert put(worker, {"rules": [{"prefix": [["rm", "echo"]], "decision": "allow", "reason": "all of it"}]}).ok
    (worker.data / "blacklist.txt").write_text("kraken\n")
    assert check(worker, "rm a")["decision"] == "allow"
    for command in ("rm -r -f /", "rm -r -f data", "rm a; rm -r -f ~", "echo kraken"):
        assert check(worker, command)["decision"] == "deny", command


def test_a_rule_for_one_shell_counts_there_only(start):
    worker = start()
    assert put(worker, {"rules": [{"prefix": ["del"], "decision": "allow", "shell": "cmd", "match": ["del a"]}]}).ok
    assert check(worker, "del a", shell="cmd")["decision"] == "allow"
    assert check(worker, "del a", shell="powershell")["decision"] == "ask"


def test_a_damaged_file_leaves_the_last_rules_in_force(start):
    worker = start("damaged")
    assert put(worker, RULES).ok and check(worker, "git push")["decision"] == "deny"
    (worker.data / "policy.json").write_text(json.dumps(FAILING))
    assert check(worker, "git push")["decision"] == "deny" and check(worker, "ls -l")["decision"] == "allow"
    worker.stop()
    done = ananta(worker.folder, "--port", "0")
    assert done.returncode == 2 and "policy.json" in done.stderr and "rule 2" in done.stderr


def test_a_change_is_in_the_audit_log(start):
    worker = start()
    put(worker, FAILING)
    put(worker, RULES)
    told = [json.loads(line) for line in (worker.data / "audit.log").read_text().splitlines()]
    changes = [each for each in told if "policy_updated" in each.values()]
    assert len(changes) == 1 and "local" in json.dumps(changes[0])


# --- ananta policy


@pytest.mark.parametrize(("command", "code", "decision"), [
    ("ls -la", 0, "allow"), ("find . -name '*.tmp' -delete", 3, "ask"), ("rm -r -f /", 5, "deny")])
def test_check_on_the_command_line(tmp_path, command, code, decision):
    done = ananta(tmp_path, "policy", "check", command)
    assert done.returncode == code and done.stdout.splitlines()[0] == decision and done.stderr == ""
    assert len(done.stdout.splitlines()) >= 3
    done = ananta(tmp_path, "policy", "check", command, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == code and told["decision"] == decision and told["reasons"] and told["parts"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("shell", "command", "code"), [
    ("powershell", "Get-ChildItem | Select-Object Name, Length", 0), ("powershell", "Remove-Item a", 3), ("cmd", "dir /b", 0),
    ("cmd", "d^el a", 3), ("cmd", "format c: /y", 5), ("bash", "cat a", 0)])
def test_check_for_another_shell(tmp_path, shell, command, code):
    assert ananta(tmp_path, "policy", "check", command, "--shell", shell).returncode == code


def test_check_says_the_same_as_the_worker(start):
    worker = start()
    put(worker, RULES)
    (worker.data / "blacklist.txt").write_text("kraken\n")
    for command in ("touch a", "git push", "git status", "echo kraken", "rm -r data", "cat data/secrets/secret_key"):
        done = ananta(worker.folder, "policy", "check", command, "--json")
        assert json.loads(done.stdout) == check(worker, command), command


def test_check_with_a_folder_and_wrong_usage(tmp_path):
    (tmp_path / "data").mkdir()
    assert ananta(tmp_path, "policy", "check", "rm terminal_log.jsonl").returncode == 3
    assert ananta(tmp_path, "policy", "check", "rm terminal_log.jsonl", "--cwd", str(tmp_path / "data")).returncode == 5
    assert ananta(tmp_path, "policy", "check").returncode == 2
    assert ananta(tmp_path, "policy", "check", "ls", "--shell", "fish").returncode == 2
    assert ananta(tmp_path, "policy").returncode == 2


def test_examples_are_tested_on_the_command_line(tmp_path):
    done = ananta(tmp_path, "policy", "test", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ok": True, "rules": 0, "failures": []})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "policy.json").write_text(json.dumps(RULES))
    assert ananta(tmp_path, "policy", "test").returncode == 0
    assert json.loads(ananta(tmp_path, "policy", "test", "--json").stdout) == {"ok": True, "rules": 2, "failures": []}
    (tmp_path / "new.json").write_text(json.dumps(FAILING))
    done = ananta(tmp_path, "policy", "test", "new.json")
    assert done.returncode == 1 and "rule 2" in done.stdout and "mkdir a" in done.stdout and "new.json" in done.stdout
    done = ananta(tmp_path, "policy", "test", "new.json", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["ok"] is False and "mkdir a" in told["failures"][0]
    for content in ("{", "[]", '{"rules": 5}'):
        (tmp_path / "new.json").write_text(content)
        assert ananta(tmp_path, "policy", "test", "new.json").returncode == 1, content
    assert ananta(tmp_path, "policy", "test", "none.json").returncode != 0


@pytest.fixture
def history(start):
    """A worker with a history, old rules, and new ones beside it; stopped, so that its files stand still."""
    worker = start("history")
    put(worker, {"rules": [{"prefix": ["mkdir"], "decision": "deny", "reason": "old"}]})
    worker.post("/step/execute", json={"command": "mkdir made"})
    for command in ("touch a", "touch a", "ls", "touch b; rm b", "git status", "rm a"):
        worker.execute(command)
    worker.stop()
    (worker.folder / "new.json").write_text(json.dumps({"rules": [
        {"prefix": ["touch"], "decision": "allow", "reason": "new"}, {"prefix": ["mkdir"], "decision": "allow", "reason": "new"},
        {"prefix": ["ls"], "decision": "ask", "reason": "new"}, {"prefix": ["rm"], "decision": "deny", "reason": "new"}]}))
    return worker


def test_a_replay_counts_and_has_the_riskiest_first(history):
    done = ananta(history.folder, "policy", "replay", "new.json", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["total"] == 7
    assert (report["asked_before"], report["asked_after"]) == (4, 1)
    assert (report["denied_before"], report["denied_after"]) == (1, 2)
    changes = [(each["command"], each["before"], each["after"]) for each in report["changes"]]
    assert changes[:2] == [("mkdir made", "deny", "allow"), ("touch a", "ask", "allow")]
    assert sorted(changes[2:]) == [("ls", "allow", "ask"), ("rm a", "ask", "deny"), ("touch b; rm b", "ask", "deny")]
    assert all(each["reasons"] and each["shell"] == "bash" for each in report["changes"])


def test_a_replay_in_words_names_the_same_in_the_same_order(history):
    done = ananta(history.folder, "policy", "replay", "new.json")
    assert done.returncode == 0 and "7 commands" in done.stdout and "4 before, 1 after" in done.stdout
    assert "1 before, 2 after" in done.stdout
    assert done.stdout.index("deny -> allow  mkdir made") < done.stdout.index("ask -> allow  touch a")
    assert done.stdout.index("ask -> allow  touch a") < done.stdout.index("allow -> ask  ls")
    assert "git status" not in done.stdout


def test_a_replay_changes_nothing(history):
    before = everything_below(history.folder)
    assert ananta(history.folder, "policy", "replay", "new.json").returncode == 0
    assert everything_below(history.folder) == before


def test_a_replay_beside_a_running_worker_leaves_its_rules(start):
    worker = start()
    worker.execute("touch a")
    (worker.folder / "new.json").write_text(json.dumps(RULES))
    done = ananta(worker.folder, "policy", "replay", "new.json", "--json")
    assert [each["after"] for each in json.loads(done.stdout)["changes"]] == ["allow"]
    assert worker.get("/policy").json() == {"rules": []} and check(worker, "touch a")["decision"] == "ask"


def test_a_replay_of_nothing_and_of_wrong_rules(tmp_path):
    (tmp_path / "new.json").write_text(json.dumps(RULES))
    done = ananta(tmp_path, "policy", "replay", "new.json", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["total"] == 0 and json.loads(done.stdout)["changes"] == []
    (tmp_path / "new.json").write_text(json.dumps(FAILING))
    done = ananta(tmp_path, "policy", "replay", "new.json")
    assert done.returncode == 2 and "rule 2" in done.stderr and done.stdout == ""
    done = ananta(tmp_path, "policy", "replay", "none.json")
    assert done.returncode == 2 and "none.json" in done.stderr and "Traceback" not in done.stderr


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "terminal_log.jsonl").write_text(
        'broken\n[1]\n{"command": null}\n{"command": "touch a"}\n{"command": " "}\n{"command": 5}\n{"command": "tou')
    (tmp_path / "new.json").write_text(json.dumps(RULES))
    done = ananta(tmp_path, "policy", "replay", "new.json", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["total"] == 1, done.stderr


def test_rules_are_tried_over_what_is_on_record(guarded):
    for command in ("make build", "make build", "echo x"):
        guarded.execute(command)
    before = guarded.get("/policy").json()
    rules = {"rules": [{"prefix": ["make"], "decision": "deny"}, {"prefix": ["echo"], "decision": "ask"}]}
    found = guarded.post("/policy/replay", json=rules).json()
    assert (found["total"], found["asked_before"], found["asked_after"], found["denied_before"], found["denied_after"], found["more"]) == (
        3, 2, 1, 0, 2, 0)
    assert {(each["command"], each["before"], each["after"]) for each in found["changes"]} == {
        ("make build", "ask", "deny"), ("echo x", "allow", "ask")}
    assert guarded.get("/policy").json() == before
    assert guarded.post("/policy/replay", json={"rules": [{"prefix": ["x"]}]}).status_code == 400
    assert guarded.post("/policy/replay", data="[]").status_code == 400
    assert guarded.post("/policy/replay", json=rules, auth=False).status_code == 401
