"""A contained command reads all but private files, and changes only its working directory and its temporary directory."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ananta.errors import Unavailable
from ananta.shell import containment, landlock
from ananta.shell.runner import Runner

from .conftest import GUARD_S, Contained, everything_below, needs_landlock, until

ROOT = Path(__file__).parents[2]


def privileges():
    """Returns what this process's threads say of themselves: a bound one has renounced new privileges."""
    told = (Path(f"/proc/self/task/{task}/status").read_text() for task in os.listdir("/proc/self/task"))
    return {line for status in told for line in status.splitlines() if line.startswith("NoNewPrivs")}


@needs_landlock
@pytest.mark.parametrize("command", [
    "echo x >../outside/new", "echo x >../outside/file", "echo x >>../outside/file", ": >../outside/file", "mkdir ../outside/new",
    "rm ../outside/file", "rm -rf ../outside", "rmdir ../outside/empty", "touch own; mv own ../outside/new",
    "mv ../outside/file taken", "mv ../outside/file ../outside/other", "touch own; ln own ../outside/new",
    "ln ../outside/file taken && echo x >taken", "ln -s /etc/passwd ../outside/new", "mkfifo ../outside/new",
    "truncate -s 0 ../outside/file", "cp /etc/passwd ../outside/new", "ln -s ../outside link; echo x >link/new",
    "ln -s ../outside/file link; echo x >link", "sed -i s/kept/lost/ ../outside/file", "dd if=/dev/zero of=../outside/file count=1",
    f"{sys.executable} -c 'import os; os.truncate(\"../outside/file\", 0)'",
    f"{sys.executable} -c 'import os; os.open(\"../outside/file\", os.O_RDONLY | os.O_TRUNC)'",
    f"{sys.executable} -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"../outside/new\")'",
    "cd ../outside; echo x >new", "sh -c 'echo x >../outside/new'", "(cd ..; exec sh -c 'exec sh -c \": >outside/file\"')",
    "setsid -w sh -c 'echo x >../outside/new'", "env -i /bin/sh -c 'echo x >../outside/new'",
    "echo x | tee ../outside/new", "find ../outside -name file -delete; test ! -e ../outside/file",
    "mknod device b 7 0", "mknod device c 1 1", "mknod $TMPDIR/device c 1 1", "mount -t tmpfs none ../outside",
    "unshare -r true && unshare -rm mount -t tmpfs none ../outside"])
def test_what_would_change_something_outside_fails(contained, workspace, command):
    before = everything_below(workspace.parent / "outside")
    outcome = contained.run(command)
    assert outcome.exit_code != 0 and outcome.ended is None
    assert everything_below(workspace.parent / "outside") == before


@needs_landlock
@pytest.mark.parametrize("command", [
    "echo x >new && echo y >>new && : >new && rm new", "mkdir -p a/b && touch a/f && mv a/f a/b/g && ln a/b/g h && rm -r a h",
    "mkfifo pipe && ln -s /etc link && ls link/passwd", "truncate -s 3 file && chmod 600 file", "echo x >$TMPDIR/f && cat $TMPDIR/f",
    "mktemp && mktemp -d", "echo x >f && mv f $TMPDIR/f && mv $TMPDIR/f g", "echo x >/dev/null && echo x 2>/dev/null >&2",
    "echo x >/dev/stdout && echo y >/dev/stderr && echo z >/dev/fd/1 && echo >/proc/self/fd/2", "echo a | tee /dev/stderr | cat >/dev/zero",
    "cat ../outside/file && ls / && head -c 9 /etc/passwd", "cat <<END\n$(seq 1 100000)\nEND", "sh -c 'kill $$' & wait; kill -0 $$",
    "timeout 9 sleep 0", f"{sys.executable} -c 'import tempfile; tempfile.TemporaryFile().write(b\"x\")'", "git init -q . && git status -s"])
def test_what_changes_only_what_is_its_own_works(contained, command):
    outcome = contained.run(command)
    assert outcome.exit_code == 0, outcome.output


@needs_landlock
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_substitutions_of_bash_that_are_pipes_work(workspace):
    runner = Runner(shell_path="bash", home=workspace, environment=os.environ)
    outcome = Contained(runner).run("cat <(echo in) && echo out > >(cat) && cat <<<here && echo x &>/dev/null; sleep 0.1")
    runner.close()
    assert sorted(outcome.stdout.split()) == ["here", "in", "out"] and outcome.stderr == ""


@needs_landlock
def test_the_next_command_that_is_not_contained_is_free(contained, workspace):
    new = workspace.parent / "outside" / "new"
    assert contained.run(f"echo x >{new}").exit_code != 0
    assert contained.run(f"echo x >{new}", contained=False).exit_code == 0 and new.read_text() == "x\n"
    new.unlink()  # and this thread is free as well


