"""`ananta release` on a hub and `ananta update --from-hub` on a worker, with programs that have a key made for the test built in."""
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ananta import __version__
from tests.conftest import WAIT_S, Ananta, ananta
from tests.operations.test_update import BROKEN, Maker, run, version

HUB, WORKER = "hub-secret-token-0123", "worker-secret-token-0123"


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    return Maker(tmp_path_factory.mktemp("maker") / "maker")


@pytest.fixture(scope="module")
def original(maker, tmp_path_factory):
    """A program of this version; of an installed one only copies are updated."""
    return maker.program(tmp_path_factory.mktemp("original") / "ananta", __version__, signed=False)


@pytest.fixture(scope="module")
def newer(maker, tmp_path_factory):
    return maker.program(tmp_path_factory.mktemp("newer") / "ananta-new", "9.0.0")


@pytest.fixture
def installed(original, tmp_path):
    (tmp_path / "bin").mkdir()
    return Path(shutil.copy2(original, tmp_path / "bin" / "ananta"))


@pytest.fixture
def start_hub(original, tmp_path):
    running = []

    def begin(**environment: str) -> Ananta:
        program = type("Program", (Ananta,), {"program": [str(original)]})
        running.append(program(tmp_path / "hub", "--role", "hub", "--host", "127.0.0.1", token=HUB, ANONYMOUS_READS="off", DEFAULT_PROVIDER="mock",
                               **environment))
        return running[-1]

    yield begin
    for each in running:
        each.stop()


@pytest.fixture
def hub(start_hub):
    return start_hub()


def release(original: Path, hub: Ananta, *arguments) -> str:
    done = run(original, hub.folder, "release", *arguments, "--role", "hub")
    assert done.returncode == 0, done.stderr
    return done.stdout


def update(installed: Path, folder: Path, *arguments, token: str | None = HUB, **environment):
    return run(installed, folder, "update", "--from-hub", *arguments, **({"AGENT_TOKEN": token} if token else {}), **environment)


def name_of(program: Path) -> str:
    said = json.loads(program.with_name(program.name + ".sig").read_bytes().splitlines()[0])
    return f"ananta-{said['version']}-{said['platform']}"


def audit(hub: Ananta, action: str) -> list[dict]:
    return [entry for entry in hub.get("/audit-logs").json() if entry["action"] == action]


# --- what a hub keeps


def test_a_release_is_added_shown_and_removed_while_the_hub_runs(hub, original, newer):
    name = name_of(newer)
    said = release(original, hub, "add", newer)
    assert f"{name} is kept" in said and "signed by its maker" in said
    (shown,) = hub.get("/releases").json()
    assert shown == {"name": name, "version": "9.0.0", "platform": name.split("-", 2)[2], "architecture": name.rsplit("-", 1)[1],
                     "size": newer.stat().st_size, "sha256": hashlib.sha256(newer.read_bytes()).hexdigest()}
    assert [each["name"] for each in json.loads(release(original, hub, "list", "--json"))] == [name]
    assert hub.get(f"/releases/{name}/signature").content == newer.with_name(newer.name + ".sig").read_bytes()
    release(original, hub, "remove", name)
    assert hub.get("/releases").json() == [] and hub.get(f"/releases/{name}").json()["code"] == "release_not_found"
    assert audit(hub, "release_added")[0]["details"]["sha256"] == shown["sha256"]
    assert audit(hub, "release_removed")[0]["details"] == {"name": name}
    verified = run(original, hub.folder, "log", "verify", AGENT_TOKEN=HUB)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_only_a_hub_keeps_releases(original, newer, guarded, tmp_path):
    done = run(original, tmp_path / "worker", "release", "add", newer)
    assert done.returncode == 2 and "--role hub" in done.stderr and not (tmp_path / "worker" / "data" / "releases").exists()
    assert guarded.get("/releases").status_code == 404


def test_a_hub_refuses_what_is_not_signed(hub, original, newer, tmp_path):
    foreign = Path(shutil.copy(newer, tmp_path / "foreign"))
    shutil.copy(newer.with_name(newer.name + ".sig"), tmp_path / "foreign.sig")
    foreign.write_bytes(foreign.read_bytes() + b"\n")
    done = run(original, hub.folder, "release", "add", foreign, "--role", "hub")
    assert done.returncode == 1 and "not the file that was signed" in done.stderr
    # As it is from source: no key.
    done = ananta(hub.folder, "release", "add", str(newer), "--role", "hub")
    assert done.returncode == 2 and "No key is built into" in done.stderr
    assert hub.get("/releases").json() == []


