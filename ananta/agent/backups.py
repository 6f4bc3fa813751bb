"""Backups by themselves: one every so many hours in data/backups, and no more of them than were asked for."""
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ananta.errors import AnantaError, ShuttingDown, StoreFailed
from ananta.store.files import private_directory

log = logging.getLogger(__name__)
FOLDER = "backups"
NAME = re.compile(r"ananta-([0-9]{8}T[0-9]{6})Z\.zip", re.ASCII)
# What a killed process has left of one; its number is in the name.
UNFINISHED = re.compile(r"\.ananta-[0-9]{8}T[0-9]{6}Z\.zip\.[0-9]+\.new(\..+)?", re.ASCII)
LOOK_S, FIRST_S = 600.0, 3.0


class Backups:
    """`job` is for a thread that calls it every LOOK_S seconds. make(path, check): makes a backup; check is called again and
    again, and ends it by raising. every_hours: 0 for none; keep: how many."""

    def __init__(self, data_dir: Path, make: Callable[[Path, Callable[[], None]], object], *, every_hours: int, keep: int,
                 now: Callable[[], float] = time.time):
        self.folder, self.make, self.every_hours, self.keep, self.now = data_dir / FOLDER, make, every_hours, keep, now
        self.stopping: Callable[[], bool] = lambda: False
        self.problem: str | None = None

    def job(self) -> None:
        """Makes a backup when one is due. Raises StoreFailed when that fails; the next call tries it again."""
        if not self.every_hours or not self._due():
            return
        try:
            private_directory(self.folder)
            self._clean()
            path = self.folder / f"ananta-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(self.now()))}.zip"
            self.make(path, self._check)
            self.problem = None
            log.info("a backup was made: %s, %.1f MiB", path, path.stat().st_size / (1 << 20))
            self._drop_old()
        except ShuttingDown:
            return
        except (AnantaError, OSError) as cause:
            self.problem = cause.message if isinstance(cause, AnantaError) else f"{self.folder}: {cause.strerror}."
            raise StoreFailed(self.problem) from cause

    def made(self) -> list[Path]:
        """Returns the backups that were made by themselves, oldest first."""
        names = sorted(each for each in os.listdir(self.folder) if NAME.fullmatch(each)) if self.folder.is_dir() else []
        return [self.folder / each for each in names]

    def _due(self) -> bool:
        made = self.made()
        # By the file itself: a clock that was set must not put the next one off for long.
        return not made or not 0 <= self.now() - made[-1].stat().st_mtime < self.every_hours * 3600

    def _drop_old(self) -> None:
        for path in self.made()[:-self.keep]:
            path.unlink(missing_ok=True)

    def _clean(self) -> None:
        for name in os.listdir(self.folder):
            if UNFINISHED.fullmatch(name):
                with suppress(OSError):
                    (self.folder / name).unlink()

    def _check(self) -> None:
        if self.stopping():
            raise ShuttingDown("The agent stops.")
