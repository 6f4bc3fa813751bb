"""`ananta restore`: the state of a backup in the place of what is there, or nothing changed at all.

Everything is unpacked and looked at beside the data (staging.py). Only then a service is stopped, the files change places, and
the old ones stay in a folder of their own; what fails from there on puts them back.
"""
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ananta import __version__
from ananta.errors import AnantaError, DirectoryBusy, NotFound, StoreFailed
from ananta.operations import service_control
from ananta.operations.service_control import Service
from ananta.operations.staging import BESIDE, Staging
from ananta.settings import Settings
from ananta.store import audit, database, directory, swap
from ananta.store.backup_file import LOCAL_DATABASE, SECRETS, Archive, Manifest


@dataclass(frozen=True)
class Report:
    """What was done. kept: the folder with the old state, None where there was none; notes: what the operator has to
    know, a sentence each."""

    manifest: Manifest
    kept: str | None
    notes: tuple[str, ...]


def restore(settings: Settings, path: Path, *, passphrase: Callable[[], str] | None, force: bool = False, forget_tokens: bool = False,
            wait_s: float = service_control.HEALTHY_S, say: Callable[[str], None] = lambda text: None) -> Report:
    """Restores the backup and returns what was done. passphrase: asked for when secrets are in it; None: leave them.
    force: also a log that was altered before the backup; forget_tokens: also where the key is another one; wait_s: how many
    seconds a service may take until it answers again; say: is told what becomes of it.

    Raises AnantaError, then the state is as it was: nothing was touched, or it was put back."""
    with Archive(path) as backup:
        if swap.interrupted(settings.data_dir.resolve()) is not None:
            say(undo(settings))
        staging = Staging(settings, backup, force=force, forget_tokens=forget_tokens)
        service = _service(staging.data)
        try:
            staging.unpack(passphrase)
            staging.look()
            plan = _stopped(staging, service, wait_s, say)
        finally:
            staging.remove()
    return _report(staging, plan)


def undo(settings: Settings) -> str:
    """Puts back what a restoring that was cut off has moved; returns a sentence. Raises NotFound where none was."""
    data_dir = settings.data_dir.resolve()
    plan = swap.interrupted(data_dir)
    if plan is None:
        raise NotFound(f"No restoring was cut off in {data_dir}: there is nothing to undo.")
    _back(settings, data_dir, plan)
    return "A restoring that was cut off has been undone: everything is as it was before."


def _service(data_dir: Path) -> Service | None:
    """Returns the service that runs there, None when nothing runs. Raises DirectoryBusy for what is no service."""
    holder = directory.holder(data_dir)
    service = service_control.of(holder.get("pid")) if holder else None
    if holder and service is None:
        raise DirectoryBusy(f"A process uses {data_dir} (pid {holder.get('pid')}): stop it first. (An agent that runs as a service is stopped "
                            "and started by this command.)")
    return service


def _stopped(staging: Staging, service: Service | None, wait_s: float, say: Callable[[str], None]) -> swap.Plan:
    """Exchanges the states, with the service stopped meanwhile and healthy afterwards."""
    if service is None:
        return _exchange(staging)
    say(service.stop())
    try:
        service_control.wait_stopped(staging.data)
        plan = _exchange(staging)
    except BaseException:
        say(service.start())
        raise
    _start(staging, service, plan, wait_s, say)
    return plan


def _exchange(staging: Staging) -> swap.Plan:
    claim = directory.claim(staging.data, _about())
    try:
        if staging.load is not None:
            staging.load.others()
        plan = swap.plan(staging.moves(), staging.schema)
        try:
            swap.swap(staging.data, plan)
            if staging.load is not None:
                staging.load.swap()
                staging.settle(staging.load.url)
            _open_once(staging)
            swap.settled(staging.data)
        except BaseException as cause:
            try:
                swap.back(staging.data, plan, _tables_back(staging.settings))
            except AnantaError as failure:
                raise StoreFailed(f"Restoring failed: {cause} Going back failed, too: {failure.message}") from cause
            raise
        return plan
    finally:
        claim.release()


def _open_once(staging: Staging) -> None:
    database.open(staging.place.database, local_path=staging.data / LOCAL_DATABASE)
    try:
        database.rows("SELECT count(*) FROM facts")
    finally:
        database.close()
    if staging.shared:
        staging.require(audit.verify(staging.data / "audit.log", staging.place.database).ok)


def _start(staging: Staging, service: Service, plan: swap.Plan, wait_s: float, say: Callable[[str], None]) -> None:
    try:
        say(service.start())
        problem = service_control.wait_healthy(service, staging.data, wait_s=wait_s)
    except AnantaError as cause:
        problem = cause.message
    if problem is None:
        return
    say(f"The service is not healthy on the restored state: {problem}. Going back.")
    say(service.stop())
    try:
        service_control.wait_stopped(staging.data)
        _back(staging.settings, staging.data, plan)
    finally:
        say(service.start())
    raise StoreFailed(f"The service did not become healthy on the restored state: {problem}. Everything is as it was before; the log of the "
                      "service says why.")


def _back(settings: Settings, data_dir: Path, plan: swap.Plan) -> None:
    claim = directory.claim(data_dir, _about(), restoring=True)
    try:
        swap.back(data_dir, plan, _tables_back(settings))
    finally:
        claim.release()


def _tables_back(settings: Settings) -> Callable[[str], None]:
    def put_back(schema: str) -> None:
        from ananta.store import postgres_tools

        postgres_tools.put_back(str(settings.database_url), schema)

    return put_back


def _about() -> dict:
    return {"pid": os.getpid(), "purpose": "restore", "version": __version__, "url": None}


def _report(staging: Staging, plan: swap.Plan) -> Report:
    notes = list(staging.notes)
    moved = [Path(each.target).name for each in plan.moves if each.had and each.new is None and not each.target.endswith(BESIDE)]
    if moved:
        notes.append(f"The backup has no {', '.join(moved)}: what was here is with the old state.")
    if staging.schema:
        notes.append(f"The old tables are in the schema {staging.schema} of the database.")
    elsewhere = [each.kept for each in plan.moves if each.had and staging.kept not in Path(each.kept).parents]
    if elsewhere:
        notes.append(f"Also with the old state: {', '.join(elsewhere)}.")
    if SECRETS not in staging.manifest.names and not (staging.secrets_dir / "secret_key").exists() and not staging.settings.secret_key:
        notes.append("The backup holds no secrets: a new key is made at the next start, and the agent token has to be set again.")
    notes.append("Everybody signs in anew, with the passwords of then. Proposals that waited for a decision have ended.")
    return Report(staging.manifest, str(staging.kept) if staging.kept.is_dir() else None, tuple(notes))
