"""The program in a permanent folder: `ananta` (ananta.exe) there starts it, whatever this process was started from.

From the self-unpacking executable it is a loader without unpacking and the unpacked files; from a folder of the packager
a copy of it; from source the package, the packages it needs, and a launcher that uses the Python of this machine.
"""
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path, PurePosixPath

import ananta
from ananta import __version__, packaged
from ananta.errors import CannotStart
from ananta.operations.service import archive

NAME = "ananta.exe" if os.name == "nt" else "ananta"
CHECK_S = 60
# What the unit hides, or what is emptied.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
LAUNCHER = """#!/bin/sh
exec {python} -I "$(dirname "$(readlink -f "$0")")/start.py" "$@"
"""
START = """import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
from ananta.cli import main

raise SystemExit(main())
"""


def kind() -> str:
    """Returns what this process was started from: "onefile", "folder" or "source"."""
    if not getattr(sys, "frozen", False):
        return "source"
    unpacked = Path(getattr(sys, "_MEIPASS", ""))
    return "folder" if Path(sys.executable).resolve().parent in (unpacked.resolve(), *unpacked.resolve().parents) else "onefile"


def check(folder: Path, *, for_others: bool = True) -> None:
    """Raises CannotStart where this program cannot be laid out in the folder, or another user could not run it there."""
    if kind() != "source" or is_laid_out(folder):
        return
    if os.name == "nt":
        raise CannotStart("On Windows only the executable (ananta.exe) can be installed: download it, or build it, and call it instead.")
    _requirements()
    python = _python()
    barred = unreachable(python) if for_others else None
    if barred:
        raise CannotStart(f"The Python that runs this, {python}, cannot be used by a service of another user: {barred}. Use the "
                          "system's Python: sudo rm -r .venv; sudo /usr/bin/python3 build/dev.py run service install")


def is_laid_out(folder: Path) -> bool:
    """Whether this process itself runs from the folder."""
    return folder.resolve() in (Path(sys.executable).resolve().parent, Path(ananta.__file__).resolve().parent.parent.parent)


def lay_out(folder: Path) -> None:
    """Makes the folder, in place of one of that name; it is there whole or not at all. Raises CannotStart and OSError."""
    if is_laid_out(folder):
        return
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        {"onefile": _from_onefile, "folder": _from_folder, "source": _from_source}[kind()](new)
        _open(new)
        _try(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def unreachable(path: Path) -> str | None:
    """Returns why other users cannot run a program, None when they can."""
    for place in HIDDEN:
        if Path(place) in path.parents:
            return f"it lies below {place}, which the unit hides"
    for each in (path, *path.parents):
        if not each.stat().st_mode & stat.S_IXOTH:
            return f"others may not enter {each}" if each.is_dir() else f"others may not run {each}"
    return None


def _from_onefile(new: Path) -> None:
    shutil.copytree(Path(getattr(sys, "_MEIPASS", "")), new / "_internal", symlinks=True,
                    ignore=shutil.ignore_patterns(packaged.HELD))
    (new / NAME).write_bytes(archive.without_unpacked(Path(sys.executable).read_bytes()))


def _from_folder(new: Path) -> None:
    executable = Path(sys.executable).resolve()
    shutil.copytree(executable.parent, new, symlinks=True, dirs_exist_ok=True)
    if executable.name != NAME:
        os.replace(new / executable.name, new / NAME)


def _from_source(new: Path) -> None:
    package = Path(ananta.__file__).resolve().parent
    shutil.copytree(package, new / "lib" / "ananta", ignore=shutil.ignore_patterns("__pycache__"))
    for each in _requirements():
        for file in each.files or ():
            # Programs of a package lie outside of the library folder, and none is needed.
            if ".." in PurePosixPath(file).parts or "__pycache__" in PurePosixPath(file).parts:
                continue
            target = new / "lib" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), target)
    (new / "start.py").write_text(START)
    (new / NAME).write_text(LAUNCHER.format(python=_python()))
    # Nobody can write there later on.
    subprocess.run([str(_python()), "-I", "-m", "compileall", "-q", str(new / "lib"), "-s", str(new)], check=False,
                   stdin=subprocess.DEVNULL, capture_output=True)


def _requirements() -> list[importlib.metadata.Distribution]:
    """The installed packages that requirements.txt lists. Raises CannotStart."""
    listed = Path(ananta.__file__).resolve().parent.parent / "requirements.txt"
    try:
        names = re.findall(r"^([A-Za-z0-9._-]+)", listed.read_text(), re.MULTILINE)
        return [importlib.metadata.distribution(name) for name in names]
    except (OSError, importlib.metadata.PackageNotFoundError) as cause:
        raise CannotStart(f"What the program needs cannot be found ({cause}): call it as `python3 build/dev.py run service install` "
                          "in its source folder, or use the executable.") from cause


def _python() -> Path:
    """The Python of this machine, below any virtual environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _open(folder: Path) -> None:
    """Lets everybody read and run what is in the folder, and nobody but its owner change it."""
    if os.name != "posix":
        return
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.name == NAME or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)


def _try(folder: Path) -> None:
    """Starts what was laid out once. Raises CannotStart."""
    from ananta.shell.environment import child_environment

    try:
        done = subprocess.run([str(folder / NAME), "version"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=child_environment(os.environ, ()), timeout=CHECK_S, check=False)
        said = (done.stdout + done.stderr).strip()
    except (OSError, subprocess.TimeoutExpired) as cause:
        said = str(cause)
    if said != f"ananta {__version__}":
        raise CannotStart(f"The program does not run from {folder.parent}: {said[-400:]}. Nothing was changed.")
