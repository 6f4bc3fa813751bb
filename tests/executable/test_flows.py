"""The main flows, by the built file."""
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from tests.conftest import ROOT, WAIT_S, Ananta, clean_environment
from tests.executable import built
from tests.hub.conftest import begin_team, proposes, task

pytestmark = pytest.mark.executable
# Left out on purpose, see build/contents.py.
LEFT_OUT = {"antigravity", "ensurepip", "idlelib", "lib2to3", "nis", "readline", "this", "tkinter", "turtle", "turtledemo", "venv"}
IMPORTS_ALL = '''
import importlib
from ananta.extensions import Blueprint

bp = Blueprint("all")


@bp.route("/all", methods=["POST"], access="open")
def all():
    from bottle import request
    missing = {}
    for name in request.json:
        try:
            importlib.import_module(name)
        except Exception as error:
            missing[name] = repr(error)
    return missing
'''


def test_it_starts_and_shows_its_pages(start):
    worker = start()
    assert worker.get("/health").json()["status"] == "ok"
    page, style = worker.get("/apidocs"), (ROOT / "ananta" / "web" / "static" / "apidocs.css").read_text()
    assert page.status_code == 200 and "/step/propose" in page.text
    sheet = re.search(r'href="([^"]+[.]css)"', page.text)
    assert style in (worker.get(sheet[1]).text if sheet else page.text)
    assert "process_ram_usage_bytes" in worker.get("/metrics").text


def test_it_describes_itself_as_the_source_does(start, tmp_path):
    source = Ananta(tmp_path / "source")
    try:
        from_source, built = source.get("/openapi.json").json(), start().get("/openapi.json").json()
    finally:
        source.stop()
    for each in (from_source, built):
        each.pop("servers", None)
    assert built == from_source and len(built["paths"]) > 20


def test_ask_runs_what_a_person_lets_run(ananta, tmp_path):
    answers = tmp_path / "answers.txt"
    answers.write_text(json.dumps({"reason": "because", "command": "echo from-ask"}) + "\n")
    done = ananta("ask", "go", stdin="r\nq\n", DEFAULT_PROVIDER="mock", MOCK_ANSWERS=str(answers))
    assert done.returncode == 0 and "from-ask" in done.stdout, done.stdout + done.stderr
    assert ananta("log", "verify").returncode == 0


@pytest.mark.parametrize("shell, command, decision", [
    ("bash", "ls; id", "allow"), ("bash", 'r""m -rf ~', "deny"), ("powershell", "Get-ChildItem", "allow"), ("cmd", "dir", "allow")])
def test_each_shell_is_understood(ananta, shell, command, decision):
    done = ananta("policy", "check", command, "--shell", shell)
    assert done.stdout.splitlines()[0] == decision, done.stdout + done.stderr


def test_a_hub_lets_a_worker_run_a_step(start, model, database_url):
    hub, alpha, _ = begin_team(start, model, database_url, INITIAL_ADMIN_PASSWORD="correct horse battery")
    task_id = task(hub, alpha)
    proposes(model, "echo from-the-worker")
    proposal = hub.post(f"/tasks/{task_id}/step/propose", json={"prompt": "say it"})
    assert proposal.status_code == 200, proposal.text
    done = hub.post(f"/tasks/{task_id}/step/execute", json={})
    assert done.status_code == 200 and "from-the-worker" in done.json()["output"], done.text
    assert [each["command"] for each in alpha.records()] == ["echo from-the-worker"]
    signed_in = hub.post("/login", json={"username": "admin", "password": "correct horse battery"}, auth=False)
    assert signed_in.status_code == 200, signed_in.text


def test_an_extension_may_import_the_standard_library_and_what_is_inside(start, tmp_path):
    folder = tmp_path / "extensions"
    folder.mkdir()
    (folder / "imports_all.py").write_text(IMPORTS_ALL)
    worker = start("worker", "--extensions-dir", str(folder), "--agent-extensions", "imports_all")
    wanted = sorted(name for name in sys.stdlib_module_names - LEFT_OUT if name[0] != "_" and not name.startswith("xx"))
    wanted += ["xml.etree.ElementTree", "email.mime.multipart", "importlib.resources", "concurrent.futures", "http.server",
               "requests", "jwt", "psycopg", "nacl.secret", "msgspec", "psutil", "ananta.domain.tasks", "agent.auth"]
    answer = worker.post("/all", json=wanted)
    assert answer.status_code == 200, answer.text
    here = {name: error for name, error in answer.json().items() if _is_here(name)}
    assert here == {}


def _is_here(name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            __import__(name)
    except Exception:  # not on this system, or not in this Python
        return False
    return True


def test_a_certificate_nobody_knows_is_refused_by_name(start, tmp_path):
    # That TLS and the list of authorities are inside: without them the failure would be another one.
    certificate = tmp_path / "certificate.pem"
    _make_certificate(certificate)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"https://127.0.0.1:{server.server_port}"
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=10)
        worker = start(DEFAULT_PROVIDER="openai", OPENAI_API_KEY="key", OPENAI_URL=f"{url}/v1/chat/completions", RETRY_COUNT="0")
        answer = worker.post("/step/propose", json={"prompt": "x"})
        assert answer.status_code == 502 and "certificate" in answer.text.lower(), answer.text
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _make_certificate(file) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(file), "-out", f"{file}.crt",
                    "-subj", "/CN=nobody", "-days", "1"], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_suffix(".pem.crt").read_bytes())


def test_the_licences_of_all_parts_are_inside(ananta, executable):
    text = ananta("version", "--licenses").stdout
    bill = json.loads(next(executable.parent.glob("*.cdx.json")).read_text())
    for part in bill["components"]:
        assert f"{part['name']} {part['version']}" in text
    for sentence in ("Permission is hereby granted", "Zope Public License", "GNU LESSER GENERAL PUBLIC LICENSE",
                     "PYTHON SOFTWARE FOUNDATION LICENSE", "Bootloader Exception", "PostgreSQL Global Development Group"):
        assert sentence in text, sentence


@pytest.mark.skipif("ANANTA_EXECUTABLE" in os.environ, reason="the given file may know another key")
def test_it_takes_a_signed_file_in_its_own_place(executable, tmp_path):
    program, new, key = tmp_path / "bin" / executable.name, tmp_path / executable.name, tmp_path / "a.key"
    program.parent.mkdir()
    for each in (program, new):
        shutil.copy(executable, each)
    key.write_text(bytes(built.KEY).hex())

    def call(*words) -> subprocess.CompletedProcess:
        return subprocess.run([*map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False,
                              env=clean_environment(tmp_path))

    assert json.loads(call(program, "version", "--json").stdout)["release_keys"] == [built.PUBLIC]
    assert call(sys.executable, ROOT / "build" / "sign.py", "sign", key, new).returncode == 0
    assert "nothing to do" in call(program, "update", new).stderr  # the same version
    old = program.stat().st_ino
    done = call(program, "update", "--force", new)
    assert done.returncode == 0 and "is in its place" in done.stdout, done.stderr
    assert program.stat().st_ino != old == program.with_name(f"{program.stem}.old{program.suffix}").stat().st_ino
    with new.open("ab") as file:
        file.write(b"\n")
    assert "is not the file that was signed" in call(program, "update", "--force", new).stderr
