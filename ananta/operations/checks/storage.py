"""Where the agent keeps things: the data directory, its configuration, its database, its log, room, and the clock."""
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ananta import settings as settings_module
from ananta.agent.configuration import LiveConfiguration
from ananta.operations.checks.finding import Answer, Case
from ananta.store import directory, inspection, journal
from ananta.store.configuration import ConfigFile

DISK_LOW_BYTES = 200 << 20
CLOCK_SLACK_S = 120
BUILT_AFTER = 1_767_225_600  # 2026-01-01: no honest clock is older than the program


def data(case: Case) -> Iterator[Answer]:
    folder = case.data_dir
    holder = directory.holder(folder)
    used = f"; in use by pid {holder.get('pid')} {holder.get('url') or ''}".rstrip() if holder else ""
    if not folder.exists():
        parent = _nearest(folder)
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


def configuration(case: Case) -> Iterator[Answer]:
    file = ConfigFile(case.data_dir / "config.json")
    LiveConfiguration(file, settings_module.configuration_defaults(case.settings), case.settings.given)
    yield True, f"{len(file.load())} keys changed while running"


def disk(case: Case) -> Iterator[Answer]:
    free = shutil.disk_usage(_nearest(case.data_dir)).free
    yield free > DISK_LOW_BYTES, (f"{free / (1 << 30):.1f} GiB free" if free >= 1 << 30 else f"{free >> 20} MiB free") + (
        "" if free > DISK_LOW_BYTES else ": no records can be written when it is full, and then nothing runs. Make room.")


def database(case: Case) -> Iterator[Answer]:
    found = inspection.inspect(case.settings.database_url or case.data_dir / "ananta.db")
    if found is None:
        yield True, "will be made at the first start"
        return
    text = f"{found.kind} {found.version}, {found.size_bytes / (1 << 20):.1f} MiB, step {found.step} of {found.known}"
    if found.step > found.known:
        yield False, f"{text}: a newer version of Ananta has made it. Use that version, or restore a backup."
    else:
        yield True, text + ("" if found.step == found.known else "; the next start brings it up to date")


def temporary(case: Case) -> Iterator[Answer]:
    """Of the folder that commands get as their temporary one."""
    folder = next((case.environment[name] for name in ("TMPDIR", "TEMP", "TMP") if case.environment.get(name)), None)
    folder = folder or tempfile.gettempdir()
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        yield False, f"{folder} is no folder that this user can write to: set TMPDIR to one."
    elif no_programs(folder):
        yield False, (f"{folder} lets no program run (mounted noexec): the self-unpacking executable cannot start there, nor can "
                      "what a command builds. Set TMPDIR to another folder.")
    else:
        yield True, f"{folder}, programs can run there"


def no_programs(folder: str) -> bool:
    """Whether the file system of a folder is mounted so that no program in it can be started."""
    if sys.platform == "win32":
        return False
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))  # macOS does not tell


def record(case: Case) -> Iterator[Answer]:
    folder = case.data_dir
    log = folder / "terminal_log.jsonl"
    size = log.stat().st_size if log.exists() else 0
    unfinished = journal.unfinished(folder) if directory.holder(folder) is None else 0
    yield True, f"{size / (1 << 20):.1f} MiB" + (
        f"; {unfinished} runs were cut off and will be shown as unknown" if unfinished else "")


def clock(case: Case) -> Iterator[Answer]:
    now = time.time()
    newest = max((path.stat().st_mtime for path in case.data_dir.glob("*.jsonl")), default=0.0)
    if now < BUILT_AFTER or newest > now + CLOCK_SLACK_S:
        behind = "it is before this program was made" if now < BUILT_AFTER else "records from its future exist"
        yield False, f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')} cannot be right, {behind}: set the clock (timedatectl)."
    else:
        yield True, time.strftime("%Y-%m-%d %H:%M:%S %Z")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())