@needs_landlock
def test_other_threads_of_the_service_stay_free_and_none_is_left(contained, workspace):
    contained.run("true")
    threads, bound = len(os.listdir("/proc/self/task")), privileges()
    thread, outcomes = contained.background("while [ ! -e go ]; do sleep 0.01; done; echo x >../outside/new")
    until(lambda: contained.runner.running())
    written = []
    for target in (workspace.parent / "one", workspace.parent / "two"):
        other = threading.Thread(target=lambda target=target: written.append(target.write_text("free")))
        other.start()
        other.join()
    (workspace / "go").touch()
    thread.join(GUARD_S)
    assert written == [4, 4] and outcomes[0].exit_code != 0
    until(lambda: len(os.listdir("/proc/self/task")) <= threads)
    assert not [found for found in threading.enumerate() if found.name == "contained"]
    assert privileges() == bound


@needs_landlock
def test_many_at_once_are_contained_in_the_working_directory(contained, workspace):
    for number in range(8):
        (workspace / str(number)).mkdir()
        contained.run(f"cd {workspace / str(number)}", session=str(number), contained=False)
    runs = [contained.background("echo x >own; echo x >../../outside/theirs; true", session=str(number)) for number in range(8)]
    for thread, _ in runs:
        thread.join(GUARD_S)
    assert all(outcomes[0].exit_code == 0 for _, outcomes in runs)
    assert sorted(everything_below(workspace)) == sorted([str(n) for n in range(8)] + [f"{n}/own" for n in range(8)])
    assert not (workspace.parent / "outside" / "theirs").exists()


@needs_landlock
def test_protected_paths_below_the_working_directory_cannot_be_changed(workspace):
    data = workspace / "agent" / "data"
    (data / "deep").mkdir(parents=True)
    (data / "log").write_text("kept\n")
    (workspace / "agent" / "other").mkdir()
    (workspace / "src").mkdir()
    (workspace / "notes").write_text("old\n")
    (workspace / ".env").write_text("secret\n")
    (workspace / "link").symlink_to(data)
    (workspace / "away").symlink_to(workspace.parent / "outside")
    runner = Runner(shell_path=None, home=workspace, environment=os.environ, protected=[workspace / "link", workspace / ".env"])
    terminal = Contained(runner)
    before = everything_below(data)
    for command in ("echo x >agent/data/log", "echo x >agent/data/new", "rm -r agent/data", "echo x >link/log", "mv agent moved",
                    "mv agent/data src/data", "rm .env", "echo x >.env", "echo x >away/new", "ln agent/data/log src/l && echo x >src/l",
                    "cd agent/data/deep; echo x >new"):
        assert terminal.run(command).exit_code != 0, command
    assert terminal.run("pwd; echo x >new").exit_code != 0  # in the protected path itself
    assert everything_below(data) == before and (workspace / ".env").read_text() == "secret\n"
    terminal.run(f"cd {workspace}")
    for command in ("echo new >notes", "mkdir -p src/a/b; echo x >src/a/b/f", "echo x >agent/other/f; mv agent/other/f src/f", "cat .env link/log"):
        assert terminal.run(command).exit_code == 0, command
    for command in ("echo x >new", "echo x >agent/new", "rm notes"):  # the price: nothing new beside what leads there
        assert terminal.run(command).exit_code != 0, command
    terminal.run("cd src")
    assert terminal.run("echo x >new; rm new").exit_code == 0
    runner.close()


@needs_landlock
def test_a_protected_path_that_does_not_exist_yet_cannot_be_made(workspace):
    runner = Runner(shell_path=None, home=workspace, environment=os.environ, protected=[workspace / "agent" / "data"])
    assert Contained(runner).run("mkdir -p agent/data").exit_code != 0
    runner.close()


SECRET = "the-token-of-the-agent"
SHOWN = (SECRET, "dGhlLXRva2VuLW9mLXRoZS1hZ2VudA", "tnega-eht-fo-nekot-eht")  # as it is, by base64 and by rev


@pytest.fixture
def agent(workspace):
    """A contained terminal in a folder that holds the agent's data, as by default, and a link and a second name for them."""
    data = workspace / "data"
    (data / "secrets").mkdir(parents=True)
    for name in ("secrets/agent_token.json", "config.json", ".config.json.7.new", "ananta.db", "ananta.db-wal", "backups"):
        (data / name).write_text(f"{SECRET}\n")
    (data / "terminal_log.jsonl").write_text("log\n")
    (workspace / "src").mkdir()
    (workspace / "src" / "code").write_text("TODO\n")
    (workspace / "link").symlink_to(data / "secrets")
    private = [data / "secrets", data / "config.json", data / "ananta.db", data / "backups"]
    runner = Runner(shell_path=None, home=workspace, environment=os.environ, protected=[data], private=private)
    yield Contained(runner)
    runner.close()


