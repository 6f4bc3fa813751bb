"""`ananta token`: make, show and replace the agent token."""
import time
from contextlib import suppress

from ananta.errors import Conflict, NotFound, Unavailable
from ananta.operations.client import Client, agent_token
from ananta.settings import Settings
from ananta.store import directory, files
from ananta.store.secrets import Secrets, new_token


def new(settings: Settings, *, force: bool) -> str:
    """Returns a new token, kept with the secrets. Raises Conflict where one is in use."""
    holder = directory.holder(settings.data_dir.resolve())
    if holder is not None:
        raise Conflict(f"An agent runs on this data directory (pid {holder.get('pid')}): use `ananta token rotate`, which "
                       "changes its token while it runs, or stop it first.")
    if not force and agent_token(settings) is not None:
        raise Conflict("There is a token already: `ananta token show` prints it, `ananta token rotate` replaces it.")
    return _keep_new(settings)


def show(settings: Settings) -> str:
    token = agent_token(settings)
    if token is None:
        raise NotFound("There is no token: `ananta token new` makes one.")
    return token


def rotate(settings: Settings) -> str:
    """Returns the new token; a running agent takes it at once. Raises NotFound where there is none to replace."""
    client = Client.find(settings)
    if client is not None:
        try:
            return client.call("POST", "/rotate-token", timeout_s=20, body={})["new_token"]
        finally:
            client.close()
    if directory.holder(settings.data_dir.resolve()) is not None:
        raise Unavailable("Another ananta command uses this data directory: try again when it has ended.")
    if agent_token(settings) is None:
        raise NotFound("There is no token to replace: `ananta token new` makes one.")
    return _keep_new(settings)


def _keep_new(settings: Settings) -> str:
    folder, data_dir = settings.secrets_folder, settings.data_dir.resolve()
    kept = Secrets(folder).keep_token(new_token(), now=time.time(), replaced=settings.agent_token)
    if folder.parent == data_dir:
        with suppress(OSError):
            files.owned_like(folder, data_dir)
    files.all_owned_like(folder.iterdir(), folder)
    return kept.agent_token
