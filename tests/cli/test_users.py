"""`ananta user`, beside a running hub and without one, on both databases."""
import json
import os
import pty
import select
import subprocess
import sys
import time

import psycopg
import pyotp
import pytest

from tests.conftest import ROOT, WAIT_S, ananta, clean_environment

TOKEN, PASSWORD, OTHER = "hub-secret-token-0123", "correct horse battery", "staple of the horse"


@pytest.fixture
def settings(database_url):
    return {"DATABASE_URL": database_url} if database_url else {}


def user(folder, *arguments, stdin=None, **settings):
    return ananta(folder, "user", *arguments, stdin=stdin, **settings)


def names(folder, **settings):
    return [(each["username"], each["role"]) for each in json.loads(user(folder, "list", "--json", **settings).stdout)]


def test_users_are_made_and_changed_while_the_hub_runs(start, settings):
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, INITIAL_ADMIN_PASSWORD=PASSWORD, **settings)

    def sign_in(password):
        return hub.post("/login", json={"username": "ada", "password": password})

    made = user(hub.folder, "add", "ada", "--password-stdin", stdin=PASSWORD + "\n", **settings)
    assert made.returncode == 0 and "ada (user)" in made.stdout and PASSWORD not in made.stdout + made.stderr
    token = sign_in(PASSWORD).json()["access_token"]
    own = {"Authorization": f"Bearer {token}"}
    assert hub.get("/users", headers=own).status_code == 403
    assert user(hub.folder, "role", "ada", "admin", **settings).returncode == 0
    assert hub.get("/users", headers=own).status_code == 200
    assert names(hub.folder, **settings) == [("ada", "admin"), ("admin", "admin")]
    given = user(hub.folder, "passwd", "ada", "--generate", **settings)
    new = given.stdout.strip()
    assert given.returncode == 0 and len(new) >= 16 and new not in given.stderr and "not shown again" in given.stderr
    assert hub.get("/me", headers=own).status_code == 401
    assert sign_in(PASSWORD).status_code == 401 and sign_in(new).status_code == 200
    assert user(hub.folder, "remove", "ada", **settings).returncode == 0
    assert sign_in(new).status_code == 401 and names(hub.folder, **settings) == [("admin", "admin")]
    told = [(each["username"], each["action"], each["details"].get("user")) for each in hub.get("/audit-logs").json()
            if not each["action"].startswith("login")]
    assert told[::-1] == [("command-line", action, "ada") for action in (
        "user_created", "user_role_updated", "password_reset", "user_deleted")]
    assert ananta(hub.folder, "log", "verify", **settings).returncode == 0


def test_users_are_there_when_the_hub_starts(start, tmp_path, settings):
    folder = tmp_path / "hub"
    folder.mkdir()
    made = user(folder, "add", "ada", "--admin", "--generate", "--json", **settings)
    facts = json.loads(made.stdout)
    assert (facts["username"], facts["role"]) == ("ada", "admin") and made.stderr == ""
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, **settings)
    assert hub.post("/login", json={"username": "ada", "password": facts["password"]}).status_code == 200
    hub.line_with("next ")
    assert not [line for line in hub.lines if "sign in" in line] and names(folder, **settings) == [("ada", "admin")]


def test_what_cannot_be_is_refused_with_the_cure(tmp_path):
    assert user(tmp_path, "add", "ada", "--admin", "--generate").returncode == 0
    for arguments, stdin, status, text in (
            (("add", "ada", "--generate"), None, 2, "already"),
            (("add", "a b", "--generate"), None, 2, "characters"),
            (("add", "bob", "--password-stdin"), "short\n", 2, "at least 8"),
            (("add", "bob", "--password-stdin"), "12345678\n", 2, "most common"),
            (("add", "bob"), "", 2, "--generate"),
            (("role", "ada", "boss"), None, 2, "admin"),
            (("add", "bob", "--generate", "--password-stdin"), "", 2, "not allowed"),
            (("passwd", "bob", "--generate"), None, 1, "no user bob"),
            (("role", "bob", "admin"), None, 1, "no user bob"),
            (("role", "ada", "user"), None, 2, "last administrator"),
            (("add", "Ada", "--generate"), None, 2, "already"),
            (("mfa-off", "bob"), None, 1, "no user bob"),
            (("remove", "ada"), None, 2, "last administrator"),
            (("remove", "bob"), None, 1, "no user bob")):
        done = user(tmp_path, *arguments, stdin=stdin)
        assert done.returncode == status and text in done.stderr and "Traceback" not in done.stderr, (arguments, done)
        assert done.stdout == ""
    assert names(tmp_path) == [("ada", "admin")]


