"""The container: what its files say, run here as processes, since not every machine that tests has docker."""
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import ROOT, WAIT_S, clean_environment

HEALTHCHECK = ROOT / "build" / "healthcheck.py"
DOCKERFILES = [ROOT / "build" / name for name in ("Dockerfile", "package.Dockerfile")]


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "build" / "compose.yaml").read_text())


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_the_linter_finds_nothing(file):
    linter = shutil.which("hadolint", path=os.path.dirname(sys.executable))
    if linter is None:
        pytest.skip("hadolint has no package for this system")
    done = subprocess.run([linter, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_is_copied_is_there_and_nothing_else_is_sent(file):
    copied = [name for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", file.read_text()) for name in line.split()[:-1]]
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert sent[0] == "*" and sent.index("build/secrets") > sent.index("!build")
    for name in copied:
        assert (ROOT / name).exists() and (name == "." or f"!{name.split('/')[0]}" in sent or f"!{name[:12]}*.txt" in sent), name


def test_it_runs_as_a_user_without_rights():
    lines = (ROOT / "build" / "Dockerfile").read_text().splitlines()
    last = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")):]
    assert [line for line in last if line.startswith("USER ")] == ["USER 10001"]
    # As a list, so that the signal to stop reaches the program and no shell in front of it.
    assert any(line.startswith('ENTRYPOINT ["') for line in last) and any(line.startswith("HEALTHCHECK") for line in last)


def test_the_health_check_says_what_the_agent_says(server, tmp_path):
    def check(**environment: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(HEALTHCHECK)], env=clean_environment(tmp_path, **environment),
                              capture_output=True, text=True, timeout=WAIT_S, check=False)

    port = server.url.rpartition(":")[2]
    assert check(PORT=port, http_proxy="http://127.0.0.1:1").returncode == 0
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        refused = check(PORT=str(silent.getsockname()[1]))
    assert refused.returncode == 1 and "no answer" in refused.stderr


def test_the_secrets_are_made_once(tmp_path, compose):
    folder = tmp_path / "secrets"
    for _ in range(2):
        done = subprocess.run([sys.executable, str(ROOT / "build" / "secrets_of_compose.py"), str(folder)], capture_output=True,
                              text=True, check=True)
        seen = {file.name: file.read_text().strip() for file in folder.iterdir()}
    assert "already" in done.stdout and sorted(seen) == sorted(compose["secrets"])
    assert len(set(seen.values())) == len(seen) and all(len(text) >= 32 for text in seen.values())
    assert not any(text in done.stdout for text in seen.values()) and seen["database_password"] in seen["database_url"]
    if os.name != "nt":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_service_gets_more_than_it_needs(compose):
    services = compose["services"]
    for name, service in services.items():
        given = {text.rpartition("/")[2] for text in service["environment"].values() if text.startswith("/run/secrets/")}
        assert set(service["secrets"]) == given, name
        assert not any("TOKEN" in key and not key.endswith("_FILE") for key in service["environment"])
        if name != "database":
            assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert [name for name, service in services.items() if "ports" in service] == ["hub"]
    assert all(port.startswith("127.0.0.1:") for port in services["hub"]["ports"])
    assert [name for name, service in services.items() if "database" in service["networks"]] == ["hub", "database"]


def test_its_services_find_each_other(compose, start, postgres_server, tmp_path):
    secrets = tmp_path / "secrets"
    subprocess.run([sys.executable, str(ROOT / "build" / "secrets_of_compose.py"), str(secrets)], check=True, capture_output=True)
    (secrets / "database_url").write_text(postgres_server.database() + "\n")
    services = {name: service for name, service in compose["services"].items() if name != "database"}
    ports = {name: _free_port() for name in services}

    def here(text: str) -> str:
        for name, port in ports.items():
            text = text.replace(f"http://{name}:5000", f"http://localhost:{port}")
        return text.replace("/run/secrets", str(secrets))

    running = {}
    for name, service in services.items():
        environment = {key: here(text) for key, text in service["environment"].items()}
        running[name] = start(name, "--port", str(ports[name]), "--host", "0.0.0.0", "--default-provider", "mock", **environment)
        running[name].token = (secrets / f"{name}_token").read_text().strip()
    hub, until = running["hub"], time.monotonic() + WAIT_S
    while len(hub.get("/agents?format=list").json()) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert {(each["name"], each["status"]) for each in hub.get("/agents?format=list").json()} == {
        ("alpha", "online"), ("beta", "online")}
    task = hub.post("/tasks", json={"title": "x"}).json()["id"]
    address = f"http://localhost:{ports['alpha']}"
    assert hub.post(f"/tasks/{task}/assign", json={"agent_url": address}).status_code == 200
    done = hub.post(f"/tasks/{task}/step/execute", json={"command": "echo from-$AGENT_NAME"})
    assert done.status_code == 200 and done.json()["agent"] == "alpha", done.text
    password = (secrets / "admin_password").read_text().strip()
    assert hub.post("/login", json={"username": "admin", "password": password}, auth=False).status_code == 200
    # By the names that they have among themselves, too, without a token.
    for name, worker in running.items():
        assert worker.get("/health", headers={"Host": f"{name}:5000"}, auth=False).status_code == 200
        assert worker.get("/health", headers={"Host": "elsewhere:5000"}, auth=False).status_code == 403


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