def test_a_file_comes_whole_from_its_middle_or_not_at_all(hub, original, newer):
    release(original, hub, "add", newer)
    path, content = f"/releases/{name_of(newer)}", newer.read_bytes()
    whole = hub.get(path)
    tag = whole.headers["ETag"]
    assert whole.content == content and whole.headers["Content-Length"] == str(len(content))
    assert tag == f'"{hashlib.sha256(content).hexdigest()}"' and whole.headers["Content-Type"] == "application/octet-stream"
    head = hub.request("HEAD", path)
    assert head.status_code == 200 and head.headers["Content-Length"] == str(len(content)) and head.content == b""
    rest = hub.get(path, headers={"Range": "bytes=1000-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, content[1000:])
    assert rest.headers["Content-Range"] == f"bytes 1000-{len(content) - 1}/{len(content)}"
    for other in ({"Range": "bytes=1000-", "If-Range": '"another"'}, {"Range": f"bytes={len(content)}-"}, {"Range": "bytes=-5"},
                  {"Range": "bytes=5-4"}, {"Range": "lines=1-"}):
        assert hub.get(path, headers=other).content == content
    # HEAD is no download.
    assert len(audit(hub, "release_downloaded")) == 7


@pytest.mark.parametrize("name", ["..%2fananta.db", "%2e%2e/ananta.db", "..", "ananta-9.0.0-linux-x86_64.sig", "%2fetc%2fpasswd", "x%00y"])
def test_no_path_leads_out_of_the_folder(hub, original, newer, name):
    release(original, hub, "add", newer)
    for path in (f"/releases/{name}", f"/releases/{name}/signature"):
        with socket.create_connection(("127.0.0.1", int(hub.url.rsplit(":", 1)[1]))) as plain:
            plain.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {HUB}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: plain.recv(65536), b""))
        assert answer.split()[1] in (b"404", b"400"), answer[:200]


def test_who_may_read(start_hub, original, newer, database_url, start):
    hub = start_hub(**({"DATABASE_URL": database_url} if database_url else {}), INITIAL_ADMIN_PASSWORD="the-first-password")
    folder = hub.data / "releases"
    folder.mkdir(mode=0o700)  # placed by hand, as well as by the command
    shutil.copy(newer, folder / name_of(newer))
    shutil.copy(newer.with_name(newer.name + ".sig"), folder / (name_of(newer) + ".sig"))
    worker = start("worker", "--host", "127.0.0.1", token=WORKER)
    paths = ("/releases", f"/releases/{name_of(newer)}", f"/releases/{name_of(newer)}/signature")
    for path in paths:
        assert hub.get(path, auth=False).status_code == 401
        assert hub.get(path, headers={"Authorization": f"Bearer {WORKER}"}).status_code == 401
        assert hub.get(path + "?" + "&".join(["token="] * 200), auth=False).status_code == 401
    assert hub.post("/register", json={"name": "alpha", "url": worker.url, "token": WORKER}).status_code == 200
    user = hub.post("/login", json={"username": "admin", "password": "the-first-password"}, auth=False).json()["access_token"]
    for path in paths:
        for token in (WORKER, user, HUB):
            assert hub.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        # An agent's token is good for this alone.
        assert hub.get("/tasks", headers={"Authorization": f"Bearer {WORKER}"}).status_code == 401
    assert {each["username"] for each in audit(hub, "release_downloaded")} == {"alpha", "admin", "admin_via_token"}


def test_wrong_tokens_are_counted_by_address(hub):
    def shows(token: str):
        return hub.get("/releases", headers={"Authorization": f"Bearer {token}"})

    assert [shows(f"guess-{number}").status_code for number in range(30)] == [401] * 30
    refused = shows("guess")
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert shows(HUB).status_code == 200 and hub.get("/tasks", headers={"Authorization": "Bearer guess"}).status_code == 401


