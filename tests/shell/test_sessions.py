"""A session continues where its last command left it."""
import os
import threading

import pytest

from ananta.errors import Busy, Conflict, ShellFailed
from ananta.shell.runner import Runner

VALUES = ["two\nlines\n", "say \"hi\" and 'ho'", "back\\slash \\n \\\\", "$HOME `id` $(id)", "grüße 日本 🎉", "", " spaced ",
          "a\ndeclare -x FORGED=\"yes\"\nexport FORGED='yes'", "tab\tbell\a\x01\x7f", "it's", "=(x)", "$'x'"]


@pytest.mark.parametrize("value", VALUES)
def test_an_exported_variable_carries_over_whatever_it_holds(any_shell, value):
    quoted = "'" + value.replace("'", "'\"'\"'") + "'"
    any_shell.run(f"export KEPT={quoted}; cd /")
    assert any_shell.run('printf "%s|" "$KEPT" "${FORGED-none}"').stdout == f"{value}|none|"
    with any_shell.runner.session("default", 0) as session:
        assert session.environment["KEPT"] == value and session.cwd == "/"


def test_bytes_that_are_no_text_carry_over(terminal):
    terminal.run(r"export KEPT=$'\xff\xc3(\n'")
    assert terminal.run('printf %s "$KEPT" | od -An -tx1').output == "ff c3 28 0a"


