"""The service on Linux: a systemd unit, a user of its own, the program in /opt, settings in /etc, state in /var/lib."""
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ananta import __version__
from ananta import settings as settings_module
from ananta.errors import CannotStart, NotFound
from ananta.operations.service import layout, unit, variables
from ananta.operations.service.choices import Choices, Installation, checked, secrets_to_keep
from ananta.operations.service.plan import Call, Command, File, Folder, Link, Remove, Step

NAME = USER = "ananta"
PROPERTIES = ("ActiveState", "SubState", "MainPID", "ActiveEnterTimestamp", "Result", "NRestarts")


@dataclass(frozen=True)
class Places:
    """Where everything goes. root: "/", or the top of an image that is being made, in which nothing is started."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def image(self) -> bool:
        return self.root != Path("/")

    @property
    def program(self) -> Path:
        return self.at("/opt/ananta")

    @property
    def etc(self) -> Path:
        return self.at("/etc/ananta")

    @property
    def credentials(self) -> Path:
        return self.etc / "credentials"

    @property
    def variables(self) -> Path:
        return self.etc / "ananta.env"

    @property
    def unit(self) -> Path:
        return self.at(f"/etc/systemd/system/{NAME}.service")

    @property
    def state(self) -> Path:
        return self.at("/var/lib/ananta")

    @property
    def command(self) -> Path:
        return self.at("/usr/local/bin/ananta")


def installation(choices: Choices, places: Places, *, start: bool = True) -> Installation:
    """Returns what an installation would do; changes nothing. start: also start the service. Raises CannotStart, InvalidInput and SettingInvalid."""
    head = variables.HEAD.format(credentials="/etc/ananta/credentials")
    before = places.variables.read_text() if places.variables.exists() else f'{head}ANONYMOUS_READS="off"\n'
    text = variables.changed(before, choices.variables())
    settings = checked(variables.read(text))
    new, made = secrets_to_keep(choices, settings, kept_secrets(places))
    names = sorted({*kept_secrets(places), *new})
    folder = places.program / __version__
    layout.check(folder, for_others=not places.image)
    steps: list[Step] = [
        *_user(places), Folder(places.program), _program(folder), Link(places.program / "current", __version__),
        Folder(places.etc), Folder(places.credentials, 0o700),
        *(File(places.credentials / name, value + "\n", 0o600, secret=True) for name, value in sorted(new.items())),
        File(places.variables, text), Folder(places.unit.parent, ours=False), File(places.unit, _unit(settings.role, names))]
    if not os.path.lexists(places.command) or _is_ours(places):
        steps += [Folder(places.command.parent, ours=False), Link(places.command, "/opt/ananta/current/ananta")]
    steps += [*_start(places, start), *(Remove(each) for each in _outdated(places))]
    return Installation(tuple(steps), settings, made, _closing(settings, places, start))


def removal(places: Places, *, purge: bool) -> list[Step]:
    """Returns what takes the service away. purge: with its data, settings, secrets and user. Raises NotFound."""
    if not places.unit.exists() and not places.program.exists() and not (purge and places.state.exists()):
        raise NotFound("Ananta is not installed as a service here.")
    systemctl = ("systemctl", f"--root={places.root}") if places.image else ("systemctl",)
    steps: list[Step] = [Command((*systemctl, "disable", *(() if places.image else ("--now",)), f"{NAME}.service"), may_fail=True),
                         Remove(places.unit)]
    if not places.image:
        steps += [Command(("systemctl", "daemon-reload"), may_fail=True), Command(("systemctl", "reset-failed", f"{NAME}.service"), may_fail=True)]
    if _is_ours(places):
        steps.append(Remove(places.command))
    if purge:
        steps += [Remove(places.state), Remove(places.etc)]
        if _is_user(places):
            steps.append(Command(("userdel", *_prefix(places), USER), may_fail=True))
    # The last one: this very program may be in there.
    return [*steps, Remove(places.program)]


def kept_secrets(places: Places) -> dict[str, str]:
    """Returns name and file of the secrets that are there."""
    names = {field.name for field in settings_module.listed() if field.metadata["secret"]}
    try:
        return {each.name: str(each) for each in sorted(places.credentials.iterdir()) if each.name in names}
    except FileNotFoundError:
        return {}
    except PermissionError as cause:
        raise CannotStart(f"{places.credentials} can be read by root only: put `sudo` in front.") from cause


def environment(places: Places) -> dict[str, str]:
    """Returns the environment that the service has, as far as it is about settings. Raises NotFound and CannotStart."""
    if not places.unit.exists():
        raise NotFound("Ananta is not installed as a service here: `sudo ananta service install` does that.")
    kept_secrets(places)
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DATA_DIR": str(places.state / "data"),
            "WORK_DIR": str(places.state / "work"), "CREDENTIALS_DIRECTORY": str(places.credentials),
            **variables.read(places.variables.read_text())}


def state(places: Places) -> Mapping[str, str]:
    """Returns what systemd says of the unit, by the names of its properties; empty where it does not run."""
    try:
        done = subprocess.run(["systemctl", "show", f"{NAME}.service", "--property", ",".join(PROPERTIES)], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def require(places: Places) -> None:
    """Raises CannotStart where this process cannot install a service."""
    if places.image:
        return
    if not Path("/run/systemd/system").is_dir():
        raise CannotStart("This system was not started by systemd, so it cannot keep a service: start `ananta` by what starts other programs "
                          "here (in a container: as its command), or lay an image out with --root DIR.")
    if sys.platform != "win32" and os.geteuid() != 0:
        raise CannotStart("Only root can install or remove a service: put `sudo` in front.")


def _unit(role: str, names: list[str]) -> str:
    return unit.text(name=NAME, role=role, program="/opt/ananta/current/ananta", user=USER, etc="/etc/ananta",
                     data="/var/lib/ananta/data", work="/var/lib/ananta/work", state="ananta ananta/data ananta/work",
                     credentials={name: f"/etc/ananta/credentials/{name}" for name in names})


def _program(folder: Path) -> Step:
    what = {"onefile": "this executable, unpacked for good", "folder": "this program's folder", "source": "this source, with what it needs"}
    same = " (this program runs from there: it stays)" if layout.is_laid_out(folder) else ""
    return Call(f"program  {folder}  from {what[layout.kind()]}{same}", lambda: layout.lay_out(folder))


def _outdated(places: Places) -> list[Path]:
    """The versions that are neither this one nor the one it takes the place of."""
    try:
        kept = {__version__, os.readlink(places.program / "current")}
        return sorted(each for each in places.program.iterdir() if each.is_dir() and not each.is_symlink() and each.name not in kept)
    except OSError:
        return []


def _user(places: Places) -> list[Step]:
    if _is_user(places):
        return []
    return [Command(("useradd", *_prefix(places), "--system", "--user-group", "--home-dir", "/var/lib/ananta", "--no-create-home", "--shell",
                     "/usr/sbin/nologin", "--comment", "Ananta", USER), cure="Make a system user `ananta` by hand, and try again.")]


def _prefix(places: Places) -> tuple[str, ...]:
    return ("--prefix", str(places.root)) if places.image else ()


def _is_user(places: Places) -> bool:
    try:
        lines = places.at("/etc/passwd").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    if any(line.startswith(f"{USER}:") for line in lines):
        return True
    if places.image or sys.platform == "win32":
        return False
    import pwd  # not on Windows; also knows users that no file lists

    try:
        return bool(pwd.getpwnam(USER))
    except KeyError:
        return False


def _start(places: Places, start: bool) -> list[Step]:
    if places.image:
        return [Command(("systemctl", f"--root={places.root}", "enable", f"{NAME}.service"))]
    steps: list[Step] = [Command(("systemctl", "daemon-reload")), Command(("systemctl", "enable", f"{NAME}.service"))]
    cure = f"See why: journalctl -u {NAME} -n 30"
    return [*steps, Command(("systemctl", "restart", f"{NAME}.service"), cure=cure)] if start else steps


def _is_ours(places: Places) -> bool:
    return places.command.is_symlink() and os.readlink(places.command).startswith("/opt/ananta/")


def _closing(settings: settings_module.Settings, places: Places, start: bool) -> str:
    if places.image:
        return f"Laid out in {places.root}; the service starts with the image."
    if not start:
        return f"It is laid out, and this version runs from the next start on: sudo systemctl restart {NAME}"
    return (f"The {settings.role} runs as a service and starts with this machine: http://127.0.0.1:{settings.port}\n"
            f"next      sudo ananta service status; its log: journalctl -u {NAME} -f; its settings: /etc/ananta/ananta.env")
