"""`ananta backup`: what is in the file, what is not, and that it is whole or not there."""
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import zipfile

import pytest
import requests

from tests.conftest import ROOT, WAIT_S, ananta, clean_environment

PASSPHRASE = "five words are long enough"


@pytest.fixture
def hub(start):
    return start("hub", "--role", "hub", token="a-token-of-some-length", INITIAL_ADMIN_PASSWORD="a-first-password")


def back_up(worker, *arguments, **environment):
    return ananta(worker.folder, "backup", *arguments, **{"PATH": os.environ["PATH"], **environment})


def manifest(path) -> dict:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return json.loads(file.read("manifest.json"))


def test_a_backup_of_a_busy_hub_is_one_moment(hub, tmp_path):
    ended, made, refused = threading.Event(), [0] * 16, []

    def client(number: int) -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {hub.token}"
            while not ended.is_set():
                for path, body in (("/tasks", {"title": f"{number} {made[number]}"}), ("/step/execute", {"command": f"echo {number}"})):
                    answer = session.post(hub.url + path, json=body, timeout=WAIT_S)
                    # Only so many commands at once.
                    if answer.status_code not in (200, 201, 503):
                        refused.append(answer.text)
                    made[number] += answer.status_code == 201

    clients = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for each in clients:
        each.start()
    while sum(made) < 100:
        time.sleep(0.05)
    before, file = sum(made), tmp_path / "backup.zip"
    done = back_up(hub, str(file), "--json")
    ended.set()
    for each in clients:
        each.join()
    assert done.returncode == 0 and not refused, (done.stderr, refused[:1])
    said = json.loads(done.stdout)
    assert said["engine"] == "sqlite" and said["members"] and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {each["name"] for each in manifest(file)["members"]} == {"ananta.db", "started.jsonl", "terminal_log.jsonl"}
    assert sorted(os.listdir(tmp_path)) == ["backup.zip", "hub"]
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "out")
    database = sqlite3.connect(tmp_path / "out" / "ananta.db")
    tasks = database.execute("SELECT count(*) FROM tasks").fetchone()[0]
    assert before <= tasks <= sum(made) and database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    lines = (tmp_path / "out" / "terminal_log.jsonl").read_bytes()
    indexed = database.execute("SELECT count(*) FROM journal").fetchone()[0]
    database.close()
    assert lines.endswith(b"\n") and lines.count(b"\n") >= indexed


def test_no_secret_is_in_a_backup_without_them(hub, tmp_path):
    hub.post("/config", json={"openai_api_key": "sk-the-key-of-somebody", "log_level": "DEBUG"})
    hub.post("/tasks", json={"id": "T-1", "title": "one"})
    hub.post("/tasks/T-1/assign", json={"agent_url": "http://localhost:1", "token": "token-of-a-worker"})
    file = tmp_path / "b.zip"
    assert back_up(hub, str(file)).returncode == 0
    secrets = [b"sk-the-key-of-somebody", b"token-of-a-worker", b"a-token-of-some-length", b"a-first-password",
               (hub.data / "secrets" / "secret_key").read_bytes().strip()]
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            for secret in secrets:
                assert secret not in archive.read(name), (name, secret)
        assert json.loads(archive.read("config.json")) == {"log_level": "DEBUG"}
    assert manifest(file)["left_out"] == ["openai_api_key"]
    # Nor where they are sealed, in clear.
    assert back_up(hub, str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE=PASSPHRASE).returncode == 0
    with zipfile.ZipFile(file) as archive:
        assert "secrets.sealed" in archive.namelist()
        for name in archive.namelist():
            assert not any(secret in archive.read(name) for secret in secrets)


def test_a_passphrase_is_asked_for_and_never_an_argument(hub, tmp_path):
    file = tmp_path / "b.zip"
    done = back_up(hub, str(file), "--with-secrets")
    assert done.returncode == 2 and "ANANTA_BACKUP_PASSPHRASE" in done.stderr
    done = back_up(hub, str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE="short")
    assert done.returncode == 2 and "12" in done.stderr
    done = back_up(hub, str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE_FILE=str(tmp_path / "none"))
    assert done.returncode == 2 and "ANANTA_BACKUP_PASSPHRASE_FILE" in done.stderr
    assert back_up(hub, str(file), "--with-secrets", PASSPHRASE).returncode == 2 and not file.exists()
    kept = tmp_path / "passphrase"
    kept.write_text(PASSPHRASE + "\n")
    assert back_up(hub, str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE_FILE=str(kept)).returncode == 0


def test_a_command_does_not_see_the_passphrase(start):
    worker = start(ANANTA_BACKUP_PASSPHRASE=PASSPHRASE, ANANTA_BACKUP_PASSPHRASE_FILE="/somewhere")
    assert worker.execute("env | grep -c PASSPHRASE")["output"] == "0"


def test_a_backup_takes_the_place_of_a_backup_only(start, tmp_path):
    worker = start()
    file = tmp_path / "b.zip"
    assert back_up(worker, str(file)).returncode == 0
    assert back_up(worker, str(file)).returncode == 0
    for other in (worker.data / "ananta.db", worker.data / "terminal_log.jsonl"):
        before = other.read_bytes()
        done = back_up(worker, str(other))
        assert done.returncode == 1 and "something else" in done.stderr and other.read_bytes() == before
    done = back_up(worker, str(tmp_path / "nowhere" / "b.zip"))
    assert done.returncode == 2 and "no folder" in done.stderr
    assert back_up(worker, str(tmp_path), DATA_DIR=str(tmp_path / "nothing")).returncode == 1
    assert back_up(worker, str(tmp_path)).returncode == 0
    assert [each for each in os.listdir(tmp_path) if re.fullmatch(r"ananta-default-\d{8}T\d{6}Z\.zip", each)]


