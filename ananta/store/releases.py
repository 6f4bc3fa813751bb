"""The releases that a hub keeps for its workers: for each NAME the program and NAME.sig, in one folder.

A name is made of what is signed, never of what somebody calls a file, so none can lead anywhere else. Only what a key that
is built in has signed is shown; whoever takes it verifies it again, since a hub is not believed.
"""
import hashlib
import logging
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ananta.domain import releases as rules
from ananta.domain.releases import Release
from ananta.errors import AnantaError, CannotStart, Conflict, InvalidInput, NotFound, StoreFailed
from ananta.store import files

log = logging.getLogger(__name__)
FOLDER, SIGNATURE = "releases", ".sig"
NAME = re.compile(r"ananta-[0-9]{1,6}(\.[0-9]{1,6}){1,3}-[a-z0-9]{1,20}-[a-z0-9_]{1,20}(\.exe)?", re.ASCII)
CHUNK = 1 << 20
# So much stays free for what the hub itself has to write: it runs nothing that it cannot record.
RESERVE_BYTES = 64 << 20


@dataclass(frozen=True)
class Kept:
    """A release in the folder. name: of its file; release: what its signature says."""

    name: str
    release: Release


class Releases:
    """Reads and changes the folder, which is made with the first release. keys: public keys, base64."""

    def __init__(self, data_dir: Path, keys: tuple[str, ...]):
        self.folder, self.keys = data_dir / FOLDER, keys

    def add(self, file: Path) -> Kept:
        """Copies a file and its signature beside it, FILE.sig, which are on disk when this returns; the same ones again
        change nothing. Raises InvalidInput, NotAllowed (the signature), Conflict, StoreFailed."""
        if not self.keys:
            raise CannotStart(f"{rules.NO_KEY.format('keeps none')}.")
        text = _read(file.with_name(file.name + SIGNATURE))
        release = rules.read(text, self.keys)
        kept = Kept(name_of(release), release)
        with suppress(NotFound):
            if self.find(kept.name).release.sha256 != release.sha256:
                raise Conflict(f"Another file is kept as {kept.name}: `ananta release remove {kept.name}` first, if this one is the right one.")
        self._make_folder()
        self._clean()
        self._copy(file, kept)
        # Last of all: without it the file is not shown.
        self._keep(self._signature(kept.name), text)
        return kept

    def listed(self) -> list[Kept]:
        """Returns what is whole, newest version first."""
        try:
            names = [name.removesuffix(SIGNATURE) for name in os.listdir(self.folder) if name.endswith(SIGNATURE)]
        except FileNotFoundError:
            return []
        found = [kept for name in sorted(names) if NAME.fullmatch(name) and (kept := self._kept(name)) is not None]
        return sorted(found, key=lambda each: rules.number(each.release.version), reverse=True)

    def find(self, name: str) -> Kept:
        """Returns the release of this name. Raises NotFound."""
        kept = self._kept(name) if NAME.fullmatch(name) else None
        if kept is None:
            raise NotFound(f"No release {name[:100]!r} is kept here: GET /releases, or `ananta release list`, names those there are.",
                           code="release_not_found")
        return kept

    def signature(self, name: str) -> bytes:
        """Returns the signature of the release. Raises NotFound."""
        self.find(name)
        try:
            return _read(self._signature(name))
        except InvalidInput as cause:  # removed meanwhile
            raise NotFound(f"There is no release {name} any more.", code="release_not_found") from cause

    def opened(self, name: str) -> tuple[Kept, int]:
        """Returns the release and a descriptor to read its file, which can be removed meanwhile. Raises NotFound."""
        kept = self.find(name)
        try:
            return kept, files.open_shared(self.folder / name)
        except OSError as cause:
            raise NotFound(f"The release {name} cannot be read: {files.reason(cause)}", code="release_not_found") from cause

    def remove(self, name: str) -> None:
        """Removes a release, also one that is not whole; who downloads it gets the rest of it. Raises NotFound, StoreFailed."""
        places = [self._signature(name), self.folder / name] if NAME.fullmatch(name) else []
        if not any(each.exists() for each in places):
            self.find(name)
        try:
            for each in places:
                each.unlink(missing_ok=True)
            files.sync_directory(self.folder)
        except OSError as cause:
            raise StoreFailed(f"{name} cannot be removed: {files.reason(cause)}") from cause

    # ---

    def _signature(self, name: str) -> Path:
        return self.folder / (name + SIGNATURE)

    def _kept(self, name: str) -> Kept | None:
        try:
            release = rules.read(_read(self._signature(name)), self.keys)
            facts = os.lstat(self.folder / name)
        except (AnantaError, OSError) as cause:
            log.debug("%s is no release: %s", name, cause)
            return None
        whole = name == name_of(release) and stat.S_ISREG(facts.st_mode) and facts.st_size == release.size
        return Kept(name, release) if whole else None

    def _make_folder(self) -> None:
        files.private_directory(self.folder)
        with suppress(OSError):
            files.owned_like(self.folder, self.folder.parent)

    def _clean(self) -> None:
        """Removes what killed processes have left."""
        import psutil

        for name in os.listdir(self.folder):
            found = re.fullmatch(r"\..+\.([0-9]{1,10})\.new", name)
            if found and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
                with suppress(OSError):
                    (self.folder / name).unlink()

    def _copy(self, file: Path, kept: Kept) -> None:
        new = self.folder / f".{kept.name}.{os.getpid()}.new"
        try:
            if shutil.disk_usage(self.folder).free < kept.release.size + RESERVE_BYTES:
                raise StoreFailed(f"{kept.name} has {kept.release.size >> 20} MiB, and less than {RESERVE_BYTES >> 20} MiB would stay free on the "
                                  f"disk of {self.folder}: make room, or remove an older one.")
            size, digest = _copied(file, new, kept.release.size)
            if (size, digest) != (kept.release.size, kept.release.sha256):
                raise Conflict(f"{file} is not the file that was signed: fetch it again, with its signature. Nothing was changed.")
            self._put(new, self.folder / kept.name)
        except OSError as cause:
            raise StoreFailed(f"{self.folder / kept.name} cannot be written: {files.reason(cause)}") from cause
        finally:
            with suppress(OSError):
                new.unlink()

    def _keep(self, place: Path, text: bytes) -> None:
        files.replace(place, text)
        with suppress(OSError):
            files.owned_like(place, self.folder)

    def _put(self, new: Path, place: Path) -> None:
        with suppress(OSError):
            files.owned_like(new, self.folder)
        os.replace(new, place)
        files.sync_directory(self.folder)


