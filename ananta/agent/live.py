"""What commands print, told while they run: in pieces, without secrets, and never more than somebody can look at.

What comes faster than that is left out in the middle; the record of the run has more of it. Nothing is worked out unless
somebody looks: then what a run has printed is kept only as it came, within bounds.
"""
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ananta.domain.events import RUN_ENDED, RUN_OUTPUT, RUN_STARTED
from ananta.domain.steps import Record

EVERY_S = 0.06
PIECE_CHARS = 48 << 10  # at most so much in one turn
KEPT_CHARS = 64 << 10  # so much of a run is shown to who comes later
LINE_CHARS = 16 << 10  # a line is told when it has ended, or is that long: a secret must not come in two halves
LOOKED_BACK = 512  # as long as a secret may be that is at the end of such a part

Tell = Callable[[str, str, dict], None]


@dataclass
class _Run:
    key: str
    record: Record
    pending: list[str] = field(default_factory=list)
    pending_chars: int = 0
    # How much was told, and the end of it.
    at: int = 0
    told: str = ""


class Live:
    """The runs of this process. tell: gets the session, the type and the data of a message; wanted: whether anybody looks at
    a session; mask: text → text without secrets."""

    def __init__(self, mask: Callable[[str], str], tell: Tell, wanted: Callable[[str], bool]):
        self.mask, self.tell, self.wanted = mask, tell, wanted
        # Called with a session when somebody begins to look at it.
        self.on_look: list[Callable[[str], None]] = []
        self._runs: dict[str, _Run] = {}
        self._lock = threading.RLock()
        self._due = threading.Event()
        self._thread: threading.Thread | None = None

    def began(self, key: str, record: Record) -> Callable[[str], None]:
        """A run has begun in the session `key`. Returns what takes its output."""
        run = _Run(key, record)
        with self._lock:
            self._runs[record.id] = run
            if self.wanted(key):
                self.tell(key, RUN_STARTED, _started(run))

        def feed(text: str) -> None:
            with self._lock:
                run.pending.append(text)
                run.pending_chars += len(text)
                if run.pending_chars > 4 * PIECE_CHARS:
                    joined = "".join(run.pending)
                    left_out = len(joined) - 2 * PIECE_CHARS
                    run.pending = [joined[:PIECE_CHARS], _left_out(left_out), joined[-PIECE_CHARS:]]
                    run.pending_chars = sum(map(len, run.pending))
            if self.wanted(key):
                self._wake()

        return feed

    def ended(self, record: Record) -> None:
        """The run has ended, as the record says."""
        with self._lock:
            run = self._runs.pop(record.id, None)
            if run is None or not self.wanted(run.key):
                return
            self._flush(run, last=True)
            self.tell(run.key, RUN_ENDED, {"run_id": record.id, "task_id": record.task_id, "exit_code": record.exit_code,
                                           "state": record.state, "duration": record.duration})

    def now(self, key: str) -> list[tuple[str, dict]]:
        """Returns, for who begins to look at a session, the messages that say what runs there and has printed so far."""
        for told in self.on_look:
            told(key)
        with self._lock:
            found = []
            for run in [each for each in self._runs.values() if each.key == key]:
                self._flush(run, last=False)
                found.append((RUN_STARTED, _started(run)))
                if run.told:
                    found.append((RUN_OUTPUT, _output(run, run.at - len(run.told), run.told)))
            return found

    def _wake(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="live", daemon=True)
                    self._thread.start()
        self._due.set()

    def _work(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            with self._lock:
                for run in list(self._runs.values()):
                    if run.pending and self.wanted(run.key):
                        self._flush(run, last=False)
            # All that comes meanwhile goes together.
            time.sleep(EVERY_S)

    def _flush(self, run: _Run, *, last: bool) -> None:
        text = "".join(run.pending)
        cut = len(text) if last else max(text.rfind("\n"), text.rfind("\r")) + 1
        if len(text) - cut > LINE_CHARS:
            cut = len(text) - LOOKED_BACK
        run.pending = [text[cut:]] if cut < len(text) else []
        run.pending_chars = len(text) - cut
        if not cut:
            return
        shown = self.mask(text[:cut])
        if len(shown) > PIECE_CHARS:
            half = PIECE_CHARS // 2
            shown = shown[:half] + _left_out(len(shown) - 2 * half) + shown[-half:]
        at, run.at = run.at, run.at + len(shown)
        run.told = (run.told + shown)[-KEPT_CHARS:]
        if self.wanted(run.key):
            self.tell(run.key, RUN_OUTPUT, _output(run, at, shown))


def _started(run: _Run) -> dict:
    record = run.record
    return {"run_id": record.id, "task_id": record.task_id, "proposal_id": record.proposal_id, "command": record.command,
            "timestamp": record.timestamp}


def _output(run: _Run, at: int, text: str) -> dict:
    return {"run_id": run.record.id, "task_id": run.record.task_id, "at": at, "text": text}


def _left_out(chars: int) -> str:
    return f"\n[... {chars:,} characters left out here; the record of the run has more ...]\n"
