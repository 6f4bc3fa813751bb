"""The terminal log for people: last records, and whether all of them are as they were written."""
import json
import time
from dataclasses import asdict
from pathlib import Path

from ananta.operations.client import Client
from ananta.settings import Settings
from ananta.store import audit, database, journal
from ananta.store.verification import verify as verify_log

OUTPUT_LINES = 6


def last(settings: Settings, limit: int, task_id: str | None) -> list[bytes]:
    """Returns the last records as JSON, oldest first; by the running server when there is one."""
    client = Client.find(settings)
    if client is None:
        return journal.tail(settings.data_dir.resolve(), limit, task_id)
    query = {"limit": limit} | ({"task_id": task_id} if task_id else {})
    try:
        return [json.dumps(each, ensure_ascii=False).encode()
                for each in client.call("GET", "/logs", timeout_s=30, query=query)]
    finally:
        client.close()


def readable(record: dict) -> str:
    """A record as a few lines of text."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.get("timestamp") or 0))
    task = f" {record['task_id']}#{record.get('step')}" if record.get("task_id") else ""
    how = record.get("state") if record.get("state") not in (None, "finished") else f"exit {record.get('exit_code')}"
    output = str(record.get("output") or "").splitlines()
    shown = output[:OUTPUT_LINES] + ([f"... {len(output) - OUTPUT_LINES} more lines"] if len(output) > OUTPUT_LINES else [])
    by = f", decided by {record['decided_by']}" if record.get("decided_by") else ""
    head = f"{when}{task}  {how}  {record.get('duration') or 0:.2f} s{by}"
    return "\n".join([head, f"  $ {record.get('command')}", *(f"  | {line}" for line in shown)])


def verify(settings: Settings) -> tuple[bool, str, dict]:
    """Returns whether the log and the audit trail are as they were written, a sentence for each, and the facts for
    programs: those of the log, those of the `audit` trail, and which of the two (journal, audit) are `broken`."""
    data_dir = settings.data_dir.resolve()
    url = settings.database_url or data_dir / "ananta.db"
    good, text, facts = _verify_log(data_dir, database.index_file(url, data_dir))
    trail = audit.verify(data_dir / "audit.log", url)
    broken = [name for name, ok in (("journal", good), ("audit", trail.ok)) if not ok]
    facts |= {"ok": not broken, "broken": broken, "audit": {"ok": trail.ok, **asdict(trail)}}
    return not broken, f"{text}\n{_trail_text(trail)}", facts


def _trail_text(trail: audit.AuditVerification) -> str:
    found = trail.finding
    if found is None:
        return f"ok    {trail.entries} audit entries. None was altered or removed."
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.timestamp)) if found.timestamp else "unknown time"
    return (f"{found.kind.upper()}  audit: entry {found.id} ({found.action or 'unknown action'}) of {when} was {found.kind}; this is "
            f"the first one. Read up to there: {trail.entries} entries.")


def _verify_log(data_dir: Path, index: Path) -> tuple[bool, str, dict]:
    found = verify_log(data_dir, index)
    facts = {"ok": found.ok, **asdict(found)}
    counted = f"{found.lines} records: {found.chained} chained"
    counted += f", {found.unchained} of other programs" if found.unchained else ""
    counted += f"; older files are missing: {', '.join(found.missing)}" if found.missing else ""
    if found.finding is None:
        return True, f"ok    {counted}. None was altered, removed or inserted.", facts
    which = found.finding
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(which.timestamp)) if which.timestamp else "unknown time"
    return False, (f"{which.kind.upper()}  journal: {which.file} line {which.line}: record {which.id} of {when}, command "
                   f"{which.command!r}, was {which.kind}; this is the first one. Read up to there: {counted}."), facts
