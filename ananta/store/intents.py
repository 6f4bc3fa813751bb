"""What is about to run, on disk before it runs: started.jsonl. A run that stands in the log, too, is over."""
import logging
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from ananta.errors import StoreFailed
from ananta.store import files
from ananta.store.log_files import repair

log = logging.getLogger(__name__)
COMPACT_BYTES, EMPTY_BYTES = 1 << 20, 64 << 10


class Intents:
    """Not for several threads at once: the journal holds a lock around it."""

    def __init__(self, path: Path):
        self.path = path
        self._fd = -1
        self._in_flight: dict[str, bytes] = {}

    def open(self) -> list[dict]:
        """Returns what was left in flight, oldest first, and keeps it so until `done`."""
        repair(self.path)
        self._reopen()
        left = []
        for line in self.path.read_bytes().splitlines(keepends=True):
            try:
                intent = msgspec.json.decode(line, type=dict)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                log.warning("A line of %s cannot be read and is passed over", self.path)
                continue
            if isinstance(intent.get("id"), str):
                self._in_flight[intent["id"]] = line
                left.append(intent)
        return left

    def add(self, fields: dict, *, for_good: bool) -> None:
        """Raises JournalFailed, then there is no intent. for_good: it outlives a loss of power."""
        line = msgspec.json.encode(fields) + b"\n"
        files.append_line(self._fd, line, self.path, for_good=for_good)
        self._in_flight[fields["id"]] = line

    def done(self, run_id: str) -> None:
        """The run stands in the log now: on disk, before this is called."""
        if self._in_flight.pop(run_id, None) is None:
            return
        try:
            # Emptying the file each time would cost as much as the record; the next start looks into the log anyway.
            if not self._in_flight and os.fstat(self._fd).st_size > EMPTY_BYTES:
                os.ftruncate(self._fd, 0)
            elif os.fstat(self._fd).st_size > COMPACT_BYTES + 2 * sum(map(len, self._in_flight.values())):
                self._compact()
        except (OSError, StoreFailed) as cause:
            # What stays in the file is found in the log at the next start.
            log.warning("The file %s cannot be cleaned up: %s", self.path, cause)

    def close(self) -> None:
        if self._fd >= 0:
            if not self._in_flight:
                with suppress(OSError):
                    os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def _compact(self) -> None:
        # Windows does not replace a file that is open.
        self.close()
        try:
            files.replace(self.path, b"".join(self._in_flight.values()))
        finally:
            self._reopen()

    def _reopen(self) -> None:
        self._fd = os.open(self.path, files.APPEND, files.PRIVATE_FILE)
