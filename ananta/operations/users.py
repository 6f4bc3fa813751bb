"""`ananta user`: the people who can sign in, straight in the database, beside a running agent or without one."""
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ananta import __version__
from ananta.domain import accounts as rules
from ananta.domain.accounts import COMMAND_LINE, User
from ananta.domain.redaction import Redactor
from ananta.errors import Conflict, NotFound
from ananta.settings import Settings
from ananta.store import accounts, database, directory, files, migrations, second_factors
from ananta.store.audit import Audit


def listed(settings: Settings) -> list[User]:
    """Returns the users by name."""
    with opened(settings):
        return accounts.all_by_name()


def check_name(username: str) -> None:
    """Raises InvalidInput for a name that no user can have; before anybody is asked for a password."""
    rules.check_username(username)


def add(settings: Settings, username: str, password: str, *, admin: bool) -> User:
    """Makes a user. Raises InvalidInput."""
    check_name(username)
    role = rules.ADMIN if admin else rules.USER
    rules.check_password(password, username, settings.password_min_length)
    with opened(settings, make=True) as audit:
        user = accounts.add(username, password, role, time.time())
        audit.write("user_created", username=COMMAND_LINE, details={"user": username, "role": role})
        return user


def set_password(settings: Settings, username: str, password: str) -> User:
    """Gives the user another password: all sign-ins end, a lock is lifted. Raises InvalidInput and NotFound."""
    rules.check_password(password, username, settings.password_min_length)
    with opened(settings) as audit:
        accounts.reset_password(username, password, time.time())
        audit.write("password_reset", username=COMMAND_LINE, details={"user": username})
        return accounts.find(username)


def set_role(settings: Settings, username: str, role: str) -> User:
    """Gives the user another role. Raises InvalidInput and NotFound."""
    rules.check_role(role)
    with opened(settings) as audit:
        accounts.set_role(username, role)
        audit.write("user_role_updated", username=COMMAND_LINE, details={"user": username, "role": role})
        return accounts.find(username)


def remove(settings: Settings, username: str) -> None:
    """Removes the user; what the user is signed in with ends at once. Raises InvalidInput and NotFound."""
    with opened(settings) as audit:
        accounts.delete(username, time.time())
        audit.write("user_deleted", username=COMMAND_LINE, details={"user": username})


def switch_second_factor_off(settings: Settings, username: str) -> bool:
    """Switches the second factor of a user off who cannot give its codes any more, and lifts a lock that wrong codes have
    led to; says whether it was on. Raises NotFound."""
    with opened(settings) as audit:
        accounts.find(username)
        was_on = second_factors.remove(username)
        accounts.unlock(username)
        if was_on:
            audit.write("mfa_disabled", username=COMMAND_LINE, details={"user": username})
        return was_on


def new_password() -> str:
    """Returns a random password of 16 characters."""
    return secrets.token_urlsafe(12)


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[Audit]:
    """Opens the database, and gives what writes the audit trail. make: a database that is missing is made. One that is
    shared stays as it is: hubs elsewhere may be of an older version."""
    data_dir = settings.data_dir.resolve()
    file = data_dir / "ananta.db"
    if not (make or settings.database_url or file.exists()):
        raise NotFound(f"There is no database in {data_dir}: name the agent's folder with DATA_DIR.")
    with _place(settings):
        database.open(settings.database_url or file, local_path=data_dir / database.LOCAL_NAME,
                      lacking=migrations.MAKE if make else migrations.REFUSE)
        try:
            yield Audit(data_dir / "audit.log", mask=Redactor([]))
        finally:
            database.close()
            files.all_owned_like((data_dir / name for name in ("audit.log", file.name, f"{file.name}-wal", f"{file.name}-shm")), data_dir)


@contextmanager
def _place(settings: Settings) -> Iterator[None]:
    """Sees to it that no agent starts meanwhile, or that the one that runs has the same tables."""
    data_dir = settings.data_dir.resolve()
    holder = directory.holder(data_dir)
    if holder is None:
        claim = directory.claim(data_dir, {"pid": os.getpid(), "purpose": "user", "version": __version__, "url": None})
        try:
            yield
        finally:
            claim.release()
        return
    if holder.get("version") not in (None, __version__):
        raise Conflict(f"The agent that runs here (pid {holder.get('pid')}) is version {holder['version']}, and this is "
                       f"{__version__}: start it anew first.")
    yield
