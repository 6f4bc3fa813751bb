"""`ananta restore`: the state of then, or nothing changed."""
import json
import os
import sqlite3
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from ananta.store import swap
from ananta.store.log_archive import LogArchive
from ananta.store.log_files import LogFiles
from tests.conftest import ananta

PASSPHRASE = "five words are long enough"


@pytest.fixture
def backed_up(start, tmp_path):
    """A hub with something in it, stopped, and its backup."""
    hub = start("hub", "--role", "hub", token="a-token-of-some-length", INITIAL_ADMIN_PASSWORD="a-first-password", LOG_ROTATE_MB="1")
    for number in range(3):
        hub.post("/tasks", json={"id": f"T-{number}", "title": f"number {number}"})
        hub.execute(f"echo {number}", task_id=f"T-{number}")
    hub.post("/tasks/T-1/assign", json={"agent_url": "http://localhost:1", "token": "token-of-a-worker"})
    hub.post("/config", json={"openai_api_key": "sk-the-key-of-somebody", "log_level": "DEBUG"})
    assert hub.post("/login", json={"username": "admin", "password": "a-first-password"}).status_code == 200
    file = tmp_path / "backup.zip"
    done = ananta(hub.folder, "backup", str(file))
    assert done.returncode == 0, done.stderr
    hub.stop()
    return hub, file


def tables(path: Path) -> dict[str, str]:
    database = sqlite3.connect(path)
    try:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: sha256(repr(sorted(database.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)).encode()).hexdigest() for name in names}
    finally:
        database.close()


