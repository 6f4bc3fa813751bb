"""One file that holds a backup: a ZIP archive with manifest.json, which names size and SHA-256 of everything in it.

It is written in pieces to a name beside the wanted one and renamed when it is on disk, so there is never half of one.
What it may hold is a list of names without folders: nothing in it can be written anywhere but where we put it.
"""
import hashlib
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from ananta.errors import FileDamaged, InvalidInput, StoreFailed
from ananta.store.files import PRIVATE_FILE, reason, sync_directory

FORMAT, MANIFEST, MANIFEST_BYTES = 1, "manifest.json", 1 << 20
CHUNK = 1 << 20
DATABASE, LOCAL_DATABASE, DUMP, SECRETS, CONFIGURATION = "ananta.db", "journal.db", "postgres.dump", "secrets.sealed", "config.json"
SQLITE, POSTGRES = "sqlite", "postgres"
MEMBER = re.compile(r"(ananta|journal)\.db|postgres\.dump|place|started\.jsonl|terminal_log(\.[0-9]{6,12})?\.jsonl|"
                    r"terminal_log_archive\.jsonl?|audit(\.[0-9]{1,3})?\.log|config\.json|blacklist\.txt|policy\.json|"
                    r"llm_model_history\.json|secrets\.sealed", re.ASCII)
# So much stays free for what the agent itself has to write: it runs nothing that it cannot record.
RESERVE_BYTES = 64 << 20
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Member:
    """One file in the archive. size: bytes; sha256: 64 hex digits; both of the file itself, not compressed."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. version: of the program; schema: the last step that the main database has taken;
    engine: SQLITE or POSTGRES; created_at: epoch seconds; left_out: secrets of the configuration that are not in it;
    postgres: for a dump, the version of its server ("18.1") and the schema that held the tables."""

    format: int
    version: str
    schema: int
    role: str
    agent: str
    engine: str
    created_at: float
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = ()
    postgres: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(each.name for each in self.members)

    @property
    def bytes(self) -> int:
        """Returns what everything takes on a disk."""
        return sum(each.size for each in self.members)


