"""What an installation is to be like, from the options of the command line; the same on every system."""
import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ananta import settings as settings_module
from ananta.errors import InvalidInput, SettingInvalid
from ananta.operations.service.plan import Step
from ananta.settings import Settings
from ananta.store.secrets import new_token

# Where these are is the installation's to say.
FIXED = ("data_dir", "secrets_dir", "work_dir")
LOWEST_PORT = 1024
TOKEN, ADMIN_PASSWORD = "agent_token", "initial_admin_password"


@dataclass(frozen=True)
class Choices:
    """settings: field name → text, those given now; secrets: name of a secret → its value, those given now."""

    settings: Mapping[str, str]
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def variables(self) -> dict[str, str]:
        return {name.upper(): text for name, text in self.settings.items()}


@dataclass(frozen=True)
class Installation:
    """What will be done, and what the person is told once it is: secrets that are shown this once, and next steps."""

    steps: tuple[Step, ...]
    settings: Settings
    shown_once: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    closing: str = ""


def choose(given: Mapping[str, str]) -> Choices:
    """Returns what was chosen. given: field name → text, `<name>_file` for a secret. Raises InvalidInput and SettingInvalid."""
    fields = {field.name: field for field in settings_module.listed()}
    chosen, found = {}, {}
    for name, text in given.items():
        field = fields.get(name.removesuffix("_file"))
        if name in FIXED or field is None:
            raise InvalidInput(f"--{name.replace('_', '-')} is not possible here: a service keeps what is its own in one place, which the "
                               "plan names (--dry-run).")
        if field.metadata["secret"]:
            value = settings_module.load({name: text}, {}, Path("/nonexistent"))
            found[field.name] = str(getattr(value, field.name)).strip()
        else:
            chosen[name] = text.strip()
    return Choices(chosen, found)


def checked(variables: Mapping[str, str]) -> Settings:
    """Returns the settings that the service would start with. Raises SettingInvalid."""
    known = {settings_module.environment_name(field) for field in settings_module.listed()}
    settings = settings_module.load({}, {name: text for name, text in variables.items() if name in known}, Path("/nonexistent"))
    if settings.port < LOWEST_PORT:
        raise SettingInvalid(f"PORT={settings.port} is not possible for a service: it has no rights to take a port below {LOWEST_PORT}, and "
                             "0 would be another one at every start. Put a proxy such as Caddy or nginx in front.")
    # Its folders are made when it starts.
    settings_module.check(dataclasses.replace(settings, work_dir=None), has_token=True)
    return settings


def new_secret(name: str) -> str:
    """Returns a new value for a secret: for a password one that can be typed."""
    return secrets.token_urlsafe(15) if name == ADMIN_PASSWORD else new_token()


def secrets_to_keep(choices: Choices, settings: Settings, kept: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the secrets to write, and those of them that nobody knows yet: they are shown once.

    kept: the ones that are there, by name."""
    new = dict(choices.secrets)
    made = {}
    for name in (TOKEN, *([ADMIN_PASSWORD] if settings.role == "hub" and not settings.disable_initial_admin else [])):
        if name not in kept and name not in new:
            made[name] = new_secret(name)
    return new | made, made
