"""A backup unpacked beside the data, and looked at as a start would: before anything is touched."""
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ananta import __version__
from ananta import settings as settings_module
from ananta.agent.configuration import LiveConfiguration
from ananta.agent.policy_files import PolicyFiles
from ananta.domain import configuration as rules
from ananta.errors import CannotStart, Conflict, FileDamaged, StoreFailed
from ananta.operations.backup import place_of
from ananta.settings import Settings
from ananta.store import audit, database, files, migrations, restored
from ananta.store.backup_file import (
    CONFIGURATION,
    DATABASE,
    DUMP,
    LOCAL_DATABASE,
    MEMBER,
    POSTGRES,
    SECRETS,
    SQLITE,
    Archive,
)
from ananta.store.configuration import ConfigFile
from ananta.store.second_factors import SecondFactors
from ananta.store.snapshot import SECRET_BYTES, SECRET_FILES, Sealed
from ananta.store.verification import verify

if TYPE_CHECKING:
    from ananta.store.postgres_tools import Load

SEALED_BYTES, ROOM_BYTES = 16 << 20, 64 << 20
# Below the data directory: commands cannot look into it, as they cannot into the data.
FOLDER = "restored"
BESIDE = ("-wal", "-shm", "-journal")
Places = list[tuple[Path, Path | None, Path]]


