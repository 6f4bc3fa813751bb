"""A contained command in its session: what carries over, what is gone, how it ends."""
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ananta.shell import containment
from ananta.shell.runner import Runner

from .conftest import GUARD_S, Contained, alive, content, needs_landlock


@needs_landlock
def test_the_session_continues_after_a_contained_command(contained, workspace):
    outside = workspace.parent / "outside"
    contained.run("cd ../outside; export KEPT='two\nlines'; set -C; echo x >new")
    assert contained.run('pwd; echo "$KEPT"').output == f"{outside}\ntwo\nlines" and not (outside / "new").exists()
    assert contained.run("echo x >new; echo x >../workspace/new; true").exit_code == 0
    # Going elsewhere does not move the border: it is where sessions begin.
    assert not (outside / "new").exists() and (workspace / "new").exists()
    assert contained.run("export KEPT=2; exit 7").exit_code == 7
    assert contained.run("echo $KEPT", contained=False).output == "2"


@needs_landlock
def test_a_command_longer_than_an_argument_may_be_is_contained_too(contained, workspace):
    outcome = contained.run(f"KEPT='{'x' * 300_000}'; export KEPT=; cd /usr; echo x >{workspace.parent}/new")
    assert outcome.exit_code != 0 and not (workspace.parent / "new").exists()
    assert contained.run("pwd").output == "/usr"


@needs_landlock
def test_the_temporary_directory_is_private_and_gone_afterwards(contained, tmp_path):
    outcome = contained.run("echo $TMPDIR $TMP $TEMP; stat -c %a $TMPDIR; mkdir -p $TMPDIR/a/b; touch $TMPDIR/a/b/f; chmod 0 $TMPDIR/a")
    first, *others, mode = outcome.stdout.split()
    assert others == [first, first] and mode == "700" and not os.path.exists(first)
    assert contained.run("echo $TMPDIR").output != first


@needs_landlock
def test_a_very_deep_temporary_directory_is_removed_too(contained):
    code = 'import os; os.chdir(os.environ["TMPDIR"]); [(os.mkdir("deep"), os.chdir("deep")) for _ in range(3000)]'
    outcome = contained.run(f"{sys.executable} -c '{code}' && echo $TMPDIR")
    assert outcome.exit_code == 0 and not os.path.lexists(outcome.output)


@needs_landlock
def test_what_a_link_in_the_temporary_directory_leads_to_is_not_removed(contained, workspace):
    contained.run("touch own; ln -s $PWD $TMPDIR/link; ln -s ../outside $TMPDIR/other; mkdir $TMPDIR/no; chmod 0 $TMPDIR/no")
    assert (workspace / "own").exists() and (workspace.parent / "outside" / "file").exists()


@needs_landlock
def test_the_temporary_directory_does_not_reach_the_session(workspace):
    environment = {name: value for name, value in os.environ.items() if name not in containment.VARIABLES}
    runner = Runner(shell_path=None, home=workspace, environment={**environment, "TMP": "/var/tmp"})
    shown = 'echo "${TMPDIR-none} ${TMP-none} ${TEMP-none}"'
    terminal = Contained(runner)
    terminal.run("true")
    assert terminal.run(shown, contained=False).output == "none /var/tmp none"
    terminal.run("export TEMP=/chosen; unset TMP")
    assert terminal.run(shown, contained=False).output == "none none /chosen"
    terminal.run("cd $TMPDIR")
    outcome = terminal.run("pwd")
    runner.close()
    assert (outcome.output, outcome.notes) == (str(workspace), ())


@needs_landlock
def test_what_is_left_in_the_background_stays_contained_and_keeps_its_temporary_directory(contained, workspace):
    contained.run("(setsid sh -c 'echo $TMPDIR >place; sleep 0.6; echo x >../outside/new; echo x >$TMPDIR/f && echo x >wrote; sleep 1000' &)")
    place = Path(content(workspace / "place"))
    content(workspace / "wrote")
    assert place.exists() and not (workspace.parent / "outside" / "new").exists()
    contained.runner.interrupt_all()
    assert not place.exists()


@needs_landlock
def test_a_contained_command_is_ended_at_its_time_limit(contained, workspace):
    outcome = contained.run("export KEPT=1; echo $TMPDIR; setsid sh -c 'trap \"\" TERM; echo $$ >pid; sleep 1000' & wait", timeout_s=0.5)
    assert (outcome.exit_code, outcome.ended) == (-1, "timeout")
    assert not alive(int(content(workspace / "pid"))) and not os.path.exists(outcome.stdout.strip())
    assert contained.run("echo $KEPT").output == "1"


@needs_landlock
def test_a_contained_command_can_be_stopped(contained, workspace):
    stop = threading.Event()
    thread, outcomes = contained.background("echo x >begun; sleep 1000", stop=stop)
    content(workspace / "begun")
    stop.set()
    thread.join(GUARD_S)
    assert outcomes[0].ended == "interrupted"


@needs_landlock
@pytest.mark.skipif(containment.available() < 6, reason="signals are bounded since ABI 6")
def test_a_contained_command_cannot_end_the_processes_of_others(contained):
    other = subprocess.Popen(["sleep", "1000"])
    try:
        assert contained.run(f"kill -9 {other.pid}").exit_code != 0
        assert contained.run(f"kill -0 {os.getpid()} $PPID").exit_code != 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
