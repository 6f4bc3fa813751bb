"""The types of team that every hub knows: their roles, what each role tells a model, and a Scrum team's first tasks."""
from dataclasses import dataclass

from ananta.domain.tasks import BACKLOG, TODO

SCRUM_TEAM = "Neues Scrum Team"
# Where a team has no description yet, a prompt should not show the name of a placeholder.
DEFAULTS = {"team_goal": "not written down yet; take the task at hand as the goal"}


@dataclass(frozen=True)
class StandardRole:
    """A role and its template."""

    name: str
    description: str
    template: str
    prompt: str


@dataclass(frozen=True)
class StandardType:
    name: str
    description: str
    roles: tuple[StandardRole, ...]


@dataclass(frozen=True)
class FirstTask:
    title: str
    status: str
    priority: str
    description: str


_DEVELOPER = "Builds the work in small steps that can be checked, and shows that each of them works."

SCRUM = StandardType(
    "Scrum", "Works in sprints of fixed length towards a sprint goal.", (
        StandardRole("Product Owner", "Owns the backlog and puts it in order, so that the most valuable work is done first.",
                     "Scrum - Product Owner",
                     "You are the Product Owner of a Scrum team. The goal of the team: {{team_goal}}\n\n"
                     "Judge every order by what it is worth for that goal. Say what has to be true for it to count as done, "
                     "ask for facts before you decide, and prefer the smallest step that brings something of use."),
        StandardRole("Scrum Master", "Looks after the process, and gets out of the way what holds the team up.",
                     "Scrum - Scrum Master",
                     "You are the Scrum Master of a team. The goal of the team: {{team_goal}}\n\n"
                     "See to it that the work can go on: find out what blocks it, make the state of the sprint visible, and "
                     "propose one step that removes the biggest obstacle. Leave decisions about content to the others."),
        StandardRole("Developer", _DEVELOPER, "Scrum - Developer",
                     "You are a Developer in a Scrum team. The goal of the team: {{team_goal}}\n\n"
                     "Carry the order out in small steps that can be checked. Look at what is there before you change it, "
                     "change no more than the order needs, and show with a test or an output that it works.")))

KANBAN = StandardType(
    "Kanban", "Works in a continuous flow with a limit on what is begun at once.", (
        StandardRole("Service Delivery Manager", "Watches what the team delivers: lead time, throughput, age of the work.",
                     "Kanban - Service Delivery Manager",
                     "You are the Service Delivery Manager of a Kanban team. The goal of the team: {{team_goal}}\n\n"
                     "Look at the flow as those see it who wait for results: how long work takes, how much is finished, what "
                     "grows old. Base what you propose on figures, and say where they come from."),
        StandardRole("Flow Manager", "Keeps the limits of work in progress and the team's rules, and loosens what is stuck.",
                     "Kanban - Flow Manager",
                     "You are the Flow Manager of a Kanban team. The goal of the team: {{team_goal}}\n\n"
                     "Finish what is begun before something new is started. Mind the limits of work in progress and the rules "
                     "of the board, name what is stuck, and propose the step that sets it moving again."),
        StandardRole("Developer", _DEVELOPER, "Kanban - Developer",
                     "You are a Developer in a Kanban team. The goal of the team: {{team_goal}}\n\n"
                     "Take one piece of work and bring it to its end. Look at what is there before you change it, keep the "
                     "change small, show that it works, and report at once when something blocks you.")))

STANDARDS = (SCRUM, KANBAN)

_GUIDE = """\
1. Write the goal of the team into its description: the prompts of its members name it.
2. Give the members their roles under Teams: one Product Owner, one Scrum Master, and Developers.
3. Collect what is wanted as tasks in the backlog, the most valuable first, each with a description that says when it is done.
4. At the start of a sprint move what the team can finish to to-do, and assign each task to an agent.
5. In a task ask for a proposal, read it, and run it or refuse it with a reason; the log shows what ran where.
6. Move to done what is done; at the end of the sprint look at what is left, and put the backlog in order again."""

SCRUM_TASKS = (
    FirstTask("Scrum Backlog", BACKLOG, "High",
              "Collect what is to be built, one entry for each result, and put the entries in order of their worth."),
    FirstTask("Sprint Board Setup", TODO, "High",
              "Agree on the length of a sprint, its goal, and on what each column of the board means."),
    FirstTask("Burndown Chart", TODO, "Medium",
              "Note every day how much of the sprint is left, and compare it with the days that are left."),
    FirstTask("Roadmap", BACKLOG, "Medium",
              "Write down in which order the larger goals follow, and what each of them waits for."),
    FirstTask("Setup & Usage Instructions", TODO, "High", _GUIDE))


def standard(name: str) -> StandardType | None:
    """Returns the standard type of this name, however it is written, None for another name."""
    return next((each for each in STANDARDS if each.name.casefold() == name.strip().casefold()), None)
