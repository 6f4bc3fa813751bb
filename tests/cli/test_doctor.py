"""`ananta doctor`: each check against the real thing, and each failing one names its cure."""
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath, PureWindowsPath
from wsgiref.handlers import format_date_time

import pytest

from ananta import settings
from ananta.operations.checks import machine, network, secrets, storage
from ananta.operations.checks import model as model_checks
from ananta.operations.checks.finding import Case
from tests.conftest import ROOT, WAIT_S, ananta, clean_environment
from tests.fake_llm import FakeLLM

TOKEN = "a-token-of-some-length"


def findings(folder: Path, **environment: str) -> dict[str, list[dict]]:
    """What doctor finds, by subject; a model that answers unless the environment says otherwise."""
    done = ananta(folder, "doctor", "--json", **{"PORT": "0", "DEFAULT_PROVIDER": "mock", **environment})
    found: dict[str, list[dict]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["subject"], []).append(each)
    assert done.returncode == (0 if all(each["ok"] for items in found.values() for each in items) else 1)
    return found


def case(tmp_path, environment=None, **values: str) -> Case:
    environment = environment or {}
    return Case(settings.load(values, {"DATA_DIR": str(tmp_path / "data"), **environment}, tmp_path), environment)


def problem(found: list[dict]) -> str:
    bad = [each["text"] for each in found if not each["ok"]]
    assert bad, found
    return "\n".join(bad)


# --- model servers


def test_a_model_whose_context_is_too_small_is_named(tmp_path):
    with FakeLLM(models=[{"id": "small-instruct", "loaded_context_length": 1024}]) as server:
        found = findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=server.openai_url)
        assert "1024 tokens" in problem(found["model"]) and "4096" in problem(found["model"])
        server.models = [{"id": "small-instruct", "loaded_context_length": 8192}]
        found = findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=server.openai_url)
        assert found["model"][0]["ok"] and "context 8192 tokens" in found["model"][0]["text"]
        server.models = ["silent-instruct"]
        found = findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=server.openai_url, LMSTUDIO_MAX_CONTEXT_TOKENS="600")
        assert "LMSTUDIO_MAX_CONTEXT_TOKENS=600" in problem(found["model"])


def test_a_proposal_with_a_long_order_and_output_fits_what_is_asked_for():
    assert 1000 < model_checks.needed_tokens() < 4096


def test_a_model_that_the_server_does_not_have_is_named(tmp_path, model):
    found = findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=model.openai_url, DEFAULT_MODEL="other")
    assert "'other'" in problem(found["model"]) and "fake-instruct" in problem(found["model"])
    found = findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=model.openai_url, DEFAULT_MODEL="fake-instruct")
    assert found["model"][0]["ok"]


def test_a_missing_key_is_named(tmp_path):
    with _server(lambda handler: _answer(handler, 401, b'{"error": "no key"}')) as url:
        text = problem(findings(tmp_path, DEFAULT_PROVIDER="openai", OPENAI_URL=url)["model"])
        assert "without a key" in text and "OPENAI_API_KEY" in text
        text = problem(findings(tmp_path, DEFAULT_PROVIDER="openai", OPENAI_URL=url, OPENAI_API_KEY="k" * 20)["model"])
        assert "the key" in text and "k" * 20 not in text
        text = problem(findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=url)["model"])
        assert "without a key" in text and "lmstudio_api_key in the configuration" in text
    # Without an address of one's own nobody needs to be asked.
    assert "ANTHROPIC_API_KEY_FILE" in problem(findings(tmp_path, DEFAULT_PROVIDER="anthropic")["model"])


def test_who_can_reach_a_model_server_of_this_machine_is_said(tmp_path):
    with FakeLLM() as server:
        found = findings(tmp_path, DEFAULT_PROVIDER="lmstudio", LMSTUDIO_URL=server.openai_url)
        assert all(each["ok"] for each in found["model"]) and "loopback only" in found["model"][1]["text"]
    with FakeLLM(host="0.0.0.0") as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        found = findings(tmp_path, DEFAULT_PROVIDER="ollama", OLLAMA_URL=url)
        assert f"0.0.0.0:{server.port}" in found["model"][1]["text"] and "without our rules" in found["model"][1]["text"]


# --- the hub


def test_a_hub_is_reached_and_its_clock_compared(tmp_path, start):
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN)
    found = findings(tmp_path, HUB_URL=hub.url)["hub"]
    assert found[0]["ok"] and "clocks" in found[0]["text"]
    hub.stop()
    assert "nothing listens" in problem(findings(tmp_path, HUB_URL=hub.url)["hub"])
    assert findings(tmp_path)["hub"][0]["ok"] and findings(tmp_path, ROLE="hub")["hub"][0]["ok"]