def test_what_was_there_is_there_again(backed_up, start, tmp_path):
    hub, file = backed_up
    before = tables(hub.data / "ananta.db")
    log = (hub.data / "terminal_log.jsonl").read_bytes()
    again = start("hub", "--role", "hub", token="a-token-of-some-length")
    token = again.post("/login", json={"username": "admin", "password": "a-first-password"}).json()["access_token"]
    again.post("/tasks", json={"id": "T-9", "title": "later"})
    again.execute("echo later", task_id="T-9")
    proposal = again.post("/step/propose", json={"prompt": "x"}).status_code
    assert proposal in (200, 502)
    again.stop()
    done = ananta(hub.folder, "restore", str(file))
    assert done.returncode == 0, done.stderr
    assert "before-restore-" in done.stdout and "signs in anew" in done.stdout
    # Users are signed out: their generation moves, and nothing else does. (A lease is of whom runs, and ends with that.)
    assert {name for name, each in tables(hub.data / "ananta.db").items() if each != before[name]} <= {"users", "refresh_tokens", "sqlite_sequence", "leases"}
    assert (hub.data / "terminal_log.jsonl").read_bytes() == log
    assert ananta(hub.folder, "log", "verify").returncode == 0
    kept = next((hub.data / "restored").glob("before-restore-*"))
    assert b"echo later" in (kept / "terminal_log.jsonl").read_bytes() and "T-9" in str(_tasks(kept / "ananta.db"))
    assert [each.name for each in (hub.data / "restored").iterdir()] == [kept.name]
    assert not (hub.data / "restoring.json").exists()
    served = start("hub", "--role", "hub", token="a-token-of-some-length")
    assert served.get("/tasks/T-2").json()["title"] == "number 2" and served.get("/tasks/T-9").status_code == 404
    assert served.get("/me", auth=False, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    # The key of the configuration was not in the backup, and stays.
    assert served.get("/config").json()["openai_api_key"] == "********" and served.get("/config").json()["log_level"] == "DEBUG"
    assert served.post("/login", json={"username": "admin", "password": "a-first-password"}).status_code == 200


def _tasks(path: Path) -> list:
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT id FROM tasks").fetchall()
    finally:
        database.close()


def test_on_another_machine_only_the_secrets_are_missing(backed_up, start, tmp_path):
    _, file = backed_up
    (tmp_path / "new").mkdir()
    done = ananta(tmp_path / "new", "restore", str(file))
    assert done.returncode == 1 and "--forget-tokens" in done.stderr and "1 assigned task" in done.stderr and "http://localhost:1" not in done.stdout
    assert not (tmp_path / "new" / "data" / "ananta.db").exists() and not list((tmp_path / "new" / "data").rglob("*.zip"))
    done = ananta(tmp_path / "new", "restore", str(file), "--forget-tokens")
    assert done.returncode == 0, done.stderr
    assert "openai_api_key" in done.stdout and "1 assigned task" in done.stdout and "agent token has to be set again" in done.stdout
    served = start("new", "--role", "hub", token="another-token-of-length")
    assert served.get("/tasks/T-1").json()["assignment"] == {"agent_url": "http://localhost:1", "has_token": False}
    assert ananta(served.folder, "log", "verify").returncode == 0


def test_a_log_that_was_archived_comes_back_whole(start, tmp_path):
    worker = start()
    for number in range(3):
        worker.execute(f"echo {number}")
    worker.stop()
    (worker.data / "terminal_log.jsonl").rename(worker.data / "terminal_log.000001.jsonl")
    worker = start()
    worker.execute("echo new")
    worker.stop()
    assert LogArchive(LogFiles(worker.data)).move_old(time.time() + 60, 2, lambda: False) == 1
    assert "ok    4 records" in ananta(worker.folder, "log", "verify").stdout
    assert ananta(worker.folder, "backup", str(tmp_path / "b.zip")).returncode == 0
    (tmp_path / "new").mkdir()
    done = ananta(tmp_path / "new", "restore", str(tmp_path / "b.zip"))
    assert done.returncode == 0, done.stderr
    assert "ok    4 records" in ananta(tmp_path / "new", "log", "verify").stdout
    assert start("new").get("/logs?limit=1").json()[0]["command"] == "echo new"


def test_where_nothing_is_sealed_another_key_is_no_matter(start, tmp_path):
    hub = start("hub", "--role", "hub", token="a-token-of-some-length")
    hub.post("/tasks", json={"id": "T-1", "title": "one"})
    assert ananta(hub.folder, "backup", str(tmp_path / "b.zip")).returncode == 0
    (tmp_path / "new").mkdir()
    done = ananta(tmp_path / "new", "restore", str(tmp_path / "b.zip"))
    assert done.returncode == 0 and "forgotten" not in done.stdout, done.stderr
    assert start("new", "--role", "hub", token="another-token-of-length").get("/tasks/T-1").status_code == 200


def test_with_the_passphrase_nothing_is_missing(backed_up, start, tmp_path):
    hub, file = backed_up
    assert ananta(hub.folder, "backup", str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE=PASSPHRASE).returncode == 0
    (tmp_path / "new").mkdir()
    done = ananta(tmp_path / "new", "restore", str(file), ANANTA_BACKUP_PASSPHRASE=PASSPHRASE + "!")
    assert done.returncode == 2 and "passphrase" in done.stderr and not (tmp_path / "new" / "data" / "ananta.db").exists()
    done = ananta(tmp_path / "new", "restore", str(file), ANANTA_BACKUP_PASSPHRASE=PASSPHRASE)
    assert done.returncode == 0 and "again" not in done.stdout, done.stderr
    assert (tmp_path / "new" / "data" / "secrets" / "secret_key").read_bytes() == (hub.data / "secrets" / "secret_key").read_bytes()
    assert json.loads((tmp_path / "new" / "data" / "config.json").read_text())["openai_api_key"] == "sk-the-key-of-somebody"
    served = start("new", "--role", "hub", token="another-token-of-length")
    assert served.get("/tasks/T-1").json()["assignment"]["has_token"] is True


def _rewritten(file: Path, target: Path, change) -> Path:
    """A backup like the one in `file`; change(members: name → bytes, manifest) alters it."""
    with zipfile.ZipFile(file) as source:
        members = {name: source.read(name) for name in source.namelist() if name != "manifest.json"}
        manifest = json.loads(source.read("manifest.json"))
    manifest = change(members, manifest) or manifest
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
        made.writestr("manifest.json", json.dumps(manifest))
    return target


def _fitting(members: dict, manifest: dict) -> None:
    manifest["members"] = [{"name": name, "size": len(content), "sha256": sha256(content).hexdigest()} for name, content in members.items()]


def _escapes(name: str):
    def change(members, manifest):
        members[name] = b"x"
        _fitting(members, manifest)
    return change


def _altered(members, manifest):
    members["terminal_log.jsonl"] = members["terminal_log.jsonl"].replace(b"echo 1", b"echo 7")


def _lost(members, manifest):
    del members["terminal_log.jsonl"]


def _added(members, manifest):
    members["policy.json"] = b"{}"


def _newer_tables(members, manifest):
    manifest["schema"] = 1000


def _newer_format(members, manifest):
    manifest["format"] = 2


def _no_database(members, manifest):
    del members["ananta.db"]
    _fitting(members, manifest)


def _rotten_rules(members, manifest):
    members["policy.json"] = b'{"rules": [{"prefix": 7}]}'
    _fitting(members, manifest)


def _rotten_configuration(members, manifest):
    members["config.json"] = b'{"http_timeout": "soon"}'
    _fitting(members, manifest)


def _rotten_database(members, manifest):
    members["ananta.db"] = b"x" * len(members["ananta.db"])
    _fitting(members, manifest)


def _short_database(members, manifest):
    members["ananta.db"] = members["ananta.db"][:8192]
    _fitting(members, manifest)


def _tampered_log(members, manifest):
    _altered(members, manifest)
    _fitting(members, manifest)


def _no_manifest(members, manifest):
    return [1, 2]


@pytest.mark.parametrize(("change", "said"), [
    (_escapes("../outside"), "no file of a backup"), (_escapes("/etc/passwd"), "no file of a backup"), (_escapes("a\\..\\b"), "no file of a backup"),
    (_escapes("secrets/secret_key"), "no file of a backup"), (_escapes("ananta.lock"), "no file of a backup"),
    (_altered, "damaged"), (_lost, "does not hold"), (_added, "does not hold"), (_newer_tables, "newer one"), (_newer_format, "format"),
    (_no_database, "lacks ananta.db"), (_rotten_rules, "policy.json"), (_rotten_configuration, "http_timeout"), (_rotten_database, "ananta.db"),
    (_short_database, "ananta.db"), (_tampered_log, "--force"), (_no_manifest, "not a whole backup")],
    ids=lambda each: each.__name__ if callable(each) else "")
def test_what_is_not_good_is_refused_and_changes_nothing(backed_up, contents, tmp_path, change, said):
    hub, file = backed_up
    bad = _rewritten(file, tmp_path / "bad.zip", change)
    before = contents(tmp_path)
    done = ananta(hub.folder, "restore", str(bad))
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert contents(tmp_path) == before


def test_what_is_no_archive_is_refused(backed_up, contents, tmp_path):
    hub, file = backed_up
    before = contents(hub.data)
    half = tmp_path / "half.zip"
    half.write_bytes(file.read_bytes()[:-2000])
    flipped = tmp_path / "flipped.zip"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    for each in (half, flipped, hub.data / "ananta.db", tmp_path, tmp_path / "nothing"):
        done = ananta(hub.folder, "restore", str(each))
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr and str(each) in done.stderr
    assert ananta(hub.folder, "restore").returncode == 2 and ananta(hub.folder, "restore", "--undo").returncode == 1
    assert ananta(hub.folder, "restore", str(file), "--wait", "0").returncode == 2
    assert contents(hub.data) == before


def test_secrets_that_belong_to_other_files_are_refused(backed_up, contents, tmp_path):
    hub, file = backed_up
    assert ananta(hub.folder, "backup", str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE=PASSPHRASE).returncode == 0

    def change(members, manifest):
        members["policy.json"] = b'{"rules": []}'
        _fitting(members, manifest)

    bad, before = _rewritten(file, tmp_path / "bad.zip", change), contents(hub.data)
    done = ananta(hub.folder, "restore", str(bad), ANANTA_BACKUP_PASSPHRASE=PASSPHRASE)
    assert done.returncode == 2 and "altered after it was made" in done.stderr and contents(hub.data) == before


def test_a_backup_for_another_kind_of_database_is_refused(backed_up, contents):
    hub, file = backed_up
    before = contents(hub.data)
    done = ananta(hub.folder, "restore", str(file), DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1 and "DATABASE_URL" in done.stderr and contents(hub.data) == before


def test_a_running_agent_is_not_replaced(backed_up, start, contents):
    hub, file = backed_up
    served = start("hub", "--role", "hub", token="a-token-of-some-length")
    done = ananta(hub.folder, "restore", str(file))
    assert done.returncode == 2 and str(served.process.pid) in done.stderr and "stop it first" in done.stderr
    assert not (hub.data / "restored").exists()


def test_a_disk_without_room_is_noticed_before(backed_up, tmp_path):
    import subprocess

    _, file = backed_up
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        done = ananta(tmp_path, "restore", str(file), DATA_DIR=str(disk / "data"))
        assert done.returncode == 1 and "make room" in done.stderr and os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_restoring_that_was_cut_off_is_put_back(backed_up, contents, tmp_path):
    hub, file = backed_up
    before = contents(hub.data)
    new = tmp_path / "new"
    new.mkdir()
    (new / "terminal_log.jsonl").write_text("half\n")
    (new / "place").write_text("new\n")
    moves = [(hub.data / name, new / name if new_one else None, hub.data / "restored" / "before-restore-1" / name) for name, new_one in (
        ("terminal_log.jsonl", True), ("place", True), ("ananta.db-wal", False), ("ananta.db", False))]
    for cut in range(len(moves) + 1):
        plan = swap.plan(moves, None)
        # Cut off after some of its moves: the plan is on disk, and so many files have moved.
        swap.swap(hub.data, swap.Plan(plan.moves[:cut]))
        (hub.data / "restoring.json").write_bytes(__import__("msgspec").json.encode(plan))
        refused = ananta(hub.folder, "--port", "0")
        assert refused.returncode == 2 and "ananta restore --undo" in refused.stderr
        assert ananta(hub.folder, "backup", str(tmp_path / "half-state.zip")).returncode != 0
        done = ananta(hub.folder, "restore", "--undo")
        assert done.returncode == 0, done.stderr
        assert contents(hub.data) == before
        (new / "terminal_log.jsonl").write_text("half\n")
        (new / "place").write_text("new\n")
    done = ananta(hub.folder, "restore", str(file))
    assert done.returncode == 0


def test_a_service_is_stopped_and_started(backed_up, service, tmp_path):
    hub, file = backed_up
    served = service(hub.folder, ROLE="hub", AGENT_TOKEN="a-token-of-some-length", HOST="127.0.0.1")
    first = served.about()["pid"]
    done = ananta(hub.folder, "restore", str(file), PATH=served.path)
    assert done.returncode == 0, done.stderr
    assert served.about()["pid"] != first and served.asked == ["start", "stop", "start"]
    assert "stopped the service" in done.stderr and "started the service" in done.stderr


def test_a_service_that_does_not_become_healthy_gets_the_old_state_back(backed_up, service, contents):
    hub, file = backed_up
    # This call has another key than the service, which refuses what it does not fit.
    (hub.data / "secrets" / "secret_key").rename(hub.data / "secrets" / "away")
    for each in hub.data.glob("ananta.db*"):
        each.unlink()
    served = service(hub.folder, ROLE="hub", AGENT_TOKEN="a-token-of-some-length", HOST="127.0.0.1", SECRET_KEY="k" * 40)
    key = (hub.data / "secrets" / "away").read_text().strip()
    done = ananta(hub.folder, "restore", str(file), "--wait", "8", PATH=served.path, SECRET_KEY=key)
    assert done.returncode == 1 and "Everything is as it was before" in done.stderr, done.stderr
    assert served.about()["pid"] and served.asked == ["start", "stop", "start", "stop", "start"]
    assert _tasks(hub.data / "ananta.db") == [] and not (hub.data / "restoring.json").exists()
    assert not list((hub.data / "restored").iterdir())


def test_second_factors_of_another_key_are_named(backed_up, start, tmp_path):
    import pyotp

    hub, file = backed_up
    served = start("hub", "--role", "hub", token="a-token-of-some-length")
    token = served.post("/login", json={"username": "admin", "password": "a-first-password"}).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    secret = served.post("/mfa/setup", auth=False, headers=headers).json()["secret"]
    assert served.post("/mfa/verify", auth=False, headers=headers, json={"token": pyotp.TOTP(secret).now()}).status_code == 200
    assert ananta(hub.folder, "backup", str(file)).returncode == 0
    served.stop()
    (tmp_path / "new").mkdir()
    key = (hub.data / "secrets" / "secret_key").read_text().strip()
    done = ananta(tmp_path / "new", "restore", str(file), SECRET_KEY=key)
    assert done.returncode == 1 and "second factor of admin" in done.stderr and "mfa-off" in done.stderr
    done = ananta(tmp_path / "new", "restore", str(file), "--forget-tokens", SECRET_KEY=key)
    assert done.returncode == 0 and "second factor of admin" in done.stdout
    assert ananta(tmp_path / "new", "user", "mfa-off", "admin", SECRET_KEY=key).returncode == 0
    assert start("new", "--role", "hub", token="another-token-of-length", SECRET_KEY=key).get("/tasks/T-1").json()["assignment"]["has_token"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files to others")
def test_what_root_restores_belongs_to_the_account_of_the_agent(backed_up):
    hub, file = backed_up
    assert ananta(hub.folder, "backup", str(file), "--with-secrets", ANANTA_BACKUP_PASSPHRASE=PASSPHRASE).returncode == 0
    for each in (hub.data, *hub.data.rglob("*")):
        os.chown(each, 12345, 12346)
    (hub.data / "ananta.lock").unlink()
    done = ananta(hub.folder, "restore", str(file), ANANTA_BACKUP_PASSPHRASE=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    for name in ("ananta.db", "terminal_log.jsonl", "config.json", "ananta.lock", "restored", "secrets/secret_key"):
        facts = (hub.data / name).stat()
        assert (facts.st_uid, facts.st_gid) == (12345, 12346), name