def name_of(release: Release) -> str:
    """Returns the name under which a release is kept, such as ananta-0.2.0-linux-x86_64. Raises InvalidInput."""
    name = f"{release.name}-{release.version}-{release.platform}" + (".exe" if release.platform.startswith("windows-") else "")
    if not NAME.fullmatch(name):
        raise InvalidInput(f"The signature is for the platform {release.platform[:40]!r}, which is none: name one as linux-x86_64.")
    return name


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(rules.SIGNATURE_BYTES + 1)
    except OSError as cause:
        raise InvalidInput(f"{path} cannot be read: {cause.strerror}. A release is a file and its signature beside it, FILE.sig.") from cause


def _copied(file: Path, new: Path, most_bytes: int) -> tuple[int, str]:
    """Returns size and SHA-256 of the copy, which is on disk; of a larger file only its beginning."""
    size, digest = 0, hashlib.sha256()
    try:
        source = file.open("rb")
    except OSError as cause:
        raise InvalidInput(f"{file} cannot be read: {cause.strerror}.") from cause
    with source, open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), files.PRIVATE_FILE), "wb") as into:
        while size <= most_bytes and (piece := source.read(CHUNK)):
            size += len(piece)
            digest.update(piece)
            into.write(piece)
        into.flush()
        os.fsync(into.fileno())
    return size, digest.hexdigest()
