"""The command line as a client of the server that runs on the same data directory."""
import time

from ananta.domain.accounts import ADMIN, COMMAND_LINE, signing_key
from ananta.errors import AnantaError, ApprovalRequired, CommandDenied, LLMFailed, NotAuthenticated, Unavailable
from ananta.settings import Settings
from ananta.store import directory
from ananta.store.secrets import Secrets, effective_token

CURE = ("the server that runs here does not accept our token: set AGENT_TOKEN (or AGENT_TOKEN_FILE) as it was set for the "
        "server, or name its secrets with SECRETS_DIR")


class Client:
    """Calls the server's HTTP interface with the token that this machine keeps."""

    def __init__(self, url: str, token: str | None):
        import requests

        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc between two processes of one machine
        self._token = token

    @classmethod
    def find(cls, settings: Settings) -> "Client | None":
        """Returns a client of the server on this data directory, or None when none runs."""
        holder = directory.holder(settings.data_dir.resolve())
        if holder is None or not holder.get("url"):
            return None
        return cls(holder["url"], _credential(settings))

    def call(self, method: str, path: str, *, timeout_s: float, body: dict | None = None, query: dict | None = None):
        """Returns the decoded answer. Raises the nearest of our errors, with the server's own sentence."""
        import requests

        try:
            answer = self._session.request(
                method, self.url + path, json=body, params=query, timeout=timeout_s, allow_redirects=False,
                headers={"Authorization": f"Bearer {self._token}"} if self._token else {})
            content = answer.json()
        except (requests.RequestException, ValueError) as cause:
            raise Unavailable(f"The server at {self.url} gave no answer: {cause}.") from cause
        if answer.ok:
            return content
        message = content.get("message", str(answer.status_code))
        if answer.status_code == 401:
            raise NotAuthenticated(message + " " + CURE[0].upper() + CURE[1:] + ".")
        codes = {"command_denied": CommandDenied, "approval_required": ApprovalRequired}
        kinds = {502: LLMFailed, 503: Unavailable}
        kind = codes.get(content.get("code")) or kinds.get(answer.status_code, AnantaError)
        raise kind(message, code=content.get("code"))

    def close(self) -> None:
        self._session.close()


def secrets_of(settings: Settings) -> Secrets | None:
    """Returns the secrets of this data directory, or None where there are none yet; makes nothing."""
    folder = settings.secrets_folder
    return Secrets(folder) if folder.is_dir() else None


def agent_token(settings: Settings) -> str | None:
    """Returns the token that counts: the kept one, unless another has been set since. None without any."""
    secrets = secrets_of(settings)
    return effective_token(settings.agent_token, secrets.token() if secrets else None)


def _credential(settings: Settings) -> str | None:
    token, secrets = agent_token(settings), secrets_of(settings)
    if token is not None or (settings.secret_key is None and secrets is None):
        return token
    key = settings.secret_key or secrets.key()  # type: ignore[union-attr]
    import jwt

    now = int(time.time())
    return jwt.encode({"sub": COMMAND_LINE, "role": ADMIN, "iat": now, "exp": now + 3600}, signing_key(key), algorithm="HS256")
