"""`ananta backup`: one file with everything that makes an agent what it is, while the agent works."""
import time
from pathlib import Path

from ananta import __version__
from ananta.errors import Conflict, InvalidInput, NotFound
from ananta.settings import Settings
from ananta.store import backup_file, database, directory, snapshot
from ananta.store.backup_file import Manifest
from ananta.store.sealing import check_passphrase
from ananta.store.snapshot import Place


def place_of(settings: Settings) -> Place:
    """Returns what there is to back up."""
    data_dir = settings.data_dir.resolve()
    url = settings.database_url
    # Who runs there knows better what it is than the environment of this call.
    running = (directory.holder(data_dir) or {}).get("purpose")
    return Place(data_dir, url if url and database.is_shared(url) else database.file_of(url or data_dir / backup_file.DATABASE).absolute(),
                 settings.secrets_folder, running if running in ("worker", "hub") else settings.role, settings.agent_name, __version__)


def target(settings: Settings, name: str) -> Path:
    """Returns where the backup goes: in a folder a file with the agent's name and the time. Raises InvalidInput, NotFound
    and Conflict where it cannot go, or something else would be lost."""
    place, path = place_of(settings), Path(name).expanduser().absolute()
    if not place.data_dir.is_dir():
        raise NotFound(f"There is no data in {place.data_dir}: name the agent's folder with DATA_DIR.")
    if path.is_dir():
        agent = "".join(each if each.isalnum() or each in "-_" else "_" for each in settings.agent_name)
        path = path / f"ananta-{agent}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.zip"
    if not path.parent.is_dir():
        raise InvalidInput(f"There is no folder {path.parent}: make it, or name another one.")
    if path.exists() and not backup_file.is_backup(path):
        raise Conflict(f"{path} is something else than a backup, and would be lost: name another file.")
    return path


def make(settings: Settings, path: Path, passphrase: str | None) -> Manifest:
    """Makes the backup. passphrase: the secrets go with it, sealed. Raises InvalidInput and StoreFailed."""
    if passphrase is not None:
        check_passphrase(passphrase)
    return snapshot.make(path, place_of(settings), passphrase=passphrase)