@needs_landlock
@pytest.mark.parametrize("command", [
    "grep -r . .", "grep -R . .", "find . -type f | xargs base64", "find . -type f | xargs rev", "cat data/secrets/* data/*",
    'cat "/proc/self/root/$PWD/data/secrets/agent_token.json"', "cat /proc/$PPID/root/$PWD/data/secrets/agent_token.json",
    "cat /proc/*/root/$PWD/data/config.json", "cat /proc/*/cwd/data/config.json", "cat link/*", "cat <data/secrets/agent_token.json",
    f"{sys.executable} -c 'print(open(\"data/secrets/agent_token.json\").read())'",
    f"{sys.executable} -c 'import os; print(os.read(os.open(\"data/ananta.db\", os.O_RDWR), 99))'",
    "ln data/secrets/agent_token.json src/other; cat src/other", "ln -s ../data/secrets src/s; cat src/s/*", "cp -r data src/data; cat src/data/*",
    "mv data src/data; cat src/data/*/*", "ln data/config.json $TMPDIR/c; cat $TMPDIR/c", "tar cf - data", "dd if=data/ananta.db-wal",
    "cd data/secrets && cat *", "cd data && cat .*.new backups", "diff -r . /etc/hosts; diff -r data /tmp", "exec 3<data/config.json; cat <&3",
    "mount --bind data/secrets src; cat src/*", "unshare -rm sh -c 'mount --bind data/secrets src; cat src/*'",
    "sh -c 'cat data/secrets/*' & wait", "env -i /bin/sh -c 'cat data/config.json'"])
def test_private_files_are_not_read(agent, workspace, command):
    outcome = agent.run(command)
    assert not any(shown in outcome.output for shown in SHOWN)
    assert not (workspace / "src" / "other").exists() and (workspace / "data" / "secrets" / "agent_token.json").exists()


@needs_landlock
def test_everything_else_is_read(agent, workspace):
    assert agent.run("grep -r TODO .").stdout == "./src/code:TODO\n"
    for command in ("cat src/code data/terminal_log.jsonl /etc/passwd /proc/self/status /proc/self/maps ../outside/file", "ls -lR .",
                    "echo x >src/new && cat src/new", "echo x >$TMPDIR/f && cat $TMPDIR/f", "head -c 9 /dev/urandom", "cat <<END\n$(seq 1 100000)\nEND",
                    "echo x | cat /dev/stdin", "git --version", f"{sys.executable} -c 'import json'", ": " + "x" * 200_000):
        outcome = agent.run(command)
        assert outcome.exit_code == 0 and not outcome.notes, (command[:80], outcome.output[:300])


@needs_landlock
def test_who_meets_the_price_is_told_the_cure(agent):
    for command in ("echo x >new", "grep -r TODO .", "echo x >data/policy.json"):
        outcome = agent.run(command)
        assert outcome.exit_code != 0 and [note for note in outcome.notes if "DATA_DIR" in note], command
    assert agent.run("false").notes == () and agent.run("cat nothing").notes == ()


@needs_landlock
def test_while_a_private_file_has_a_second_name_nothing_is_run_contained(agent, workspace):
    os.link(workspace / "data" / "secrets" / "agent_token.json", workspace / "src" / "other")
    with pytest.raises(Unavailable, match="second name"):
        agent.run("cat src/other")
    (workspace / "src" / "other").unlink()
    assert agent.run("true").exit_code == 0


@needs_landlock
@pytest.mark.parametrize("place", ["data", "data/secrets", "data/work"])
def test_a_working_directory_in_the_data_changes_nothing_there(tmp_path, place):
    data = tmp_path / "data"
    for folder in (data / "secrets", data / "work"):
        folder.mkdir(parents=True)
    (data / "secrets" / "token").write_text(SECRET)
    (data / "work" / "notes").write_text("notes")
    runner = Runner(shell_path=None, home=tmp_path / place, environment=os.environ,
                    protected=[data], private=[data / "secrets"])
    terminal = Contained(runner)
    assert SECRET not in terminal.run(f"cat {data}/secrets/* * ../*/*").output
    assert terminal.run("echo x >new").exit_code != 0 and terminal.run(f"echo x >{data}/work/new").exit_code != 0
    assert terminal.run(f"cat {data}/work/notes; echo x >$TMPDIR/f && cat $TMPDIR/f").stdout == "notesx\n"
    runner.close()