class Staging:
    """The new state. force: also a log that was altered before; forget_tokens: also where the key is another one; notes:
    what the operator has to know. `unpack`, `look`, then `moves`; all raise AnantaError, and nothing has been touched."""

    def __init__(self, settings: Settings, backup: Archive, *, force: bool, forget_tokens: bool):
        self.settings, self.backup, self.manifest = settings, backup, backup.manifest
        self.force, self.forget_tokens = force, forget_tokens
        self.place = place_of(settings)
        self.data, self.secrets_dir = self.place.data_dir, self.place.secrets_dir
        name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.folder, self.kept = self.data / FOLDER / f".new-{name}", self.data / FOLDER / f"before-restore-{name}"
        self.secrets_folder, self.secrets_kept = self.secrets_dir / f".new-{name}", self.secrets_dir / f"before-restore-{name}"
        self.shared = isinstance(self.place.database, str)
        self.schema = f"before_restore_{name.lower()}" if self.shared else None
        self.notes: list[str] = []
        self.secrets: dict[str, bytes] = {}
        self.load: Load | None = None
        self._check()

    @property
    def database(self) -> Path:
        """Where the new database lies: beside its place, so that a rename brings it there."""
        if self.shared or Path(self.place.database).parent == self.data:
            return self.folder / (LOCAL_DATABASE if self.shared else DATABASE)
        file = Path(self.place.database)
        return file.with_name(f".{file.name}{self.folder.name}")

    def remove(self) -> None:
        """Removes what has not been moved to its place."""
        for folder in (self.folder, self.secrets_folder):
            shutil.rmtree(folder, ignore_errors=True)
        for end in ("", *BESIDE):
            if self.database.parent != self.folder:
                self.database.with_name(self.database.name + end).unlink(missing_ok=True)

    def unpack(self, passphrase: Callable[[], str] | None) -> None:
        sealed = self._unseal(passphrase)
        for folder in (self.data, self.folder.parent, self.folder):
            files.private_directory(folder)
        for name in sorted(self.manifest.names - {SECRETS}):
            self.backup.extract(name, self.database if name == DATABASE else self.folder / name)
        self._complete_configuration(sealed)
        self.secrets = sealed.files if sealed else {}
        for name, content in self.secrets.items():
            files.private_directory(self.secrets_dir)
            files.private_directory(self.secrets_folder)
            files.replace(self.secrets_folder / name, content)

    def look(self) -> None:
        """Opens everything once: the tables are brought up to date, the log is verified."""
        LiveConfiguration(ConfigFile(self.folder / CONFIGURATION), settings_module.configuration_defaults(self.settings), self.settings.given)
        PolicyFiles(self.folder)
        if self.shared:
            from ananta.store.postgres_tools import Load

            self.load = Load(str(self.place.database), self.folder / DUMP, kept=str(self.schema), dumped=self.manifest.postgres)
            database.look_at(self.database, migrations.LOCAL)
        else:
            self.settle(self.database)
            if self.database.with_name(self.database.name + "-wal").exists():
                raise StoreFailed(f"The database {self.database} could not be closed: another program has it open.")
        self.require(verify(self.folder, self.database).ok)
        if not self.shared:
            self.require(audit.verify(self.folder / "audit.log", self.database).ok)
        shutil.rmtree(self.database.parent / "backups" if self.database.parent == self.folder else self.folder / "backups", ignore_errors=True)
        self._own()

    def require(self, unaltered: bool) -> None:
        if not unaltered and not self.force:
            raise Conflict("The log or the audit trail in the backup is not as it was written: it was altered before the backup was made, or the "
                           "backup was. `--force` restores it nevertheless, and `ananta log verify` names the place then.")

    def settle(self, place: Path | str) -> None:
        """Brings the main database up to date, and takes from it what must not come back."""
        database.open(place, local_path=self.data / LOCAL_DATABASE)
        try:
            self._keys()
            restored.settle()
        finally:
            database.close()

    def _keys(self) -> None:
        """Sees to it that what is sealed in the database can be opened here, or is forgotten when that was asked for."""
        key = self._key("secret_key", self.settings.secret_key)
        if restored.sealed_with_another(key):
            lost = "; ".join(restored.sealed())
            if lost and not self.forget_tokens:
                raise Conflict("The tokens in the backup were sealed with another SECRET_KEY than the one here, and a hub would not start with it: "
                               "set that key (SECRET_KEY, or the file secret_key with the secrets), restore a backup made with --with-secrets, or "
                               f"add --forget-tokens. Then these have to be entered again: {lost}.")
            restored.forget_sealed()
            if lost:
                self.notes.append(f"Sealed with another key and forgotten: {lost}.")
        factors = SecondFactors(self._key("mfa_encryption_key", self.settings.mfa_encryption_key) or (key if self.shared else ""))
        try:
            factors.check()
        except CannotStart as cause:
            if not self.forget_tokens:
                raise Conflict(f"{cause.message} Nothing was changed; with --forget-tokens the backup is restored first.") from cause
            self.notes.append(cause.message)

    def moves(self) -> Places:
        """Returns (place, new file or None, where the old one goes) of everything that changes places, in order."""
        new = {each.name for each in self.folder.iterdir() if MEMBER.fullmatch(each.name)} - {DUMP, DATABASE}
        here = {each for each in os.listdir(self.data) if MEMBER.fullmatch(each)} - {DUMP, DATABASE, SECRETS}
        moves: Places = [(self.data / name, self.folder / name if name in new else None, self.kept / name)
                         for name in sorted(new | here | {"terminal_log.torn"})]
        file, kept = self.data / LOCAL_DATABASE, self.kept / LOCAL_DATABASE
        if not self.shared:
            file = Path(self.place.database)
            kept = self.kept / DATABASE if file.parent == self.data else file.with_name(f"{file.name}.{self.kept.name}")
            moves.append((file, self.database, kept))
        moves += [(file.with_name(file.name + end), None, kept.with_name(kept.name + end)) for end in BESIDE]
        return moves + [(self.secrets_dir / name, self.secrets_folder / name, self.secrets_kept / name) for name in sorted(self.secrets)]

    def _check(self) -> None:
        if self.shared != (self.manifest.engine == POSTGRES):
            raise Conflict("The backup is of a hub on Postgres, and DATABASE_URL names none: set it." if self.manifest.engine != SQLITE else
                           "The backup is of an agent with a SQLite file, and DATABASE_URL names a Postgres: leave it out.")
        if self.manifest.schema > len(migrations.SHARED if self.shared else migrations.STEPS):
            raise Conflict(f"The backup was made by Ananta {self.manifest.version}, whose tables this version ({__version__}) does not know: restore "
                           "it with that version or a newer one.")
        needed = {DUMP, LOCAL_DATABASE, "place"} if self.shared else {DATABASE}
        if not needed <= self.manifest.names:
            raise FileDamaged(f"The backup {self.backup.path} lacks {', '.join(sorted(needed - self.manifest.names))}. Nothing was changed.")
        for folder in {self.data, self.database.parent}:
            above = next(each for each in (folder, *folder.parents) if each.exists())
            free, wanted = shutil.disk_usage(above).free, self.manifest.bytes + ROOM_BYTES
            if free < wanted:
                raise StoreFailed(f"The disk of {above} has {free >> 20} MiB free, and the backup takes {wanted >> 20} MiB beside what is there: make "
                                  "room.")

    def _unseal(self, passphrase: Callable[[], str] | None) -> Sealed | None:
        if SECRETS not in self.manifest.names or passphrase is None:
            return None
        from ananta.store.sealing import unseal

        content = self.backup.read(SECRETS, SEALED_BYTES)
        try:
            sealed = msgspec.json.decode(unseal(content, passphrase()), type=Sealed)
        except msgspec.MsgspecError as cause:
            raise FileDamaged(f"The secrets in {self.backup.path} cannot be understood: {cause}. Nothing was changed.") from cause
        if sealed.members != {each.name: each.sha256 for each in self.manifest.members if each.name != SECRETS}:
            raise FileDamaged(f"The backup {self.backup.path} was altered after it was made: its secrets belong to other files. Nothing was "
                              "changed.")
        if len(sealed.files) > SECRET_FILES or any(not _plain(name) or len(each) > SECRET_BYTES for name, each in sealed.files.items()):
            raise FileDamaged(f"The secrets in {self.backup.path} have names that are none of ours. Nothing was changed.")
        return sealed

    def _complete_configuration(self, sealed: Sealed | None) -> None:
        """Secrets that the backup does not have stay as they are here."""
        try:
            here = rules.parted(ConfigFile(self.data / CONFIGURATION).load())[1]
        except FileDamaged:
            here = {}
        there = sealed.configuration if sealed else {name: here[name] for name in self.manifest.left_out if name in here}
        if there:
            file = ConfigFile(self.folder / CONFIGURATION)
            file.save(rules.joined(file.load(), there))
        missing = sorted(set(self.manifest.left_out) - set(there))
        if missing:
            self.notes.append(f"To be entered again in the configuration: {', '.join(missing)}.")

    def _key(self, name: str, given: str | None) -> str:
        """Returns the key that will count then; "" without any."""
        if given:
            return given
        try:
            content = self.secrets.get(name) or (self.secrets_dir / name).read_bytes()
        except OSError:
            return ""
        return content.decode(errors="replace").strip()

    def _own(self) -> None:
        """What root restores belongs to the account that the agent runs as."""
        try:
            for path in (self.folder.parent, self.folder, *self.folder.rglob("*"), self.database):
                files.owned_like(path, self.data)
            for path in (self.secrets_folder, *self.secrets_folder.glob("*")) if self.secrets else ():
                files.owned_like(path, self.secrets_dir)
        except OSError as cause:
            raise CannotStart(f"{cause.filename} cannot be given to the owner of {self.data}: {files.reason(cause)}") from cause


def _plain(name: str) -> bool:
    return 0 < len(name) <= 100 and not name.startswith(".") and name.isascii() and all(each.isalnum() or each in "._-" for each in name)
