"""Every setting: name, type, unit, default, meaning; and how their values are found.

A field of Settings is a setting: its environment name, its command-line option, `ananta --help` and the table in
the README come from the field. A value is taken from the first of: command-line option, environment, the file named
by <NAME>_FILE (secrets only), the file of its name in lower case in $CREDENTIALS_DIRECTORY (secrets only, see
systemd.exec(5)), `.env` in the working directory, default.
"""
import dataclasses
import ipaddress
import os
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ananta.domain.accounts import check_username
from ananta.domain.configuration import is_address
from ananta.errors import InvalidInput, SettingInvalid

CREDENTIALS = "CREDENTIALS_DIRECTORY"
# No setting, since it is none of the service, but as secret: the passphrase of a backup that is made or restored.
BACKUP_PASSPHRASE = "ANANTA_BACKUP_PASSPHRASE"
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
DECIMAL_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)


def setting(default, meaning, *, unit="", choices=(), low=None, high=None, secret=False, blank=False, shape=None,
            aliases=()):
    """A field with its description. blank: an empty value counts as not given, instead of stopping the start;
    allowed only where an empty value opens nothing. shape: (regular expression, sentence that says what it allows);
    aliases: other environment names of it, which count where the first one is not set."""
    about = {"meaning": meaning, "unit": unit, "choices": choices, "low": low, "high": high, "secret": secret,
             "blank": blank, "shape": shape, "aliases": aliases}
    return dataclasses.field(default=default, metadata=about)


URL = (r"https?://[^\s/?#@]+(/[^\s?#]*)?", "an http:// or https:// address without user name, query or fragment")
NAME = (r"[^\x00-\x1f\x7f]{1,64}", "1 to 64 printable characters")
TOKEN = (r"[\x21-\x7e]{1,512}", "1 to 512 printable ASCII characters without spaces")


