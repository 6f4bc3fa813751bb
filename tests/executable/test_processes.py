"""The two processes of the executable: how they end, what they leave, and what others may see of them."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import WAIT_S, clean_environment

pytestmark = [pytest.mark.executable, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
TOKEN = "a-token-that-nobody-may-see"
NOBODY = 65534


@pytest.fixture
def temporary(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def inner_of(worker) -> psutil.Process:
    return psutil.Process(worker.process.pid).children()[0]


def unpacked(temporary: Path) -> list[Path]:
    return sorted(temporary.glob("_MEI*"))


def gone(process: psutil.Process) -> bool:
    try:
        process.wait(WAIT_S)
    except psutil.TimeoutExpired:
        return False
    return True


def eventually(true) -> bool:
    until = time.monotonic() + WAIT_S
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


# --- the end


@pytest.mark.parametrize("to_the_group", [False, True])
def test_sigterm_ends_both_and_leaves_nothing(start, temporary, to_the_group):
    worker = start(TMPDIR=str(temporary))
    inner, folders = inner_of(worker), unpacked(temporary)
    if to_the_group:
        os.killpg(worker.process.pid, signal.SIGTERM)
    else:
        worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0 and gone(inner)
    assert len(folders) == 1 and unpacked(temporary) == []
    assert not any("Traceback" in line for line in worker.errors), worker.errors


def test_a_command_that_runs_is_given_its_moment_and_then_ended(start, temporary):
    worker = start(TMPDIR=str(temporary))
    marker = worker.folder / "runs"
    answers = []
    caller = threading.Thread(target=lambda: answers.append(
        worker.post("/step/execute", json={"command": f"echo $$ > {marker}; sleep 300"})))
    caller.start()
    assert eventually(lambda: marker.exists() and marker.read_text().strip())
    shell, begun = psutil.Process(int(marker.read_text())), time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begun < WAIT_S / 2  # a guard: it does not wait for the command's 300 seconds
    caller.join()
    assert gone(shell) and unpacked(temporary) == []


def test_killing_the_outer_process_ends_the_inner_one(start, temporary):
    worker = start(TMPDIR=str(temporary))
    inner, marker = inner_of(worker), worker.folder / "runs"
    caller = threading.Thread(target=lambda: _ignored(lambda: worker.post("/step/execute", json={
        "command": f"echo $$ > {marker}; sleep 300"})))
    caller.start()
    assert eventually(lambda: marker.exists() and marker.read_text().strip())
    shell = psutil.Process(int(marker.read_text()))
    worker.process.kill()
    try:
        assert gone(inner) and gone(shell)
    finally:
        for each in (inner, shell):
            if each.is_running():
                each.kill()
        caller.join()
    # What the outer process could not do any more, the inner one has done at its end.
    assert unpacked(temporary) == []


def _ignored(call) -> None:
    try:
        call()
    except OSError:  # the server went away, as it should
        pass


def test_killing_the_inner_process_ends_the_outer_one(start, temporary):
    worker = start(TMPDIR=str(temporary))
    inner_of(worker).kill()
    assert worker.wait() == -signal.SIGKILL and unpacked(temporary) == []


# --- what a kill leaves, and the next start removes


def test_the_next_start_removes_what_a_kill_has_left(start, temporary):
    first, killed = start("first", TMPDIR=str(temporary)), start("killed", TMPDIR=str(temporary))
    used = _folder_of(first)
    left = _folder_of(killed)
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.wait()
    unpacking, strange = temporary / "_MEI00000001unpack", temporary / "_MEI00000002other0"
    (unpacking / "ananta").mkdir(parents=True)  # no file says yet that it was in use: somebody may be writing it
    strange.mkdir()
    (strange / ".held").touch()  # of another program made with PyInstaller
    link = temporary / "_MEI00000003linked"
    link.symlink_to(used)
    assert left.exists()
    last = start("last", TMPDIR=str(temporary))
    assert eventually(lambda: not left.exists())
    assert set(unpacked(temporary)) == {used, unpacking, strange, link, _folder_of(last)}
    assert first.get("/apidocs").status_code == 200
    # Long ago it cannot be in the making any more.
    os.utime(unpacking, (0, 0))
    start("after", TMPDIR=str(temporary))
    assert eventually(lambda: not unpacking.exists())


def _folder_of(worker) -> Path:
    maps = Path(f"/proc/{inner_of(worker).pid}/maps").read_text()
    return Path(re.search(r"(/\S+/_MEI[^/\s]+)/", maps)[1])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root for another user's folder")
def test_another_users_folder_is_left_alone(start, temporary):
    other = temporary / "_MEI00000004nobody"
    (other / "ananta").mkdir(parents=True)
    (other / ".held").touch()
    os.chown(other, NOBODY, NOBODY)
    killed = start("killed", TMPDIR=str(temporary))
    left = _folder_of(killed)
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.wait()
    start("next", TMPDIR=str(temporary))
    assert eventually(lambda: not left.exists()) and other.exists()


# --- what commands get and can see


@pytest.mark.parametrize("before", [None, "/usr/lib/of-the-user"])
def test_commands_get_the_library_path_of_the_user(start, before):
    worker = start(**({"LD_LIBRARY_PATH": before} if before else {}))
    assert "LD_LIBRARY_PATH" in Path(f"/proc/{inner_of(worker).pid}/environ").read_text()
    seen = worker.execute("env; ldd /usr/bin/env; tr '\\0' '\\n' </proc/self/environ")["output"]
    lines = seen.splitlines()
    assert (f"LD_LIBRARY_PATH={before}" in lines) if before else not any("LD_LIBRARY_PATH" in line for line in lines)
    assert "_MEI" not in seen and "_PYI" not in seen and "_ORIG" not in seen


def test_a_command_can_start_the_executable_itself(start, executable, temporary):
    worker = start(TMPDIR=str(temporary))
    done = worker.execute(f"{executable} version")
    assert done["exit_code"] == 0 and re.match(r"ananta \d", done["output"])
    assert len(unpacked(temporary)) == 1


CALLS_ITSELF = """
import subprocess
import sys

