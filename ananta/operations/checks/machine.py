"""This machine: the program itself, the shells, what holds commands back, and the port."""
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath

from ananta import __version__, packaged
from ananta.operations.checks.finding import Answer, Case
from ananta.settings import is_loopback
from ananta.shell import containment as landlock
from ananta.shell.runner import Runner
from ananta.store import directory

SHELLS = ("bash", "pwsh", "powershell")


def program(case: Case) -> Iterator[Answer]:
    frozen, path = packaged.inside() is not None, packaged.program()
    emptied = emptied_by(path, case.environment) if frozen else None
    about = f"ananta {__version__}, {'executable' if frozen else f'from source with Python {sys.version.split()[0]}'}"
    if emptied:
        yield False, f"{path} lies in a folder that {emptied}: move it, or let `ananta service install` lay it out for good."
    else:
        yield True, f"{about}, {path.parent}"


def emptied_by(path: PurePath, environment: Mapping[str, str]) -> str | None:
    """Returns who will remove a file from its folder some day, None where files stay. environment: names the temporary
    and home folders of the user."""
    places = [environment[name] for name in ("TMPDIR", "TEMP", "TMP") if environment.get(name)]
    if isinstance(path, PurePosixPath):
        places += ["/tmp", "/var/tmp", "/dev/shm", "/private/tmp"]
    folded = _folded(path)
    if any(_below(folded, _folded(type(path)(place))) for place in places):
        return "the system empties of old files"
    if "$recycle.bin" in folded or ".trash" in folded or (".local", "share", "trash") in zip(folded, folded[1:], folded[2:], strict=False):
        return "is the waste bin"
    homes = [environment[name] for name in ("HOME", "USERPROFILE") if environment.get(name)]
    if any(_below(folded, (*_folded(type(path)(home)), "downloads")) for home in homes):
        return "people and cleaners empty (Downloads)"
    return None


def _folded(path: PurePath) -> tuple[str, ...]:
    return tuple(part.lower() for part in path.parts)


def _below(path: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    return len(path) > len(folder) > 1 and path[:len(folder)] == folder


def shell(case: Case) -> Iterator[Answer]:
    home = case.home
    if not home.is_dir():
        yield False, f"WORK_DIR {home} does not exist: make it, or choose another."
        return
    runner = Runner(shell_path=case.settings.shell_path, home=home, environment=case.environment)
    try:
        found = [name for name in SHELLS if shutil.which(name, path=case.environment.get("PATH"))]
        others = [name for name in found if name != Path(runner.shell_path).stem]
        yield True, f"{runner.shell_path} in {home}" + (f" (also found: {', '.join(others)})" if others else "")
    finally:
        runner.close()


def containment(case: Case) -> Iterator[Answer]:
    version = landlock.available()
    kept = (case.data_dir, case.settings.secrets_folder)
    divided = any(case.home in (path, *path.parents) for path in kept)
    if case.settings.containment == "off":
        yield True, "off: commands that nobody decides about may only read"
    elif version == 0:
        yield True, ("not possible on this system (no Landlock: it needs Linux 5.13, and a container that lets it be used): "
                     "commands that nobody decides about may only read")
    else:
        yield True, f"by Landlock, ABI {version}: commands that nobody decides about change only their working folder" + (
            ", programs that a rule allows only its subfolders, because the data is in it (DATA_DIR elsewhere changes that)"
            if divided else "")


def port(case: Case) -> Iterator[Answer]:
    settings = case.settings
    holder = directory.holder(case.data_dir)
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


def _user(number: int) -> str:
    """Returns which program listens on a port, as the end of a sentence; "" where nobody may know."""
    import psutil

    try:
        for each in psutil.net_connections("tcp"):
            if each.laddr and each.laddr.port == number and each.status == psutil.CONN_LISTEN and each.pid:
                return f", used by {psutil.Process(each.pid).name()} (pid {each.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""
