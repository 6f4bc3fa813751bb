"""The service on Linux: laid out in the image of a system, read by systemd's own tools, and started as its unit says."""
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ananta import __version__
from ananta.errors import CannotStart, InvalidInput
from ananta.operations.service import archive, commands, layout, linux, variables
from tests.conftest import WAIT_S, ananta, clean_environment

if sys.platform != "linux":
    pytest.skip("systemd is Linux's", allow_module_level=True)
if shutil.which("systemctl") is None:
    pytest.skip("no systemctl here (Debian: apt install systemd)", allow_module_level=True)


def image(folder: Path) -> Path:
    """A system's image, as little of it as an installation needs."""
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nananta:x:990:990::/var/lib/ananta:/usr/sbin/nologin\n")
    (folder / "etc" / "group").write_text("root:x:0:\nananta:x:990:\n")
    return folder


def service(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    folder.parent.mkdir(exist_ok=True)
    return ananta(folder.parent, "service", *arguments, "--root", str(folder))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An image with the service, and what the installation said."""
    folder = image(tmp_path_factory.mktemp("image") / "root")
    done = service(folder, "install", "--port", str(_free_port()), "--name", "alpha")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def tree(folder: Path) -> dict[str, tuple]:
    return {str(path.relative_to(folder)): (path.lstat().st_mode, os.readlink(path) if path.is_symlink() else
                                            path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")}


def test_a_dry_run_prints_every_file_and_command_and_changes_nothing(tmp_path):
    folder = image(tmp_path / "root")
    before = tree(folder)
    done = service(folder, "install", "--dry-run", "--role", "hub", "--hub", "http://hub:5000", "--name", "o'hara $x", "--port", "5001")
    assert done.returncode == 0 and tree(folder) == before
    for line in ("ExecStart=/opt/ananta/current/ananta", "Type=notify", "NoNewPrivileges=yes", 'ROLE="hub"', 'HUB_URL="http://hub:5000"',
                 r'''AGENT_NAME="o'hara \$x"''', 'PORT="5001"', 'ANONYMOUS_READS="off"', "LoadCredential=agent_token:/etc/ananta/credentials/agent_token",
                 "LoadCredential=initial_admin_password:"):
        assert f"  | {line}" in done.stdout, line
    assert "systemctl --root=" in done.stdout and "(made at the installation, shown once)" in done.stdout
    # On the machine itself: no rights are needed to look.
    shown = ananta(tmp_path, "service", "install", "--dry-run")
    if shown.returncode == 0:
        for line in ("useradd --system", "systemctl daemon-reload", "systemctl restart ananta.service"):
            assert line in shown.stdout
    else:
        assert "Python" in shown.stderr  # one that others cannot use


def test_what_is_installed_is_for_root_alone_where_it_is_secret(installed):
    folder, said = installed
    token = re.search(r"token +(\S{43}) ", said)[1]
    file = folder / "etc/ananta/credentials/agent_token"
    assert file.read_text() == token + "\n" and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not [path for path, (_, content) in tree(folder).items() if content and token in str(content) and "credentials" not in path]
    program = folder / "opt/ananta/current/ananta"
    assert os.readlink(folder / "opt/ananta/current") == __version__
    for path in (program, *(folder / "opt").rglob("*")):
        assert not path.stat().st_mode & 0o022 and path.stat().st_mode & stat.S_IROTH, path
    assert os.readlink(folder / "usr/local/bin/ananta") == "/opt/ananta/current/ananta"
    assert (folder / "etc/systemd/system/multi-user.target.wants/ananta.service").is_symlink()


def test_the_unit_starts_what_it_says(installed, tmp_path):
    folder, said = installed
    token = re.search(r"token +(\S{43}) ", said)[1]
    unit = (folder / "etc/systemd/system/ananta.service").read_text()
    (begin,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    given = dict(each.split("=", 1) for line in re.findall(r"^Environment=(.*)$", unit, re.MULTILINE) for each in line.split())
    assert given.pop("AGENT_TOKEN_FILE") == "/run/credentials/ananta.service/agent_token"
    (file,) = re.findall(r"^EnvironmentFile=(.*)$", unit, re.MULTILINE)
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    for name, source in re.findall(r"^LoadCredential=(\w+):(.*)$", unit, re.MULTILINE):
        shutil.copy(folder / source.lstrip("/"), credentials / name)
    for name, place in given.items():
        given[name] = str(tmp_path / place.lstrip("/"))
        Path(given[name]).mkdir(parents=True, mode=0o700)
    given |= variables.read((folder / file.lstrip("/")).read_text())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(WAIT_S)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        process = subprocess.Popen([str(folder / begin.lstrip("/"))], cwd=folder / "etc/ananta", stdout=subprocess.PIPE, text=True,
                                   env=clean_environment(tmp_path, **given, CREDENTIALS_DIRECTORY=str(credentials),
                                                         NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000",
                                                         DISABLE_LLM_CHECK="1"))
        try:
            message, ancillary, *_ = receiver.recvmsg(1024, 1024)
            url = re.fullmatch(rb"READY=1\nSTATUS=listening on (\S+)", message)[1].decode()
            # NotifyAccess=main: systemd believes the unit's main process only.
            assert struct.unpack("3i", ancillary[0][2])[0] == process.pid
            with requests.Session() as session:
                session.trust_env = False
                assert session.get(f"{url}/health", timeout=WAIT_S).status_code == 200
                assert session.get(f"{url}/logs", timeout=WAIT_S).status_code == 401
                header = {"Authorization": f"Bearer {token}"}
                assert session.get(f"{url}/logs", headers=header, timeout=WAIT_S).status_code == 200
                done = session.post(f"{url}/step/execute", headers=header, json={"command": "pwd"}, timeout=WAIT_S).json()
                assert done["output"] == given["WORK_DIR"] and done["agent"] == "alpha"
            while receiver.recv(1024) != b"WATCHDOG=1":
                pass
            shown = service(folder, "status").stdout
            assert f"version {__version__}" in shown and re.search(r"DO +access ", shown) is None
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
            process.stdout.close()


def test_systemd_accepts_the_unit_and_finds_it_well_contained(installed):
    folder, _ = installed
    if shutil.which("systemd-analyze") is None or not Path("/lib/systemd/system").is_dir():
        pytest.skip("no systemd-analyze here")
    shutil.copytree("/lib/systemd/system", folder / "usr/lib/systemd/system", symlinks=True, dirs_exist_ok=True)
    (folder / "lib").symlink_to("usr/lib")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", f"--root={folder}", "ananta.service"], capture_output=True, text=True,
                          timeout=WAIT_S, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "ananta" in line]) == (0, []), done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--root={folder}", "--no-pager", "ananta.service"],
                          capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert float(re.search(r"Overall exposure level for ananta.service: ([0-9.]+)", done.stdout)[1]) <= 2.0, done.stdout


def test_a_token_that_was_made_is_shown_also_when_the_rest_fails(tmp_path):
    folder = image(tmp_path / "root")
    (folder / "etc/systemd").mkdir()
    (folder / "etc/systemd/system").write_text("in the way")
    done = service(folder, "install")
    token = (folder / "etc/ananta/credentials/agent_token").read_text().strip()
    assert done.returncode == 2 and "etc/systemd/system" in done.stderr and token in done.stdout
    # Nothing is shown that is not kept.
    other = image(tmp_path / "other")
    (other / "etc/ananta").write_text("in the way")
    done = service(other, "install")
    assert done.returncode == 2 and done.stdout == ""


def test_a_second_installation_keeps_token_settings_and_what_the_operator_wrote(tmp_path):
    folder = image(tmp_path / "root")
    first = service(folder, "install", "--port", "5001", "--default-provider", "ollama")
    assert first.returncode == 0 and "token" in first.stdout
    token = (folder / "etc/ananta/credentials/agent_token").read_text()
    settings = folder / "etc/ananta/ananta.env"
    settings.write_text(settings.read_text() + "# mine\nCOMMAND_TIMEOUT=7\n")
    (folder / "var/lib/ananta/data").mkdir(parents=True)
    (folder / "var/lib/ananta/data/ananta.db").write_text("kept")
    key = tmp_path / "key"
    key.write_text("sk-0123456789abcdef\n")
    second = service(folder, "install", "--role", "hub", "--openai-api-key-file", str(key))
    assert second.returncode == 0 and token.strip() not in second.stdout and "sk-0123" not in second.stdout
    assert re.search(r"sign in +as admin with the password \S{20} ", second.stdout)
    found = variables.read(settings.read_text())
    assert found == {"ANONYMOUS_READS": "off", "PORT": "5001", "DEFAULT_PROVIDER": "ollama", "COMMAND_TIMEOUT": "7", "ROLE": "hub"}
    assert "# mine" in settings.read_text() and (folder / "etc/ananta/credentials/agent_token").read_text() == token
    assert (folder / "etc/ananta/credentials/openai_api_key").read_text() == "sk-0123456789abcdef\n"
    unit = (folder / "etc/systemd/system/ananta.service").read_text()
    assert "LoadCredential=openai_api_key:/etc/ananta/credentials/openai_api_key" in unit
    third = service(folder, "install")
    assert third.returncode == 0 and "password" not in third.stdout and "token " not in third.stdout
    removed = service(folder, "uninstall")
    assert removed.returncode == 0 and "var/lib/ananta" in removed.stdout
    assert not (folder / "opt/ananta").exists() and not os.path.lexists(folder / "usr/local/bin/ananta")
    assert not list((folder / "etc/systemd/system").rglob("ananta*"))
    assert (folder / "var/lib/ananta/data/ananta.db").exists() and settings.exists()
    assert service(folder, "status").returncode == 1 and service(folder, "uninstall").returncode == 1
    assert service(folder, "uninstall", "--purge").returncode == 0
    assert not (folder / "var/lib/ananta").exists() and not (folder / "etc/ananta").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--port", "80"], "PORT=80"), (["--port", "0"], "PORT=0"), (["--port", "x"], "PORT"), (["--role", "boss"], "ROLE"),
    (["--hub", "hub:5000"], "HUB_URL"), (["--data-dir", "/srv/x"], "--data-dir"), (["--agent-token-file", "/nowhere"], "AGENT_TOKEN_FILE"),
    (["--default-model", "a\nb"], "DEFAULT_MODEL"), (["--cors-origins", "*"], None)])
def test_what_is_not_possible_is_refused_before_anything_is_written(tmp_path, arguments, words):
    folder = image(tmp_path / "root")
    before = tree(folder)
    done = service(folder, "install", *arguments, "--dry-run" if words is None else "--root", *([] if words is None else [str(folder)]))
    if words is None:
        assert done.returncode == 0  # with a token, and without anonymous reading
    else:
        assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert tree(folder) == before


def test_a_secret_among_the_settings_is_named(installed):
    folder, _ = installed
    settings = folder / "etc/ananta/ananta.env"
    before = settings.read_text()
    assert f"chmod go= {settings}" not in service(folder, "status").stdout
    settings.write_text(before + 'OPENAI_API_KEY="sk-0123456789abcdef"\n')
    shown = service(folder, "status").stdout
    settings.write_text(before)
    assert f"chmod go= {settings}" in shown and "sk-0123" not in shown


def test_what_is_installed_can_install_itself_anew(installed):
    folder, _ = installed
    done = subprocess.run([str(folder / "opt/ananta/current/ananta"), "service", "install", "--root", str(folder), "--name", "beta"], text=True,
                          capture_output=True, env=clean_environment(folder), timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert variables.read((folder / "etc/ananta/ananta.env").read_text())["AGENT_NAME"] == "beta"


def test_a_service_that_does_not_ask_for_its_token_is_named(start):
    open_to_all, guarded = start("open"), start("guarded", "--host", "127.0.0.1", token="a-token-of-some-length", ANONYMOUS_READS="off")
    assert not commands._guarded(open_to_all.url).ok and "ANONYMOUS_READS" in commands._guarded(open_to_all.url).text
    assert commands._guarded(guarded.url).ok
    guarded.stop()
    assert not commands._guarded(guarded.url).ok


def test_somebody_elses_command_of_that_name_stays(tmp_path):
    folder = image(tmp_path / "root")
    (folder / "usr/local/bin").mkdir(parents=True)
    (folder / "usr/local/bin/ananta").write_text("mine")
    assert "usr/local/bin" not in service(folder, "install", "--dry-run").stdout
    assert linux.Places(folder).command.read_text() == "mine"


# --- settings


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,9}", fullmatch=True), st.text(st.characters(min_codepoint=32, max_codepoint=0x3000)).filter(str.isprintable),
                       max_size=5))
def test_settings_are_read_as_they_were_written(values):
    text = variables.changed("# head\n\nOTHER=one two\n", values)
    assert variables.read(text) == {"OTHER": "one two"} | values
    assert variables.changed(text, values) == text and text.startswith("# head\n\n")


def test_settings_of_several_lines_are_refused():
    with pytest.raises(InvalidInput, match="NAME"):
        variables.changed("", {"NAME": "a\nPORT=1"})


# --- the program


def packed(*entries: tuple[bytes, bytes, bytes], loader: bytes = b"\x7fELF loader") -> bytes:
    """An executable as PyInstaller makes it. entries: name, kind, content."""
    contents, table = b"", b""
    for name, kind, content in entries:
        size = -(-(archive.ENTRY.size + len(name) + 1) // 16) * 16
        table += archive.ENTRY.pack(size, len(contents), len(content), len(content), 0, kind) + name.ljust(size - archive.ENTRY.size, b"\0")
        contents += content
    length = len(contents) + len(table) + archive.COOKIE.size
    return loader + contents + table + archive.COOKIE.pack(archive.MAGIC, length, len(contents), len(table), 311, b"libpython.so") + b"sections"


def test_an_executable_keeps_its_modules_and_loses_what_it_would_unpack():
    modules = [(b"struct", b"m", b"code"), (b"ananta", b"s", b"main"), (b"PYZ.pyz", b"z", b"modules" * 100), (b"pyi-contents-directory _internal", b"o", b"")]
    unpacked = [(b"libssl.so", b"b", b"library" * 1000), (b"static/index.html", b"x", b"data"), (b"lib.so", b"n", b"link")]
    small = archive.without_unpacked(packed(modules[0], unpacked[0], *modules[1:3], *unpacked[1:], modules[3]))
    # The same bytes as if it had been made without them.
    assert small + b"sections" == packed(*modules)


@pytest.mark.parametrize("broken", [b"", b"\x7fELF", archive.MAGIC, packed((b"a", b"b", b"x")), packed((b"PYZ", b"z", b"x"))[20:],
                                    packed((b"PYZ", b"z", b"x")).replace(struct.pack("!I", 32), struct.pack("!I", 0), 1)])
def test_what_is_no_such_executable_is_refused(broken):
    with pytest.raises(CannotStart, match="cannot be laid out"):
        archive.without_unpacked(broken)


def test_a_program_that_others_cannot_run_is_named(tmp_path):
    assert "hides" in layout.unreachable(tmp_path / "python")
    assert layout.unreachable(Path("/bin/sh").resolve()) is None
    assert "others may not" in layout.unreachable(Path("/etc/passwd"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
