"""`ananta doctor`: every question that a failed start or an unreachable model would raise, asked at once."""
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ananta import settings as settings_module
from ananta.agent.configuration import LiveConfiguration
from ananta.agent.watch import ModelWatch
from ananta.errors import AnantaError
from ananta.llm.catalog import LanguageModels
from ananta.operations.client import agent_token
from ananta.settings import Settings, is_loopback
from ananta.shell import containment
from ananta.shell.runner import Runner
from ananta.store import directory, journal
from ananta.store.configuration import ConfigFile

DISK_LOW_BYTES = 200 << 20
CLOCK_SLACK_S = 120
BUILT_AFTER = 1_767_225_600  # 2026-01-01: no honest clock is older than the program


@dataclass(frozen=True)
class Finding:
    """One answer. ok False: the text says what to do."""

    subject: str
    ok: bool
    text: str


def examine(load: Callable[[], Settings]) -> list[Finding]:
    """Returns one or more findings for each subject; never raises for what it finds."""
    try:
        settings = load()
    except AnantaError as error:
        return [Finding("settings", False, error.message)]
    findings = [Finding("settings", True, _given(settings))]
    for subject, look in (("data", _data), ("configuration", _configuration), ("disk", _disk), ("token", _token),
                          ("port", _port), ("shell", _shell), ("containment", _containment), ("record", _record), ("clock", _clock), ("model", _model)):
        try:
            findings += [Finding(subject, *each) for each in look(settings)]
        except AnantaError as error:
            findings.append(Finding(subject, False, error.message))
        except OSError as error:
            findings.append(Finding(subject, False, f"{error.filename or 'the system'}: {error.strerror}. Correct the "
                                                    "permissions, or choose another folder with DATA_DIR."))
    return findings


def _given(settings: Settings) -> str:
    names = sorted(name.upper() for name in settings.given)
    return f"set: {', '.join(names)}" if names else "all at their defaults"


def _data(settings: Settings) -> Iterator[tuple[bool, str]]:
    folder = settings.data_dir.resolve()
    holder = directory.holder(folder)
    used = f"; in use by pid {holder.get('pid')} {holder.get('url') or ''}".rstrip() if holder else ""
    if not folder.exists():
        parent = next(each for each in folder.parents if each.exists())
        good = os.access(parent, os.W_OK)
        yield good, (f"{folder} will be made at the first start" if good else
                     f"{parent} is not writable: choose another folder with DATA_DIR.")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield False, f"{folder} is not writable for this user: change its owner, or choose another with DATA_DIR."
        return
    if os.name == "posix" and folder.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield False, f"{folder} can be read by other users: chmod 700 {folder}"
    else:
        yield True, f"{folder}{used}"


def _configuration(settings: Settings) -> Iterator[tuple[bool, str]]:
    file = ConfigFile(settings.data_dir.resolve() / "config.json")
    LiveConfiguration(file, settings_module.configuration_defaults(settings), settings.given)
    yield True, f"{len(file.load())} keys changed while running"


def _disk(settings: Settings) -> Iterator[tuple[bool, str]]:
    folder = settings.data_dir.resolve()
    free = shutil.disk_usage(folder if folder.exists() else next(each for each in folder.parents if each.exists())).free
    yield free > DISK_LOW_BYTES, f"{free / (1 << 30):.1f} GiB free" + (
        "" if free > DISK_LOW_BYTES else ": no records can be written when it is full, and then nothing runs. Make room.")


def _token(settings: Settings) -> Iterator[tuple[bool, str]]:
    folder, token = settings.secrets_folder, agent_token(settings)
    settings_module.check(settings, has_token=token is not None)
    if token is None:
        yield True, "none: only this machine can call the agent (`ananta token new` makes one)"
    elif len(token) < 16:
        yield False, f"only {len(token)} characters: make a long one with `ananta token new --force`"
    else:
        yield True, f"{len(token)} characters, from {'the settings' if token == settings.agent_token else 'the secrets'}"
    if os.name == "posix" and folder.exists():
        for path in [folder, *folder.iterdir()]:
            if path.stat().st_mode & 0o077:
                yield False, f"{path} can be read by other users: chmod go= {path}"


