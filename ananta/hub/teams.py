"""Teams, their types and roles: what must fit together when they are made and changed."""
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ananta.domain import standard_teams
from ananta.domain import teams as rules
from ananta.domain.standard_teams import SCRUM, STANDARDS, StandardRole, StandardType
from ananta.domain.tasks import Task
from ananta.domain.teams import Member, NewMember, Role, Team, TeamType
from ananta.domain.templates import Template
from ananta.errors import InvalidInput, NotFound
from ananta.store import roles, tasks, team_types, teams, templates
from ananta.store.identifiers import new_id
from ananta.store.records import plain


class Teams:
    """The operations on teams, for routes and as tools of a model. tell: is called with each task that was made.

    What refers to something that is not there raises NotFound: `team_type_not_found`, `role_not_found` (with role_id),
    `template_not_found` (with template_id); a role that the type of the team does not have, InvalidInput
    `invalid_role_for_team_type` (with role_id)."""

    def __init__(self, tell: Callable[[Task], None], now: Callable[[], float] = time.time):
        self.tell, self.now = tell, now

    # --- teams

    def teams(self) -> list[Team]:
        """Returns all teams, by name."""
        return teams.everyone()

    def create(self, name: str, *, description: str | None = None, type_id: str | None = None,
               members: Iterable[NewMember] = (), role_templates: dict[str, str] | None = None) -> Team:
        """Makes a team, which is not active, and returns it; of the type Scrum with its first tasks."""
        with teams.changing():
            kind = self._kind(type_id)
            team, made = self._create(name, description, kind, members, role_templates or {}, active=False)
        self._tell(made)
        return team

    def create_active(self, name: str, team_type: str, description: str | None = None) -> Team:
        """Makes a team of the type of this name, Scrum and Kanban included, and returns it: it is the active one then.

        Raises InvalidInput for values that are not possible, NotFound `team_type_not_found`."""
        name, team_type = _words(name, "name"), _words(team_type, "team_type")
        if description is not None:
            description = _words(description, "description", rules.DESCRIPTION_CHARS, lines=True)
        with teams.changing():
            standard = standard_teams.standard(team_type)
            kind = self._ensure(standard) if standard else team_types.named(team_type.strip())
            if kind is None:
                raise NotFound(f"There is no type of team {team_type!r}: GET /teams/types lists those there are.",
                               code="team_type_not_found")
            team, made = self._create(name, description, kind, (), {}, active=True)
        self._tell(made)
        return team

    def setup_scrum(self, name: str | None = None) -> tuple[Team, int]:
        """Makes an active Scrum team with its first tasks, and whatever the type lacks; returns it and how many tasks
        were made."""
        with teams.changing():
            kind = self._ensure(SCRUM)
            team, made = self._create(name or standard_teams.SCRUM_TEAM, None, kind, (), {}, active=True)
        self._tell(made)
        return team, len(made)

    def change(self, team_id: str, values: dict[str, object], members: Iterable[NewMember] | None = None) -> Team:
        """Stores these fields of the team (name, description, team_type_id, is_active, role_templates), and the members
        in place of those it has; returns it. Raises NotFound `not_found`."""
        with teams.changing():
            was = teams.find(team_id)
            after = replace(was, **values)  # type: ignore[arg-type]
            if members is not None:
                after = replace(after, members=_members(was.id, members))
            kind = None if after.team_type_id is None else team_types.find(after.team_type_id)
            self._check(after.members if members is not None else (), kind,
                        after.role_templates if "role_templates" in values else {})
            teams.save(after, was)
        return after

    def assign_role(self, team_id: str, agent_url: str, role_id: str) -> Team:
        """Gives an agent a role in a team, of which it becomes a member if it is none; returns the team. One that is in
        the team several times gets it where it was named first.

        Raises InvalidInput for values that are not possible, NotFound `not_found`."""
        url, role_id = _words(agent_url, "agent_url", rules.URL_CHARS), _words(role_id, "role_id")
        with teams.changing():
            was = teams.find(_words(team_id, "team_id"))
            mine = [each for each in was.members if rules.is_same_agent(each.agent_url, url)]
            member = rules.member_for(mine, role_id) or Member(new_id(), was.id, url, None, None)
            changed = replace(member, role_id=role_id)
            after = replace(was, members=tuple(changed if each is member else each for each in was.members)
                            + (() if mine else (changed,)))
            if len(after.members) > rules.MEMBERS:
                raise InvalidInput(f"A team has at most {rules.MEMBERS} members.", details="agent_url")
            self._check((changed,), None if was.team_type_id is None else team_types.find(was.team_type_id), {})
            teams.save(after, was)
        return after

    # --- types

    def types(self) -> list[TeamType]:
        """Returns all types, by name; where there is none at all, Scrum and Kanban are made first."""
        if team_types.is_empty():
            with teams.changing():
                # Another hub may have been quicker.
                if team_types.is_empty():
                    for each in STANDARDS:
                        self._ensure(each)
        return team_types.everyone()

    def ensure(self, names: Sequence[str]) -> list[TeamType]:
        """Makes what is missing of these standard types, their roles and templates; returns them. Raises InvalidInput
        for a name that is none of them."""
        wanted = []
        for name in names:
            standard = standard_teams.standard(_words(name, "team_types"))
            if standard is None:
                known = " and ".join(each.name for each in STANDARDS)
                raise InvalidInput(f"{name!r} is no standard type of team: those are {known}.", details="team_types")
            wanted.append(standard)
        with teams.changing():
            return [self._ensure(each) for each in dict.fromkeys(wanted)]

    def create_type(self, name: str, description: str | None = None) -> TeamType:
        """Makes a type and returns it; Scrum and Kanban, however they are written, with their roles and templates. Raises
        Conflict if there is one of this name."""
        standard = standard_teams.standard(name)
        type_id, name = new_id(), standard.name if standard else name.strip()
        with teams.changing():
            team_types.add(type_id, name, description or (standard.description if standard else None))
            return self._ensure(standard) if standard else team_types.find(type_id)

    def link(self, type_id: str, role_id: str, template_id: str | None) -> None:
        """Gives a type a role; one that it has already keeps its template there unless there is another."""
        with teams.changing():
            team_types.find(type_id)
            roles.find(role_id)
            _require_templates([template_id])
            team_types.link(type_id, role_id, template_id)

    def set_link_template(self, type_id: str, role_id: str, template_id: str | None) -> None:
        """Gives the role of a type another template there, or none. Raises NotFound `not_found`."""
        with teams.changing():
            _require_templates([template_id])
            team_types.set_template(type_id, role_id, template_id)

    # --- roles

    def roles(self) -> list[Role]:
        """Returns all roles, by name."""
        return roles.everyone()

    def create_role(self, name: str, *, description: str | None = None, template_id: str | None = None) -> Role:
        """Makes a role and returns it."""
        role = Role(new_id(), name, description, template_id)
        with teams.changing():
            _require_templates([template_id])
            roles.add(role, self.now())
        return role

    # --- within `changing`

    def _create(self, name: str, description: str | None, kind: TeamType | None, members: Iterable[NewMember],
                role_templates: dict[str, str], *, active: bool) -> tuple[Team, list[Task]]:
        team_id = new_id()
        team = Team(team_id, name, description, kind.id if kind else None, active, role_templates, _members(team_id, members))
        self._check(team.members, kind, role_templates)
        teams.save(team)
        return team, self._first_tasks(team) if kind is not None and kind.name == SCRUM.name else []

    def _check(self, members: Iterable[Member], kind: TeamType | None, role_templates: dict[str, str]) -> None:
        members = list(members)
        for role_id in dict.fromkeys(each.role_id for each in members if each.role_id is not None):
            roles.find(role_id)
            rules.require_role(role_id, kind.role_ids if kind else ())
        for role_id in role_templates:
            roles.find(role_id)
        _require_templates([*(each.custom_template_id for each in members), *role_templates.values()])

    def _first_tasks(self, team: Team) -> list[Task]:
        now = self.now()
        return [tasks.create(Task("", f"{team.name}: {each.title}", each.description, status=each.status,
                                  priority=each.priority, team_id=team.id, created_at=now, updated_at=now))
                for each in standard_teams.SCRUM_TASKS]

    def _kind(self, type_id: str | None) -> TeamType | None:
        """The type that a new team is to have; a standard one is complete then."""
        if type_id is None:
            return None
        kind = team_types.find(type_id)
        standard = next((each for each in STANDARDS if each.name == kind.name), None)
        return self._ensure(standard) if standard else kind

    def _ensure(self, standard: StandardType) -> TeamType:
        """Makes what is missing of the type; what is there stays as somebody may have changed it."""
        kind = team_types.named(standard.name)
        if kind is None:
            kind = self._made(standard)
        for each in standard.roles:
            template_id = self._template(each)
            role = roles.named(each.name)
            if role is None:
                role = Role(new_id(), each.name, each.description, template_id)
                roles.add(role, self.now())
            elif role.default_template_id is None:
                roles.set_default_template(role.id, template_id)
            if role.id not in kind.role_ids:
                team_types.link(kind.id, role.id, template_id)
        return team_types.find(kind.id)

    def _made(self, standard: StandardType) -> TeamType:
        type_id = new_id()
        team_types.add(type_id, standard.name, standard.description)
        return team_types.find(type_id)

    def _template(self, role: StandardRole) -> str:
        found = templates.named(role.template)
        if found is None:
            now = self.now()
            found = Template(new_id(), role.template, role.prompt, role.description, defaults=standard_teams.DEFAULTS,
                             created_at=now, updated_at=now)
            templates.add(found)
        return found.id

    def _tell(self, made: list[Task]) -> None:
        for task in made:
            self.tell(task)


def _members(team_id: str, members: Iterable[NewMember]) -> tuple[Member, ...]:
    return tuple(Member(new_id(), team_id, each.agent_url, each.role_id, each.custom_template_id) for each in members)


def _require_templates(template_ids: Iterable[str | None]) -> None:
    for template_id in dict.fromkeys(template_ids):
        if template_id is not None:
            templates.find(template_id)


def _words(value: object, what: str, most: int = rules.NAME_CHARS, *, lines: bool = False) -> str:
    """The text, if it can be one: what a model sends has been checked by nobody."""
    if not isinstance(value, str) or not value.strip() or len(value) > most or not _is_text(value, lines):
        raise InvalidInput(f"{what} must be a text of 1 to {most} characters{'' if lines else ' in one line'}.", details=what)
    return plain(value)


def _is_text(value: str, lines: bool) -> bool:
    return "\0" not in value and (lines or not any(each < " " or each == "\x7f" for each in value))
