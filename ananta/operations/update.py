"""`ananta update`: another version in the place of this program's file, signed by its maker, and back again when it fails.

The file is a local one (from_hub.py fetches it, where that is asked for). It is copied beside this one first, and what is verified, tried and used is the copy: who
can still write to the original gains nothing. From the exchange on, this process runs without its file (a packaged program
reads its modules from there when it needs them), so everything that comes later is imported before.
"""
import hashlib
import http.client  # noqa: F401  (see above)
import json
import os
import platform
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ananta import __version__
from ananta.domain import releases
from ananta.domain.releases import Release
from ananta.errors import AnantaError, CannotStart, Conflict, DirectoryBusy, InvalidInput, StoreFailed
from ananta.operations import backup, service_control
from ananta.operations.program import Program, clean, installed
from ananta.operations.service_control import Service
from ananta.release_key import KEYS
from ananta.settings import Settings
from ananta.store import directory, files, postgres_tools
from ananta.store.snapshot import step_of

CHUNK, TRY_S, RESTORE_S = 1 << 20, 60, 3600


@dataclass(frozen=True)
class Updated:
    """What was done. old: the file of the version before, kept; backup: of the state before, None without one; running:
    whether a service was restarted and is healthy."""

    version: str
    old: str
    backup: str | None
    running: bool


def check(file: Path, *, force: bool = False) -> Release:
    """Returns what the signature beside the file says, when the file is what was signed, and fits here. force: also a version
    that is not newer. Raises InvalidInput, NotAllowed and Conflict."""
    release = _release(file, force)
    with _opened(file) as content:
        _compare(file, release, *_copied(content, None))
    return release


def update(settings: Settings, file: Path, *, force: bool, make_backup: bool, wait_s: float, environment: Mapping[str, str],
           say: Callable[[str], None]) -> Updated:
    """Puts the file in the place of this program, restarts the service where one runs, and returns what was done. force: also
    a version that is not newer; wait_s: how long a service may take to answer again; environment: the one of the settings.

    Raises AnantaError: then the version before is in its place, and its service runs."""
    program = installed()
    release = _release(file, force)
    program.require_room(release.version)
    new = program.folder / f".{program.file.stem}.{release.version}.new{program.file.suffix}"
    try:
        _take(file, release, new, program.file)
        _try(new, release)
        service = _service(settings.data_dir.resolve(), program.file)
        return _Change(settings, program, new, release, service, wait_s, environment, say).run(make_backup)
    finally:
        with suppress(OSError):
            new.unlink()


def require_key(otherwise: str) -> None:
    """Raises CannotStart in a program that cannot verify a release. otherwise: what it does then."""
    if not KEYS:
        raise CannotStart(f"{releases.NO_KEY.format(otherwise)}. Until then, stop the agent and put the new program in the place of this one by "
                          "hand; for a service call the new one's own `service install`.")


# --- is it what it says


def _release(file: Path, force: bool) -> Release:
    require_key("takes none")
    place = file.with_name(file.name + ".sig")
    with _opened(place) as content:
        release = releases.read(content.read(releases.SIGNATURE_BYTES + 1), KEYS)
    here = releases.platform(sys.platform, platform.machine())
    if release.platform != here:
        raise InvalidInput(f"{file} is for {release.platform}, and this is {here}: take the file for this platform.")
    if releases.number(release.version) <= releases.number(__version__) and not force:
        raise Conflict(f"{file} is version {release.version}, and version {__version__} runs here: nothing to do. (`--force` takes it nevertheless; "
                       "what a newer version has made of the data an older one may refuse.)")
    return release


def _opened(path: Path):
    try:
        return path.open("rb")
    except OSError as cause:
        raise InvalidInput(f"{path} cannot be read: {cause.strerror}. An update is a file and its signature beside it, FILE.sig.") from cause


def _copied(content, into) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while piece := content.read(CHUNK):
        size += len(piece)
        digest.update(piece)
        if into is not None:
            into.write(piece)
    return size, digest.hexdigest()


def _compare(file: Path, release: Release, size: int, digest: str) -> None:
    if (size, digest) != (release.size, release.sha256):
        raise Conflict(f"{file} is not the file that was signed: fetch it again, with its signature. Nothing was changed.")


def _take(file: Path, release: Release, new: Path, program: Path) -> None:
    """Makes the verified copy, with the rights and the owner of the program it takes the place of."""
    facts = program.stat()
    try:
        with suppress(FileNotFoundError):
            new.unlink()
        with _opened(file) as content, open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o700), "wb") as into:
            _compare(file, release, *_copied(content, into))
            into.flush()
            os.fsync(into.fileno())
        os.chmod(new, stat.S_IMODE(facts.st_mode) & ~0o022 | 0o500)
        if sys.platform != "win32" and os.geteuid() == 0:
            os.chown(new, facts.st_uid, facts.st_gid)
    except OSError as cause:
        raise StoreFailed(f"{new} cannot be written: {files.reason(cause)} Only who may change {program} can update it.") from cause


