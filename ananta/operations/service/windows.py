"""The service on Windows, as a plan: what goes where, with which rights, by which command line. Pure but for the steps' own work.

Settings are in ananta.env as on Linux; the service gets them as its environment when it is installed. Written from the
documentation of Windows; not yet tried there."""
import hashlib
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ananta import __version__
from ananta.errors import NotFound
from ananta.operations.service import variables
from ananta.operations.service.choices import Choices, Installation, checked, secrets_to_keep
from ananta.operations.service.plan import Call, Command, File, Remove, Step

NAME, DISPLAY = "ananta", "Ananta"
ACCOUNT = rf"NT SERVICE\{NAME}"
ABOUT = "A language model's terminal, under control"
RULE = "Ananta"
EVENT_SOURCE = rf"SYSTEM\CurrentControlSet\Services\EventLog\Application\{DISPLAY}"
# Any program with message texts 1 to 1000 that say just what they are given.
MESSAGES = r"%SystemRoot%\System32\EventCreate.exe"
RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
EVERYTHING, READING = "FA", "FRFX"


class System:
    """What the steps do to the machine; windows_system.py is the real one."""

    lay_out: Callable[[Path], object]
    make_folder: Callable[[str, str], object]
    set_event_source: Callable[[str, str], object]
    register: Callable[..., object]
    start: Callable[[str], object]
    stop: Callable[[str], object]
    remove: Callable[[str], object]
    forget_event_source: Callable[[str], object]
    set_autostart: Callable[[str, str], object]
    forget_autostart: Callable[[str], object]


@dataclass(frozen=True)
class Places:
    """Where everything goes; for one person it is all below LOCALAPPDATA."""

    program_files: str
    program_data: str
    local_app_data: str
    user: bool = False

    @property
    def program(self) -> PureWindowsPath:
        return PureWindowsPath(self.local_app_data, "Programs", DISPLAY) if self.user else PureWindowsPath(self.program_files, DISPLAY)

    @property
    def executable(self) -> PureWindowsPath:
        return self.program / __version__ / "ananta.exe"

    @property
    def state(self) -> PureWindowsPath:
        return PureWindowsPath(self.local_app_data if self.user else self.program_data, DISPLAY)

    @property
    def variables(self) -> PureWindowsPath:
        return self.state / "ananta.env"

    @property
    def credentials(self) -> PureWindowsPath:
        return self.state / "credentials"

    def fixed(self) -> dict[str, str]:
        """What the installation sets, and no setting of the operator."""
        return {"DATA_DIR": str(self.state / "data"), "WORK_DIR": str(self.state / "work"), "CREDENTIALS_DIRECTORY": str(self.credentials)}


def service_sid(name: str) -> str:
    """Returns the identity of the account that belongs to a service: fixed by its name, there before the service is."""
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    return "S-1-5-80-" + "-".join(str(int.from_bytes(digest[at:at + 4], "little")) for at in range(0, 20, 4))


def rights(of_service: str, *, below: bool = True) -> str:
    """Returns a security descriptor in SDDL: all rights for the system and administrators, those given for the service,
    none for anybody else, and nothing from the folder above. below: also for what is made in the folder."""
    heirs = "OICI" if below else ""
    entries = [f"(A;{heirs};FA;;;SY)", f"(A;{heirs};FA;;;BA)", f"(A;{heirs};{of_service};;;{service_sid(NAME)})"]
    return "D:P" + "".join(entries)


def command_line(words: list[str]) -> str:
    """Returns the words as one line that a Windows program splits into the same words."""
    return subprocess.list2cmdline(words)


def service_command(places: Places) -> str:
    # Always in quotes: without them Windows tries C:\Program.exe first.
    return f'"{places.executable}" service run'


def autostart_command(places: Places) -> str:
    return f'"{places.executable}" ' + command_line(["service", "run", "--user"])


