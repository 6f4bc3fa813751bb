"""`ananta release`: the releases that a hub keeps for its workers, beside a running hub or without one."""
from pathlib import Path

from ananta.domain.accounts import COMMAND_LINE
from ananta.errors import CannotStart
from ananta.operations.users import opened
from ananta.release_key import KEYS
from ananta.settings import Settings
from ananta.store.releases import Kept, Releases


def add(settings: Settings, file: Path) -> Kept:
    """Keeps a copy of a signed file from now on, under a name made of what is signed. Raises AnantaError."""
    found = _of(settings)
    with opened(settings, make=settings.database_url is None) as audit:
        kept = found.add(file)
        audit.write("release_added", username=COMMAND_LINE, details={
            "name": kept.name, "version": kept.release.version, "platform": kept.release.platform, "sha256": kept.release.sha256})
    return kept


def listed(settings: Settings) -> list[Kept]:
    """Returns what is kept, newest version first. Raises CannotStart."""
    return _of(settings).listed()


def remove(settings: Settings, name: str) -> None:
    """Keeps a release no longer. Raises NotFound."""
    found = _of(settings)
    with opened(settings, make=settings.database_url is None) as audit:
        found.remove(name)
        audit.write("release_removed", username=COMMAND_LINE, details={"name": name})


def _of(settings: Settings) -> Releases:
    if settings.role != "hub":
        raise CannotStart("Only a hub keeps releases, and these are the settings of a worker: use --role hub, or --service for those of the "
                          "service that is installed here.")
    return Releases(settings.data_dir.resolve(), KEYS)
