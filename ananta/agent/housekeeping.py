"""What is put away and removed when it is old: the table of these jobs, for the roles that need them."""
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ananta.agent.background import Job
from ananta.store import accounts, answers, database, limits, proposals, sessions
from ananta.store.journal import Journal

DAY_S = 24 * 3600.0
MINUTES_S, HOUR_S = 600.0, 3600.0
BACKUPS = "backups"


@dataclass(frozen=True)
class Retention:
    """How many days something is kept; 0: for ever. tasks: on the board once they are done, and records in the terminal
    log; archived: tasks in the archive; backups: files in the folder of backups."""

    tasks: int
    archived: int
    backups: int


def jobs(retention: Retention, journal: Journal, data_dir: Path, *, hub: bool, stopping: Callable[[], bool],
         now: Callable[[], float] = time.time) -> list[Job]:
    """Returns the jobs of an agent. stopping: whether one that takes long should end."""
    def until_none(some: Callable[[], int]) -> None:
        while some() and not stopping():
            continue

    found = [
        Job("sign-ins", lambda: (accounts.prune(now()), sessions.prune(now()), limits.prune(now())), MINUTES_S, 4, alone=True),
        Job("answers", lambda: answers.prune(now()), HOUR_S, 5, alone=True),
        Job("proposals", lambda: (proposals.expire(now()), proposals.prune(now())), HOUR_S, 6, alone=True)]
    if retention.backups:
        found.append(Job("backups", lambda: remove_old(data_dir / BACKUPS, now() - retention.backups * DAY_S), MINUTES_S, 7))
    if retention.tasks:
        found.append(Job("terminal log archive", lambda: journal.archive(now() - retention.tasks * DAY_S, stopping), HOUR_S, 8))
    if not hub:
        return found
    from ananta.store import archive, shared_journal

    if retention.tasks:
        found.append(Job("task archive", lambda: until_none(
            lambda: archive.archive_done(now() - retention.tasks * DAY_S, now())), MINUTES_S, 9, alone=True))
    if retention.archived:
        found.append(Job("archive clean-up", lambda: until_none(
            lambda: archive.delete_old(now() - retention.archived * DAY_S)), MINUTES_S, 10, alone=True))
    if retention.tasks and database.shared():
        found.append(Job("shared records", lambda: until_none(
            lambda: shared_journal.prune(now() - retention.tasks * DAY_S)), HOUR_S, 11, alone=True))
    return found


def remove_old(folder: Path, before: float) -> int:
    """Removes the files of a folder that were last changed before this moment (epoch seconds); returns how many. Folders in
    it, links and what they lead to stay. Raises OSError for one that cannot be removed, after all others."""

    removed, failure = 0, None
    if not folder.is_dir() or folder.is_symlink():
        return 0
    with os.scandir(folder) as entries:
        for each in entries:
            try:
                state = each.stat(follow_symlinks=False)
                if stat.S_ISREG(state.st_mode) and state.st_mtime < before:
                    os.unlink(each.path)
                    removed += 1
            except FileNotFoundError:
                continue
            except OSError as problem:
                failure = problem
    if failure is not None:
        raise failure
    return removed
