"""Teams: which agents work together, in which roles, and what that means for the prompt of a task."""
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ananta.errors import InvalidInput

NAME_CHARS, DESCRIPTION_CHARS, URL_CHARS, MEMBERS = 200, 10_000, 2000, 1000


@dataclass(frozen=True)
class Role:
    """What a member of a team can be. default_template_id: the template where nothing nearer gives another."""

    id: str
    name: str
    description: str | None
    default_template_id: str | None


@dataclass(frozen=True)
class LinkedRole(Role):
    """A role as a type of team has it. template_id: the template it has there."""

    template_id: str | None


@dataclass(frozen=True)
class TeamType:
    """A kind of team. role_ids: the roles it has, by name; role_templates: their templates there."""

    id: str
    name: str
    description: str | None
    role_ids: tuple[str, ...]
    role_templates: dict[str, str | None]


@dataclass(frozen=True)
class NewMember:
    """An agent as it is to be in a team."""

    agent_url: str
    role_id: str | None = None
    custom_template_id: str | None = None


@dataclass(frozen=True)
class Member:
    """An agent in a team. agent_url: as it was given, of an agent that need not be registered here."""

    id: str
    team_id: str
    agent_url: str
    role_id: str | None
    custom_template_id: str | None


@dataclass(frozen=True)
class Team:
    """A team. description: its goal; role_templates: by role id, the templates its roles have in this team only;
    is_active: of at most one team."""

    id: str
    name: str
    description: str | None
    team_type_id: str | None
    is_active: bool
    role_templates: dict[str, str]
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Surroundings:
    """What its team and its role mean for a task's prompt; None for what it does not have. of_…: the ids of templates,
    for templates.chosen."""

    team_name: str | None = None
    team_goal: str | None = None
    role_name: str | None = None
    of_member: str | None = None
    of_team_role: str | None = None
    of_type_link: str | None = None
    of_role: str | None = None


def spellings(agent_url: str) -> tuple[str, str]:
    """Returns the ways in which an agent's address is written: members keep theirs as a client wrote it."""
    bare = agent_url.rstrip("/")
    return bare, bare + "/"


def is_same_agent(url: str, other: str) -> bool:
    return url.rstrip("/") == other.rstrip("/")


def member_for(members: Iterable[Member], role_id: str | None) -> Member | None:
    """Returns the one of an agent's memberships in a team that counts for a task with this role: the one in the role,
    else the first."""
    found = list(members)
    return next((each for each in found if role_id is not None and each.role_id == role_id), found[0] if found else None)


def require_role(role_id: str, linked: Collection[str]) -> None:
    """Raises InvalidInput `invalid_role_for_team_type` for a role that a team's type does not have; a type without any
    roles takes every one. linked: the ids of the type's roles."""
    if linked and role_id not in linked:
        raise InvalidInput(f"The type of this team does not have the role {role_id[:100]}: choose one of its roles, or link "
                           "the role to the type first.", code="invalid_role_for_team_type", role_id=role_id)