@pytest.mark.parametrize(("seconds", "words"), [(3600, "ahead of"), (-7200, "behind")])
def test_a_hub_with_another_time_is_named(tmp_path, seconds, words):
    def answer(handler):
        _answer(handler, 200, b"{}", Date=format_date_time(time.time() + seconds))

    with _server(answer) as url:
        text = problem(findings(tmp_path, HUB_URL=url)["hub"])
        assert words in text and "NTP" in text


def test_what_is_no_hub_is_named(tmp_path):
    with _server(lambda handler: _answer(handler, 404, b"")) as url:
        assert "404" in problem(findings(tmp_path, HUB_URL=url)["hub"])


def test_a_hub_elsewhere_needs_to_know_where_we_are(tmp_path):
    address = _other_address()
    with _server(lambda handler: _answer(handler, 200, b"{}"), host="0.0.0.0") as url:
        url = url.replace("0.0.0.0", address)
        assert "AGENT_URL" in problem(findings(tmp_path, HUB_URL=url)["hub"])
        assert findings(tmp_path, HUB_URL=url, AGENT_URL=f"http://{address}:5000")["hub"][0]["ok"]


# --- this machine


def test_a_taken_port_is_named_with_its_program(tmp_path):
    script = ("import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
              "sys.stdin.read()")
    other = subprocess.Popen(["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port = other.stdout.readline().strip()
        text = problem(findings(tmp_path, PORT=port)["port"])
        assert port in text and "python3" in text and str(other.pid) in text and "PORT" in text
    finally:
        other.communicate("", timeout=WAIT_S)


@pytest.mark.parametrize("path", ["/tmp/ananta", "/var/tmp/x/ananta", "/home/ada/Downloads/ananta", "/home/ada/.local/share/Trash/files/ananta",
                                  "/scratch/ananta"])
def test_folders_that_are_emptied_are_known(path):
    assert machine.emptied_by(PurePosixPath(path), {"HOME": "/home/ada", "TMPDIR": "/scratch"})


@pytest.mark.parametrize("path", ["/home/ada/bin/ananta", "/opt/ananta/current/ananta", "/home/downloads/ananta", "/tmpfiles/ananta", "/srv/Downloads/ananta"])
def test_folders_that_are_kept_are_no_problem(path):
    assert machine.emptied_by(PurePosixPath(path), {"HOME": "/home/ada", "TMPDIR": "/"}) is None


@pytest.mark.parametrize(("path", "emptied"), [
    (r"C:\Users\Ada\Downloads\ananta.exe", True), (r"C:\Users\Ada\AppData\Local\Temp\ananta.exe", True),
    (r"C:\$Recycle.Bin\S-1\ananta.exe", True), (r"C:\Users\Ada\ananta.exe", False), (r"C:\Program Files\Ananta\ananta.exe", False)])
def test_folders_of_windows_that_are_emptied_are_known(path, emptied):
    environment = {"USERPROFILE": r"C:\Users\ada", "TEMP": r"C:\Users\ada\AppData\Local\Temp"}
    assert bool(machine.emptied_by(PureWindowsPath(path), environment)) is emptied


def test_other_shells_are_found(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pwsh").write_text("#!/bin/sh\n")
    (tools / "pwsh").chmod(0o755)
    found = findings(tmp_path, PATH=f"{tools}:{os.environ['PATH']}")["shell"][0]
    assert found["ok"] and "bash" in found["text"] and "pwsh" in found["text"]
    assert "SHELL_PATH" in problem(findings(tmp_path, SHELL_PATH="no-such-shell")["shell"])


# --- what is kept


def test_the_database_tells_its_version_and_size(tmp_path, start, database_url):
    extra = {"DATABASE_URL": database_url} if database_url else {}
    assert "first start" in findings(tmp_path)["database"][0]["text"]
    worker = start("worker", **extra)
    text = findings(worker.folder, **extra)["database"][0]["text"]
    assert ("Postgres" if database_url else "SQLite") in text and "MiB" in text and "step" in text
    worker.stop()
    assert findings(worker.folder, **extra)["database"][0]["ok"]


def test_a_database_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "ananta.db").write_bytes(b"no database" * 100)
    assert "backups" in problem(findings(tmp_path)["database"])
    text = problem(findings(tmp_path, DATABASE_URL="postgresql://ada:pa55word@127.0.0.1:1/x")["database"])
    assert "Postgres" in text and "pa55word" not in text


def test_a_database_of_a_newer_version_is_named(tmp_path, start):
    import sqlite3

    worker = start("worker")
    worker.stop()
    with sqlite3.connect(worker.data / "ananta.db") as file:
        file.execute("INSERT INTO schema_version VALUES (99, 'future', 0)")
    file.close()
    assert "newer version" in problem(findings(worker.folder)["database"])


def test_a_temporary_folder_that_cannot_be_used_is_named(tmp_path):
    (good, text), = storage.temporary(case(tmp_path, {"TMPDIR": "/nowhere"}))
    assert not good and "TMPDIR" in text
    (good, text), = storage.temporary(case(tmp_path, {"TMPDIR": str(tmp_path)}))
    assert good and str(tmp_path) in text


def test_a_temporary_folder_that_lets_no_program_run_is_named(tmp_path):
    (tmp_path / "mounted").mkdir()
    inner = f"mount -t tmpfs -o noexec none {tmp_path}/mounted && exec {sys.executable} {ROOT}/ananta.py doctor"
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner], cwd=tmp_path, text=True, check=False,
                          capture_output=True, timeout=WAIT_S, env=clean_environment(
                              tmp_path, PORT="0", DEFAULT_PROVIDER="mock", TMPDIR=str(tmp_path / "mounted")))
    if not done.stdout:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    line = next(each for each in done.stdout.splitlines() if each[2:].startswith("  temporary"))
    assert line.startswith("DO  temporary") and "noexec" in line and "TMPDIR" in line


