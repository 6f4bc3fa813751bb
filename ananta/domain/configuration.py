"""What may be changed while running: the keys of /config, their checks, and the one model setting behind its three spellings.

A stored configuration holds only what somebody changed; everything else comes from the defaults, which the
settings give. Of the model settings only one spelling is stored (default_provider, default_model, <provider>_url,
<provider>_api_key, lmstudio_api_mode); `provider`/`model` and `llm_config` are made from it.
"""
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ananta.errors import InvalidInput

MASK = "********"
PROVIDERS = ("ollama", "lmstudio", "openai", "anthropic", "mock")
READ_ONLY_TOOLS = ["list_teams", "list_roles", "list_agents", "list_templates", "analyze_logs", "read_agent_logs"]
TEMPLATE_VARIABLES = ["agent_name", "task_title", "task_description", "team_name", "role_name", "team_goal",
                      "anforderungen", "funktion", "feature_name", "title", "description", "task", "endpoint_name",
                      "beschreibung", "sprache", "api_details"]
RESERVED = ("data", "status", "message", "error", "code")
PROTECTED = ("secret_key", "agent_token", "mfa_encryption_key", "database_url", "data_dir", "secrets_dir", "port",
             "role", "hub_url", "agent_url", "registration_token")
PROTECTED_STARTS = ("initial_admin_", "vault_")
LLM_FIELDS = ("provider", "model", "base_url", "api_key", "lmstudio_api_mode")
URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
UNWRAP_DEPTH = 32


@dataclass(frozen=True)
class Key:
    """One key: what is allowed, in words, and the check of it. meaning: of one that is no setting, see settings.py."""

    allowed: str
    check: Callable[[object], bool]
    secret: bool = False
    meaning: str = ""


def _choice(*names: str) -> Key:
    return Key("one of " + ", ".join(names), lambda value: value in names)


def _whole(low: int, high: int, unit: str = "", meaning: str = "") -> Key:
    return Key(f"a whole number {low} to {high}{unit}",
               lambda value: type(value) is int and low <= value <= high, meaning=meaning)


def _text(longest: int = 500, *, secret: bool = False, meaning: str = "") -> Key:
    return Key(f"text of at most {longest} characters",
               lambda value: isinstance(value, str) and len(value) <= longest and "\0" not in value, secret, meaning)


def _names(meaning: str, *, star: bool) -> Key:
    def fits(value) -> bool:
        return (star and value == "*") or (isinstance(value, list) and all(isinstance(each, str) for each in value))
    return Key('a list of names, or "*"' if star else "a list of names", fits, meaning=meaning)


def is_address(value: object) -> bool:
    """Whether this is an http or https address with a host, and a port that exists if it names one."""
    if not isinstance(value, str) or len(value) > 2000 or URL.fullmatch(value) is None:
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def same_host(url: str) -> str:
    """Returns the address with its scheme and host in small letters, in which they count as the same, and without a slash at
    the end. url: as `is_address` wants it."""
    parts = urlsplit(url.rstrip("/"))
    return parts._replace(netloc=parts.netloc.lower()).geturl()


_URL = Key("an http:// or https:// address", is_address)

KEYS: dict[str, Key] = {
    "default_provider": _choice(*PROVIDERS), "default_model": _text(200),
    **{f"{name}_url": _URL for name in PROVIDERS if name != "mock"},
    "openai_api_key": _text(secret=True), "anthropic_api_key": _text(secret=True),
    "lmstudio_api_key": _text(secret=True, meaning="key that LM Studio asks for, if it does"),
    "ollama_api_key": _text(secret=True, meaning="key that Ollama asks for, if it does"),
    "lmstudio_api_mode": _choice("chat", "completions"),
    "log_level": _choice("DEBUG", "INFO", "WARNING", "ERROR"),
    "http_timeout": _whole(1, 600, " s"), "command_timeout": _whole(1, 3600, " s"),
    "agent_offline_timeout": _whole(10, 86400, " s"),
    "llm_tool_allowlist": _names("tools that a model is offered and may use for an administrator", star=True),
    "llm_tool_denylist": _names("tools that no model may use, whatever is allowed", star=False),
    "template_variables_allowlist": _names("placeholders of templates that cause no warning", star=False),
    "max_summary_length": _whole(1, 1_000_000, " characters", "longest summary of a text that a model makes for the client"),
    "template_agent_name": _text(200, meaning="agent that the client asks for drafts of templates"),
    "team_agent_name": _text(200, meaning="agent that the client asks for drafts of teams"),
}
SECRET_KEYS = frozenset(name for name, key in KEYS.items() if key.secret)
FIXED_DEFAULTS: dict[str, object] = {
    "agent_offline_timeout": 300, "llm_tool_allowlist": READ_ONLY_TOOLS, "llm_tool_denylist": [],
    "template_variables_allowlist": TEMPLATE_VARIABLES, "max_summary_length": 500,
}


