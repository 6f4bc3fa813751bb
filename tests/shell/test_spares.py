"""A shell that waits for its command is like one that is started for it, and never more than that."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ananta.shell.runner import Runner

from .conftest import GUARD_S, Terminal, alive, content, needs_landlock, until, waiting_shells

if sys.platform != "linux":
    pytest.skip("no shell is started ahead here", allow_module_level=True)

from ananta.shell.spares import LIMIT, Spares

ROOT = Path(__file__).resolve().parents[2]
# An agent that has run a command, so that a shell waits; with a second argument it runs that, too.
AGENT = """
import os, sys, time
from pathlib import Path
from ananta.shell.runner import Runner
runner = Runner(shell_path="bash", home=Path(sys.argv[1]), environment={"PATH": os.environ["PATH"]})
def run(command, run_id):
    runner.run(command, session=session, run_id=run_id, timeout_s=1000)
with runner.session("a", 0) as session:
    run("true", "first")
    time.sleep(1)
    run_id = runner.next_id(session, contained=False)
    print(run_id, flush=True)
    run(sys.argv[2], run_id) if len(sys.argv) > 2 else time.sleep(1000)
"""


@pytest.fixture
def agent(tmp_path):
    def start(*arguments):
        process = subprocess.Popen([sys.executable, "-c", AGENT, tmp_path, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                                   text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    started = []
    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def free(terminal):
    """Returns the pid of the one shell that waits."""
    return until(lambda: [pid for pid, run_id in waiting_shells().items() if run_id not in terminal.used])[0]


def test_each_shell_that_waits_runs_one_command(ahead):
    for _ in range(3):
        pid = free(ahead)
        assert ahead.run("echo $$").output == str(pid) and not alive(pid)


def test_its_marker_is_the_runs_id(ahead):
    pid = free(ahead)
    run_id = waiting_shells()[pid]
    assert ahead.run("env | grep ^ANANTA_RUN; tr '\\0' '\\n' </proc/$$/environ | grep ^ANANTA_RUN").output == (
        f"ANANTA_RUN={run_id}\nANANTA_RUN={run_id}")


def test_nothing_can_be_asked_of_it_twice(ahead):
    free(ahead)
    with ahead.runner.session("default", 0) as session:
        ids = {ahead.runner.next_id(session, contained=False) for _ in range(5)}
    assert len(ids) == 5 and len(ids & set(waiting_shells().values())) == 1


def test_it_keeps_no_directory_busy_and_has_only_its_own_descriptors(ahead, tmp_path):
    pid = free(ahead)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert {name.partition(":")[0] for name in opened} <= {"/dev/null", "pipe", "/memfd"}
    assert len({name for name in opened if name.startswith("pipe")}) == 3


def test_the_time_is_counted_from_the_command_on(ahead):
    free(ahead)
    time.sleep(1.1)
    assert ahead.run("echo $SECONDS").output == "0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_was_killed_is_replaced_and_the_command_runs(ahead, number):
    pid = free(ahead)
    os.kill(pid, number)
    until(lambda: not alive(pid))
    outcome = ahead.run("echo $$")
    assert outcome.exit_code == 0 and outcome.output != str(pid)
    assert ahead.run("echo fine").output == "fine"


def test_other_variables_have_other_shells(ahead):
    ahead.run("export KEPT=1", session="a")
    mine = free(ahead)
    with ahead.runner.session("b", 0) as session:
        assert ahead.runner.next_id(session, contained=False) not in waiting_shells().values()
    assert ahead.run("echo $KEPT $$", session="a").output == f"1 {mine}"
    assert ahead.run("echo [$KEPT]", session="b").output == "[]"


def test_a_command_runs_in_the_directory_that_has_the_name_then(ahead, tmp_path):
    (tmp_path / "here").mkdir()
    ahead.run("cd here")
    free(ahead)
    with ahead.runner.session("default", 0) as session:
        run_id = ahead.runner.next_id(session, contained=False)
        (tmp_path / "here").rmdir()
        (tmp_path / "here").mkdir()  # another one of this name: the session's
        outcome = ahead.runner.run("touch x", session=session, run_id=run_id, timeout_s=60)
    assert outcome.exit_code == 0 and os.listdir(tmp_path / "here") == ["x"]


def test_code_that_runs_when_a_shell_starts_does_not_run_ahead(tmp_path):
    (tmp_path / "rc").write_text("echo x >>started\n")
    runner = Runner(shell_path="bash", home=tmp_path, environment={"PATH": os.environ["PATH"], "BASH_ENV": str(tmp_path / "rc")})
    terminal = Terminal(runner)
    terminal.run("true")
    time.sleep(0.2)
    assert not waiting_shells() and (tmp_path / "started").read_text() == "x\n"
    runner.close()


def test_fifty_sessions_at_once(ahead):
    def work(number):
        for count in range(4):
            with ahead.runner.session(f"s{number}", GUARD_S) as session:
                run_id = ahead.runner.next_id(session, contained=False)
                outcome = ahead.runner.run(f"export N{number}=1; echo {number} {count}; cd /usr", session=session,
                                           run_id=run_id, timeout_s=GUARD_S)
                results.append((run_id, outcome.output, number, count, session.cwd))

    results = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({run_id for run_id, *_ in results}) == 200
    assert all((output, cwd) == (f"{number} {count}", "/usr") for _, output, number, count, cwd in results)
    assert ahead.runner.running() == 0
    until(lambda: len(waiting_shells()) <= LIMIT)


def test_a_command_that_leaves_something_behind_leaves_only_that(ahead):
    outcome = ahead.run("sleep 1000 &")
    assert outcome.notes[0].startswith("1 background process still running")
    pid = free(ahead)
    ahead.runner.interrupt_all()
    assert alive(pid)


@needs_landlock
def test_a_contained_run_has_its_own_shell_and_cannot_reach_one_that_waits(ahead, tmp_path):
    pid = free(ahead)
    number = max(map(int, os.listdir(f"/proc/{pid}/fd")))
    with ahead.runner.session("default", 0) as session:
        run_id = ahead.runner.next_id(session, contained=True)
        assert run_id not in waiting_shells().values()
        outcome = ahead.runner.run(f"echo 'touch /tmp/escaped' >/proc/{pid}/fd/{number}; echo $$", session=session,
                                   run_id=run_id, timeout_s=60, contained=True)
    assert "denied" in outcome.stderr and outcome.stdout not in ("", f"{pid}\n")
    assert ahead.run("echo $$").output == str(pid)


def test_one_that_nobody_wants_is_ended():
    spares = Spares("bash", idle_s=0.3)
    spares.prepare({"PATH": os.environ["PATH"]})
    pid = until(lambda: list(spares.pids()))[0]
    until(lambda: not spares.pids() and not alive(pid))
    until(lambda: all(each.name != "spares" for each in threading.enumerate()))
    spares.prepare({"PATH": os.environ["PATH"]})
    until(spares.pids)
    spares.close()
    spares.prepare({"PATH": os.environ["PATH"]})
    time.sleep(0.1)
    assert not spares.pids() and not waiting_shells()


def test_it_does_not_outlive_a_killed_agent(agent):
    process, run_id = agent()
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    (pid,) = map(int, found.stdout.split())
    assert f"ANANTA_RUN={run_id}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    process.kill()
    until(lambda: not alive(pid))


def test_what_a_killed_agent_ran_in_it_is_found(agent, terminal, tmp_path):
    process, run_id = agent("echo $$ >pid; while :; do :; done")
    pid = int(content(tmp_path / "pid"))
    process.kill()
    process.wait()
    assert alive(pid) and terminal.runner.end_leftovers(run_id) == 1
    until(lambda: not alive(pid))
