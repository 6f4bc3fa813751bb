"""The command line as a person uses it."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, WAIT_S, ananta, clean_environment


def test_a_start_says_what_matters_in_at_most_ten_lines(start, model):
    worker = start(LMSTUDIO_URL=model.url)
    assert worker.line_with("model  ")
    text = "\n".join(worker.lines)
    assert len(worker.lines) <= 10 and worker.url in worker.lines[0]
    for word in ("worker", "default", str(worker.data), "this machine only", "ananta ask", model.url):
        assert word in text, word


def test_the_data_directory_is_for_one_process(start):
    worker = start("first")
    second = ananta(worker.folder, "--port", "0")
    assert second.returncode == 2 and len(second.stderr.strip().splitlines()) == 1
    assert str(worker.process.pid) in second.stderr and worker.url in second.stderr


def test_a_taken_port_is_named_with_the_cure(start, tmp_path):
    worker = start()
    port = worker.url.rsplit(":", 1)[1]
    done = ananta(tmp_path, "--port", port)
    assert done.returncode == 2 and port in done.stderr and "PORT" in done.stderr


def test_without_a_token_others_are_refused(tmp_path):
    done = ananta(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    for way in ("AGENT_TOKEN", "ananta token new", "ALLOW_INSECURE"):
        assert way in done.stderr


def test_ask_runs_what_a_person_lets_run_and_uses_the_outcome(tmp_path):
    answers = tmp_path / "answers"
    answers.write_text('{"reason": "first", "command": "echo one"}\n{"reason": "second", "command": "echo two; exit 4"}\n')
    done = ananta(tmp_path, "ask", "count", "please", stdin="r\n\nr\nq\n", DEFAULT_PROVIDER="mock",
                  MOCK_ANSWERS=str(answers))
    assert done.stdout == "one\ntwo\n" and done.returncode == 1
    for text in ("first", "echo one", "[r]un", "exit code 0", "second", "exit code 4"):
        assert text in done.stderr
    records = [json.loads(line) for line in (tmp_path / "data" / "terminal_log.jsonl").read_text().splitlines()]
    assert [each["command"] for each in records] == ["echo one", "echo two; exit 4"]
    assert records[0]["task_id"] == records[1]["task_id"] and [each["step"] for each in records] == [1, 2]


def test_ask_sends_outcome_and_refusal_back_to_the_model(tmp_path, model):
    model.answer('{"reason": "a", "command": "echo from-the-first"}', '{"reason": "b", "command": "echo second"}',
                 '{"reason": "c", "command": "echo third"}')
    done = ananta(tmp_path, "ask", "go", stdin="r\nmore\nn too short\nq\n", LMSTUDIO_URL=model.url)
    assert done.stdout == "from-the-first\n" and done.returncode == 3
    asked = [json.dumps(each.body.get("messages")) for each in model.requests if each.path.endswith("completions")]
    assert len(asked) == 3 and "from-the-first" in asked[1] and "too short" in asked[2]


def test_ask_runs_an_edited_command(tmp_path):
    done = ananta(tmp_path, "ask", "go", stdin="e echo edited\nr\nq\n", DEFAULT_PROVIDER="mock")
    assert done.stdout == "edited\n"


def test_ask_runs_nothing_when_nobody_decides(tmp_path):
    done = ananta(tmp_path, "ask", "go", stdin="", DEFAULT_PROVIDER="mock")
    assert done.returncode == 3 and done.stdout == "" and "not run" in done.stderr


def test_ask_without_a_model_says_what_to_do(tmp_path):
    done = ananta(tmp_path, "ask", "go", stdin="", LMSTUDIO_URL="http://127.0.0.1:1/v1", RETRY_COUNT="0")
    assert done.returncode == 4 and "127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr


def test_ask_yes_runs_what_the_policy_allows_only(tmp_path):
    answers = tmp_path / "answers"
    answers.write_text('{"reason": "r", "command": "echo fine"}\n')
    done = ananta(tmp_path, "ask", "--yes", "go", stdin="", DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(answers))
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    answers.write_text('{"reason": "r", "command": "touch held"}\n')
    done = ananta(tmp_path, "ask", "--yes", "go", stdin="", DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(answers))
    assert done.returncode == 3 and not (tmp_path / "held").exists()


def test_ask_shows_control_characters_instead_of_obeying_them(tmp_path):
    answers = tmp_path / "answers"
    answers.write_text(json.dumps({"reason": "a\u202eb\x1b[2J", "command": "printf '\\033[2Jx\\rok'"}) + "\n")
    done = ananta(tmp_path, "ask", "go", stdin="r\nq\n", DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(answers))
    assert "\x1b" not in done.stdout + done.stderr and "\u202e" not in done.stderr and "\\x1b[2J" in done.stdout


def test_ask_uses_the_running_server(start):
    worker = start("served", "--host", "127.0.0.1", token="a-token-of-some-length", DEFAULT_PROVIDER="mock")
    done = ananta(worker.folder, "ask", "go", "--task", "T-ask", stdin="r\nq\n", AGENT_TOKEN="a-token-of-some-length")
    assert done.returncode == 0 and done.stdout == "hello from ananta\n"
    assert worker.get("/logs?task_id=T-ask").json()[-1]["command"] == "echo hello from ananta"
    # Without the token in its environment the command line signs with the key kept with the secrets.
    assert ananta(worker.folder, "ask", "go", "--task", "T-ask", stdin="r\nq\n").returncode == 0
    assert len(worker.get("/logs?task_id=T-ask").json()) == 2


@pytest.mark.parametrize("served", [False, True])
def test_ctrl_c_ends_the_command_and_records_it(start, tmp_path, served):
    answers = tmp_path / "answers"
    answers.write_text('{"reason": "r", "command": "echo begun; sleep 60"}\n')
    variables = {"DEFAULT_PROVIDER": "mock", "MOCK_ANSWERS": str(answers)}
    folder = start("served", **variables).folder if served else tmp_path
    parent, child = pty.openpty()
    process = subprocess.Popen([sys.executable, str(ROOT / "ananta.py"), "ask", "go", "--task", "T-c"], cwd=folder,
                               stdin=child, stdout=child, stderr=child, start_new_session=True,
                               env=clean_environment(folder, TERM="dumb", **variables))
    os.close(child)
    screen = _Screen(parent)
    screen.until("[q]uit >")
    os.write(parent, b"r\n")
    log = folder / "data" / "started.jsonl"
    until = time.monotonic() + WAIT_S
    while not (log.exists() and b"sleep 60" in log.read_bytes()) and time.monotonic() < until:
        time.sleep(0.05)
    if not served:
        screen.until("begun")
    time.sleep(0.3)  # the record is written just before the process starts
    process.send_signal(signal.SIGINT)
    screen.until("exit code -1")
    screen.until("stop) >")
    os.write(parent, b"q\n")
    assert process.wait(WAIT_S) == 1
    os.close(parent)
    record = json.loads((folder / "data" / "terminal_log.jsonl").read_text().splitlines()[-1])
    assert (record["state"], record["exit_code"], record["task_id"]) == ("interrupted", -1, "T-c")


class _Screen:
    def __init__(self, descriptor: int):
        self.descriptor, self.text = descriptor, ""

    def until(self, wanted: str) -> None:
        end = time.monotonic() + WAIT_S
        while wanted not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.descriptor], [], [], 1)[0]:
                self.text += os.read(self.descriptor, 65536).decode(errors="replace")


def test_doctor_says_ok_or_what_to_do(tmp_path, model):
    done = ananta(tmp_path, "doctor", "--json", LMSTUDIO_URL=model.url, PORT="0")
    findings = {each["subject"]: each for each in json.loads(done.stdout)}
    assert {"settings", "data", "disk", "token", "port", "shell", "record", "clock", "model"} <= set(findings)
    assert all(each["ok"] for each in findings.values()) and done.returncode == 0, done.stdout
    done = ananta(tmp_path, "doctor", LMSTUDIO_URL="http://127.0.0.1:1/v1", PORT="0")
    line = next(each for each in done.stdout.splitlines() if "model" in each)
    assert done.returncode == 1 and line.startswith("DO") and "127.0.0.1:1" in line


def test_doctor_names_a_model_server_without_a_model(tmp_path, model):
    model.no_models()
    done = ananta(tmp_path, "doctor", LMSTUDIO_URL=model.url, PORT="0")
    assert done.returncode == 1 and "no model" in done.stdout and "DEFAULT_MODEL" in done.stdout


def test_doctor_finds_a_taken_port_bad_settings_and_open_secrets(start, tmp_path):
    worker = start("taken")
    port = worker.url.rsplit(":", 1)[1]
    (tmp_path / "data" / "secrets").mkdir(parents=True, mode=0o700)
    (tmp_path / "data").chmod(0o755)
    (tmp_path / "data" / "secrets" / "secret_key").write_text("k" * 43)
    (tmp_path / "data" / "secrets" / "secret_key").chmod(0o644)
    text = ananta(tmp_path, "doctor", PORT=port, DEFAULT_PROVIDER="mock").stdout
    assert re.search(rf"DO +port +{port} ", text) and "chmod 700" in text and "secret_key" in text
    assert "PORT" in ananta(tmp_path, "doctor", PORT="x").stdout


def test_log_tail_and_verify(start):
    worker = start("logged")
    for number in range(3):
        worker.execute(f"echo line {number}", task_id="T-1")
    assert ananta(worker.folder, "log", "verify").returncode == 0
    worker.stop()
    shown = ananta(worker.folder, "log", "tail", "-n", "2").stdout
    assert "line 2" in shown and "line 1" in shown and "line 0" not in shown and "T-1#3" in shown
    lines = ananta(worker.folder, "log", "tail", "--json", "--task", "T-1").stdout.splitlines()
    assert [json.loads(line)["output"] for line in lines] == ["line 0", "line 1", "line 2"]
    log = worker.data / "terminal_log.jsonl"
    log.write_text(log.read_text().replace("line 1", "line X"))
    done = ananta(worker.folder, "log", "verify")
    assert done.returncode == 1 and "altered" in done.stdout and "echo line 1" in done.stdout


def test_tokens_are_made_shown_and_replaced(tmp_path, start):
    assert ananta(tmp_path, "token", "show").returncode == 1
    made = ananta(tmp_path, "token", "new").stdout.strip()
    assert len(made) == 43 and ananta(tmp_path, "token", "show").stdout.strip() == made
    assert ananta(tmp_path, "token", "new").returncode == 1
    replaced = ananta(tmp_path, "token", "rotate").stdout.strip()
    assert replaced != made and ananta(tmp_path, "token", "show").stdout.strip() == replaced
    folder = tmp_path / "served"
    folder.mkdir()
    token = ananta(folder, "token", "new").stdout.strip()
    worker = start("served", "--host", "127.0.0.1")
    assert worker.get("/providers").status_code == 401
    worker.token = token
    assert worker.get("/providers").status_code == 200
    worker.token = ananta(folder, "token", "rotate").stdout.strip()
    assert worker.token != token and worker.get("/providers").status_code == 200


@pytest.mark.parametrize("arguments", [[], ["ask"], ["doctor"], ["log"], ["log", "tail"], ["log", "verify"], ["token"],
                                       ["token", "new"], ["token", "show"], ["token", "rotate"], ["backup"], ["restore"], ["update"], ["version"]])
def test_every_command_has_help(tmp_path, arguments):
    done = ananta(tmp_path, *arguments, "--help")
    assert done.returncode == 0 and "usage: ananta" in done.stdout
    assert "example:" in done.stdout or "COMMAND" in done.stdout


def test_the_version_is_printed(tmp_path):
    assert re.fullmatch(r"ananta \d+\.\d+\.\d+\n", ananta(tmp_path, "version").stdout)
    assert json.loads(ananta(tmp_path, "version", "--json").stdout)["ananta"]


def test_a_plain_start_imports_nothing_it_does_not_need(tmp_path):
    script = ("import sys, threading; from ananta import app, settings\n"
              "loaded = settings.load({'port': '0', 'disable_llm_check': 'true'}, {})\n"
              "lines = []\n"
              "def say(text):\n"
              "    lines.append(text)\n"
              "    if text.startswith('model'):\n"
              "        print([name for name in ('requests', 'psycopg', 'nacl', 'prometheus_client', 'tree_sitter', 'jwt')"
              " if name in sys.modules])\n"
              "        import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n"
              "raise SystemExit(app.serve(loaded, say))\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**clean_environment(tmp_path), "PYTHONPATH": str(ROOT)}, timeout=WAIT_S)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr


def test_a_database_that_is_not_there_yet_is_no_wrong_setting(tmp_path):
    # systemd starts the service again after the one, and not after the other.
    done = ananta(tmp_path, "--role", "hub", "--port", "0", DATABASE_URL="postgresql://ada:secret@127.0.0.1:1/none")
    assert done.returncode == 75 and "Look whether it runs" in done.stderr and "secret" not in done.stderr
    assert ananta(tmp_path, "--role", "hub", "--port", "0", DATABASE_URL="mysql://x").returncode == 2