def test_a_rotated_log_is_there_whole(start, tmp_path):
    worker = start()
    worker.stop()
    (worker.data / "terminal_log.jsonl").rename(worker.data / "terminal_log.000001.jsonl")
    worker = start()
    worker.execute("echo new")
    with (worker.data / "terminal_log.jsonl").open("ab") as file:
        file.write(b'{"torn": ')
    file = tmp_path / "b.zip"
    assert back_up(worker, str(file)).returncode == 0
    with zipfile.ZipFile(file) as archive:
        assert {"terminal_log.jsonl", "terminal_log.000001.jsonl"} <= set(archive.namelist())
        lines = archive.read("terminal_log.jsonl").splitlines(keepends=True)
    assert len(lines) == 1 and lines[0].endswith(b"\n") and json.loads(lines[0])["command"] == "echo new"


def test_a_full_disk_leaves_no_half_backup(start, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        worker = start()
        file = disk / "b.zip"
        assert back_up(worker, str(file)).returncode == 0
        before = file.read_bytes()
        with (worker.data / "terminal_log.jsonl").open("ab") as log:
            log.write(json.dumps({"noise": os.urandom(1 << 20).hex()}).encode() + b"\n")
        done = back_up(worker, str(file))
        assert done.returncode == 1 and "disk is full" in done.stderr and "Make room" in done.stderr
        # The old one is as it was, and nothing else is left.
        assert os.listdir(disk) == ["b.zip"] and file.read_bytes() == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_killed_backup_leaves_no_half_one_under_its_name(start, tmp_path):
    worker = start()
    worker.stop()
    with (worker.data / "terminal_log.jsonl").open("ab") as log:
        for _ in range(60):
            log.write(json.dumps({"noise": os.urandom(1 << 19).hex()}).encode() + b"\n")
    file = tmp_path / "b.zip"
    process = subprocess.Popen([sys.executable, str(ROOT / "ananta.py"), "backup", str(file)], cwd=worker.folder,
                               env=clean_environment(worker.folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + WAIT_S
    while not list(tmp_path.glob(".b.zip.*.new")) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait(WAIT_S)
    assert not file.exists()
    # What it left goes with the next one.
    assert back_up(worker, str(file)).returncode == 0 and [each for each in os.listdir(tmp_path) if "b.zip" in each] == ["b.zip"]


def test_the_chain_holds_in_a_backup_of_a_tampered_log_no_more_than_before(start, tmp_path):
    worker = start()
    worker.execute("echo one")
    worker.stop()
    log = worker.data / "terminal_log.jsonl"
    log.write_text(log.read_text().replace("echo one", "echo two"))
    file = tmp_path / "b.zip"
    assert back_up(worker, str(file)).returncode == 0
    done = ananta(tmp_path / "worker", "restore", str(file))
    assert done.returncode == 1 and "--force" in done.stderr
    assert ananta(tmp_path / "worker", "restore", "--force", str(file)).returncode == 0


# --- by themselves


def test_backups_are_made_by_themselves_and_old_ones_go(start, tmp_path):
    folder = tmp_path / "worker" / "data" / "backups"
    folder.mkdir(parents=True)
    long_ago = time.time() - 7200
    for name in ("ananta-20260101T000000Z.zip", "ananta-20260102T000000Z.zip", "by-hand.zip", ".ananta-20260103T000000Z.zip.7.new"):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (long_ago, long_ago))
    worker = start(BACKUP_EVERY_HOURS="1", BACKUP_KEEP="2")
    _until(lambda: "ananta-20260101T000000Z.zip" not in os.listdir(folder))
    made = [each for each in os.listdir(folder) if not each.startswith(("by-hand", "ananta-20260102"))]
    assert len(made) == 1 and len(os.listdir(folder)) == 3 and manifest(folder / made[0])["role"] == "worker"
    assert stat.S_IMODE((folder / made[0]).stat().st_mode) == 0o600
    worker.stop()
    # The next start makes none: it is not due.
    worker = start(BACKUP_EVERY_HOURS="1", BACKUP_KEEP="2")
    time.sleep(4)
    worker.stop()
    assert made[0] in os.listdir(folder) and len(os.listdir(folder)) == 3


def test_a_failed_backup_shows(start, tmp_path):
    (tmp_path / "worker" / "data").mkdir(parents=True)
    (tmp_path / "worker" / "data" / "backups").write_text("in the way")
    worker = start(BACKUP_EVERY_HOURS="1")
    _until(lambda: worker.get("/ready?verbose=1").json()["checks"]["backup"]["status"] == "error")
    answer = worker.get("/ready?verbose=1")
    check = answer.json()["checks"]["backup"]
    assert check["code"] == "backup_failed" and "backups" in check["message"] and answer.status_code == 200
    assert "backup" not in worker.get("/ready").json()["checks"]
    _until(lambda: any("backup" in line and "WARNING" in line for line in worker.errors))


def _until(condition) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
