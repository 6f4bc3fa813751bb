"""What a model thinks of the audit trail."""
import time

import msgspec

from ananta.agent.steps import Steps
from ananta.domain import answers
from ananta.domain.assistant import audit_messages
from ananta.store import audit

LIMIT_S = 55.0
EMPTY = "The audit trail is empty: there is nothing to look at."


def analysis(steps: Steps, limit: int) -> str:
    """Returns what the configured model finds suspicious among the latest `limit` entries. Raises LLMFailed, BreakerOpen,
    Busy."""
    found = audit.entries(limit, 0)
    if not found:
        return EMPTY
    lines = [f"{_time(each.timestamp)} {each.action} by {each.username} from {each.ip or 'inside'} "
             f"{msgspec.json.encode(each.details).decode()}" for each in found]
    with steps.model_lane.take():
        _, reply = steps.complete(steps.configuration.model(), audit_messages(lines),
                                  budget_s=min(LIMIT_S, steps.configuration["http_timeout"]))
    return steps.known(answers.without_thoughts(reply.text))


def _time(epoch_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(epoch_s))
