"""Subtasks that another agent carries out, as their parent remembers them."""
from dataclasses import dataclass

from ananta.domain import tasks as rules
from ananta.domain.tasks import RECENT_CHARS, Task
from ananta.domain.values import differing

PREFIX = "sub-"
SUBTASKS = 100  # of one task: all of them stand in every list that shows it
_BOARD = (rules.BACKLOG, rules.TODO, rules.IN_PROGRESS, rules.DONE)


@dataclass(frozen=True)
class Report:
    """How a subtask stands, as whoever carries it out says; None: that says nothing of it."""

    id: str
    status: str
    last_output: str | None = None
    last_exit_code: int | None = None


def entry(subtask: Task) -> dict:
    """Returns how the parent shows a subtask; long texts cut."""
    return {"id": subtask.id, "agent_url": subtask.assigned_agent_url, "description": short(subtask.description or ""),
            "status": subtask.status}


def with_entry(parent: Task, added: dict) -> Task:
    return differing(parent, subtasks=(*parent.subtasks, added))


def without_entry(parent: Task, subtask_id: str) -> Task:
    return differing(parent, subtasks=tuple(each for each in parent.subtasks if each.get("id") != subtask_id))


def has_entry(parent: Task, subtask_id: str) -> bool:
    return any(each.get("id") == subtask_id for each in parent.subtasks)


def told(parent: Task, report: Report) -> Task:
    """The parent after a report; one of a subtask that it does not have changes nothing."""
    more: dict[str, object] = {"status": report.status}
    if report.last_output is not None:
        more["last_output"] = short(report.last_output)
    if report.last_exit_code is not None:
        more["last_exit_code"] = report.last_exit_code
    return differing(parent, subtasks=tuple({**each, **more} if each.get("id") == report.id else each
                                            for each in parent.subtasks))


def reported(subtask: Task, report: Report) -> Task:
    """The subtask itself after a report, its status one of the board's."""
    board = rules.normalised(report.status)
    failed = board == rules.FAILED or (report.last_exit_code or 0) != 0
    changes: dict[str, object] = {"status": board if board in _BOARD else rules.IN_PROGRESS}
    if failed or report.last_exit_code is not None or board == rules.DONE:
        changes["run_state"] = rules.FAILED if failed else rules.COMPLETED
    if report.last_output is not None:
        changes["last_output"] = report.last_output
    if report.last_exit_code is not None:
        changes["last_exit_code"] = report.last_exit_code
    return differing(subtask, **changes)


def standing(subtask: Task) -> Report:
    """What the parent is told when its subtask was changed here."""
    return Report(subtask.id, subtask.status, subtask.last_output, subtask.last_exit_code)


def is_over(report: Report) -> bool:
    """Whether nothing is expected after this report."""
    return rules.normalised(report.status) == rules.DONE


def short(text: str) -> str:
    return text if len(text) <= RECENT_CHARS else text[:RECENT_CHARS - 1] + "…"
