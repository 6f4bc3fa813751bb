"""A line of the log → the record that is served.

Lines of other programs are read too: those of the reference layout, an `out` line with the command and an `in` line
with the result, become one record. What is no JSON object is skipped.
"""
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

_SIMPLE = re.compile(r"[A-Za-z0-9_.:-]+")


class _Known(msgspec.Struct):
    id: str | None = None
    task_id: str | None = None
    step: int | None = None
    timestamp: float | None = None
    direction: str | None = None
    exit_code: int | None = None
    returncode: int | None = None


_known = msgspec.json.Decoder(_Known)
_any = msgspec.json.Decoder(dict)


@dataclass(slots=True)
class Served:
    """A record as it is served. raw: its JSON; direction: "out" and "in" while the other half is not known."""

    raw: bytes
    run_id: str | None
    task_id: str | None
    step: int
    timestamp: float | None
    direction: str | None

    @property
    def key(self) -> tuple[str | None, int]:
        """What the two halves of a record have in common."""
        return self.task_id, self.step


def parse(line: bytes) -> Served | None:
    """Returns the record of a line, always with both exit_code and returncode; None if it is no JSON object."""
    try:
        if not line.isascii():
            line = line.decode("utf-8", "replace").encode()
        try:
            known = _known.decode(line)
        except msgspec.ValidationError:
            return _unusual(_any.decode(line))
        if known.exit_code is None or known.returncode is None:
            return _unusual(_any.decode(line))
    except (msgspec.MsgspecError, RecursionError):
        return None
    return Served(line.strip(), known.id, known.task_id, known.step or 0, known.timestamp, known.direction)


def _unusual(record: dict) -> Served:
    """The record of another program: missing or oddly typed fields are replaced, others stay."""
    code = record.get("exit_code") if record.get("exit_code") is not None else record.get("returncode")
    code = code if isinstance(code, int) and not isinstance(code, bool) else -1
    record = {**record, "exit_code": code, "returncode": code}
    run_id, task_id, step, timestamp, direction = map(record.get, ("id", "task_id", "step", "timestamp", "direction"))
    return Served(
        msgspec.json.encode(record), run_id if isinstance(run_id, str) else None,
        task_id if task_id is None or isinstance(task_id, str) else str(task_id),
        # SQLite takes 64 bits.
        step if isinstance(step, int) and abs(step) < 1 << 62 else 0,
        float(timestamp) if isinstance(timestamp, float) or (isinstance(timestamp, int) and abs(timestamp) < 1 << 62) else None,
        direction if isinstance(direction, str) else None)


def merge(out: Served, into: Served) -> Served:
    """Returns the one record that an `out` line and its `in` line make, at the place of the latter."""
    given = {key: value for key, value in _any.decode(into.raw).items() if value is not None}
    record = {**_any.decode(out.raw), **given, "direction": "exec"}
    return Served(msgspec.json.encode(record), into.run_id or out.run_id, into.task_id, into.step, into.timestamp, "exec")


@dataclass
class Newest:
    """Collects records from the last line towards the first, until there are `limit`."""

    limit: int
    task_id: str | None = None
    found: list[Served] = field(default_factory=list)
    broken: int = 0
    _waiting: dict[tuple, list[int]] = field(default_factory=dict)

    def take(self, lines: Iterable[bytes]) -> None:
        needle = self.task_id.encode() if self.task_id and _SIMPLE.fullmatch(self.task_id) else b""
        for line in lines:
            if self.full():
                return
            # Reading a line costs more than seeing that it cannot be meant.
            if needle and needle not in line:
                continue
            served = parse(line)
            if served is None:
                self.broken += 1
            elif self.task_id is None or served.task_id == self.task_id:
                self.add(served)

    def add(self, served: Served) -> None:
        if served.direction == "out" and (places := self._waiting.get(served.key)):
            place = places.pop()
            if not places:
                del self._waiting[served.key]
            self.found[place] = merge(served, self.found[place])
            return
        if served.direction == "in" and len(self.found) < self.limit:
            self._waiting.setdefault(served.key, []).append(len(self.found))
        self.found.append(served)

    @property
    def waiting(self) -> int:
        """How many results still look for their command."""
        return sum(map(len, self._waiting.values()))

    def full(self) -> bool:
        """Whether nothing more is needed. A result still looks for its command, for the length of a few thousand."""
        more = len(self.found) - self.limit
        return more >= 0 and (not self._waiting or more > 2000)

    def records(self) -> list[bytes]:
        """Returns the records, oldest first."""
        return [each.raw for each in reversed(self.found[:self.limit])]