def test_the_working_directory_carries_over_by_its_logical_name(any_shell, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link\nname").symlink_to("real")
    any_shell.run("cd 'link\nname'")
    assert any_shell.run("pwd").stdout == f"{tmp_path}/link\nname\n"
    assert any_shell.run("cd ..; cd - >/dev/null; pwd -P").output == f"{tmp_path}/real"


@pytest.mark.parametrize("ending", ["exit 3", "(exit 3)", "set -e; sh -c 'exit 3'; echo never", "trap 'exit 3' EXIT"])
def test_state_carries_over_after_any_end(any_shell, ending):
    outcome = any_shell.run(f"cd /usr; export KEPT=1; {ending}")
    assert (outcome.exit_code, outcome.output) == (3, "")
    assert any_shell.run('case $- in *e*) echo set -e;; esac; echo "$KEPT $PWD"').output == "1 /usr"


def test_state_before_a_syntax_error_is_kept(any_shell):
    outcome = any_shell.run("cd /usr\nexport KEPT=1\nif")
    assert outcome.exit_code == 2 and "yntax error" in outcome.stderr
    assert any_shell.run("echo $KEPT $PWD").output == "1 /usr"


def test_state_before_a_hang_is_kept(any_shell):
    outcome = any_shell.run("cd /usr; export KEPT=1; sleep 1000", timeout_s=0.3)
    assert (outcome.exit_code, outcome.ended) == (-1, "timeout")
    assert any_shell.run("echo $KEPT $PWD").output == "1 /usr"


def test_state_before_a_child_that_ignores_sigterm_is_kept(any_shell):
    outcome = any_shell.run("cd /usr; export KEPT=1; (trap '' TERM; sleep 1000; echo no); echo no", timeout_s=0.3)
    assert outcome.ended == "timeout" and outcome.stdout == ""
    assert any_shell.run("echo $KEPT $PWD").output == "1 /usr"


def test_unset_carries_over(any_shell):
    any_shell.run("export GONE=1 STAYS=2")
    any_shell.run("unset GONE")
    assert any_shell.run('echo "[${GONE-}] $STAYS"').output == "[] 2"


def test_what_is_not_exported_does_not_carry_over(any_shell):
    any_shell.run("plain=1; set -eu; f() { echo f; }")
    outcome = any_shell.run('false; echo "[$plain]"; f')
    assert outcome.stdout == "[]\n" and outcome.exit_code == 127


def test_shell_options_exported_by_mistake_do_not_poison_the_session(terminal):
    terminal.run("export SHELLOPTS; set -n")
    assert terminal.run("echo fine").output == "fine"


def test_an_own_exit_trap_runs_once_with_the_exit_code(any_shell):
    outcome = any_shell.run("trap 'echo bye $?' EXIT; cd /usr; export KEPT=1; exit 5")
    assert (outcome.stdout, outcome.exit_code) == ("bye 5\n", 5)
    assert any_shell.run("trap 'echo $KEPT $PWD' 0").output == "1 /usr"
    assert any_shell.run("trap 'echo no' EXIT; trap - EXIT; cd /").output == ""
    assert any_shell.run("pwd; (trap 'echo sub' EXIT; cd /usr); pwd; trap \"echo it\\'s over\" EXIT").output == (
        "/\nsub\n/\nit's over")


def test_own_traps_of_other_signals_work(any_shell):
    assert any_shell.run("trap 'echo usr1' USR1; kill -USR1 $$; echo end").output == "usr1\nend"
    assert any_shell.run("trap 'echo asked; exit 7' TERM; kill $$; sleep 1").output == "asked"


def test_what_exec_starts_gives_the_exit_code(any_shell):
    any_shell.run("cd /usr")
    outcome = any_shell.run("exec sh -c 'echo here; exit 9'")
    assert (outcome.stdout, outcome.exit_code) == ("here\n", 9)
    assert any_shell.run("pwd").output == "/usr"


def test_a_command_for_a_vanished_directory_runs_nowhere_else(any_shell, tmp_path):
    any_shell.run("mkdir sub; cd sub; rmdir ../sub")
    with pytest.raises(Conflict, match=f"{tmp_path}/sub is gone") as refused:
        any_shell.run(f"touch {tmp_path}/ran")
    assert refused.value.code == "cwd_gone" and not (tmp_path / "ran").exists()
    assert any_shell.run("pwd").output == str(tmp_path)


def test_without_a_home_nothing_runs(tmp_path):
    runner = Runner(shell_path=None, home=tmp_path / "never", environment=os.environ)
    with runner.session("a", 0) as session, pytest.raises(ShellFailed, match="WORK_DIR"):
        runner.run(f"touch {tmp_path}/ran", session=session, run_id="vanished", timeout_s=60)
    runner.close()
    assert not (tmp_path / "ran").exists()


def test_variables_too_large_to_pass_on_are_dropped_and_said(terminal):
    terminal.run("export KEPT=1 BIG=$(printf %0200000d 1)")
    outcome = terminal.run("echo [$KEPT] ${#BIG}")
    assert outcome.output == "[] 0" and "too large" in outcome.notes[0]
    assert terminal.run("echo fine").notes == ()


def test_an_environment_larger_than_a_pipe_carries_over(terminal):
    terminal.run("for i in 1 2 3 4 5; do export BIG$i=$(printf %050000d $i); done")
    assert terminal.run("echo ${#BIG1} ${#BIG5}").output == "50000 50000"


def test_sessions_do_not_see_each_other(terminal, tmp_path):
    terminal.run("cd /usr; export KEPT=1", session="a")
    assert terminal.run("pwd; echo [$KEPT]", session="b").output == f"{tmp_path}\n[]"


def test_sessions_run_in_parallel(terminal):
    thread, outcomes = terminal.background("while [ ! -e go ]; do sleep 0.01; done; echo met", session="a")
    terminal.run("touch go", session="b")
    thread.join()
    assert outcomes[0].output == "met"


def test_a_session_takes_one_command_at_a_time(terminal):
    with terminal.runner.session("a", 0):
        with pytest.raises(Busy) as busy, terminal.runner.session("a", 0.01):
            pass
        with terminal.runner.session("b", 0):
            pass
    assert busy.value.extras == {"retry_after": 1}
    with terminal.runner.session("a", 0):
        pass


def test_who_waits_for_a_session_gets_it_as_it_was_left(terminal):
    got = []
    with terminal.runner.session("a", 0) as session:
        thread = threading.Thread(target=lambda: got.append(terminal.run("echo $KEPT", session="a").output))
        thread.start()
        terminal.runner.run("export KEPT=1", session=session, run_id="first", timeout_s=60)
    thread.join()
    assert got == ["1"]


def test_the_session_not_used_for_longest_is_forgotten_first(tmp_path):
    runner = Runner(shell_path=None, home=tmp_path, environment=os.environ, session_limit=2)
    with runner.session("held", 0) as held:
        held.cwd = "/held"
        for key in ("old", "new"):
            with runner.session(key, 0) as session:
                session.cwd = f"/{key}"
        with runner.session("new", 0) as new:
            assert new.cwd == "/new"
        with runner.session("old", 0) as old:
            assert old.cwd == str(tmp_path)
    with runner.session("held", 0) as again:
        assert again is held
    runner.close()
