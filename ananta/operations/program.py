"""This program as it is installed: one file, or a folder for each version with a link to the one that counts."""
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ananta import packaged
from ananta.errors import CannotStart, Conflict, StoreFailed
from ananta.operations.service.linux import Places
from ananta.store import files

INSTALL_S = 300
# The name that `ananta service install` gives to the link.
CURRENT = "current"


class Program(Protocol):
    """file: what runs, by the name that stays; folder: where a new one is prepared; old: where the version before is, once
    there is another one."""

    file: Path
    folder: Path
    old: Path

    def require_room(self, version: str) -> None:
        """Raises Conflict for a version that has no place of its own, so that nobody could go back."""

    def put(self, new: Path, version: str) -> None:
        """Puts the verified file in its place. Raises StoreFailed: then the version before is there."""

    def back(self) -> None:
        """Puts the version before back. Raises StoreFailed."""


def installed() -> Program:
    """Returns what this process was started from. Raises CannotStart where it cannot be replaced."""
    started = packaged.program()
    link = started.parent.parent / CURRENT
    if link.is_symlink() and link.resolve() == started.parent:
        return Folders(link, started)
    if packaged.unpacked() is not None or (started.is_file() and zipfile.is_zipfile(started) and not packaged.inside()):
        return OneFile(started)
    if packaged.inside():
        raise CannotStart(f"This program is not one file, but laid out in {started.parent}: `ananta update --check FILE` verifies the new file, "
                          "and `FILE service install` puts it in the place of this one.")
    raise CannotStart("This program runs from source: update the source instead, and start it anew.")


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment for another version: what the packager has set for this process would lead it to this one's
    unpacked files."""
    return {name: text for name, text in environment.items() if not name.startswith(("_PYI_", "_MEIPASS", "LD_LIBRARY_PATH"))}


class OneFile:
    def __init__(self, file: Path):
        self.file, self.folder = file, file.parent
        self.old = file.with_name(f"{file.stem}.old{file.suffix}")

    def require_room(self, version: str) -> None:
        """See Program: there is always room beside the file."""

    def put(self, new: Path, version: str) -> None:
        """See Program."""
        try:
            with suppress(FileNotFoundError):
                self.old.unlink()
            if os.name == "nt":
                # A running file can be renamed there, and nothing else.
                os.rename(self.file, self.old)
            else:
                # The name is never without a file.
                try:
                    os.link(self.file, self.old)
                except OSError:
                    shutil.copy2(self.file, self.old)
            os.replace(new, self.file)
            files.sync_directory(self.folder)
        except OSError as cause:
            if self.old.exists() and not self.file.exists():
                os.rename(self.old, self.file)
            raise StoreFailed(f"{self.file} cannot be replaced: {files.reason(cause)}") from cause

    def back(self) -> None:
        """See Program."""
        try:
            os.replace(self.old, self.file)
            files.sync_directory(self.folder)
        except OSError as cause:
            raise StoreFailed(f"{self.old} cannot be put back in the place of {self.file}: {files.reason(cause)} Do it by hand.") from cause


class Folders:
    """As `ananta service install` lays a program out, and only it knows how: the new version does that itself. It keeps the
    folder of the version before."""

    def __init__(self, link: Path, started: Path):
        self.link, self.folder, self._before = link, link.parent, os.readlink(link)
        name = "ananta.exe" if os.name == "nt" else "ananta"
        self.file = link / (name if (started.parent / name).exists() else started.name)
        self.old = self.folder / self._before
        self._unit, self._unit_before = Places().unit, _content(Places().unit)

    def require_room(self, version: str) -> None:
        """See Program."""
        if version == self._before:
            raise Conflict(f"Version {version} is what the service runs, and another file of that version would take its folder, with no way "
                           "back. Give the new one a number of its own, or call its own `service install`.")

    def put(self, new: Path, version: str) -> None:
        """See Program."""
        try:
            done = subprocess.run([str(new), "service", "install", "--no-start"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                  timeout=INSTALL_S, check=False, env=clean(os.environ))
            problem = None if done.returncode == 0 else " ".join(done.stderr.split())[-500:]
        except (OSError, subprocess.TimeoutExpired) as cause:
            problem = str(cause)
        if problem is not None:
            self.back()
            raise StoreFailed(f"Version {version} cannot be laid out: {problem}")

    def back(self) -> None:
        """See Program."""
        new = self.link.with_name(f".{self.link.name}.new")
        try:
            with suppress(FileNotFoundError):
                new.unlink()
            os.symlink(self._before, new)
            os.replace(new, self.link)
            files.sync_directory(self.folder)
        except OSError as cause:
            raise StoreFailed(f"{self.link} cannot be led to {self._before} again: {files.reason(cause)} Do it by hand.") from cause
        self._unit_back()

    def _unit_back(self) -> None:
        """The new version has written its own unit, which may say what this one does not know."""
        if self._unit_before is None or _content(self._unit) == self._unit_before:
            return
        try:
            new = self._unit.with_name(f".{self._unit.name}.new")
            new.write_bytes(self._unit_before)
            new.chmod(0o644)
            os.replace(new, self._unit)
            subprocess.run(["systemctl", "daemon-reload"], stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_S, check=True)
        except (OSError, subprocess.SubprocessError) as cause:
            raise StoreFailed(f"{self._unit} cannot be put back: {cause}. `sudo {self.old / self.file.name} service install` does it.") from cause


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