def installation(choices: Choices, places: Places, system: System, *, before: str, kept: Mapping[str, str],
                 firewall: bool = False) -> Installation:
    """Returns what an installation would do; changes nothing. before: the text of ananta.env, "" without one; kept: the
    secrets that are there. Raises InvalidInput and SettingInvalid."""
    head = variables.HEAD.format(credentials=places.credentials).replace("`systemctl restart ananta`", "`ananta service install` again")
    text = variables.changed(before or f'{head}ANONYMOUS_READS="off"\nLOG_LEVEL="WARNING"\n', choices.variables())
    settings = checked(variables.read(text))
    new, made = secrets_to_keep(choices, settings, kept)
    environment = variables.read(text) | places.fixed()
    # A program that runs cannot be replaced on Windows.
    stop = [] if places.user else [Call(f"service  {NAME}: stop, where it runs", lambda: system.stop(NAME))]
    steps: list[Step] = [*stop, _program(places, system), *_folders(places, system),
                         *(File(Path(str(places.credentials / name)), value + "\n", secret=True) for name, value in sorted(new.items())),
                         File(Path(str(places.variables)), text)]
    if places.user:
        line = autostart_command(places)
        steps += [Call(rf"registry HKCU\{RUN_KEY}  {DISPLAY} = {line}", lambda: system.set_autostart(DISPLAY, line))]
        return Installation(tuple(steps), settings, made, f"It starts when you sign in: http://127.0.0.1:{settings.port}\n"
                            f"next      sign in anew, or start it now: {line}")
    steps += _service(places, system, environment)
    if firewall:
        steps += [_no_rule(), Command(("netsh", "advfirewall", "firewall", "add", "rule", f"name={RULE}", "dir=in", "action=allow", "protocol=TCP",
                                       f"localport={settings.port}", f"program={places.executable}", "profile=domain,private"))]
    steps.append(Call(f"service  {NAME}: start, and wait until it runs", lambda: system.start(NAME)))
    return Installation(tuple(steps), settings, made, f"The {settings.role} runs as a service and starts with this machine: "
                        f"http://127.0.0.1:{settings.port}\nnext      ananta service status; its settings: {places.variables}")


def removal(places: Places, system: System, *, purge: bool, there: bool) -> list[Step]:
    """Returns what takes it away. there: whether it is installed. Raises NotFound."""
    if not there and not purge:
        raise NotFound("Ananta is not installed here.")
    steps: list[Step] = [Call(rf"registry HKCU\{RUN_KEY}  without {DISPLAY}", lambda: system.forget_autostart(DISPLAY))] if places.user else [
        Call(f"service  {NAME}: stop and remove", lambda: system.remove(NAME)), _no_rule(),
        Call(rf"registry HKLM\{EVENT_SOURCE}  remove", lambda: system.forget_event_source(EVENT_SOURCE))]
    if purge:
        steps.append(Remove(Path(str(places.state))))
    return [*steps, Remove(Path(str(places.program)))]


def _program(places: Places, system: System) -> Step:
    folder = places.executable.parent
    return Call(f"program  {folder}  from this executable, unpacked for good", lambda: system.lay_out(Path(str(folder))))


def _folders(places: Places, system: System) -> list[Step]:
    if places.user:
        # Below LOCALAPPDATA everything is its owner's anyway.
        return [_folder(str(each), "", system) for each in (places.state, *(places.state / name for name in ("data", "work", "credentials")))]
    wanted = [(places.state, rights(READING, below=False)), (places.state / "data", rights(EVERYTHING)),
              (places.state / "work", rights(EVERYTHING)), (places.credentials, rights(READING))]
    return [_folder(str(path), sddl, system) for path, sddl in wanted]


def _folder(path: str, sddl: str, system: System) -> Step:
    return Call(f"folder   {path}" + (f"  ({sddl})" if sddl else ""), lambda: system.make_folder(path, sddl))


def _service(places: Places, system: System, environment: Mapping[str, str]) -> list[Step]:
    line = service_command(places)
    shown = "\n".join(f"  | {name}={value}" for name, value in environment.items())
    return [
        Call(rf"registry HKLM\{EVENT_SOURCE}  EventMessageFile = {MESSAGES}", lambda: system.set_event_source(EVENT_SOURCE, MESSAGES)),
        Call(f"service  {NAME}: {line}  as {ACCOUNT}, starts with the machine, again after a failure; its environment:\n{shown}",
             lambda: system.register(NAME, DISPLAY, ABOUT, line, ACCOUNT, dict(environment)))]


def _no_rule() -> Step:
    return Command(("netsh", "advfirewall", "firewall", "delete", "rule", f"name={RULE}"), may_fail=True)