@dataclass(frozen=True)
class ModelSetting:
    """The effective model: which server is asked, for which model, how. explicit: somebody set the address; named: the
    request asks for this very provider, so that another one may not answer in its place; guarded: the address itself
    came with a request."""

    provider: str
    model: str
    url: str
    key: str | None
    mode: str
    explicit: bool
    named: bool = False
    guarded: bool = False


def effective(stored: Mapping, defaults: Mapping) -> dict:
    """Returns every key with the value that counts, secrets in clear; for use inside the program only."""
    whole = {**FIXED_DEFAULTS, **defaults, **{key: value for key, value in stored.items() if key != "llm_config"}}
    provider = whole["default_provider"]
    whole["provider"], whole["model"] = provider, whole["default_model"]
    whole["llm_config"] = {
        **(stored.get("llm_config") or {}), "provider": provider, "model": whole["default_model"],
        "base_url": whole.get(f"{provider}_url"), "api_key": whole.get(f"{provider}_api_key"),
        "lmstudio_api_mode": whole["lmstudio_api_mode"]}
    return whole


def masked(whole: Mapping) -> dict:
    """Returns the effective configuration as it may be shown: a secret is the mask when set, else null."""
    shown = {key: value for key, value in whole.items() if key not in SECRET_KEYS and not key.endswith("_api_key")}
    shown |= {key: MASK if whole[key] else None for key in whole if key in SECRET_KEYS or key.endswith("_api_key")}
    shown["llm_config"] = {**whole["llm_config"], "api_key": MASK if whole["llm_config"].get("api_key") else None}
    return shown


def is_secret(key: str) -> bool:
    """Whether a key of the configuration, also one we do not know, names something that must not be shown."""
    return key in SECRET_KEYS or key.lower().endswith(("api_key", "token", "secret", "password", "passphrase"))


def parted(stored: Mapping, above: str = "") -> tuple[dict, dict[str, object]]:
    """Returns the stored configuration without its secrets, and the secrets by name ("llm_config.api_key")."""
    rest, secrets = {}, {}
    for key, value in stored.items():
        if is_secret(key):
            secrets[above + key] = value
        elif isinstance(value, Mapping):
            rest[key], inner = parted(value, f"{above}{key}.")
            secrets |= inner
        else:
            rest[key] = value
    return rest, secrets


def joined(rest: Mapping, secrets: Mapping[str, object]) -> dict:
    """Returns what `parted` has taken apart."""
    whole = dict(rest)
    for name, value in secrets.items():
        place = whole
        *above, last = name.split(".")
        for each in above:
            inner = place.get(each)
            place[each] = place = dict(inner) if isinstance(inner, Mapping) else {}
        place[last] = value
    return whole


def model_setting(stored: Mapping, defaults: Mapping, given: frozenset[str], *, provider: str | None = None,
                  model: str | None = None) -> ModelSetting:
    """Returns the model setting, with another provider or model where a request names one.

    A request's provider without a model gets that provider's own default ("auto")."""
    whole = effective(stored, defaults)
    name = provider or whole["default_provider"]
    if name not in PROVIDERS:
        raise InvalidInput(f"There is no provider {name!r}: use one of {', '.join(PROVIDERS)}.", code="invalid_value")
    chosen = model or (whole["default_model"] if name == whole["default_provider"] else "auto")
    return ModelSetting(name, chosen, whole.get(f"{name}_url") or "", whole.get(f"{name}_api_key"),
                        whole["lmstudio_api_mode"], f"{name}_url" in given or f"{name}_url" in stored, provider is not None)


