"""One command: its exit code, its output, its input."""
import os
import sys
import tracemalloc

import pytest

from ananta.errors import InvalidInput, ShellFailed, ShuttingDown
from ananta.shell.runner import Runner


@pytest.mark.parametrize("command, code", [
    ("true", 0), ("false", 1), ("exit 42", 42), ("false | true", 0), ("true | false", 1), ("false; true", 0), ("", 0),
    ("nosuchcommand", 127), ("/dev/null", 126), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("sh -c 'kill -9 $$'", 137),
    ("# only a comment", 0), ("if", 2), ("echo )", 2), ("set -e; false; exit 0", 1), ("exit 256", 0), ("(exit 4) || exit 5", 5)])
def test_the_exit_code_is_the_commands_own(any_shell, command, code):
    assert any_shell.run(command).exit_code == code


def test_the_command_has_no_arguments_and_counts_its_own_lines(any_shell):
    assert any_shell.run('echo "$# [$*]"').output == "0 []"
    assert "line 2:" in any_shell.run("true\nnosuchcommand").stderr.replace(" 2: eval", " line 2")


@pytest.mark.parametrize("command", ["read x; echo \"[$x] $?\"", "cat; echo \"[] 1\""])
def test_there_is_no_input(any_shell, command):
    assert any_shell.run(command).output == "[] 1"


def test_nothing_of_ours_is_heard(any_shell):
    assert "ananta" not in any_shell.run("set -x; true; exit 0").output
    assert any_shell.run("set -C; cd /usr").output == "" and any_shell.run("pwd").output == "/usr"


def test_a_debug_trap_of_the_user_hears_nothing_of_ours(terminal):
    assert "ananta" not in terminal.run("trap 'echo \"> $BASH_COMMAND\"' DEBUG; true").output


def test_programs_inherit_no_descriptor_of_ours(terminal):
    assert sorted(terminal.run("ls /proc/self/fd").output.split()) == ["0", "1", "2", "3"]
    assert sorted(terminal.run("ls /proc/self/fd\n#" + "x" * 200_000).output.split()) == ["0", "1", "2", "3"]


def test_streams_are_kept_apart_and_together(any_shell):
    outcome = any_shell.run("echo out; echo err >&2; echo 'out again'; echo")
    assert (outcome.stdout, outcome.stderr) == ("out\nout again\n\n", "err\n")
    assert sorted(outcome.output.split("\n")) in (["err", "out", "out again"], ["", "err", "out", "out again"])
    assert (outcome.ended, outcome.cut_bytes, outcome.notes) == (None, 0, ()) and outcome.duration_s > 0


def test_output_is_passed_on_while_the_command_runs(terminal, tmp_path):
    def answer(text):
        heard.append(text)
        (tmp_path / "go").touch()

    heard = []
    outcome = terminal.run("echo first; while [ ! -e go ]; do sleep 0.01; done; printf 'gr\\303'; sleep 0.1; printf '\\274n'",
                           on_output=answer)
    assert heard[0] == "first\n" and "".join(heard) == outcome.stdout == "first\ngrün"


def test_undecodable_output_is_replaced(terminal):
    outcome = terminal.run(r"printf 'a\xff\xfeb\xc3'")
    assert outcome.output == outcome.stdout == "a\ufffd\ufffdb\ufffd"


def test_of_much_output_head_and_tail_are_kept_and_the_rest_is_counted(terminal):
    outcome = terminal.run("seq 1 100000; echo end >&2", output_bytes=1000)
    everything = "".join(f"{number}\n" for number in range(1, 100001))
    assert outcome.stdout == f"{everything[:500]}\n[... {len(everything) - 1000:,} bytes cut ...]\n{everything[-500:]}"
    assert outcome.cut_bytes == len(everything) - 1000 and outcome.stderr == "end\n"
    assert outcome.output.startswith("1\n2\n") and "bytes cut" in outcome.output


def test_a_flood_of_output_needs_no_memory(terminal):
    tracemalloc.start()
    try:
        outcome = terminal.run("head -c 200M /dev/zero; head -c 50M /dev/zero >&2")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outcome.cut_bytes == 250 * 2**20 - 2 * 2**20
    assert peak < 40 * 2**20


def test_a_command_longer_than_an_argument_may_be_runs(any_shell):
    outcome = any_shell.run(f"export KEPT='{'x' * 300_000}'; echo ${{#KEPT}}; unset KEPT; cd /usr; exit 3")
    assert (outcome.output, outcome.exit_code) == ("300000", 3)
    assert any_shell.run("pwd").output == "/usr"


def test_a_command_with_nul_is_refused(terminal):
    with pytest.raises(InvalidInput, match="NUL"):
        terminal.run("echo a\0b")


def test_other_terminals_settings_do_not_disturb(tmp_path):
    runner = Runner(shell_path="bash", home=tmp_path, environment={**os.environ, "POSIXLY_CORRECT": "1"})
    with runner.session("a", 0) as session:
        outcome = runner.run("trap 'echo bye' EXIT; cd /usr; exit 4", session=session, run_id="posix", timeout_s=60)
        assert (outcome.output, outcome.exit_code, session.cwd) == ("bye", 4, "/usr")
    runner.close()


def test_secrets_do_not_reach_a_command(tmp_path):
    runner = Runner(shell_path=None, home=tmp_path, secret_names=["CALLBACK_KEY"],
                    environment={**os.environ, "AGENT_TOKEN": "s3cret", "CALLBACK_KEY": "s3cret", "MINE": "1"})
    with runner.session("a", 0) as session:
        outcome = runner.run("env; export -p; cat /proc/$$/environ", session=session, run_id="secrets", timeout_s=60)
    runner.close()
    assert "s3cret" not in outcome.stdout and "MINE=1" in outcome.stdout and "TERM=dumb" in outcome.stdout


def test_a_shell_that_does_not_exist_names_the_cure(tmp_path):
    with pytest.raises(ShellFailed, match="SHELL_PATH"):
        Runner(shell_path=str(tmp_path / "none"), home=tmp_path, environment={})


def test_a_shell_that_cannot_start_names_the_cure(tmp_path):
    broken = tmp_path / "bash"
    broken.write_bytes(b"\x7fELF no program")
    broken.chmod(0o755)
    runner = Runner(shell_path=str(broken), home=tmp_path, environment={})
    with runner.session("a", 0) as session, pytest.raises(ShellFailed, match="SHELL_PATH"):
        runner.run("true", session=session, run_id="broken", timeout_s=60)
    assert runner.running() == 0
    runner.close()


def test_the_shell_found_is_told(terminal):
    assert terminal.runner.shell_kind == "bash" and os.path.isabs(terminal.runner.shell_path)


def test_after_close_nothing_runs(tmp_path):
    runner = Runner(shell_path=None, home=tmp_path, environment=os.environ)
    runner.close()
    with runner.session("a", 0) as session, pytest.raises(ShuttingDown):
        runner.run("touch ran", session=session, run_id="late", timeout_s=60)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_runs_leave_no_descriptor_open(terminal):
    before = len(os.listdir("/proc/self/fd"))
    for command in ("true", "exec sleep 5", "echo " + "x" * 200_000, "sleep 1000 &"):
        terminal.run(command, timeout_s=0.5)
    terminal.runner.close()
    assert len(os.listdir("/proc/self/fd")) == before
