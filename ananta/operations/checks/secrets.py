"""What must stay secret: is it strong, and can nobody else read it."""
import os
from collections.abc import Iterator
from pathlib import Path

from ananta import settings as settings_module
from ananta.operations.checks.finding import Answer, Case
from ananta.operations.client import agent_token

SHORT, DISTINCT = 16, 8
# Containers lay their secrets there, for everybody in them; nobody else is in them.
OF_CONTAINERS = Path("/run/secrets")


def token(case: Case) -> Iterator[Answer]:
    found = agent_token(case.settings)
    settings_module.check(case.settings, has_token=found is not None)
    if found is None:
        yield True, "none: only this machine can call the agent (`ananta token new` makes one)"
        return
    where = "the settings" if found == case.settings.agent_token else "the secrets"
    weak = weakness(found)
    cure = ("make a long one with `ananta token new --force`" if where == "the secrets" else
            "set AGENT_TOKEN to a random one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'")
    yield weak is None, f"{len(found)} characters, from {where}" if weak is None else f"{weak}: {cure}"


def weakness(token: str) -> str | None:
    """Returns why a token could be guessed, None for one that looks random enough."""
    if len(token) < SHORT:
        return f"only {len(token)} characters"
    if len(set(token)) < DISTINCT:
        return f"only {len(set(token))} different characters"
    return None


def files(case: Case) -> Iterator[Answer]:
    """Every file that holds a secret, and the folder of the kept ones."""
    if os.name != "posix":
        yield True, "their rights are those of their folder on this system"
        return
    folder, seen, good = case.settings.secrets_folder, 0, True
    kept = [folder, *folder.iterdir()] if folder.is_dir() else []
    for path in [*kept, case.data_dir / "config.json", *case.secret_files]:
        if not path.exists() or OF_CONTAINERS in path.parents:
            continue
        seen += path.is_file()
        if path.stat().st_mode & 0o077:
            good = False
            yield False, f"{path} can be read by other users: chmod go= {path}"
    if good:
        yield True, f"{seen} files, for their owner only" if seen else "none kept"