def test_slow_downloads_leave_the_threads_and_the_memory_to_others(hub, original, maker, tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    assert maker.sign("sign", maker.key, big, "--version", "9.1.0").returncode == 0
    release(original, hub, "add", big)
    process = psutil.Process(hub.process.pid)
    hub.get("/health")
    before = process.memory_info().rss
    # Nobody of these takes anything, and each asks for more behind it.
    ask = (f"GET /releases/{name_of(big)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {HUB}\r\n\r\n" * 3).encode()
    slow = []
    for _ in range(32):
        slow.append(socket.create_connection(("127.0.0.1", int(hub.url.rsplit(":", 1)[1]))))
        slow[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow[-1].sendall(ask)
        assert slow[-1].recv(12) == b"HTTP/1.1 200"
    try:
        refused = hub.get(f"/releases/{name_of(big)}")
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "5" and "downloads" in refused.json()["message"]
        for _ in range(100):
            assert hub.get("/health").status_code == 200 and hub.get("/releases").status_code == 200
        assert process.memory_info().rss - before < 64 << 20
    finally:
        for each in slow:
            each.close()
    until = time.monotonic() + WAIT_S
    while (answer := hub.get(f"/releases/{name_of(big)}", stream=True)).status_code == 503 and time.monotonic() < until:
        time.sleep(0.1)
    assert answer.status_code == 200 and len(answer.content) == 64 << 20


def test_the_api_says_so(hub):
    paths = hub.get("/openapi.json").json()["paths"]
    assert {"/releases", "/releases/{name}", "/releases/{name}/signature"} <= set(paths)
    assert "application/octet-stream" in paths["/releases/{name}"]["get"]["responses"]["206"]["content"]


# --- the whole way


def test_a_worker_takes_the_newest_for_its_machine(hub, original, installed, newer, maker, tmp_path):
    release(original, hub, "add", newer)
    release(original, hub, "add", maker.program(tmp_path / "download" / "older", "8.0.0"))
    other = Path(shutil.copy(newer, tmp_path / "other"))
    assert maker.sign("sign", maker.key, other, "--version", "9.9.0", "--platform", "windows-x86_64").returncode == 0
    release(original, hub, "add", other)
    installed.chmod(0o750)
    checked = update(installed, tmp_path / "home", hub.url, "--check")
    assert f"{name_of(newer)}: version 9.0.0" in checked.stdout and hub.url in checked.stdout, checked.stderr
    assert json.loads(update(installed, tmp_path / "home", hub.url, "--dry-run", "--json").stdout)["version"] == "9.0.0"
    assert os.listdir(tmp_path / "bin") == ["ananta"] and not (hub.data / "audit.log").read_text().count("release_downloaded")
    done = update(installed, tmp_path / "home", "--hub-url", hub.url)
    assert "9.0.0 is in its place" in done.stdout, done.stderr
    assert version(installed, tmp_path) == "9.0.0" and stat.S_IMODE(installed.stat().st_mode) == 0o750
    assert sorted(os.listdir(tmp_path / "bin")) == ["ananta", "ananta.old"] and HUB not in done.stderr + done.stdout
    again = update(installed, tmp_path / "home", hub.url)
    assert again.returncode == 0 and "nothing to do" in again.stdout and "9.0.0 runs here" in again.stdout
    assert json.loads(update(installed, tmp_path / "home", hub.url, "--json").stdout) == {"version": None, "running": "9.0.0"}


def test_a_service_is_brought_up_to_date_with_the_token_it_registers_with(hub, original, installed, newer, service, tmp_path):
    release(original, hub, "add", newer)
    served = service(tmp_path / "home", str(installed), "--port", "0", AGENT_TOKEN=WORKER)
    assert hub.post("/register", json={"name": "alpha", "url": served.about()["url"], "token": WORKER}).status_code == 200
    done = update(installed, tmp_path / "home", token=WORKER, HUB_URL=hub.url, PATH=served.path)
    assert "the service runs it" in done.stdout, done.stderr
    assert served.about()["version"] == "9.0.0" and served.asked == ["start", "stop", "start"]
    assert audit(hub, "release_downloaded")[0]["username"] == "alpha"


def test_a_release_that_does_not_become_healthy_goes_back(hub, original, installed, maker, service, tmp_path):
    release(original, hub, "add", maker.program(tmp_path / "download" / "ananta-new", "9.0.0", app=BROKEN))
    served = service(tmp_path / "home", str(installed), "--port", "0")
    done = update(installed, tmp_path / "home", hub.url, "--wait", "4", PATH=served.path)
    assert f"Version {__version__} is back and runs" in done.stderr, done.stderr
    assert served.about()["version"] == __version__ and os.listdir(tmp_path / "bin") == ["ananta"]


def test_what_is_missing_is_named_with_its_cure(hub, original, installed, newer, tmp_path):
    release(original, hub, "add", newer)

    def said(*arguments, code: int, **more) -> str:
        done = update(installed, tmp_path / "home", *arguments, **more)
        assert done.returncode == code and "Traceback" not in done.stderr and os.listdir(tmp_path / "bin") == ["ananta"], done.stderr
        return done.stderr

    assert "set HUB_URL" in said(code=2)
    assert "not the address of a hub" in said("file:///etc/passwd", code=2)
    assert "cannot be reached: nothing listens there" in said(f"http://127.0.0.1:{free_port()}", code=1)
    assert "does not know this agent's token" in said(hub.url, code=1, token="another-token-0123")
    assert "ananta token new" in said(hub.url, code=1, token=None)
    assert "no releases" in said(hub.url + "/elsewhere", code=1)
    both = run(installed, tmp_path / "home", "update", newer, "--from-hub", hub.url)
    assert both.returncode == 2 and "nothing else" in both.stderr
    source = ananta(tmp_path / "home", "update", "--from-hub", hub.url, AGENT_TOKEN=HUB)
    assert source.returncode == 2 and "No key is built into" in source.stderr


def test_what_a_killed_update_has_left_goes_with_the_next_one(hub, original, installed, newer, tmp_path):
    release(original, hub, "add", newer)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(WAIT_S)
    left = tmp_path / "bin" / f".ananta.from-hub.{ended.pid}.abc"
    left.mkdir()
    (left / "ananta-9.0.0").write_text("half of it")
    assert "is in its place" in update(installed, tmp_path / "home", hub.url).stdout
    assert sorted(os.listdir(tmp_path / "bin")) == ["ananta", "ananta.old"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs ulimit -f")
def test_a_full_disk_leaves_everything_as_it_was(hub, original, installed, newer, contents, tmp_path):
    release(original, hub, "add", newer)
    before = contents(tmp_path / "bin")
    (tmp_path / "home").mkdir()
    limited = tmp_path / "limited"
    limited.write_text(f"#!/bin/sh\nulimit -f 64\nexec {installed} \"$@\"\n")
    limited.chmod(0o755)
    done = update(limited, tmp_path / "home", hub.url)
    assert done.returncode != 0 and "cannot be written" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert contents(tmp_path / "bin") == before and os.listdir(tmp_path / "bin") == ["ananta"]


# --- a hub that lies, or is hindered


class Lying:
    """An HTTP server that answers like a hub, but for what a test changes. asked: path and headers of each request."""

    def __init__(self, file: Path):
        signature = file.with_name(file.name + ".sig").read_bytes()
        said = json.loads(signature.splitlines()[0])
        self.name, self.content, self.signature = name_of(file), file.read_bytes(), signature
        self.listed = {"name": self.name, **{each: said[each] for each in ("version", "platform", "size", "sha256")}, "architecture": "any"}
        self.asked: list[tuple[str, dict]] = []
        self.cuts: list[int] = []
        self.busy = 0
        self.redirect: str | None = None
        self.fails = b""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, dict(self.headers)))
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, to) -> None:
        if self.fails:
            return self.send(to, 500, self.fails)
        if self.redirect:
            return self.send(to, 302, b"", Location=self.redirect + to.path)
        if to.path == "/releases":
            return self.send(to, 200, json.dumps([self.listed]).encode())
        if to.path.endswith("/signature"):
            return self.send(to, 200, self.signature)
        if self.busy:
            self.busy -= 1
            return self.send(to, 503, b'{"message": "All places are taken."}', **{"Retry-After": "1"})
        found = re.fullmatch(r"bytes=([0-9]+)-", to.headers.get("Range", ""))
        begin = int(found[1]) if found else 0
        more = {"Content-Range": f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"} if found else {}
        self.send(to, 206 if found else 200, self.content[begin:], cut=self.cuts.pop(0) if self.cuts else None, **more)

    def send(self, to, status: int, content: bytes, *, cut: int | None = None, **headers: str) -> None:
        to.send_response(status)
        for each, text in {"Content-Length": str(len(content)), **headers}.items():
            to.send_header(each, text)
        to.end_headers()
        to.wfile.write(content[:cut])

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join(WAIT_S)
        self.server.server_close()


@pytest.fixture
def lying(newer):
    made = []

    def begin(file: Path = newer) -> Lying:
        made.append(Lying(file))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_a_download_that_breaks_off_goes_on_where_it_was(lying, installed, tmp_path):
    hub = lying()
    third = len(hub.content) // 3
    hub.cuts, hub.busy = [third, third], 1
    done = update(installed, tmp_path / "home", hub.url)
    assert "9.0.0 is in its place" in done.stdout, done.stderr
    asked = [headers.get("Range") for path, headers in hub.asked if path == f"/releases/{hub.name}"]
    assert asked == [None, None, f"bytes={third}-", f"bytes={2 * third}-"]


def test_a_download_that_never_gets_on_ends(lying, installed, tmp_path):
    hub = lying()
    hub.cuts = [1000, 0, 0, 0]
    done = update(installed, tmp_path / "home", hub.url)
    assert "broke off" in done.stderr and "Try again" in done.stderr and os.listdir(tmp_path / "bin") == ["ananta"]


def test_the_token_does_not_follow_a_redirect(lying, installed, tmp_path):
    first, second = lying(), lying()
    first.redirect = second.url
    done = update(installed, tmp_path / "home", first.url)
    assert done.returncode == 1 and "leads elsewhere" in done.stderr and second.asked == [] and len(first.asked) == 1
    assert first.asked[0][1]["Authorization"] == f"Bearer {HUB}"


def test_what_a_hub_says_does_not_command_the_terminal(lying, installed, tmp_path):
    hub = lying()
    hub.fails = json.dumps({"message": "all is well \x1b[2J\x07"}).encode()
    done = update(installed, tmp_path / "home", hub.url)
    assert "answered 500: all is well" in done.stderr and done.stderr.rstrip("\n").isprintable()


def _other_content(hub, maker, folder):
    hub.content = hub.content[:-1] + bytes([hub.content[-1] ^ 1])


def _shorter(hub, maker, folder):
    hub.content = hub.content[:-1]


def _longer(hub, maker, folder):
    hub.content += b"!"


def _signed_by_itself(hub, maker, folder):
    file = folder / "own"
    file.write_bytes(hub.content)
    own = Maker(folder / "own-maker")
    assert own.sign("sign", own.key, file, "--version", "9.0.0").returncode == 0
    hub.signature = file.with_name("own.sig").read_bytes()


def _no_signature(hub, maker, folder):
    hub.signature = b""


def _huge_signature(hub, maker, folder):
    hub.signature *= 1000


def _old_one_as_new(hub, maker, folder):
    old = maker.program(folder / "old" / "ananta-old", "0.0.1")
    hub.content, hub.signature = old.read_bytes(), old.with_name("ananta-old.sig").read_bytes()


def _old_one_as_new_with_its_size(hub, maker, folder):
    _old_one_as_new(hub, maker, folder)
    hub.listed |= {"size": len(hub.content), "sha256": hashlib.sha256(hub.content).hexdigest()}


def _a_path_as_name(hub, maker, folder):
    hub.listed["name"] = "../../../x"


def _lines_as_name(hub, maker, folder):
    hub.listed["name"] = "x HTTP/1.1\r\nX: y"


def _no_list(hub, maker, folder):
    hub.listed = {"version": 9}


@pytest.mark.parametrize(("change", "said"), [
    (_other_content, "SHA-256 is another one"), (_shorter, "were signed"), (_longer, "sends more"), (_signed_by_itself, "wrong signature"),
    (_no_signature, "wrong signature"), (_huge_signature, "does not answer as a hub"), (_old_one_as_new, "lists"),
    (_old_one_as_new_with_its_size, "lists"), (_a_path_as_name, "under a name that is none"), (_lines_as_name, "under a name that is none"),
    (_no_list, "something else than a list")], ids=lambda each: each.__name__ if callable(each) else "")
def test_a_hub_is_not_believed(lying, maker, installed, contents, tmp_path, change, said):
    hub = lying()
    change(hub, maker, tmp_path)
    before = contents(tmp_path / "bin")
    done = update(installed, tmp_path / "home", hub.url)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert contents(tmp_path / "bin") == before and os.listdir(tmp_path / "bin") == ["ananta"] and version(installed, tmp_path) == __version__
