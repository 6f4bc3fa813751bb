"""`ananta service install | uninstall | status`, whatever the system is."""
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ananta import settings as settings_module
from ananta.errors import CannotStart
from ananta.operations import doctor
from ananta.operations.checks.finding import Finding
from ananta.operations.service import linux, plan
from ananta.operations.service.choices import ADMIN_PASSWORD, TOKEN, choose
from ananta.store import directory

Say = Callable[[str], None]
SHOWN = {TOKEN: "token     {}  (shown this once; callers present it)",
         ADMIN_PASSWORD: "sign in   as {user} with the password {}  (shown this once)"}


@dataclass(frozen=True)
class Status:
    """facts: of the service, for programs; line: the same for people; running: whether it does."""

    running: bool
    line: str
    facts: Mapping[str, object]
    findings: list[Finding]


def install(given: Mapping[str, str], say: Say, *, dry_run: bool, root: Path | None = None) -> None:
    """Installs the service, or brings it up to date: then its data, its token and its settings stay.

    given: settings that were given as options, field name → text; root: the top of an image to lay it out in. Raises
    CannotStart, InvalidInput and SettingInvalid."""
    _require_linux()
    places = linux.Places(root.resolve() if root else Path("/"))
    choices = choose(given)
    if not dry_run:
        linux.require(places)
    made = linux.installation(choices, places)
    if dry_run:
        say(plan.told(made.steps))
        return
    plan.do(made.steps)
    for name, value in made.shown_once.items():
        say(SHOWN[name].format(value, user=made.settings.initial_admin_user))
    say(made.closing)


def uninstall(say: Say, *, purge: bool, dry_run: bool, root: Path | None = None) -> None:
    """Removes the service; its data, settings and secrets stay unless purge. Raises CannotStart and NotFound."""
    _require_linux()
    places = linux.Places(root.resolve() if root else Path("/"))
    if not dry_run:
        linux.require(places)
    steps = linux.removal(places, purge=purge)
    if dry_run:
        say(plan.told(steps))
        return
    kept = "" if purge else f" Data and settings are still in {places.state} and {places.etc} (--purge removes them, too)."
    plan.do(steps)
    say(f"The service was removed.{kept}")


def status(root: Path | None = None) -> Status:
    """Returns how the service is, with what the doctor says of it. Raises CannotStart and NotFound."""
    _require_linux()
    places = linux.Places(root.resolve() if root else Path("/"))
    environment = linux.environment(places)
    files = [Path(each) for each in linux.kept_secrets(places).values()]
    found = linux.state(places)
    holder = directory.holder(Path(environment["DATA_DIR"]))
    url = (holder or {}).get("url")
    running = found.get("ActiveState") == "active" or (not found and holder is not None)
    try:
        version = (places.program / "current").resolve().name
    except OSError:
        version = "unknown"
    facts = {"running": running, "version": version, "url": url, **found}
    words = f"{found.get('ActiveState', 'unknown')} ({found.get('SubState', '?')})" if found else "systemd cannot be asked"
    line = f"ananta.service {words}, version {version}" + (f", {url}" if url else "") + (
        "" if running else ": see `journalctl -u ananta -n 30`, then `sudo systemctl start ananta`")
    findings = doctor.examine(lambda: settings_module.load({}, environment, places.etc), environment, lambda: files)
    return Status(running, line, facts, findings)


def _require_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise CannotStart(f"There is no service for {sys.platform}: Linux with systemd, and Windows have one. Start `ananta` by what "
                          "starts other programs there.")
