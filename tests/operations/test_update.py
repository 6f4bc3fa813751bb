"""`ananta update`, with programs of one file (zipapp) that have a key made for the test built in."""
import base64
import json
import os
import platform
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from ananta import __version__
from ananta.domain import releases
from tests.conftest import ROOT, WAIT_S, ananta, clean_environment

BROKEN = "\ndef serve(settings, say, *more):\n    raise SystemExit('broken in this release')\n"
MIGRATES = ("\ndef serve(settings, say, *more):\n    from ananta.store import database\n    database.open(settings.data_dir / 'ananta.db')\n"
            "    database.close()\n    raise SystemExit('broken in this release')\n")
NEW_TABLE = "\ndef more(execute):\n    execute('CREATE TABLE more (id INTEGER)')\n\n\nSTEPS = (*STEPS, more)\n"


class Maker:
    """Whoever releases: has a key, and makes programs."""

    def __init__(self, folder: Path):
        self.folder, self.key = folder, folder / "private.key"
        folder.mkdir()
        self.built_in = folder / "release_key.py"
        shutil.copy(ROOT / "ananta" / "release_key.py", self.built_in)
        assert self.sign("keygen", self.key, "--into", self.built_in).returncode == 0

    def sign(self, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(ROOT / "build" / "sign.py"), *map(str, arguments)], capture_output=True, text=True,
                              timeout=WAIT_S, check=False)

    def program(self, target: Path, version: str, *, signed: bool = True, **appended: str) -> Path:
        """Makes a program of this version. appended: module → text behind its end."""
        source = self.folder / f"source-{target.parent.name}-{target.name}"
        shutil.copytree(ROOT / "ananta", source / "ananta", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(self.built_in, source / "ananta" / "release_key.py")
        (source / "ananta" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        for module, text in appended.items():
            with (source / "ananta" / (module.replace("_", "/") + ".py")).open("a") as file:
                file.write(text)
        target.parent.mkdir(exist_ok=True)
        (source / "__main__.py").write_text("from ananta.cli import main\n\nraise SystemExit(main())\n")
        zipapp.create_archive(source, target, interpreter=sys.executable)
        shutil.rmtree(source)
        if signed:
            done = self.sign("sign", self.key, target, "--version", version)
            assert done.returncode == 0, done.stderr
        return target


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    return Maker(tmp_path_factory.mktemp("maker") / "maker")


@pytest.fixture
def installed(maker, tmp_path):
    return maker.program(tmp_path / "bin" / "ananta", __version__, signed=False)


@pytest.fixture
def newer(maker, tmp_path):
    return maker.program(tmp_path / "download" / "ananta-new", "9.0.0")


def run(program: Path, folder: Path, *arguments, **environment) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    return subprocess.run([str(program), *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=WAIT_S * 3, check=False,
                          env=clean_environment(folder, **{"HUB_URL": "", **environment}))


def version(program: Path, folder: Path) -> str:
    return run(program, folder, "version").stdout.split()[1]


def test_a_newer_version_takes_the_place_and_the_old_file_is_kept(installed, newer, tmp_path):
    installed.chmod(0o750)
    done = run(installed, tmp_path / "home", "update", newer)
    assert "9.0.0 is in its place" in done.stdout, done.stderr
    assert version(installed, tmp_path) == "9.0.0" and version(tmp_path / "bin" / "ananta.old", tmp_path) == __version__
    assert stat.S_IMODE(installed.stat().st_mode) == 0o750 and sorted(os.listdir(tmp_path / "bin")) == ["ananta", "ananta.old"]


def test_checking_changes_nothing(installed, newer, contents, tmp_path):
    before = contents(tmp_path / "bin")
    done = run(installed, tmp_path / "home", "update", "--check", "--json", newer)
    assert json.loads(done.stdout)["version"] == "9.0.0" and contents(tmp_path / "bin") == before


def _other_key(maker, file: Path) -> None:
    other = maker.folder / f"other-{file.parent.parent.name}.key"
    shutil.copy(ROOT / "ananta" / "release_key.py", maker.folder / "thrown_away.py")
    assert maker.sign("keygen", other, "--into", maker.folder / "thrown_away.py").returncode == 0
    assert maker.sign("sign", other, file, "--version", "9.0.0").returncode == 0


def _changed_file(maker, file: Path) -> None:
    with file.open("ab") as content:
        content.write(b"\n")


def _changed_statement(maker, file: Path) -> None:
    place = file.with_name(file.name + ".sig")
    place.write_text(place.read_text().replace("9.0.0", "9.0.1"))


def _no_signature(maker, file: Path) -> None:
    file.with_name(file.name + ".sig").unlink()


def _empty_signature(maker, file: Path) -> None:
    file.with_name(file.name + ".sig").write_text("")


def _unsigned(maker, file: Path) -> None:
    place = file.with_name(file.name + ".sig")
    place.write_text(place.read_text().splitlines()[0] + "\n")


def _other_platform(maker, file: Path) -> None:
    assert maker.sign("sign", maker.key, file, "--version", "9.0.0", "--platform", "windows-x86_64").returncode == 0


def _older(maker, file: Path) -> None:
    assert maker.sign("sign", maker.key, file, "--version", "0.0.9").returncode == 0


def _same(maker, file: Path) -> None:
    assert maker.sign("sign", maker.key, file, "--version", __version__).returncode == 0


def _odd_version(maker, file: Path) -> None:
    assert maker.sign("sign", maker.key, file, "--version", "../../x").returncode == 1
    key = SigningKey(bytes.fromhex(maker.key.read_text().strip()))
    first = releases.statement(releases.Release(1, "ananta", "../../x", "linux-x86_64", "0" * 64, 1))
    file.with_name(file.name + ".sig").write_bytes(first + b"\n" + base64.b64encode(key.sign(releases.PREFIX + first).signature) + b"\n")


def _lies_about_its_version(maker, file: Path) -> None:
    assert maker.sign("sign", maker.key, file, "--version", "9.5.0").returncode == 0


@pytest.mark.parametrize(("change", "said"), [
    (_other_key, "signature is none"), (_changed_file, "not the file that was signed"), (_changed_statement, "signature is none"),
    (_no_signature, "FILE.sig"), (_empty_signature, "signature is none"), (_unsigned, "signature is none"), (_other_platform, "windows-x86_64"),
    (_older, "--force"), (_same, "nothing to do"), (_odd_version, "signature is of"), (_lies_about_its_version, "does not start")],
    ids=lambda each: each.__name__ if callable(each) else "")
def test_what_is_not_good_is_refused_and_changes_nothing(maker, installed, newer, contents, tmp_path, change, said):
    change(maker, newer)
    before = contents(tmp_path / "bin")
    done = run(installed, tmp_path / "home", "update", newer)
    assert said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert contents(tmp_path / "bin") == before and version(installed, tmp_path) == __version__


def test_no_environment_adds_a_key(installed, maker, newer, tmp_path):
    # A program without a key takes nothing at all, whatever is set.
    source = subprocess.run([sys.executable, str(ROOT / "ananta.py"), "update", str(newer)], cwd=tmp_path, capture_output=True, text=True,
                            env=clean_environment(tmp_path, ANANTA_RELEASE_KEY="x", RELEASE_KEY="x"), timeout=WAIT_S, check=False)
    assert source.returncode == 2 and "runs from source" in source.stderr
    done = ananta(tmp_path, "update", "--check", str(newer))
    assert done.returncode == 2 and "No key is built into" in done.stderr


def test_an_older_version_needs_force(installed, maker, tmp_path):
    older = maker.program(tmp_path / "download" / "ananta-old", "0.0.9")
    assert "--force" in run(installed, tmp_path / "home", "update", older).stderr
    done = run(installed, tmp_path / "home", "update", "--force", older)
    assert "0.0.9 is in its place" in done.stdout, done.stderr


def test_a_running_agent_keeps_its_file(installed, newer, contents, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    agent = subprocess.Popen([str(installed), "--port", "0"], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             env=clean_environment(home, HUB_URL="", DISABLE_LLM_CHECK="1"))
    try:
        assert agent.stdout.readline()
        before = contents(tmp_path / "bin")
        done = run(installed, home, "update", newer)
        assert "stop it first" in done.stderr and str(agent.pid) in done.stderr
        # Also where it works on other data.
        done = run(installed, tmp_path / "elsewhere", "update", newer)
        assert str(agent.pid) in done.stderr and contents(tmp_path / "bin") == before
    finally:
        agent.terminate()
        agent.wait(WAIT_S)
        agent.stdout.close()


def test_a_service_runs_the_new_version(installed, newer, service, tmp_path):
    served = service(tmp_path / "home", str(installed), "--port", "0")
    done = run(installed, tmp_path / "home", "update", newer, PATH=served.path)
    assert "the service runs it" in done.stdout, done.stderr
    assert served.about()["version"] == "9.0.0" and served.asked == ["start", "stop", "start"]
    backup = re.search(r"the data, too: (\S+)", done.stdout)[1]
    assert Path(backup).parent == tmp_path / "home" / "data" / "backups" and stat.S_IMODE(Path(backup).stat().st_mode) == 0o600


def test_a_service_that_does_not_become_healthy_goes_back(installed, maker, service, tmp_path):
    broken = maker.program(tmp_path / "download" / "ananta-new", "9.0.0", app=BROKEN)
    served = service(tmp_path / "home", str(installed), "--port", "0")
    done = run(installed, tmp_path / "home", "update", "--wait", "4", broken, PATH=served.path)
    assert f"Version {__version__} is back and runs" in done.stderr, done.stderr
    assert served.about()["version"] == __version__ and version(installed, tmp_path) == __version__
    assert os.listdir(tmp_path / "bin") == ["ananta"]


def test_data_that_was_brought_forward_goes_back_too(installed, maker, service, tmp_path):
    broken = maker.program(tmp_path / "download" / "ananta-new", "9.0.0", app=MIGRATES, store_migrations=NEW_TABLE)
    served = service(tmp_path / "home", str(installed), "--port", "0")
    done = run(installed, tmp_path / "home", "update", "--wait", "6", broken, PATH=served.path)
    assert "is back and runs" in done.stderr and "was restored from" in done.stderr, done.stderr
    assert served.about()["version"] == __version__
    database = sqlite3.connect(served.data / "ananta.db")
    assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'more'").fetchone()
    database.close()


# What `service install` does in a real system, for a folder of the test.
LAYS_OUT = """

def install(given, say, **more):
    import os, shutil, sys

    assert more["start"] is False  # that is the business of the version that watches over it
    from pathlib import Path

    top = Path({top!r})
    (top / "9.0.0").mkdir()
    shutil.copy2(sys.argv[0], top / "9.0.0" / "ananta")
    os.symlink("9.0.0", top / ".link")
    os.replace(top / ".link", top / "current")
    if {fails}:
        raise CannotStart("no room for this version")
"""


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("broken", [False, True])
def test_a_laid_out_service_lets_the_new_version_lay_itself_out(maker, service, tmp_path, broken, fails):
    top = tmp_path / "opt"
    maker.program(top / "ananta", __version__, signed=False)
    (top / __version__).mkdir()
    (top / "ananta").rename(top / __version__ / "ananta")
    (top / "current").symlink_to(__version__)
    program = top / "current" / "ananta"
    newer = maker.program(tmp_path / "download" / "ananta-new", "9.0.0", operations_service_commands=LAYS_OUT.format(top=str(top), fails=fails),
                          **({"app": BROKEN} if broken else {}))
    served = service(tmp_path / "home", str(program), "--port", "0")
    same = maker.program(tmp_path / "download" / "ananta-same", __version__)
    refused = run(program, tmp_path / "home", "update", "--force", same, PATH=served.path)
    assert refused.returncode == 1 and "no way back" in refused.stderr and served.asked == ["start"], refused.stderr
    done = run(program, tmp_path / "home", "update", "--wait", "8", newer, PATH=served.path)
    good = not (broken or fails)
    assert (done.returncode == 0) is good, done.stderr
    assert os.readlink(top / "current") == ("9.0.0" if good else __version__)
    assert served.about()["version"] == ("9.0.0" if good else __version__)
    assert (top / __version__ / "ananta").exists() and not [each for each in os.listdir(top) if each.startswith(".")]
    assert ("no room" in done.stderr) is fails


# --- the maker's side


def test_the_private_key_stays_outside_of_the_tree(maker, tmp_path):
    inside = maker.sign("keygen", ROOT / "data" / "private.key", "--into", tmp_path / "x.py")
    assert inside.returncode == 1 and "source tree" in inside.stderr and not (ROOT / "data" / "private.key").exists()
    assert stat.S_IMODE(maker.key.stat().st_mode) == 0o600
    again = maker.sign("keygen", maker.key, "--into", maker.built_in)
    assert again.returncode == 1  # never over another one
    public = maker.key.with_name("private.key.pub")
    assert maker.key.read_text().strip() not in maker.built_in.read_text() + public.read_text()
    assert public.read_text().strip() in maker.built_in.read_text()
    # The one in the tree has no key of a test.
    assert (ROOT / "ananta" / "release_key.py").read_text() != maker.built_in.read_text()


def test_making_a_key_changes_nothing_in_the_tree(maker, newer, tmp_path):
    before = (ROOT / "ananta" / "release_key.py").read_bytes()
    done = maker.sign("keygen", tmp_path / "my.key")
    public = tmp_path / "my.key.pub"
    assert done.returncode == 0 and (ROOT / "ananta" / "release_key.py").read_bytes() == before
    assert (tmp_path / "my.key").read_text().strip() not in done.stdout and public.read_text().strip() in done.stdout
    assert maker.sign("sign", tmp_path / "my.key", newer, "--version", "9.0.0").returncode == 0
    assert maker.sign("verify", newer, "--key", public).returncode == 0
    assert maker.sign("verify", newer, "--key", maker.key.with_name("private.key.pub")).returncode == 1


def test_a_second_key_is_for_the_time_of_a_change(maker, newer, tmp_path):
    built_in = tmp_path / "release_key.py"
    shutil.copy(maker.built_in, built_in)
    assert maker.sign("keygen", tmp_path / "second.key", "--into", built_in).returncode == 0
    found: dict = {}
    exec(built_in.read_text(), found)
    assert len(found["KEYS"]) == 2 and releases.read(newer.with_name(newer.name + ".sig").read_bytes(), found["KEYS"]).version == "9.0.0"
    assert maker.sign("verify", newer, "--key", found["KEYS"][0]).returncode == 0
    assert maker.sign("verify", newer, "--key", found["KEYS"][1]).returncode == 1


@pytest.mark.parametrize(("older", "newer"), [("0.9", "0.10.0"), ("1.0.0", "1.0.1"), ("0.1.0", "1.0"), ("1.2.3", "1.2.3.1")])
def test_versions_are_compared_by_number(older, newer):
    assert releases.number(older) < releases.number(newer) and releases.number("1.0") == releases.number("1.0.0")


def test_platforms_have_one_name():
    assert releases.platform("win32", "AMD64") == "windows-x86_64" and releases.platform("linux", "aarch64") == "linux-arm64"
    assert re.fullmatch(r"\w+-\w+", releases.platform(sys.platform, platform.machine()))