def _try(new: Path, release: Release) -> None:
    """Starts it once: what lacks a library here must not take the place of what works."""
    try:
        done = subprocess.run([str(new), "version", "--json"], capture_output=True, text=True, errors="replace", timeout=TRY_S, check=False,
                              stdin=subprocess.DEVNULL, env=clean(os.environ))
        said = json.loads(done.stdout).get("ananta") if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError, AttributeError) as cause:
        raise Conflict(f"Version {release.version} does not start on this machine: {cause}. Nothing was changed.") from cause
    if said != release.version:
        why = " ".join(done.stderr.split())[-500:] or f"it says it is {said}"
        raise Conflict(f"Version {release.version} does not start on this machine: {why}. Nothing was changed.")


def _service(data_dir: Path, program: Path) -> Service | None:
    """Returns the service that runs this program, None when it does not run. Raises DirectoryBusy for what is no service:
    its file must not be taken away from under it."""
    holder = directory.holder(data_dir)
    service = service_control.of(holder.get("pid")) if holder else None
    if holder and service is None:
        raise DirectoryBusy(f"A process uses {data_dir} (pid {holder.get('pid')}): stop it first. (An agent that runs as a service is stopped "
                            "and started by this command.)")
    own = {service.pid(), (holder or {}).get("pid")} if service else set()
    others = [pid for pid in _users(program) if pid not in own]
    if others:
        raise DirectoryBusy(f"{program} runs as process {', '.join(map(str, others))}, too: stop that first, or name its data folder with DATA_DIR.")
    return service


def _users(program: Path) -> list[int]:
    """The processes that run the program, but this one and those that have started it."""
    import psutil

    names = {str(program), str(program.resolve())}
    mine = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["exe", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid not in mine and (process.info["exe"] in names or names & set(words[:3])):
            found.append(process.pid)
    return found


# --- the change


class _Change:
    def __init__(self, settings: Settings, program: Program, new: Path, release: Release, service: Service | None, wait_s: float,
                 environment: Mapping[str, str], say: Callable[[str], None]):
        self.settings, self.program, self.new, self.release = settings, program, new, release
        self.service, self.wait_s, self.environment, self.say = service, wait_s, environment, say
        self.place = backup.place_of(settings)
        self.backup: Path | None = None
        self.step = 0

    def run(self, make_backup: bool) -> Updated:
        if self.service is not None:
            self.say(self.service.stop())
        try:
            service_control.wait_stopped(self.place.data_dir)
            if make_backup:
                self._back_up()
            self.program.put(self.new, self.release.version)
        except BaseException:
            if self.service is not None:
                self.say(self.service.start())
            raise
        if self.service is not None:
            self._start(self.service)
        return Updated(self.release.version, str(self.program.old), None if self.backup is None else str(self.backup), self.service is not None)

    def _back_up(self) -> None:
        data_dir = self.place.data_dir
        if not isinstance(self.place.database, str) and not self.place.database.exists():
            return  # nothing has ever run here
        files.private_directory(data_dir / "backups")
        path = data_dir / "backups" / f"before-update-{self.release.version}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.zip"
        self.step = backup.make(self.settings, path, None).schema
        for each in (path.parent, path):
            files.owned_like(each, data_dir)
        self.backup = path
        self.say(f"a backup was made: {path}")

    def _start(self, service: Service) -> None:
        try:
            self.say(service.start())
            problem = service_control.wait_healthy(service, self.place.data_dir, version=self.release.version, wait_s=self.wait_s)
        except AnantaError as cause:
            problem = cause.message
        if problem is None:
            return
        self.say(f"version {self.release.version} is not healthy: {problem}. Going back.")
        self.say(service.stop())
        try:
            service_control.wait_stopped(self.place.data_dir)
            self._go_back()
        finally:
            self.say(service.start())
        after = service_control.wait_healthy(service, self.place.data_dir, version=__version__, wait_s=self.wait_s)
        raise StoreFailed(f"Version {self.release.version} did not become healthy: {problem}. Version {__version__} is back"
                          + (" and runs." if after is None else f", and does not answer either: {after}.") + " The log of the service says why.")

    def _go_back(self) -> None:
        self.program.back()
        if self.backup is not None and self._step_now() > self.step:
            # This version does not open tables that the other one has brought forward.
            done = subprocess.run([str(self.program.file), "restore", "--force", "--without-secrets", "--data-dir", str(self.place.data_dir),
                                   str(self.backup)], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                  timeout=RESTORE_S, check=False, env=clean(self.environment))
            if done.returncode != 0:
                raise StoreFailed(f"The data of before could not be restored: {' '.join(done.stderr.split())[-500:]} Its backup is {self.backup}.")
            self.say(f"the data of before was restored from {self.backup}")

    def _step_now(self) -> int:
        if isinstance(self.place.database, str):
            return postgres_tools.step(self.place.database)
        try:
            with closing(sqlite3.connect(f"{self.place.database.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
                return step_of(database)
        except sqlite3.Error:
            return self.step + 1  # it cannot be read: what was there before can
