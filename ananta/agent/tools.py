"""TOOLS: the functions that a model may call, and who allows them."""
import inspect
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ananta.agent.configuration import LiveConfiguration
from ananta.domain.steps import ToolCall
from ananta.errors import AnantaError

LOG_FILES = ("terminal_log.jsonl", "llm_log.jsonl", "audit.log")
LINES_LIMIT = 1000
READ_BYTES = 4 << 20


@dataclass(frozen=True)
class ToolResult:
    tool: str
    success: bool
    output: object = None
    error: str | None = None


class Tools:
    """Calls tools that the configuration permits (`llm_tool_allowlist`, `llm_tool_denylist`; the deny list wins).

    A worker offers only tools whose data it owns."""

    def __init__(self, configuration: LiveConfiguration, data_dir: Path):
        self.configuration, self.data_dir = configuration, data_dir
        self.tools: dict[str, Callable] = {"read_agent_logs": self.read_agent_logs, "update_config": self.update_config}

    def permitted(self, name: str) -> bool:
        allowed = self.configuration["llm_tool_allowlist"]
        return (name not in self.configuration["llm_tool_denylist"] and name in self.tools
                and (allowed == "*" or "*" in allowed or name in allowed))

    def call(self, wanted: ToolCall) -> ToolResult:
        """Returns what the tool gave; a failure is a result, too."""
        if not self.permitted(wanted.name):
            return ToolResult(wanted.name, False, error="tool_not_allowed")
        tool = self.tools[wanted.name]
        try:
            inspect.signature(tool).bind(**wanted.args)
            return ToolResult(wanted.name, True, output=tool(**wanted.args))
        except AnantaError as error:
            return ToolResult(wanted.name, False, error=error.message)
        except TypeError as error:
            return ToolResult(wanted.name, False, error=f"wrong arguments: {error}")

    def read_agent_logs(self, filename: str, lines: int = 50) -> str:
        """Returns the last lines of one of the agent's own log files."""
        if filename not in LOG_FILES:
            raise TypeError(f"filename must be one of {', '.join(LOG_FILES)}")
        if type(lines) is not int or not 1 <= lines <= LINES_LIMIT:
            raise TypeError(f"lines must be a whole number 1 to {LINES_LIMIT}")
        path = self.data_dir / filename
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - READ_BYTES))
            last = deque(file, maxlen=lines)
        return re.sub(r"[^\S\n]+$", "", b"".join(last).decode("utf-8", "replace"))

    def update_config(self, key: str, value: object) -> str:
        """Changes one key of the configuration, under the same checks as POST /config."""
        if not isinstance(key, str):
            raise TypeError("key must be text")
        changed = self.configuration.change({key: value})
        return f"changed: {', '.join(changed)}" if changed else "nothing changed"
