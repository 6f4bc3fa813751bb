"""What a command may see of our environment: secrets out, the executable's changes undone, nothing that waits for keys."""
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

SECRETS = ("AGENT_TOKEN*", "SECRET_KEY", "*_API_KEY", "DATABASE_URL", "REGISTRATION_TOKEN", "INITIAL_ADMIN_*",
           "MFA_ENCRYPTION_KEY")
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "LIBPATH", "DYLD_*")
SUPERVISION = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
PACKAGING = ("_PYI_*", "_MEIPASS*")
QUIET = {"PAGER": "cat", "GIT_PAGER": "cat", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0",
         "DEBIAN_FRONTEND": "noninteractive"}


def child_environment(base: Mapping[str, str], secret_names: Iterable[str]) -> dict[str, str]:
    """Returns the environment for a command, made from base, the environment of this process.

    Left out: SECRETS and secret_names (upper or lower case), each also as <NAME>_FILE, what a service manager told this
    process alone (SUPERVISION), and what PyInstaller added.
    Library paths are what they were before the packaged executable started; from source they stay as they are.
    QUIET holds only where base says nothing else; TERM is always "dumb"."""
    hidden = [form for name in (*SECRETS, *(name.upper() for name in secret_names)) for form in (name, f"{name}_FILE")]
    seen = {name: value for name, value in base.items() if not _matches(name.upper(), (*hidden, *SUPERVISION))}
    return QUIET | _unpackaged(seen) | {"TERM": "dumb"}


def _unpackaged(variables: Mapping[str, str]) -> dict[str, str]:
    # Without this a command loads our bundled libssl or libz, and a started executable reuses our unpacked folder.
    packaged = any(_matches(name, PACKAGING) for name in variables)
    kept = {}
    for name, value in variables.items():
        if _matches(name, PACKAGING) or (name.endswith("_ORIG") and _matches(name[:-5], LIBRARY_PATHS)):
            continue
        if _matches(name, LIBRARY_PATHS) and packaged:
            continue
        kept[name] = value
    for name, value in variables.items():
        if name.endswith("_ORIG") and _matches(name[:-5], LIBRARY_PATHS):
            kept[name[:-5]] = value
    return kept


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
