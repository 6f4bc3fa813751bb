"""The tools over the teams of a hub."""
from dataclasses import asdict

from ananta.agent.tools import By, Tool
from ananta.domain.standard_teams import STANDARDS
from ananta.domain.teams import Role, Team
from ananta.hub.teams import Teams
from ananta.store.audit import Audit

STANDARD_NAMES = [each.name for each in STANDARDS]


class TeamTools:
    """What these change is in the audit trail under the same names as over the interface."""

    def __init__(self, teams: Teams, audit: Audit):
        self.teams, self.audit = teams, audit

    def all(self) -> list[Tool]:
        return [Tool(self.list_teams), Tool(self.list_roles), Tool(self.create_team, changes=True),
                Tool(self.ensure_team_templates, changes=True), Tool(self.assign_role, changes=True)]

    def list_teams(self, by: By) -> list[Team]:
        """Gives the teams with their members."""
        return self.teams.teams()

    def list_roles(self, by: By) -> list[Role]:
        """Gives the roles that members of teams can have."""
        return self.teams.roles()

    def create_team(self, by: By, name: str, team_type: str, description: str | None = None) -> str:
        """Makes a team of a type such as Scrum or Kanban; it becomes the active team."""
        team = self.teams.create_active(name, team_type, description or None)
        self._note("team_created", by, team_id=team.id, name=team.name)
        return f"team {team.name!r} has the id {team.id} and is active"

    def ensure_team_templates(self, by: By, team_types: list[str] | None = None) -> list[str]:
        """Makes what is missing of the standard team types Scrum and Kanban: roles, templates, links."""
        kinds = self.teams.ensure(STANDARD_NAMES if team_types is None else team_types)
        self._note("team_types_ensured", by, team_types=[each.name for each in kinds])
        return [each.name for each in kinds]

    def assign_role(self, by: By, team_id: str, agent_url: str, role_id: str) -> dict:
        """Gives an agent a role in a team, of which it becomes a member if it is none."""
        team = self.teams.assign_role(team_id, agent_url, role_id)
        self._note("team_updated", by, team_id=team.id, fields=["members"])
        return asdict(team)

    def _note(self, action: str, by: By, **details: object) -> None:
        self.audit.write(action, username=by.name, ip=by.address, details=details)