@pytest.mark.parametrize("weak", ["short", "a" * 40, "abcabcabcabcabcabcabc"])
def test_a_token_that_can_be_guessed_is_named(tmp_path, weak):
    text = problem(findings(tmp_path, AGENT_TOKEN=weak)["token"])
    assert "characters" in text and "AGENT_TOKEN" in text and weak not in text
    assert secrets.weakness(TOKEN) is None


def test_every_file_with_a_secret_is_looked_at(tmp_path):
    token, key = tmp_path / "token", tmp_path / "key"
    token.write_text(TOKEN + "\n")
    key.write_text("k" * 20)
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY_FILE={key}\nSECRET_KEY={'s' * 20}\n")
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "config.json").write_text("{}")
    everything = (token, key, tmp_path / ".env", tmp_path / "data" / "config.json")
    for path in everything:
        path.chmod(0o644)
    text = problem(findings(tmp_path, AGENT_TOKEN_FILE=str(token))["secrets"])
    assert all(f"chmod go= {path}" in text for path in everything)
    for path in everything:
        path.chmod(0o600)
    assert findings(tmp_path, AGENT_TOKEN_FILE=str(token))["secrets"][0]["ok"]


# --- the ways to others


def test_proxies_are_named_with_who_heeds_them(tmp_path):
    assert findings(tmp_path)["proxies"][0]["ok"]
    text = problem(findings(tmp_path, https_proxy="http://user:pa55word@proxy:3128")["proxies"])
    assert "HTTPS_PROXY" in text and "NO_PROXY" in text and "pa55word" not in text
    assert findings(tmp_path, HTTP_PROXY="http://proxy:3128", NO_PROXY="localhost")["proxies"][0]["ok"]


def test_from_a_container_the_machine_around_it_is_looked_for(tmp_path):
    if _knows(network.HOST):
        pytest.skip(f"{network.HOST} is known here")
    here = case(tmp_path, default_provider="lmstudio")
    assert [ok for ok, text in network.container_host(here, inside=None)] == [True]
    (good, text), = network.container_host(here, inside=network.locating.WSL)
    assert good and "WSL" not in text
    named = case(tmp_path, lmstudio_url=f"http://{network.HOST}:1234/v1")
    (good, text), = network.container_host(named, inside=None)
    assert not good and "LMSTUDIO_URL" in text and "--add-host" in text
    elsewhere = case(tmp_path, lmstudio_url="http://10.0.0.1:1234/v1")
    assert [ok for ok, text in network.container_host(elsewhere, inside="a container")] == [True]


def _knows(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:
        return False


def _other_address() -> str:
    """An address of this machine that is not loopback."""
    import psutil

    found = [each.address for all_of in psutil.net_if_addrs().values() for each in all_of
             if each.family == socket.AF_INET and not each.address.startswith("127.")]
    if not found:
        pytest.skip("this machine has no other address than loopback")
    return found[0]


def _answer(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    handler.send_response_only(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def _server(answer, host: str = "127.0.0.1"):
    """A real HTTP server that answers every GET by calling answer(handler); gives its address."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, format, *args):
            """Quiet."""

    server = ThreadingHTTPServer((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
