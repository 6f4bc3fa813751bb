"""`ananta service` on Windows: the plan of windows.py with the machine of windows_system.py."""
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ananta import settings as settings_module
from ananta.errors import CannotStart, NotFound, NotThereYet
from ananta.operations.service import layout, variables, windows, windows_system
from ananta.operations.service.choices import Choices, Installation
from ananta.operations.service.plan import Step
from ananta.settings import Settings

assert sys.platform == "win32"  # for the type checker


def installation(choices: Choices, *, user: bool, firewall: bool, dry_run: bool) -> Installation:
    """Returns what an installation would do. Raises CannotStart, InvalidInput and SettingInvalid."""
    places = _places(user)
    if not dry_run:
        _require(user)
    layout.check(Path(places.executable.parent))
    return windows.installation(choices, places, windows_system.WindowsSystem(), before=_text(places), kept=_kept(places), firewall=firewall)


def removal(*, purge: bool, user: bool, dry_run: bool) -> tuple[list[Step], str]:
    """Returns what takes it away, and where data and settings are. Raises CannotStart and NotFound."""
    places, system = _places(user), windows_system.WindowsSystem()
    if not dry_run:
        _require(user)
        if layout.is_laid_out(Path(places.executable.parent)):
            raise CannotStart("This very program would be removed, and Windows removes none that runs: call the ananta.exe that you downloaded.")
    there = (system.autostart(windows.DISPLAY) if user else system.state(windows.NAME)) is not None
    return windows.removal(places, system, purge=purge, there=there), str(places.state)


def state(*, user: bool) -> tuple[str, Mapping[str, str], Path, list[str]]:
    """Returns how it is, its environment, its folder, and the files of its secrets. Raises CannotStart and NotFound."""
    places, system = _places(user), windows_system.WindowsSystem()
    found = ("starts when you sign in" if system.autostart(windows.DISPLAY) else None) if user else system.state(windows.NAME)
    if found is None:
        raise NotFound("Ananta is not installed here: `ananta service install` does that" + (" (with --user)." if user else "."))
    environment = {**os.environ, **variables.read(_text(places)), **places.fixed()}
    return found, environment, Path(places.state), list(_kept(places).values())


def run(load: Callable[[], Settings], say: Callable[[str], None], *, user: bool) -> int:
    """Runs the agent until it is to stop; returns the exit code. Raises CannotStart."""
    from ananta import app
    from ananta.operations.service import windows_service

    places = _places(user)
    if user:
        windows_service.hide_console()
        os.environ.update({**variables.read(_text(places)), **places.fixed()})
        os.chdir(places.state)
        return app.serve(settings_module.load({}, os.environ), say)
    service = windows_service.WindowsService(windows.NAME)
    service.connect()
    sys.stdout = sys.stderr = windows_service.EventLog(windows.DISPLAY)  # type: ignore[assignment]
    try:
        # Not a folder in which commands can write: `.env` and blacklist.txt are looked for here.
        os.chdir(places.state)
        code = app.serve(load(), say, service)
    except NotThereYet:
        raise
    except CannotStart as error:
        code = 2
        print(f"ananta: {error.message}")
    # Whatever else ends it is told to nobody: the manager takes that for a failure, and starts the service again.
    service.stopped(code)
    return code


def _places(user: bool) -> windows.Places:
    def folder(name: str, usual: str) -> str:
        return os.environ.get(name) or usual

    return windows.Places(folder("ProgramFiles", r"C:\Program Files"), folder("ProgramData", r"C:\ProgramData"),
                          folder("LOCALAPPDATA", str(Path.home() / "AppData" / "Local")), user)


def _require(user: bool) -> None:
    if not user and not windows_system.is_administrator():
        raise CannotStart('Only an administrator can install or remove a service: open a terminal with "Run as administrator", or add --user '
                          "to have it start when you sign in.")


def _text(places: windows.Places) -> str:
    try:
        return Path(places.variables).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except PermissionError as cause:
        raise CannotStart(f'{places.variables} can be read by administrators only: open a terminal with "Run as administrator".') from cause


def _kept(places: windows.Places) -> dict[str, str]:
    return windows_system.kept_secrets(Path(places.credentials), set(map(str.lower, settings_module.secret_names())))
