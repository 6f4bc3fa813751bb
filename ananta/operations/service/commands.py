"""`ananta service install | uninstall | status`, whatever the system is."""
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ananta import settings as settings_module
from ananta.errors import AnantaError, CannotStart, InvalidInput
from ananta.operations import doctor
from ananta.operations.checks.finding import Finding
from ananta.operations.service import linux, plan
from ananta.operations.service.choices import ADMIN_PASSWORD, TOKEN, Installation, choose
from ananta.settings import Settings
from ananta.store import directory

ANSWER_S = 5.0
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


def install(given: Mapping[str, str], say: Say, *, dry_run: bool, root: Path | None = None, user: bool = False,
            firewall: bool = False, start: bool = True) -> None:
    """Installs the service, or brings it up to date: then its data, its token and its settings stay.

    given: settings that were given as options, field name → text; root: the top of an image to lay it out in (Linux); user:
    start it when this person signs in; firewall: let others reach it (both Windows); start: also start the service, else
    only lay it out (Linux). Raises CannotStart, InvalidInput
    and SettingInvalid."""
    choices = choose(given)
    if sys.platform == "win32":
        from ananta.operations.service import windows_commands

        _refuse("--root", root)
        _refuse("--no-start", not start)
        made = windows_commands.installation(choices, user=user, firewall=firewall, dry_run=dry_run)
    else:
        _refuse("--user", user)
        _refuse("--firewall", firewall)
        places = _places(root)
        if not dry_run:
            linux.require(places)
        made = linux.installation(choices, places, start=start)
    if dry_run:
        say(plan.told(made.steps))
        return
    try:
        plan.do(made.steps)
    except AnantaError:
        # What is kept already is not made again: this is the only time that it can be shown.
        _show(made, {step.path.name for step in made.steps if isinstance(step, plan.File) and step.secret and step.is_done()}, say)
        raise
    _show(made, made.shown_once, say)
    say(made.closing)


def _show(made: Installation, names: Container[str], say: Say) -> None:
    for name, value in made.shown_once.items():
        if name in names:
            say(SHOWN[name].format(value, user=made.settings.initial_admin_user))


def uninstall(say: Say, *, purge: bool, dry_run: bool, root: Path | None = None, user: bool = False) -> None:
    """Removes the service; its data, settings and secrets stay unless purge. Raises CannotStart and NotFound."""
    if sys.platform == "win32":
        from ananta.operations.service import windows_commands

        _refuse("--root", root)
        steps, kept = windows_commands.removal(purge=purge, user=user, dry_run=dry_run)
    else:
        _refuse("--user", user)
        places = _places(root)
        if not dry_run:
            linux.require(places)
        steps, kept = linux.removal(places, purge=purge), f"{places.state} and {places.etc}"
    if dry_run:
        say(plan.told(steps))
        return
    plan.do(steps)
    say("The service was removed." + ("" if purge else f" Data and settings are still in {kept} (--purge removes them, too)."))


def status(root: Path | None = None, *, user: bool = False) -> Status:
    """Returns how the service is, with what the doctor says of it. Raises CannotStart and NotFound."""
    if sys.platform == "win32":
        from ananta.operations.service import windows_commands

        _refuse("--root", root)
        return _windows_status(windows_commands.state(user=user))
    _refuse("--user", user)
    places = _places(root)
    environment = linux.environment(places)
    found = linux.state(places)
    holder = directory.holder(Path(environment["DATA_DIR"]))
    url = (holder or {}).get("url")
    running = found.get("ActiveState") == "active" or (not found and holder is not None)
    version = (places.program / "current").resolve().name
    words = f"{found.get('ActiveState', 'unknown')} ({found.get('SubState', '?')})" if found else "systemd cannot be asked"
    line = f"ananta.service {words}, version {version}" + (f", {url}" if url else "") + (
        "" if running else ": see `journalctl -u ananta -n 30`, then `sudo systemctl start ananta`")
    secret_files = [*linux.kept_secrets(places).values()]
    if any(name in environment for name in settings_module.secret_names()):
        secret_files.append(str(places.variables))  # not meant for secrets, but somebody has put one there
    findings = _examined(environment, places.etc, secret_files)
    if url:
        findings.append(_guarded(url))
    return Status(running, line, {"running": running, "version": version, "url": url, **found}, findings)


def environment() -> dict[str, str]:
    """Returns the settings of the service that is installed here, as its environment. Raises CannotStart and NotFound."""
    if sys.platform == "win32":
        from ananta.operations.service import windows_commands

        return dict(windows_commands.state(user=False)[1])
    return dict(linux.environment(_places(None)))


def run(load: Callable[[], Settings], say: Say, *, user: bool) -> int:
    """Runs the agent for Windows' service control manager, or at sign-in. Returns the exit code; raises CannotStart."""
    if sys.platform == "win32":
        from ananta.operations.service import windows_commands

        return windows_commands.run(load, say, user=user)
    raise CannotStart("This is what Windows starts; here systemd starts `ananta` itself.")


def _windows_status(found: tuple[str, Mapping[str, str], Path, list[str]]) -> Status:
    state, environment, folder, files = found
    running = state == "running"
    findings = _examined(environment, folder, files)
    return Status(running, f"service ananta: {state}", {"running": running, "state": state}, findings)


def _guarded(url: str) -> Finding:
    """Whether the agent that runs asks for its token: what its files say is not yet what it has read."""
    import http.client
    from contextlib import closing
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)) as connection:
            connection.request("GET", "/config")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as failure:
        return Finding("access", False, f"{url} gives no answer ({failure}): see `journalctl -u ananta -n 30`.")
    good = status == 401
    return Finding("access", good, "nothing without the token" if good else f"{url}/config answers {status} without a token: everybody on this "
                   "machine can read it. Set ANONYMOUS_READS=off, and see that the token is there (`sudo ananta service install`).")


def _examined(environment: Mapping[str, str], folder: Path, secret_files: Iterable[str]) -> list[Finding]:
    return doctor.examine(lambda: settings_module.load({}, environment, folder), environment, lambda: [Path(each) for each in secret_files])


def _places(root: Path | None) -> linux.Places:
    if not sys.platform.startswith("linux"):
        raise CannotStart(f"There is no service for {sys.platform}: Linux with systemd, and Windows have one. Start `ananta` by what "
                          "starts other programs there.")
    return linux.Places(root.resolve() if root else Path("/"))


def _refuse(option: str, value: object) -> None:
    if value:
        raise InvalidInput(f"{option} is not for this system: it is for {'Linux' if option in ('--root', '--no-start') else 'Windows'}.")