from ananta.extensions import Blueprint

bp = Blueprint("calls_itself")


@bp.route("/call-itself", access="open")
def call_itself():
    return subprocess.run([sys.executable, "version"], capture_output=True, text=True).stdout
"""


def test_an_extension_that_starts_the_executable_takes_nothing_away(start, tmp_path, temporary):
    (tmp_path / "calls_itself.py").write_text(CALLS_ITSELF)
    worker = start("worker", "--extensions-dir", str(tmp_path), "--agent-extensions", "calls_itself", TMPDIR=str(temporary))
    assert worker.get("/call-itself").text.startswith("ananta ")
    assert len(unpacked(temporary)) == 1 and worker.get("/apidocs").status_code == 200
    assert worker.get("/apidocs/style.css").status_code == 200


def test_no_process_keeps_the_secrets_in_its_environment(start):
    worker = start("worker", "--host", "127.0.0.1", token=TOKEN, OPENAI_API_KEY="key-of-the-user", KEPT="of the user")
    inner = inner_of(worker)
    for pid in (worker.process.pid, inner.pid):
        kept = Path(f"/proc/{pid}/environ").read_bytes()
        assert TOKEN.encode() not in kept and b"key-of-the-user" not in kept
    assert b"of the user" in Path(f"/proc/{inner.pid}/environ").read_bytes()
    assert worker.get("/config").status_code == 200


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="root reads all memory")
def test_the_outer_process_has_no_secret_in_its_memory(start):
    worker = start("worker", "--host", "127.0.0.1", token=TOKEN)
    with open(f"/proc/{worker.process.pid}/maps") as maps, open(f"/proc/{worker.process.pid}/mem", "rb") as memory:
        found = b""
        for line in maps:
            begin, end = (int(each, 16) for each in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and "[v" not in line:
                memory.seek(begin)
                found += memory.read(end - begin)
    assert TOKEN.encode() not in found
    assert b"no directory to unpack into" in found  # the memory was really read


@pytest.fixture
def as_nobody(executable):
    """Runs the executable as a user without rights, in a folder of that user."""
    folder = Path(tempfile.mkdtemp(prefix="ananta-nobody-"))
    shutil.copy(executable, folder / "ananta")
    os.chown(folder, NOBODY, NOBODY)
    process = subprocess.Popen(
        [str(folder / "ananta"), "--port", "0", "--host", "127.0.0.1"], cwd=folder, user=NOBODY, group=NOBODY, extra_groups=[],
        env=clean_environment(folder, AGENT_TOKEN=TOKEN, DISABLE_LLM_CHECK="1", TMPDIR=str(folder)), stdout=subprocess.PIPE,
        text=True)
    line = process.stdout.readline()
    yield process, re.search(r"http://\S+", line)[0]
    process.terminate()
    process.wait(WAIT_S)
    process.stdout.close()
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root to become somebody else")
def test_its_user_reads_neither_environment_nor_memory(as_nobody):
    process, _ = as_nobody
    pids = [process.pid, psutil.Process(process.pid).children()[0].pid]
    with subprocess.Popen(["sleep", "60"], user=NOBODY, group=NOBODY, extra_groups=[]) as another:
        assert _read_by_nobody(another.pid, "environ") == ""
        another.kill()
    for pid in pids:
        for name in ("environ", "mem", "maps"):
            assert "Permission denied" in _read_by_nobody(pid, name), (pid, name)


def _read_by_nobody(pid: int, name: str) -> str:
    return subprocess.run(["head", "-c", "1", f"/proc/{pid}/{name}"], user=NOBODY, group=NOBODY, extra_groups=[],
                          capture_output=True, text=True, check=False).stderr


def test_the_policy_knows_both_processes(start):
    worker = start()
    for pid in (worker.process.pid, inner_of(worker).pid):
        for command in (f"kill {pid}", f"kill -9 -- -{pid}", f"cat /proc/{pid}/environ"):
            answer = worker.post("/step/execute", json={"command": command})
            assert answer.status_code == 403, (command, answer.text)
    assert worker.get("/health").status_code == 200


# --- laid out for good, as a service is


LAYS_OUT = """
from pathlib import Path

from ananta.extensions import Blueprint
from ananta.operations.service import layout

bp = Blueprint("lays_out")


@bp.route("/lay-out", methods=["POST"], access="open")
def lay_out():
    from bottle import request
    layout.lay_out(Path(request.json))
    return layout.kind()
"""


def test_laid_out_for_a_service_it_is_one_process_with_everything(start, tmp_path, ananta_at):
    (tmp_path / "lays_out.py").write_text(LAYS_OUT)
    worker = start("worker", "--extensions-dir", str(tmp_path), "--agent-extensions", "lays_out")
    folder = tmp_path / "program"
    answer = worker.post("/lay-out", json=str(folder))
    assert answer.status_code == 200 and "onefile" in answer.text, (answer.text, worker.errors)
    assert not (folder / "_internal" / ".held").exists()
    laid_out = ananta_at(folder / "ananta", "--host", "127.0.0.1", token=TOKEN)
    assert psutil.Process(laid_out.process.pid).children() == []
    assert TOKEN.encode() not in Path(f"/proc/{laid_out.process.pid}/environ").read_bytes()
    seen = laid_out.execute("env")["output"]
    assert "_internal" not in seen and "_PYI" not in seen
    assert laid_out.stop() == 0
