"""What happened, as it is told."""
from dataclasses import dataclass

TOKEN_ROTATED, CONFIG_UPDATED = "token_rotated", "config_updated"
# {"name", "url", "status"} of an agent of this hub.
AGENT_REGISTERED, AGENT_STATUS = "agent_registered", "agent_status"
# There is a new record of a task: {"task_id", "run_id", "record"}, the last as the bytes that are served. It is not for
# /events: what commands print goes to those who look at that task.
TASK_RECORD = "task_record"
# Something waits for a decision, or does not any more: {"id", "state"}.
PROPOSALS_UPDATED = "proposals_updated"
# Of /step/stream-output, and not on /events: what is printed goes to those who look at that session.
RUN_STARTED, RUN_OUTPUT, RUN_ENDED = "run_started", "run_output", "run_ended"
# Somebody may no longer do what he could: a password, a role, a user was changed. Nor is that for /events: the streams of
# all hubs look at their credentials again. The data says nothing.
CREDENTIALS_CHANGED = "credentials_changed"
# True of one hub only. Told by another one, a client would take its token for that of the hub it listens to.
OF_ONE_HUB = frozenset({TOKEN_ROTATED, CONFIG_UPDATED, TASK_RECORD})


@dataclass(frozen=True)
class Event:
    """type: such as "task_updated"; data: what the event stream shows; timestamp: epoch seconds; admins: only they may
    see it."""

    type: str
    data: dict
    timestamp: float
    admins: bool = False
