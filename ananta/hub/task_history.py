"""What a run means for its task: that it executes while something runs, and the step in its history afterwards."""
import dataclasses
import json
import logging
from collections import deque
from collections.abc import Callable

from ananta.agent.steps import Steps
from ananta.domain.steps import DENIED, EXIT_CODES, FINISHED, NOT_RUN, Record, ToolCall
from ananta.domain.tasks import Step, Task
from ananta.errors import NotFound, StoreFailed
from ananta.hub.running import Running
from ananta.store import proposals, tasks

log = logging.getLogger(__name__)
LOOK_BACK = 500  # records of the log


class TaskHistory:
    """Listens to the runs of `steps`. changed: called with each task that did; flush: returns when other hubs can read the
    records that this one has written."""

    def __init__(self, steps: Steps, changed: Callable[[Task], None], flush: Callable[[], None], now: Callable[[], float]):
        self.journal, self.changed, self.flush, self.now = steps.journal, changed, flush, now
        self._unnoted: deque[Record] = deque()
        self.running = Running(self._show_executing)
        steps.on_begin.append(self.begun)
        steps.on_record.append(self.note)

    def begun(self, record: Record) -> None:
        """Says that a run of a task has begun."""
        if record.task_id is not None:
            self.running.began(record.id, record.task_id)

    def _show_executing(self, task_id: str) -> None:
        try:
            self.changed(tasks.begin(task_id, self.now()))
        except NotFound:
            return  # a session that is no task
        except Exception as failure:
            log.warning("task %s does not show that a command runs: %s", task_id, failure)

    def note(self, record: Record) -> None:
        """Adds a run to the history of its task, if there is one. Raises nothing: what fails now is tried again later,
        and after a restart it is found in the log."""
        if record.task_id is None:
            return
        self.running.ended(record.id)
        if record.state in (DENIED, NOT_RUN):
            return
        self._unnoted.append(record)
        self.note_rest()

    def note_rest(self) -> None:
        """Notes what could not be noted before. One that fails keeps none of the others back."""
        failed = False
        for _ in range(len(self._unnoted)):
            try:
                record = self._unnoted.popleft()
            except IndexError:
                return
            try:
                self._note(record)
            except StoreFailed as failure:
                log.warning("run %s is not in the history of task %s yet: %s", record.id, record.task_id, failure)
                self._unnoted.append(record)
                if failed:
                    return
                failed = True
            else:
                failed = False

    def _note(self, record: Record) -> None:
        task_id = record.task_id or ""
        prompt = None
        if record.proposal_id:
            try:
                prompt = proposals.find(record.proposal_id).prompt
            except NotFound:
                prompt = None
        calls = [dataclasses.asdict(each) for each in record.tool_calls] if record.tool_calls else None
        step = Step(prompt=prompt, reason=record.reason, command=record.command, tool_calls=calls, output=record.output,
                    exit_code=record.exit_code, timestamp=record.timestamp)
        try:
            task = tasks.record(task_id, record.id, step, self.now())
        except NotFound:
            return  # a session that is no task
        self.changed(task)
        self.flush()

    def reconcile(self) -> None:
        """Adds to the tasks what is in the log and not in their history: what a crash came between, and what it cut
        off."""
        for line in self.journal.last(LOOK_BACK):
            fields = json.loads(line)
            if not fields.get("task_id") or not fields.get("id") or fields.get("state") in (DENIED, NOT_RUN):
                continue
            try:
                record = _recorded(fields)
            except (LookupError, TypeError, ValueError) as failure:
                log.warning("run %s in the log is not understood, so it is not added to its task: %r", fields["id"], failure)
            else:
                self.note(record)


def _recorded(fields: dict) -> Record:
    calls, code = fields.get("tool_calls"), fields.get("exit_code")
    return Record(
        id=fields["id"], timestamp=float(fields["timestamp"]), agent=str(fields.get("agent")), command=fields.get("command"),
        output=str(fields.get("output") or ""), exit_code=code if isinstance(code, int) and code in EXIT_CODES else -1,
        task_id=fields["task_id"], reason=fields.get("reason"), proposal_id=fields.get("proposal_id"),
        state=fields.get("state") or FINISHED,
        tool_calls=tuple(ToolCall(each["name"], each.get("args") or {}) for each in calls) if calls else None)