class ArchiveWriter:
    """Makes the file within `with`; without `finish` nothing stays. check: called for every piece, and may raise to end
    it; reserve_bytes: must stay free on the disk. Raises StoreFailed when the disk refuses, or is too full."""

    def __init__(self, path: Path, *, check: Callable[[], None] = lambda: None, reserve_bytes: int = 0):
        self.path, self.new = path, path.with_name(f".{path.name}.{os.getpid()}.new")
        self.members: list[Member] = []
        self._check, self._reserve, self._finished = check, reserve_bytes, False

    def __enter__(self) -> "ArchiveWriter":
        try:
            self._clean()
            fd = os.open(self.new, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
        except OSError as cause:
            raise self.failed(cause) from cause
        self._file: BinaryIO = open(fd, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            with suppress(OSError, ValueError):
                self._zip.close()
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self.new.unlink()

    def _clean(self) -> None:
        """Removes what killed processes have left of the same file."""
        import psutil

        shape = re.compile(re.escape(f".{self.path.name}.") + r"([0-9]{1,10})\.new(\..+)?")
        for name in os.listdir(self.path.parent):
            if (found := shape.fullmatch(name)) and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
                with suppress(FileNotFoundError):
                    self.path.with_name(name).unlink()

    def failed(self, cause: OSError) -> StoreFailed:
        return StoreFailed(f"The backup {self.path} cannot be written: {reason(cause)}")

    def check(self) -> None:
        """Raises StoreFailed when the disk is about to be full, and whatever says that this shall end."""
        self._check()
        if self._reserve and shutil.disk_usage(self.path.parent).free < self._reserve:
            raise StoreFailed(f"The backup {self.path} was given up, because less than {self._reserve >> 20} MiB would stay free on "
                              "the disk: make room, or name a folder on another disk.")

    def add(self, name: str, pieces: Iterable[bytes]) -> Member:
        """Adds a file piece by piece; what the pieces raise passes through, except OSError."""
        if not MEMBER.fullmatch(name) or any(each.name == name for each in self.members):
            raise ValueError(f"{name} cannot be in a backup, or is in it already")
        size, digest = 0, hashlib.sha256()
        try:
            with self._zip.open(self._about(name), "w", force_zip64=True) as into:
                for piece in pieces:
                    self.check()
                    into.write(piece)
                    digest.update(piece)
                    size += len(piece)
        except OSError as cause:
            raise self.failed(cause) from cause
        self.members.append(Member(name, size, digest.hexdigest()))
        return self.members[-1]

    def finish(self, manifest: Manifest) -> Manifest:
        """Gives the file its name: it is whole and on disk when this returns. Returns the manifest with the members."""
        manifest = replace(manifest, members=tuple(self.members))
        try:
            with self._zip.open(self._about(MANIFEST), "w") as into:
                into.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.new, self.path)
            self._finished = True
            sync_directory(self.path.parent)
        except OSError as cause:
            raise self.failed(cause) from cause
        return manifest

    @staticmethod
    def _about(name: str) -> zipfile.ZipInfo:
        about = zipfile.ZipInfo(name, time.localtime()[:6])
        about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, PRIVATE_FILE << 16
        return about


class Archive:
    """A backup that is there. Opening it reads and checks the manifest only. Raises InvalidInput for what is no backup,
    or one of a newer format, and FileDamaged for what cannot be as it was written."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as cause:
            raise InvalidInput(f"The backup {path} cannot be read: {cause.strerror}.") from cause
        try:
            self._zip = zipfile.ZipFile(self._file)
            self.manifest = self._read_manifest()
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, KeyError, msgspec.MsgspecError, ValueError) as cause:
            self._file.close()
            raise InvalidInput(f"{path} is not a whole backup of Ananta: name a file that `ananta backup` has made.") from cause
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def extract(self, name: str, target: Path) -> None:
        """Writes the file, mode 0600. Raises FileDamaged when it is not what the manifest says, and StoreFailed."""
        try:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
            with open(fd, "wb") as file:
                for piece in self._pieces(name):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except OSError as cause:
            raise StoreFailed(f"{target} cannot be written: {reason(cause)}") from cause

    def read(self, name: str, most_bytes: int) -> bytes:
        """Returns a small file. Raises FileDamaged."""
        if self._member(name).size > most_bytes:
            raise self._damaged(name, "it is too large")
        return b"".join(self._pieces(name))

    def _pieces(self, name: str):
        wanted = self._member(name)
        size, digest = 0, hashlib.sha256()
        try:
            with self._zip.open(name) as file:
                while piece := file.read(CHUNK):
                    size += len(piece)
                    if size > wanted.size:
                        raise self._damaged(name, "it is longer than its manifest says")
                    digest.update(piece)
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as cause:
            raise self._damaged(name, str(cause) or "it ends too early") from cause
        if size != wanted.size or digest.hexdigest() != wanted.sha256:
            raise self._damaged(name, "its content is not what the manifest says")

    def _member(self, name: str) -> Member:
        return next(each for each in self.manifest.members if each.name == name)

    def _damaged(self, name: str, why: str) -> FileDamaged:
        return FileDamaged(f"The backup {self.path} is damaged at {name}: {why}. Nothing was changed: use another backup.")

    def _read_manifest(self) -> Manifest:
        about = self._zip.getinfo(MANIFEST)
        if about.file_size > MANIFEST_BYTES:
            raise ValueError("the manifest is too large")
        with self._zip.open(about) as file:
            raw = msgspec.json.decode(file.read(MANIFEST_BYTES + 1), type=dict)
        if raw.get("format") != FORMAT:
            raise InvalidInput(f"The backup {self.path} has the format {raw.get('format')!r:.20}, and this version ({FORMAT}) cannot read it: "
                               "restore it with the version of Ananta that has made it.")
        manifest = msgspec.convert(raw, Manifest)
        infos = [each for each in self._zip.infolist() if each.filename != MANIFEST]
        names = [each.filename for each in infos]
        for name in (*names, *manifest.names):
            if not MEMBER.fullmatch(name):
                raise FileDamaged(f"The backup {self.path} holds {name!r:.80}, which is no file of a backup. Nothing was changed.")
        sizes = {each.name: each.size for each in manifest.members}
        if len(names) != len(set(names)) or sorted(names) != sorted(each.name for each in manifest.members) or len(self._zip.infolist()) != len(names) + 1 or any(
                each.flag_bits & 1 or each.compress_type not in _KINDS or each.file_size != sizes[each.filename] for each in infos):
            raise FileDamaged(f"The backup {self.path} does not hold what its manifest lists. Nothing was changed: use another backup.")
        return manifest


def is_backup(path: Path) -> bool:
    """Whether the file is one that a backup may take the place of."""
    try:
        with Archive(path):
            return True
    except (InvalidInput, FileDamaged):
        return False
