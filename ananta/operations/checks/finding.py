"""One answer of the doctor, and what a check gets to find it."""
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ananta.settings import Settings


@dataclass(frozen=True)
class Finding:
    """One answer. ok False: the text says what to do."""

    subject: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Case:
    """What is examined. environment: as the agent would see it; secret_files: those that settings name."""

    settings: Settings
    environment: Mapping[str, str]
    secret_files: tuple[Path, ...] = field(default=())

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir.resolve()

    @property
    def home(self) -> Path:
        return (self.settings.work_dir or Path.cwd()).resolve()


Answer = tuple[bool, str]
Check = Callable[[Case], Iterator[Answer]]