@dataclass(frozen=True)
class Settings:
    """What is fixed at start. `given` names the fields that somebody set; the others hold their defaults."""

    agent_name: str = setting("default", "name of this agent in records and answers", shape=NAME)
    role: str = setting("worker", "what this process is: one that runs commands, or a hub that also keeps tasks and hands "
                        "them on to workers", choices=("worker", "hub"))
    host: str = setting("", "address to listen on; default: 127.0.0.1 without a token, 0.0.0.0 with one", blank=False,
                        shape=(r"[A-Za-z0-9.:_\[\]-]{1,255}", "an address or a host name"))
    port: int = setting(5000, "port to listen on; 0 takes a free one", low=0, high=65535)
    data_dir: Path = setting(Path("data"), "folder of the log, the configuration and the database")
    secrets_dir: Path | None = setting(None, "folder of the secrets; default: `secrets` in the data folder")
    database_url: str | None = setting(
        None, "database of a hub: postgresql://user:password@host/name, or sqlite:///path; default: ananta.db in the data "
        "folder", secret=True, shape=(r"(postgres(ql)?|sqlite)://\S+", "an address that begins with postgresql:// or "
                                      "sqlite:///"))
    agent_token: str | None = setting(None, "token that callers must present; without one: this machine only",
                                      secret=True, shape=TOKEN)
    secret_key: str | None = setting(None, "key that signs user tokens; default: made once and kept with the secrets",
                                     secret=True, shape=(r"[\x21-\x7e]{16,512}", "16 to 512 printable characters"))
    agent_token_persistence: bool = setting(True, "keep a rotated token with the secrets, so that it survives a restart")
    anonymous_reads: str = setting("loopback", "who may read and ask for proposals without a token",
                                   choices=("loopback", "off", "all"))
    agent_url: str | None = setting(None, "address under which the hub and other agents reach this one; default: "
                                    "http://localhost and the port", blank=True, shape=URL)
    hub_url: str = setting("http://localhost:5000", "hub that a worker registers with", blank=True, shape=URL,
                           aliases=("CONTROLLER_URL",))
    registration_token: str | None = setting(None, "secret that a worker presents to register, and that a hub then asks "
                                             "for", secret=True, blank=True, shape=TOKEN)
    token_rotation_days: int = setting(7, "age at which a rotated token is replaced by itself; 0: never", unit="days",
                                       low=0, high=3650)
    agent_offline_timeout: int = setting(300, "how long an agent that was not seen still counts as online", unit="s",
                                         low=10, high=86400)
    initial_admin_user: str = setting("admin", "name of the first user, made when there is none",
                                      shape=(r"[A-Za-z0-9._@+-]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 . _ @ + -"))
    initial_admin_password: str | None = setting(None, "password of the first user; default: a random one, printed once",
                                                 secret=True, blank=True, shape=(r"[^\x00-\x1f\x7f]{1,256}",
                                                                                 "1 to 256 printable characters"))
    disable_initial_admin: bool = setting(False, "make no first user")
    password_min_length: int = setting(8, "least length of a new password", unit="characters", low=4, high=256)
    mfa_encryption_key: str | None = setting(
        None, "key that encrypts the secrets of second factors; default: made once and kept with the secrets; with a Postgres: "
        "made from SECRET_KEY", secret=True, blank=True, shape=(r"[\x21-\x7e]{16,512}", "16 to 512 printable characters"))
    stats_history_size: int = setting(60, "how many snapshots of the statistics are kept, one a minute", low=1, high=100_000)
    tasks_retention_days: int = setting(
        30, "how long tasks that are done stay on the board, and records in the terminal log, before they go to the archives; "
        "0: for ever", unit="days", low=0, high=36500)
    archived_tasks_retention_days: int = setting(90, "how long tasks stay in the archive before they are deleted; 0: for ever",
                                                 unit="days", low=0, high=36500)
    backups_retention_days: int = setting(14, "age at which files in the folder of backups are deleted; 0: never",
                                          unit="days", low=0, high=36500)
    allow_insecure: bool = setting(False, "allow a HOST that others can reach although there is no token")
    allowed_hosts: tuple[str, ...] = setting((), "further names under which this agent may be addressed", blank=True,
                                             shape=(r"[A-Za-z0-9.:_\[\]-]{1,255}", "host names separated by commas"))
    cors_origins: tuple[str, ...] = setting(
        ("http://localhost:4200", "http://127.0.0.1:4200"), "web origins that may call this agent from a browser",
        blank=True, shape=(r"\*|https?://[^\s/?#@]+", "origins such as https://team.example, separated by commas"))
    trusted_proxies: tuple[str, ...] = setting((), "addresses of proxies whose X-Forwarded-For is believed", blank=True,
                                               shape=(r"[0-9A-Fa-f.:]{2,45}", "IP addresses separated by commas"))
    default_provider: str = setting("lmstudio", "which kind of model server is asked",
                                    choices=("lmstudio", "ollama", "openai", "anthropic", "mock"))
    default_model: str = setting("auto", "which model is asked; auto takes what the server has", blank=True)
    lmstudio_url: str = setting("http://host.docker.internal:1234/v1", "LM Studio, or another server of its kind",
                                blank=True, shape=URL)
    ollama_url: str = setting("http://localhost:11434/api/generate", "Ollama", blank=True, shape=URL)
    openai_url: str = setting("https://api.openai.com/v1/chat/completions", "OpenAI, or a service of its kind",
                              blank=True, shape=URL)
    anthropic_url: str = setting("https://api.anthropic.com/v1/messages", "Anthropic", blank=True, shape=URL)
    openai_api_key: str | None = setting(None, "key for OpenAI", secret=True, blank=True, shape=TOKEN)
    anthropic_api_key: str | None = setting(None, "key for Anthropic", secret=True, blank=True, shape=TOKEN)
    lmstudio_api_mode: str = setting("chat", "which interface of LM Studio is used", choices=("chat", "completions"))
    lmstudio_max_context_tokens: int = setting(4096, "context of the model", unit="tokens", low=512, high=10_000_000)
    mock_answers: Path | None = setting(None, "file with the answers of the mock provider, one a line", blank=True)
    http_timeout: int = setting(60, "time limit of one model call", unit="s", low=1, high=600)
    retry_count: int = setting(3, "how often a failed model call is repeated", low=0, high=10)
    retry_backoff: float = setting(1.5, "pause before repetition n is this to the power of n", unit="s", low=0, high=10)
    disable_llm_check: bool = setting(False, "do not look every five minutes whether the model server answers")
    sgpt_default_model: str | None = setting(None, "model for /api/sgpt/execute; default: the model in use", blank=True)
    shell_path: str | None = setting(None, "shell that runs commands; default: bash, else sh; on Windows pwsh, "
                                           "else powershell, else cmd", blank=True)
    work_dir: Path | None = setting(None, "folder in which a session starts; default: where the agent was started")
    command_timeout: int = setting(60, "time limit of a command that names none", unit="s", low=1, high=3600)
    containment: str = setting("workspace", "what commands may change that nobody decided about: only their working "
                               "directory, or anything", choices=("workspace", "off"))
    proposal_lifetime: int = setting(86400, "how long a proposal waits for a decision", unit="s", low=10, high=2_592_000)
    max_commands: int = setting(8, "commands running at once; one more is answered 503", low=1, high=64)
    max_model_calls: int = setting(16, "model calls waiting at once; one more is answered 503", low=1, high=64)
    log_rotate_mb: int = setting(100, "size at which the terminal log goes on in a new file", unit="MiB", low=1,
                                 high=100_000)
    backup_every_hours: int = setting(0, "how often a backup is made by itself, in the folder backups of the data folder; 0: never",
                                      unit="hours", low=0, high=8760)
    backup_keep: int = setting(7, "how many of these backups are kept", low=1, high=1000)
    log_level: str = setting("INFO", "least level that is logged", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    ai_agent_log_json: bool = setting(False, "log one JSON object a line")
    agent_extensions: tuple[str, ...] = setting(
        (), "modules to load at start", blank=True,
        shape=(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", "module names separated by commas"))
    extensions_dir: Path | None = setting(None, "folder in which modules of AGENT_EXTENSIONS are looked for first",
                                          blank=True)
    given: frozenset[str] = frozenset()

    @property
    def secrets_folder(self) -> Path:
        return (self.secrets_dir or self.data_dir / "secrets").resolve()


def listed() -> list[dataclasses.Field]:
    """The fields that are settings, in their order."""
    return [each for each in dataclasses.fields(Settings) if each.metadata]


def environment_name(field: dataclasses.Field) -> str:
    return field.name.upper()


def alias_text(field: dataclasses.Field) -> str:
    """The other names of the setting, for a list in parentheses or nothing."""
    return "".join(f", also {each}" for each in field.metadata["aliases"])


def secret_names() -> list[str]:
    """Environment names that no child process may see."""
    return [*(environment_name(field) for field in listed() if field.metadata["secret"]), BACKUP_PASSPHRASE]


def kind(field: dataclasses.Field) -> typing.Any:
    """The type of the value; `X | None` is X."""
    plain = [each for each in typing.get_args(field.type) if each is not type(None)]
    return plain[0] if plain and typing.get_origin(field.type) is not tuple else field.type


def type_name(field: dataclasses.Field) -> str:
    about, of = field.metadata, kind(field)
    if about["choices"]:
        return ", ".join(about["choices"])
    if of in (int, float):
        return f"{'whole number' if of is int else 'number'} {about['low']} to {about['high']}"
    return {bool: "true, false", Path: "path", str: "text"}.get(of, "list")


def default_text(field: dataclasses.Field) -> str:
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, tuple):
        return ",".join(field.default)
    return "" if field.default is None else str(field.default)


def load(options: Mapping[str, str] | None = None, environment: Mapping[str, str] = os.environ,
         directory: Path | None = None) -> Settings:
    """Returns the settings from their sources (order: see the module).

    options: field name → text; directory: where `.env` lies. Raises SettingInvalid, one sentence that names the
    setting, the value and what is allowed."""
    options = options or {}
    dotenv = _read_dotenv((directory or Path.cwd()) / ".env")
    values, given = {}, set()
    for field in listed():
        source, text = _find(field, options, environment, dotenv)
        if text is None or (text.strip() == "" and field.metadata["blank"]):
            continue
        values[field.name] = parse(field, text, source)
        given.add(field.name)
    return Settings(**values, given=frozenset(given))


def parse(field: dataclasses.Field, text: str, source: str):
    """Returns the value of the field. Raises SettingInvalid; a secret's value is not repeated in the sentence."""
    about, of, name = field.metadata, kind(field), source
    shown = "(a secret)" if about["secret"] else repr(text if len(text) < 80 else text[:77] + "...")
    text = text.strip()
    if text == "":
        raise SettingInvalid(f"{name} is set but empty: give it a value ({_allowed(field)}) or remove it.")
    value: object = text
    if of is bool:
        value = {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}.get(text.lower())
    elif of is int:
        value = int(text) if WHOLE_NUMBER.fullmatch(text) else None
    elif of is float:
        value = float(text) if DECIMAL_NUMBER.fullmatch(text) else None
    elif of is Path:
        value = None if "\0" in text else Path(text).expanduser()
    elif typing.get_origin(of) is tuple:
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    elif about["choices"]:
        value = next((each for each in about["choices"] if each.lower() == text.lower()), None)
    if value is None or not _fits(value, about):
        raise SettingInvalid(f"{name}={shown} is not possible: allowed is {_allowed(field)}.")
    return value


def _fits(value, about) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return about["low"] <= value <= about["high"]
    if about["shape"]:
        return all(re.fullmatch(about["shape"][0], each) for each in ([value] if isinstance(value, str) else value))
    return True


def _allowed(field: dataclasses.Field) -> str:
    about = field.metadata
    if about["choices"]:
        return "one of " + ", ".join(about["choices"])
    if about["shape"]:
        return about["shape"][1]
    text = {bool: "true or false", Path: "a path", str: "text"}.get(kind(field), f"a {type_name(field)}")
    return text + (f" ({about['unit']})" if about["unit"] else "")


def _find(field, options, environment, dotenv) -> tuple[str, str | None]:
    name = environment_name(field)
    if field.name in options:
        return option_name(field), options[field.name]
    for each in (name, *field.metadata["aliases"]):
        if each in environment:
            return each, environment[each]
    if field.metadata["secret"]:
        for place in _places(field, options, environment, dotenv):
            return f"{name}_FILE", _read_secret(name, place)
    name = next((each for each in (name, *field.metadata["aliases"]) if each in dotenv), name)
    return f"{name} in .env", dotenv.get(name)


def _places(field, options, environment, dotenv) -> Iterator[str]:
    """The files that are named for a secret, the one that counts first; the last is what a service manager has laid out."""
    name = environment_name(field)
    for place in (options.get(f"{field.name}_file"), environment.get(f"{name}_FILE"), dotenv.get(f"{name}_FILE")):
        if place is not None:
            yield place
    credentials = environment.get(CREDENTIALS)
    if credentials and _may_be(place := os.path.join(credentials, field.name)):
        yield place


def _may_be(place: str) -> bool:
    """Whether a file is there. One that cannot be looked at may be: a secret that is out of reach must not open anything."""
    try:
        os.stat(place)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True


def secret_files(options: Mapping[str, str], environment: Mapping[str, str], directory: Path | None = None) -> list[Path]:
    """Returns the files that the user has named for secrets, and `.env` where it holds one. Raises SettingInvalid."""
    path = (directory or Path.cwd()) / ".env"
    dotenv = _read_dotenv(path)
    laid_out = environment.get(CREDENTIALS)
    fields = [field for field in listed() if field.metadata["secret"]]
    named = [Path(place).expanduser() for field in fields for place in _places(field, options, environment, dotenv)
             if not (laid_out and Path(place).parent == Path(laid_out))]
    return [*named, path] if any(dotenv.get(environment_name(field)) for field in fields) else named


def option_name(field: dataclasses.Field) -> str:
    """`--data-dir`; for a secret `--agent-token-file`, since arguments can be read by every user of the machine."""
    return "--" + field.name.replace("_", "-") + ("-file" if field.metadata["secret"] else "")


def _read_secret(name: str, place: str) -> str:
    try:
        text = Path(place).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is not text"
        raise SettingInvalid(f"{name}_FILE={place!r} cannot be read ({why}): name a readable file.") from cause
    return text


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # few starts have the file

    try:
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingInvalid(f"{path} cannot be read: {cause}. Repair it or remove it.") from cause


def is_loopback(host: str) -> bool:
    """Whether an address or host name can only be reached from this machine."""
    host = host.strip("[]").lower()
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def check(settings: Settings, *, has_token: bool) -> None:
    """Raises SettingInvalid where settings contradict each other. has_token: a token was set, or one is kept."""
    if settings.host and not is_loopback(settings.host) and not has_token and not settings.allow_insecure:
        raise SettingInvalid(
            f"HOST={settings.host!r} can be reached by others, and without a token everybody there could run commands: "
            "set AGENT_TOKEN, or let `ananta token new` make one, or set ALLOW_INSECURE=true.")
    try:
        check_username(settings.initial_admin_user)
    except InvalidInput as cause:
        raise SettingInvalid(f"INITIAL_ADMIN_USER={settings.initial_admin_user!r} is not possible: {cause.message}") from cause
    if "*" in settings.cors_origins and not (has_token and settings.anonymous_reads == "off"):
        raise SettingInvalid("CORS_ORIGINS='*' is not possible: it is allowed only with AGENT_TOKEN set and "
                             "ANONYMOUS_READS=off; otherwise list the origins.")
    if settings.work_dir is not None and not (settings.work_dir.is_dir() and os.access(settings.work_dir, os.X_OK)):
        raise SettingInvalid(f"WORK_DIR={str(settings.work_dir)!r} is not a folder that can be entered: make it, or name "
                             "another one.")
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_address(proxy)
        except ValueError as cause:
            raise SettingInvalid(f"TRUSTED_PROXIES={proxy!r} is not possible: allowed are IP addresses separated by "
                                 "commas.") from cause
    for field in listed():
        value = getattr(settings, field.name)
        if field.name.endswith("_url") and value and field.name != "database_url" and not is_address(value):
            raise SettingInvalid(f"{environment_name(field)}={value!r} is not possible: "
                                 "its host is missing, or its port is not a number from 1 to 65535.")


def configuration_defaults(settings: Settings) -> dict:
    """What the configuration falls back to: the settings that have a key of the same name."""
    names = ("default_provider", "default_model", "lmstudio_url", "ollama_url", "openai_url", "anthropic_url",
             "openai_api_key", "anthropic_api_key", "lmstudio_api_mode", "log_level", "http_timeout", "command_timeout",
             "agent_offline_timeout")
    return {name: getattr(settings, name) for name in names}


def table() -> str:
    """The README's table of settings."""
    rows = ["| Setting | Allowed | Default | Meaning |", "|---|---|---|---|"]
    for field in listed():
        unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
        secret = " Secret: also as a file, `" + environment_name(field) + "_FILE`." if field.metadata["secret"] else ""
        meaning = field.metadata["meaning"]
        rows.append(f"| `{environment_name(field)}` | {type_name(field)}{unit} | "
                    f"{'`' + default_text(field) + '`' if default_text(field) else ''} | "
                    f"{meaning[0].upper() + meaning[1:]}{alias_text(field)}.{secret} |")
    return "\n".join(rows)