def test_a_lost_second_factor_is_switched_off(start, settings):
    hub = start("hub", "--role", "hub", "--host", "127.0.0.1", token=TOKEN, DISABLE_INITIAL_ADMIN="1", **settings)
    assert user(hub.folder, "add", "ada", "--password-stdin", stdin=PASSWORD + "\n", **settings).returncode == 0

    def sign_in(**fields):
        return hub.post("/login", json={"username": "ada", "password": PASSWORD, **fields})

    own = {"Authorization": f"Bearer {sign_in().json()['access_token']}"}
    secret = hub.post("/mfa/setup", headers=own).json()["secret"]
    assert hub.post("/mfa/verify", headers=own, json={"token": pyotp.TOTP(secret).now()}).status_code == 200
    assert user(hub.folder, "list", **settings).stdout == "user   ada  (second factor)\n"
    assert json.loads(user(hub.folder, "list", "--json", **settings).stdout)[0]["mfa_enabled"] is True
    for _ in range(5):
        assert sign_in(mfa_token="no").status_code == 401
    assert sign_in().status_code == 403
    done = user(hub.folder, "mfa-off", "ada", **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "The second factor of ada is off now.\n", "")
    assert sign_in().status_code == 200 and sign_in().json()["mfa_required"] is False
    assert user(hub.folder, "list", **settings).stdout == "user   ada\n"
    again = user(hub.folder, "mfa-off", "ada", "--json", **settings)
    assert json.loads(again.stdout) == {"username": "ada", "mfa_enabled": False, "was_enabled": False}
    told = [(each["username"], each["details"]) for each in hub.get("/audit-logs").json() if each["action"] == "mfa_disabled"]
    assert told == [("command-line", {"user": "ada"})]


def test_a_shared_database_is_not_changed_under_older_hubs(tmp_path, postgres_server):
    url = postgres_server.database()

    def version():
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT to_regclass('schema_version')").fetchone()[0]
            return connection.execute("SELECT max(version) FROM schema_version").fetchone()[0] if found else None

    for arguments in (("list",), ("mfa-off", "ada"), ("remove", "ada")):
        empty = user(tmp_path, *arguments, DATABASE_URL=url)
        assert empty.returncode == 2 and "no tables" in empty.stderr and version() is None
    assert user(tmp_path, "add", "ada", "--admin", "--generate", DATABASE_URL=url).returncode == 0
    known = version()
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM schema_version WHERE version = %s", (known,))
    for arguments in (("list",), ("add", "bob", "--generate"), ("passwd", "ada", "--generate"), ("mfa-off", "ada")):
        older = user(tmp_path, *arguments, DATABASE_URL=url)
        assert older.returncode == 2 and f"step {known - 1}" in older.stderr and "start a hub of this version" in older.stderr
        assert older.stdout == "" and "Traceback" not in older.stderr and version() == known - 1
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO schema_version VALUES (%s, 'later', 1)", (known + 1,))
    newer = user(tmp_path, "list", DATABASE_URL=url)
    assert newer.returncode == 2 and "newer version" in newer.stderr


def test_a_wrong_folder_is_told_and_nothing_is_made_there(tmp_path):
    for arguments in (("list",), ("remove", "ada"), ("passwd", "ada", "--generate"), ("role", "ada", "user"), ("mfa-off", "ada")):
        done = user(tmp_path, *arguments)
        assert done.returncode == 1 and "DATA_DIR" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("second", "status"), [(PASSWORD, 0), (OTHER, 2)])
def test_the_password_is_asked_for_twice_and_not_shown(tmp_path, second, status):
    parent, child = pty.openpty()
    process = subprocess.Popen([sys.executable, str(ROOT / "ananta.py"), "user", "add", "ada"], cwd=tmp_path, stdin=child,
                               stdout=child, stderr=child, start_new_session=True, env=clean_environment(tmp_path, TERM="dumb"))
    os.close(child)
    shown = ""
    for prompt, answer in (("New password: ", PASSWORD), ("The same again: ", second)):
        shown += _until(parent, prompt)
        os.write(parent, answer.encode() + b"\n")
    shown += _until(parent, "was made" if status == 0 else "nothing was changed")
    assert process.wait(WAIT_S) == status
    os.close(parent)
    assert PASSWORD not in shown and OTHER not in shown
    if status == 0:
        assert names(tmp_path) == [("ada", "user")]
    else:
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [["user"], *(["user", each] for each in ("add", "list", "passwd", "role", "remove", "mfa-off"))])
def test_every_command_has_help(tmp_path, arguments):
    done = ananta(tmp_path, *arguments, "--help")
    assert done.returncode == 0 and "usage: ananta" in done.stdout and ("example:" in done.stdout or "COMMAND" in done.stdout)


def _until(terminal: int, text: str) -> str:
    found, until = "", time.monotonic() + WAIT_S
    while text not in found:
        assert time.monotonic() < until, found
        if select.select([terminal], [], [], 0.2)[0]:
            found += os.read(terminal, 4096).decode()
    return found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root works for others")
def test_what_root_makes_for_a_service_belongs_to_the_service(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "of root"
    data.mkdir(mode=0o700)
    os.chown(data, 12345, 12345)
    elsewhere.write_text("")
    os.link(elsewhere, data / "ananta.db-wal")  # as somebody might who has the folder
    assert ananta(tmp_path, "user", "add", "ada", "--generate").returncode == 0
    assert ananta(tmp_path, "token", "new").returncode == 0
    foreign = {each.name for each in data.rglob("*") if each.lstat().st_uid != 12345}
    assert foreign <= {"ananta.db-wal"} and elsewhere.stat().st_uid == 0
    assert {"audit.log", "ananta.db", "secrets"} <= {each.name for each in data.iterdir()}
