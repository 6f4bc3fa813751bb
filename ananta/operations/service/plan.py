"""What an installation does, as a list that can be read before anything is done."""
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ananta.errors import CannotStart

HIDDEN = "(made at the installation, shown once)"


@dataclass(frozen=True)
class Folder:
    """A folder and those above it. ours: one that is there gets the mode, too; others stay as they are."""

    path: Path
    mode: int = 0o755
    ours: bool = True

    def told(self) -> str:
        return f"folder   {self.path}  (mode {self.mode:04o}{'' if self.ours else ', unless it is there'})"

    def do(self) -> None:
        there = self.path.is_dir()
        self.path.mkdir(parents=True, exist_ok=True)
        if os.name == "posix" and (self.ours or not there):
            self.path.chmod(self.mode)


@dataclass(frozen=True)
class File:
    """A whole file. secret: its content is not shown."""

    path: Path
    content: str = field(repr=False)
    mode: int = 0o644
    secret: bool = False

    def told(self) -> str:
        shown = HIDDEN if self.secret else self.content.rstrip("\n")
        return f"file     {self.path}  (mode {self.mode:04o})\n" + "\n".join(f"  | {line}".rstrip() for line in shown.split("\n"))

    def do(self) -> None:
        new = self.path.with_name(f".{self.path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        # The mode is there before the content is.
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if os.name == "posix":
                new.chmod(self.mode)
            file.write(self.content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.path)

    def is_done(self) -> bool:
        """Whether the file is there as it has to be."""
        try:
            return self.path.read_text(encoding="utf-8") == self.content
        except (OSError, UnicodeDecodeError):
            return False


@dataclass(frozen=True)
class Link:
    """A symbolic link, replaced at once where there is one."""

    path: Path
    target: str

    def told(self) -> str:
        return f"link     {self.path} -> {self.target}"

    def do(self) -> None:
        new = self.path.with_name(f".{self.path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to(self.target)
        os.replace(new, self.path)


@dataclass(frozen=True)
class Remove:
    """A file, a link, or a folder with all that is in it; nothing where it is not there."""

    path: Path

    def told(self) -> str:
        return f"remove   {self.path}"

    def do(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Command:
    """A program that is run. may_fail: what it says is shown, and the plan goes on."""

    words: tuple[str, ...]
    may_fail: bool = False
    cure: str = ""

    def told(self) -> str:
        return f"command  {shown(self.words)}"

    def do(self) -> None:
        try:
            done = subprocess.run(self.words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        except OSError as cause:
            if self.may_fail:
                return
            raise CannotStart(f"`{shown(self.words)}` cannot be run: {cause.strerror}. {self.cure}".rstrip()) from cause
        if done.returncode != 0 and not self.may_fail:
            said = " ".join((done.stderr or done.stdout).split())[-600:]
            raise CannotStart(f"`{shown(self.words)}` failed with exit code {done.returncode}: {said} {self.cure}".rstrip())


@dataclass(frozen=True)
class Call:
    """What is done by a function of ours; text says what, as the other steps say it."""

    text: str
    call: Callable[[], object] = field(repr=False, compare=False)

    def told(self) -> str:
        return self.text

    def do(self) -> None:
        self.call()


Step = Folder | File | Link | Remove | Command | Call


def told(steps: Iterable[Step]) -> str:
    """Returns the plan for people: every file with its whole content (secrets left out), and every command."""
    return "\n".join(step.told() for step in steps)


def do(steps: Iterable[Step]) -> None:
    """Takes the steps in turn. Raises CannotStart at the first one that fails; the ones before it stay."""
    for step in steps:
        try:
            step.do()
        except OSError as cause:
            raise CannotStart(f"{step.told().splitlines()[0].split('  (')[0]}: {cause.strerror or cause}. Nothing after that was done; once that "
                              "is corrected, the same command does all of it again.") from cause


def shown(words: Iterable[str]) -> str:
    """Returns a command line that can be typed."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(words)
    import shlex

    return shlex.join(words)