def _port(settings: Settings) -> Iterator[tuple[bool, str]]:
    holder = directory.holder(settings.data_dir.resolve())
    if holder and holder.get("url"):
        yield True, f"an agent runs at {holder['url']}"
        return
    host = settings.host or "127.0.0.1"
    if settings.port == 0:
        yield True, "a free one will be taken"
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), settings.port))
        except OSError as error:
            yield False, (f"{settings.port} on {host} cannot be used ({error.strerror}){_user(settings.port)}: stop that "
                          "program, or choose another with PORT.")
            return
    yield True, f"{settings.port} on {host} is free" + ("" if is_loopback(host) else " and reachable by others")


def _user(port: int) -> str:
    import psutil

    try:
        for each in psutil.net_connections("tcp"):
            if each.laddr and each.laddr.port == port and each.status == psutil.CONN_LISTEN and each.pid:
                return f", used by {psutil.Process(each.pid).name()} (pid {each.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""


def _shell(settings: Settings) -> Iterator[tuple[bool, str]]:
    home = (settings.work_dir or Path.cwd()).resolve()
    if not home.is_dir():
        yield False, f"WORK_DIR {home} does not exist: make it, or choose another."
        return
    runner = Runner(shell_path=settings.shell_path, home=home, environment=os.environ)
    try:
        yield True, f"{runner.shell_path} in {home}"
    finally:
        runner.close()


def _containment(settings: Settings) -> Iterator[tuple[bool, str]]:
    version = containment.available()
    home = (settings.work_dir or Path.cwd()).resolve()
    divided = any(home in (path, *path.parents) for path in (settings.data_dir.resolve(), settings.secrets_folder))
    if settings.containment == "off":
        yield True, "off: commands that nobody decides about may only read"
    elif version == 0:
        yield True, "not possible on this system (no Landlock): commands that nobody decides about may only read"
    else:
        yield True, f"by Landlock, ABI {version}: commands that nobody decides about change only their working folder" + (
            ", programs that a rule allows only its subfolders, because the data is in it (DATA_DIR elsewhere changes that)" if divided else "")


def _record(settings: Settings) -> Iterator[tuple[bool, str]]:
    folder = settings.data_dir.resolve()
    log = folder / "terminal_log.jsonl"
    size = log.stat().st_size if log.exists() else 0
    unfinished = journal.unfinished(folder) if directory.holder(folder) is None else 0
    yield True, f"{size / (1 << 20):.1f} MiB" + (
        f"; {unfinished} runs were cut off and will be shown as unknown" if unfinished else "")


def _clock(settings: Settings) -> Iterator[tuple[bool, str]]:
    now = time.time()
    newest = max((path.stat().st_mtime for path in settings.data_dir.resolve().glob("*.jsonl")), default=0.0)
    if now < BUILT_AFTER or newest > now + CLOCK_SLACK_S:
        behind = "it is before this program was made" if now < BUILT_AFTER else "records from its future exist"
        yield False, f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')} cannot be right, {behind}: set the clock (timedatectl)."
    else:
        yield True, time.strftime("%Y-%m-%d %H:%M:%S %Z")


def _model(settings: Settings) -> Iterator[tuple[bool, str]]:
    configuration = LiveConfiguration(ConfigFile(settings.data_dir.resolve() / "config.json"), settings_module.configuration_defaults(settings),
                                      settings.given)
    models = LanguageModels(retries=0, backoff=1.0, max_context_tokens=settings.lmstudio_max_context_tokens,
                            history_path=None, locate_local=True)
    try:
        good, text, seconds = ModelWatch(lambda: models, configuration, enabled=False).report()
        yield good, f"{text} ({seconds:.1f} s)" if good else text
    finally:
        models.close()
