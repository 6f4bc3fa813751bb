"""How we log: format, level, correlation id, masking. Called once, by app."""
import contextvars
import json
import logging
import sys
import time
from collections.abc import Callable

correlation_id: contextvars.ContextVar[str] = contextvars.ContextVar("correlation_id", default="-")


class _Plain(logging.Formatter):
    converter = staticmethod(time.gmtime)  # type: ignore[assignment]
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(self, mask: Callable[[str], str]):
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(cid)s] %(message)s")
        self.mask = mask

    def format(self, record: logging.LogRecord) -> str:
        record.cid = correlation_id.get()
        # One record is one line: a line break in a message could pretend to be another record.
        return self.mask(super().format(record)).replace("\n", "\n    ").replace("\r", "\\r")


class _Json(_Plain):
    def format(self, record: logging.LogRecord) -> str:
        line = {"timestamp": self.formatTime(record), "level": record.levelname, "logger": record.name,
                "message": self.mask(record.getMessage()), "correlation_id": correlation_id.get()}
        if record.exc_info:
            line["exception"] = self.mask(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def start(level: str, *, as_json: bool, mask: Callable[[str], str]) -> None:
    """Sends the log to standard error, masked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((_Json if as_json else _Plain)(mask))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    # One WARNING for every request that waits a moment says nothing that /metrics does not.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def set_level(level: str) -> None:
    logging.getLogger().setLevel(level)