@needs_landlock
def test_with_the_data_elsewhere_the_whole_folder_can_be_changed(tmp_path, workspace):
    (tmp_path / "lib" / "secrets").mkdir(parents=True)
    (tmp_path / "lib" / "secrets" / "token").write_text(SECRET)
    runner = Runner(shell_path=None, home=workspace, environment=os.environ, protected=[tmp_path / "lib"], private=[tmp_path / "lib" / "secrets"])
    terminal = Contained(runner)
    assert terminal.run("echo x >new && cat new && mv new newer && rm newer").exit_code == 0
    assert SECRET not in terminal.run("grep -r . ..; cat ../lib/secrets/*").output
    runner.close()


def test_bind_mounts_are_other_names():
    mountinfo = (b"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 254:0 /srv/app /app rw - ext4 /dev/vda rw\n"
                 b"29 27 254:0 /srv/app/data/secrets/old /old\\040one rw - ext4 /dev/vda rw\n30 27 0:5 / /dev rw - devtmpfs none rw\n"
                 b"31 27 8:1 / /mnt rw - ext4 /dev/sda rw\n32 28 8:1 /vol /app/data2 rw - ext4 /dev/sda rw\n")
    names = containment._all_names(("/srv/app/data/secrets",), mountinfo)
    assert names == {"/srv/app/data/secrets", "/app/data/secrets", "/old one"}
    assert containment._all_names(("/app/data",), mountinfo) == {"/app/data", "/srv/app/data", "/old one"}
    assert containment._all_names(("/app/data2/x",), mountinfo) == {"/app/data2/x", "/mnt/vol/x"}
    assert containment._all_names(("/data",), b"") == {"/data"}


@needs_landlock
def test_a_contained_run_leaves_no_descriptor_open(contained):
    contained.run("true")
    before = len(os.listdir("/proc/self/fd"))
    for command in ("true", "exec sleep 5", "echo " + "x" * 200_000, "sleep 1000 &"):
        contained.run(command, timeout_s=0.5)
    contained.runner.interrupt_all()
    assert len(os.listdir("/proc/self/fd")) == before


@needs_landlock
def test_programs_in_it_inherit_no_descriptor_of_ours(workspace):
    runner = Runner(shell_path=None, home=workspace, environment=os.environ)
    assert sorted(Contained(runner).run("ls /proc/self/fd").output.split()) == ["0", "1", "2", "3"]
    runner.close()


@needs_landlock
def test_whoever_starts_the_service_commands_are_contained():
    folder = Path(tempfile.mkdtemp(prefix="contained-test-"))
    workspace = folder / "workspace"
    workspace.mkdir()
    user = []
    if os.getuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("no setpriv here, with which root could become somebody else")
        for path in (folder, workspace):
            os.chown(path, 65534, 65534)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    try:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}
        ran = subprocess.run([*user, sys.executable, str(Path(__file__).with_name("contained_run.py")), str(workspace)],
                             env=environment, cwd="/", capture_output=True, text=True, timeout=GUARD_S, check=False)
        if user and "Permission denied" in ran.stderr:
            pytest.skip("nobody else may read this Python or this repository")
        told = json.loads(ran.stdout)
        (inside, outside, temporary, removed, read) = told["found"]
        assert told["uid"] != 0 and told["free"]
        assert (inside, temporary, read) == ([0, "x"], [0, "x"], [0, "read"]) and outside[0] != 0
        assert removed[0] == 0 and not os.path.lexists(removed[1])
    finally:
        shutil.rmtree(folder)


def test_where_there_is_no_containment_nothing_runs(tmp_path):
    # In a process of its own, which takes a number that no system call has, as on an old kernel.
    code = """
import sys
from pathlib import Path
from ananta.errors import Unavailable
from ananta.shell import containment, landlock
from ananta.shell.runner import Runner
landlock.CREATE_RULESET = 100_000
assert containment.available() == 0
runner = Runner(shell_path=None, home=Path(sys.argv[1]), environment={"PATH": "/usr/bin:/bin"})
with runner.session("a", 0) as session:
    try:
        runner.run("touch ran", session=session, run_id="none", timeout_s=60, contained=True)
    except Unavailable as error:
        print(error.code)
    runner.run("touch free", session=session, run_id="free", timeout_s=60)
runner.close()
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "containment_unavailable" and os.listdir(tmp_path) == ["free"]


@needs_landlock
def test_what_cannot_be_bound_does_not_start():
    called = []
    ruleset = landlock.Ruleset(containment.available())
    ruleset.close()
    with socket.socket() as other, pytest.raises(Unavailable) as refused:  # the socket takes the number: no ruleset
        ruleset.start(lambda: called.append(other))
    assert refused.value.code == "containment_unavailable" and not called
