"""Nothing outlives its limit, wherever it hides."""
import os
import subprocess
import sys
import threading

import pytest

from .conftest import GUARD_S, alive, content, until

DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for fd in range(3):
    os.close(fd)
with open("daemon", "w") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(1000)
"""


def zombies_of(terminal):
    """Returns how many stay: a dead leader of a session is reaped by a later command only."""
    until(lambda: terminal.run("true") and not _dead_children())
    return _dead_children()


def _dead_children():
    found = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "stat="], capture_output=True, text=True, check=False)
    return found.stdout.count("Z")


def test_at_the_time_limit_a_command_is_ended_and_says_so(any_shell):
    outcome = any_shell.run("echo before; sleep 1000; echo after", timeout_s=0.3)
    assert (outcome.exit_code, outcome.ended, outcome.stdout) == (-1, "timeout", "before\n")
    assert outcome.output.startswith("before\n") and outcome.output.endswith("\n[ended after 0.3 s: time limit]")


@pytest.mark.parametrize("hidden", [
    "sh -c 'trap \"\" TERM; echo $$ >pid; while :; do sleep 1000; done'",
    "setsid sh -c 'trap \"\" TERM; echo $$ >pid; while :; do sleep 1000; done'; sleep 1000",
    "(setsid sh -c 'echo $$ >pid; exec sleep 1000' &); sleep 1000",
    "env -i sh -c 'trap \"\" TERM; echo $$ >pid; sleep 1000'",
    "env -i setsid -w sh -c 'trap \"\" TERM; echo $$ >pid; sleep 1000'",
    "trap '' TERM; echo $$ >pid; sleep 1000; touch went_on",
])
def test_no_process_of_the_tree_survives(any_shell, tmp_path, hidden):
    outcome = any_shell.run(hidden, timeout_s=0.5)
    assert outcome.ended == "timeout" and not alive(int(content(tmp_path / "pid")))
    assert not (tmp_path / "went_on").exists()
    assert zombies_of(any_shell) == 0


def test_a_daemon_is_ended_at_the_time_limit(terminal, tmp_path):
    (tmp_path / "daemon.py").write_text(DAEMON)
    outcome = terminal.run(f"{sys.executable} daemon.py; sleep 1000", timeout_s=2)
    assert outcome.ended == "timeout" and not alive(int(content(tmp_path / "daemon")))
    assert zombies_of(terminal) == 0


def test_a_daemon_that_outlives_its_shell_is_ended_at_the_time_limit(terminal, tmp_path):
    (tmp_path / "daemon.py").write_text(DAEMON)
    outcome = terminal.run(f"{sys.executable} daemon.py; while [ ! -s daemon ]; do sleep 0.01; done", timeout_s=5)
    pid = int(content(tmp_path / "daemon"))
    assert outcome.exit_code == 0 and alive(pid)
    assert outcome.notes == ("1 background process still running, until 5 s after the command's start",)
    until(lambda: not alive(pid))


def test_a_background_process_that_holds_the_pipe_does_not_hold_the_command(any_shell, tmp_path):
    outcome = any_shell.run("sleep 1000 & echo $! >pid; echo done")
    pid = int(content(tmp_path / "pid"))
    assert (outcome.exit_code, outcome.output, len(outcome.notes)) == (0, "done", 1) and alive(pid)
    any_shell.runner.interrupt_all()
    assert not alive(pid)


def test_what_a_background_process_says_right_after_the_shells_end_is_heard(terminal):
    assert terminal.run("(sleep 0.05; echo late) & echo soon").output == "soon\nlate"


def test_a_background_process_may_go_on_writing(terminal, tmp_path):
    terminal.run("(while :; do echo noise || exit; echo x >>beat; sleep 0.3; done) &")
    seen = (tmp_path / "beat").read_text()
    until(lambda: len((tmp_path / "beat").read_text()) > len(seen) + 6)


def test_a_background_process_is_ended_with_the_runner(terminal, tmp_path):
    terminal.run("setsid sh -c 'trap \"\" TERM; echo $$ >pid; sleep 1000' >/dev/null 2>&1 & "
                 "while [ ! -s pid ]; do sleep 0.01; done")
    pid = int(content(tmp_path / "pid"))
    assert alive(pid)
    terminal.runner.close()
    assert not alive(pid)


def test_the_next_command_is_unaffected_by_what_was_left(terminal):
    terminal.run("sleep 1000 &")
    outcome = terminal.run("echo fine")
    assert (outcome.output, outcome.notes) == ("fine", ())


def test_a_command_that_only_closes_its_output_is_waited_for(any_shell, tmp_path):
    assert any_shell.run("exec >&- 2>&-; sleep 0.3; : >late; exit 6").exit_code == 6
    assert (tmp_path / "late").exists()


def test_a_person_can_stop_a_command(terminal, tmp_path):
    stop = threading.Event()
    thread, outcomes = terminal.background("export KEPT=1; echo begun; echo x >begun; sleep 1000", stop=stop, timeout_s=10_000)
    content(tmp_path / "begun")
    stop.set()
    thread.join(GUARD_S)
    assert (outcomes[0].exit_code, outcomes[0].ended, outcomes[0].stdout) == (-1, "interrupted", "begun\n")
    assert outcomes[0].output.endswith("s: interrupted]")
    assert terminal.run("echo $KEPT").output == "1"


def test_a_stopped_command_does_not_even_start(terminal, tmp_path):
    stop = threading.Event()
    stop.set()
    assert terminal.run("touch ran", stop=stop).ended == "interrupted" and not (tmp_path / "ran").exists()


def test_interrupt_all_ends_what_runs_and_only_that(terminal, tmp_path):
    runs = [terminal.background(f"echo x >begun{number}; sleep 1000", session=str(number), timeout_s=10_000) for number in range(3)]
    for number in range(3):
        content(tmp_path / f"begun{number}")
    assert terminal.runner.running() == 3
    terminal.runner.interrupt_all()
    for thread, _ in runs:
        thread.join(GUARD_S)
    assert [outcomes[0].ended for _, outcomes in runs] == ["interrupted"] * 3 and terminal.runner.running() == 0
    assert terminal.run("echo fine").output == "fine"


def test_what_a_crash_left_is_found_by_its_marker(terminal, tmp_path):
    # Started as a crashed service leaves it: not by this runner, in its own session, carrying the run's id.
    run_id = f"crashed-{os.getpid()}-1"
    orphan = subprocess.Popen(["sh", "-c", "trap '' TERM; echo $$ >pid; sleep 1000; :"], cwd=tmp_path, start_new_session=True,
                              env={**os.environ, "ANANTA_RUN": run_id})
    stranger = subprocess.Popen(["sleep", "1000"], env={**os.environ, "ANANTA_RUN": f"{run_id}0"})
    content(tmp_path / "pid")
    until(lambda: subprocess.run(["pgrep", "-P", str(orphan.pid)], capture_output=True, check=False).stdout)
    try:
        assert terminal.runner.end_leftovers(run_id) == 2
        assert not alive(orphan.pid) and alive(stranger.pid)
        assert terminal.runner.end_leftovers(run_id) == 0
    finally:
        stranger.kill()
        stranger.wait()
        orphan.wait()


def test_an_error_of_the_listener_ends_the_command(terminal, tmp_path):
    def fail(text):
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match="begun"):
        terminal.run("echo $$ >pid; echo begun; sleep 1000", on_output=fail)
    assert not alive(int(content(tmp_path / "pid"))) and terminal.runner.running() == 0


def test_the_children_of_others_are_not_reaped(terminal):
    theirs = subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=True)
    until(lambda: not alive(theirs.pid))
    terminal.run("true; (setsid true &)")
    assert theirs.wait() == 7


def test_orphans_that_ended_before_their_command_are_reaped(terminal):
    for _ in range(5):
        terminal.run("(sh -c 'sleep 0.01; :' &); sleep 0.1")
    assert zombies_of(terminal) == 0
