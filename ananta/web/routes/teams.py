"""Teams, their members, types and roles."""
import time
from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar

from bottle import Bottle, request
from msgspec import UNSET, Meta, UnsetType

from ananta.domain.teams import (
    DESCRIPTION_CHARS,
    MEMBERS,
    NAME_CHARS,
    URL_CHARS,
    LinkedRole,
    NewMember,
    Role,
    Team,
    TeamType,
)
from ananta.errors import InvalidInput
from ananta.hub.teams import Teams
from ananta.store import roles, team_types, teams
from ananta.store.audit import Audit
from ananta.web import server
from ananta.web.access import ADMIN, AUTH, Access

# `$` alone would let a line end pass.
END = r"$(?!\n)"
Name = Annotated[str, Meta(max_length=NAME_CHARS, pattern=rf"^[^\x00]*[^\x00\s][^\x00]*{END}")]
ScrumName = Annotated[str, Meta(max_length=NAME_CHARS, pattern=rf"^[^\x00]*{END}")]
Description = Annotated[str, Meta(max_length=DESCRIPTION_CHARS, pattern=rf"^[^\x00]*{END}")]
Reference = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{0,200}}{END}", description='the id of something else; "": none')]
# Never asked for anything, only compared: clients have addresses of their own for agents.
AgentUrl = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,{URL_CHARS}}}{END}")]
RoleTemplates = Annotated[dict[Reference, Reference | None], Meta(max_length=MEMBERS)]
# The ids of teams; what stands beside them has paths of its own.
TEAM = "<team_id:re:(?!(?:types|roles|setup-scrum)(?:/|$))[^/]+>"


@dataclass
class MemberRequest:
    agent_url: AgentUrl
    role_id: Reference | None = None
    custom_template_id: Reference | None = None


Members = Annotated[list[MemberRequest], Meta(max_length=MEMBERS)]


@dataclass
class TeamRequest:
    """role_templates: by role id, the templates that roles have in this team only."""

    CLEARS: ClassVar[frozenset[str]] = frozenset({"description", "team_type_id"})

    name: Name
    description: Description | None = None
    team_type_id: Reference | None = None
    members: Members = field(default_factory=list)
    role_templates: RoleTemplates = field(default_factory=dict)


@dataclass
class TeamChange:
    """What is not named stays as it is. null or "" takes away what a team can be without; members and role_templates
    replace all there are."""

    CLEARS: ClassVar[frozenset[str]] = TeamRequest.CLEARS

    name: Name | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    team_type_id: Reference | None | UnsetType = UNSET
    members: Members | UnsetType = UNSET
    role_templates: RoleTemplates | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


@dataclass
class ScrumRequest:
    name: ScrumName | None = None


@dataclass
class TypeRequest:
    CLEARS: ClassVar[frozenset[str]] = frozenset({"description"})

    name: Name
    description: Description | None = None


@dataclass
class RoleRequest:
    CLEARS: ClassVar[frozenset[str]] = frozenset({"description", "default_template_id"})

    name: Name
    description: Description | None = None
    default_template_id: Reference | None = None


@dataclass
class LinkRequest:
    role_id: Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f]{{1,200}}{END}")] = ""
    template_id: Reference | None = None


@dataclass
class LinkChange:
    CLEARS: ClassVar[frozenset[str]] = frozenset({"template_id"})

    template_id: Reference | None


@dataclass
class TeamStatus:
    """status: what has been done."""

    status: str


@dataclass
class ScrumAnswer:
    team: Team
    message: str


