"""A Record ↔ what stands in a line."""
from collections.abc import Callable
from datetime import datetime, timezone

from ananta.domain.redaction import masked
from ananta.domain.steps import UNKNOWN, Record, ToolCall
from ananta.domain.values import differing

Mask = Callable[[str], str]
UNKNOWN_TEXT = ("[unknown: the service was stopped while this command ran. It is not known whether it finished; "
                "it is not repeated.]")
MARKER_BYTES = 64


def storable(record: Record, mask: Mask, output_bytes: int) -> Record:
    """Returns the record as it may be kept: masked, its output cut to its head and tail."""
    def text(value: str) -> str:
        return mask(plain(value))

    # A secret on the border of the cut must not leave a half behind: mask first.
    output, cut = shortened(text(record.output), output_bytes)
    calls = None if record.tool_calls is None else tuple(
        ToolCall(text(each.name), masked(each.args, text)) for each in record.tool_calls)  # type: ignore[arg-type]

    def optional(value: str | None, change: Mask = text) -> str | None:
        return None if value is None else change(value)

    return differing(record, command=optional(record.command), output=output, output_cut=record.output_cut + cut,
                   reason=optional(record.reason), reasons=tuple(map(text, record.reasons)), cwd=optional(record.cwd),
                   tool_calls=calls, task_id=optional(record.task_id, plain), agent=plain(record.agent),
                   decided_by=optional(record.decided_by, plain), id=plain(record.id))


def plain(value: str) -> str:
    """Returns the text as any file can take it. Undecodable bytes of a path arrive as lone surrogates."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def shortened(text: str, limit: int) -> tuple[str, int]:
    """Returns the head and the tail of a text that is longer than limit bytes, and how many bytes are missing."""
    if len(text) * 4 <= limit:
        return text, 0
    raw = text.encode()
    if len(raw) <= limit:
        return text, 0
    half = max(0, limit - MARKER_BYTES) // 2
    head, tail = raw[:half].decode(errors="ignore"), raw[len(raw) - half:].decode(errors="ignore")
    cut = len(raw) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[… {cut} bytes cut …]\n{tail}", cut


def fields_of(record: Record) -> dict:
    """Returns the fields of a line of the log, in their order; `prev` and `hash` follow."""
    fields: dict = {
        "timestamp": record.timestamp, "agent": record.agent, "step": record.step, "direction": "exec",
        "command": record.command, "tool_calls": _calls(record), "reason": record.reason, "output": record.output,
        "exit_code": record.exit_code, "returncode": record.exit_code, "task_id": record.task_id,
        "duration": record.duration, "id": record.id, "state": record.state}
    optional = {"decision": record.decision, "decided_by": record.decided_by, "reasons": list(record.reasons),
                "output_cut": record.output_cut, "cwd": record.cwd, "proposal_id": record.proposal_id,
                "forwarded_to": record.forwarded_to, "scheduled_id": record.scheduled_id}
    return fields | {name: value for name, value in optional.items() if value} | (
        {} if record.contained is None else {"contained": record.contained})


def intent_of(record: Record) -> dict:
    """Returns the fields of a line that says what is about to run."""
    return {"id": record.id, "timestamp": record.timestamp, "command": record.command, "task_id": record.task_id,
            "agent": record.agent, "reason": record.reason, "decision": record.decision,
            "decided_by": record.decided_by, "reasons": list(record.reasons), "cwd": record.cwd,
            "proposal_id": record.proposal_id, "contained": record.contained, "tool_calls": _calls(record),
            "forwarded_to": record.forwarded_to, "scheduled_id": record.scheduled_id}


def unknown(intent: dict, *, agent: str, now: float, more: str) -> Record:
    """Returns the record of a run of which only the intent is known."""
    calls = intent.get("tool_calls")
    return Record(
        id=intent["id"], timestamp=now, agent=intent.get("agent") or agent, command=intent.get("command"),
        output=f"{UNKNOWN_TEXT} It was started at {_moment(intent)}." + (f"\n{more}" if more else ""),
        exit_code=-1, task_id=intent.get("task_id"), reason=intent.get("reason"), state=UNKNOWN,
        decision=intent.get("decision"), decided_by=intent.get("decided_by"), reasons=tuple(intent.get("reasons") or ()),
        cwd=intent.get("cwd"), proposal_id=intent.get("proposal_id"),
        contained=intent.get("contained"), forwarded_to=intent.get("forwarded_to"),
        scheduled_id=intent.get("scheduled_id"),
        tool_calls=tuple(ToolCall(each["name"], each.get("args") or {}) for each in calls) if calls else None)


def _moment(intent: dict) -> str:
    return datetime.fromtimestamp(intent.get("timestamp") or 0, timezone.utc).isoformat(timespec="seconds")


def _calls(record: Record) -> list[dict] | None:
    return [{"name": each.name, "args": each.args} for each in record.tool_calls] if record.tool_calls else None