def unwrapped(value: object, depth: int = 0) -> object:
    """Returns the value with every nested {status|code, data} wrapper replaced by its data."""
    if depth > UNWRAP_DEPTH:
        return value
    if isinstance(value, dict):
        if "data" in value and ("status" in value or "code" in value):
            return unwrapped(value["data"], depth + 1)
        return {key: unwrapped(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [unwrapped(each, depth + 1) for each in value]
    return value


def merge(stored: Mapping, posted: object, defaults: Mapping) -> tuple[dict, list[str]]:
    """Returns the new stored configuration and the names of the keys that changed.

    posted: any subset of keys, or a whole document sent back. null resets a key; the mask keeps a secret. Raises
    InvalidInput (`protected_key`, `invalid_value`, `invalid_json`); then nothing has changed."""
    posted = unwrapped(posted)
    if not isinstance(posted, dict):
        raise InvalidInput("The body must be a JSON object of configuration keys.", code="invalid_json")
    posted = {key: value for key, value in posted.items() if key not in RESERVED}
    before = effective(stored, defaults)
    for key in posted:
        if (key.lower() in PROTECTED or key.lower().startswith(PROTECTED_STARTS)) and posted[key] != before.get(key):
            raise InvalidInput(f"{key} cannot be changed while running: set it before the start.",
                               code="protected_key", details=key)
    new = dict(stored)
    for key, value in {**_plain(posted, stored, before), **_model_changes(posted, before)}.items():
        _put(new, key, value)
    if isinstance(posted.get("llm_config"), dict):
        others = {key: value for key, value in posted["llm_config"].items() if key not in LLM_FIELDS}
        _put(new, "llm_config", others or None)
    elif "llm_config" in posted:
        _put(new, "llm_config", None)
    after = effective(new, defaults)
    return new, sorted(key for key in {**before, **after} if before.get(key) != after.get(key))


def checked(stored: object) -> dict:
    """Returns a stored configuration read from a file. Raises InvalidInput for a value that is not allowed."""
    if not isinstance(stored, dict):
        raise InvalidInput("The configuration must be a JSON object.", code="invalid_value")
    for key, value in stored.items():
        _check(key, value)
    return stored


def _plain(posted: dict, stored: Mapping, before: dict) -> dict:
    """The posted keys without the model's spellings, and without defaults sent back: storing those would pin them."""
    return {key: value for key, value in posted.items() if key not in ("llm_config", "provider", "model")
            and (key in stored or key not in before or value != before[key])}


def _model_changes(posted: dict, before: dict) -> dict:
    """The model keys that this post really changes; llm_config wins over default_*, which wins over provider/model."""
    changes = {}
    for short, key in (("provider", "default_provider"), ("model", "default_model")):
        for value in (posted.get(short), posted.get(key)):
            if value not in (None, "") and value != before[key]:
                changes[key] = value
        if key in posted and posted[key] is None and key not in changes:
            changes[key] = None
    wanted = posted.get("llm_config")
    if "llm_config" in posted and wanted is None:
        return {**changes, **dict.fromkeys((*(f"{name}_url" for name in PROVIDERS if name != "mock"), "default_provider",
                                            "default_model", "lmstudio_api_mode"))}
    if wanted is not None and not isinstance(wanted, dict):
        raise InvalidInput("llm_config must be an object with provider, model, base_url, api_key, lmstudio_api_mode.",
                           details="llm_config")
    shown = masked(before)["llm_config"]
    new = {field: value for field, value in (wanted or {}).items()
           if field in LLM_FIELDS and value not in (None, "", MASK) and value != shown.get(field)}
    if "provider" in new:
        changes["default_provider"] = new["provider"]
    provider = changes.get("default_provider") or before["default_provider"]
    names = {"model": "default_model", "lmstudio_api_mode": "lmstudio_api_mode", "base_url": f"{provider}_url",
             "api_key": f"{provider}_api_key"}
    # A document sent back after a change of provider still carries the old provider's address.
    return changes | {names[field]: value for field, value in new.items() if field in names}


def _put(stored: dict, key: str, value: object) -> None:
    if value is None or (value == "" and KEYS.get(key) is not None):
        stored.pop(key, None)
    elif not (value == MASK and (key in SECRET_KEYS or key.endswith("_api_key"))):
        _check(key, value)
        stored[key] = value


def _check(key: str, value: object) -> None:
    known = KEYS.get(key)
    if known is not None and not known.check(value):
        shown = "(a secret)" if known.secret else repr(value)[:80]
        raise InvalidInput(f"{key}={shown} is not possible: allowed is {known.allowed}.", details=key)