class TeamRoutes:
    """Teams, their members, types and roles."""

    def __init__(self, teams: Teams, access: Access, audit: Audit):
        self.teams, self.access, self.audit = teams, access, audit

    def mount(self, app: Bottle) -> None:
        app.get("/teams", callback=self.all, access=AUTH, gives=list[Team])
        app.post("/teams", callback=self.create, access=ADMIN, body=TeamRequest, schema=True, gives=Team, status=201,
                 fails=(404, 422))
        app.post("/teams/setup-scrum", callback=self.setup_scrum, access=ADMIN, body=ScrumRequest, gives=ScrumAnswer,
                 status=201)
        self._mount_types(app)
        app.get("/teams/roles", callback=self.roles, access=AUTH, gives=list[Role])
        app.post("/teams/roles", callback=self.create_role, access=ADMIN, body=RoleRequest, schema=True, gives=Role,
                 status=201, fails=(404, 422))
        app.delete("/teams/roles/<role_id>", callback=self.delete_role, access=ADMIN, gives=TeamStatus, fails=(404,))
        app.route(f"/teams/{TEAM}", "PATCH", callback=self.change, access=ADMIN, body=TeamChange, schema=True, gives=Team,
                  fails=(404, 422))
        app.delete(f"/teams/{TEAM}", callback=self.delete, access=ADMIN, gives=TeamStatus, fails=(404,))
        app.post(f"/teams/{TEAM}/activate", callback=self.activate, access=ADMIN, gives=TeamStatus, fails=(404,))

    def _mount_types(self, app: Bottle) -> None:
        app.get("/teams/types", callback=self.types, access=AUTH, gives=list[TeamType])
        app.post("/teams/types", callback=self.create_type, access=ADMIN, body=TypeRequest, schema=True, gives=TeamType,
                 status=201, fails=(409, 422))
        app.delete("/teams/types/<type_id>", callback=self.delete_type, access=ADMIN, gives=TeamStatus, fails=(404,))
        linked = "/teams/types/<type_id>/roles"
        app.get(linked, callback=self.linked_roles, access=AUTH, gives=list[LinkedRole], fails=(404,))
        app.post(linked, callback=self.link, access=ADMIN, body=LinkRequest, gives=TeamStatus, fails=(404,))
        app.route(f"{linked}/<role_id>", "PATCH", callback=self.change_link, access=ADMIN, body=LinkChange, gives=TeamStatus,
                  fails=(404,))
        app.delete(f"{linked}/<role_id>", callback=self.unlink, access=ADMIN, gives=TeamStatus, fails=(404,))

    # --- teams

    def all(self) -> list[Team]:
        """Teams with their members, by name."""
        return self.teams.teams()

    def create(self, body: TeamRequest) -> Team:
        """Makes a team, which is not active yet; one of the type Scrum gets its first tasks."""
        team = self.teams.create(body.name, description=body.description, type_id=body.team_type_id or None,
                                 members=_members(body.members), role_templates=_given(body.role_templates))
        self._note("team_created", team_id=team.id, name=team.name)
        return team

    def setup_scrum(self, body: ScrumRequest) -> ScrumAnswer:
        """Makes an active Scrum team, its first tasks, and what it needs of roles and templates."""
        team, tasks = self.teams.setup_scrum((body.name or "").strip() or None)
        self._note("team_scrum_setup", team_id=team.id, name=team.name)
        return ScrumAnswer(team, f"The Scrum team {team.name!r} is active and has its first {tasks} tasks.")

    def change(self, team_id: str, body: TeamChange) -> Team:
        """Changes the named fields; is_active true makes it the only active team."""
        values = {each.name: getattr(body, each.name) for each in fields(body) if getattr(body, each.name) is not UNSET}
        members = _members(values.pop("members")) if "members" in values else None
        if "role_templates" in values:
            values["role_templates"] = _given(values["role_templates"])
        team = self.teams.change(team_id, values, members)
        self._note("team_updated", team_id=team.id, fields=sorted([*values, *(["members"] if members is not None else [])]))
        return team

    def delete(self, team_id: str) -> TeamStatus:
        """Removes a team; its tasks stay."""
        teams.delete(team_id, time.time())
        self._note("team_deleted", team_id=team_id)
        return TeamStatus("deleted")

    def activate(self, team_id: str) -> TeamStatus:
        """Makes this the only active team."""
        teams.activate(team_id)
        self._note("team_activated", team_id=team_id)
        return TeamStatus("activated")

    # --- types

    def types(self) -> list[TeamType]:
        """Types of teams, by name; where there is none, Scrum and Kanban are made."""
        return self.teams.types()

    def create_type(self, body: TypeRequest) -> TeamType:
        """Makes a type; Scrum and Kanban with their roles and templates."""
        kind = self.teams.create_type(body.name, body.description)
        self._note("team_type_created", team_type_id=kind.id, name=kind.name)
        return kind

    def delete_type(self, type_id: str) -> TeamStatus:
        """Removes a type; its teams stay, without a type."""
        team_types.delete(type_id)
        self._note("team_type_deleted", team_type_id=type_id)
        return TeamStatus("deleted")

    def linked_roles(self, type_id: str) -> list[LinkedRole]:
        """The roles of a type, with their templates there."""
        return team_types.roles(type_id)

    def link(self, type_id: str, body: LinkRequest) -> TeamStatus:
        """Gives a type a role; again is no harm."""
        if not body.role_id:
            raise InvalidInput("role_id is missing: GET /teams/roles lists the roles there are.", code="role_id_required",
                               details="role_id")
        self.teams.link(type_id, body.role_id, body.template_id or None)
        self._note("team_type_role_linked", team_type_id=type_id, role_id=body.role_id, template_id=body.template_id or None)
        return TeamStatus("linked")

    def change_link(self, type_id: str, role_id: str, body: LinkChange) -> TeamStatus:
        """Gives the role of a type another template there; null takes it away."""
        self.teams.set_link_template(type_id, role_id, body.template_id)
        self._note("team_type_role_template_updated", team_type_id=type_id, role_id=role_id, template_id=body.template_id)
        return TeamStatus("updated")

    def unlink(self, type_id: str, role_id: str) -> TeamStatus:
        """Takes a role from a type."""
        team_types.unlink(type_id, role_id)
        self._note("team_type_role_unlinked", team_type_id=type_id, role_id=role_id)
        return TeamStatus("unlinked")

    # --- roles

    def roles(self) -> list[Role]:
        """Roles, by name."""
        return self.teams.roles()

    def create_role(self, body: RoleRequest) -> Role:
        """Makes a role."""
        role = self.teams.create_role(body.name, description=body.description, template_id=body.default_template_id or None)
        self._note("role_created", role_id=role.id, name=role.name)
        return role

    def delete_role(self, role_id: str) -> TeamStatus:
        """Removes a role; whoever had it has none."""
        roles.delete(role_id, time.time())
        self._note("role_deleted", role_id=role_id)
        return TeamStatus("deleted")

    def _note(self, action: str, **details: object) -> None:
        self.audit.write(action, username=server.caller().name, ip=self.access.address(request.environ), details=details)


def _members(given: list[MemberRequest]) -> list[NewMember]:
    return [NewMember(each.agent_url, each.role_id or None, each.custom_template_id or None) for each in given]


def _given(role_templates: dict[str, str | None]) -> dict[str, str]:
    return {role_id: template_id for role_id, template_id in role_templates.items() if role_id and template_id}
