"""The tools over what every agent has: its logs, its audit trail, its configuration."""
import re
from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from ananta.agent.configuration import LiveConfiguration
from ananta.agent.tools import By, Tool
from ananta.store import audit as trail
from ananta.store.audit import Audit

LINES, ENTRIES = 1000, 200
READ_BYTES = 4 << 20


class OwnTools:
    def __init__(self, configuration: LiveConfiguration, audit: Audit, data_dir: Path):
        self.configuration, self.audit, self.data_dir = configuration, audit, data_dir

    def all(self) -> list[Tool]:
        return [Tool(self.analyze_logs), Tool(self.read_agent_logs), Tool(self.update_config, changes=True)]

    def analyze_logs(self, by: By, limit: Annotated[int, Meta(ge=1, le=ENTRIES)] = 20) -> list[trail.Entry]:
        """Gives the latest entries of the audit trail: who did what, newest first."""
        return trail.entries(limit, 0)

    def read_agent_logs(self, by: By, filename: Literal["terminal_log.jsonl", "llm_log.jsonl", "audit.log"],
                        lines: Annotated[int, Meta(ge=1, le=LINES)] = 50) -> str:
        """Gives the last lines of a log file: what ran, what models were asked, who did what."""
        path = self.data_dir / filename
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - READ_BYTES))
            last = deque(file, maxlen=lines)
        return re.sub(r"[^\S\n]+$", "", b"".join(last).decode("utf-8", "replace"))

    def update_config(self, by: By, key: str, value: Any) -> str:
        """Changes one key of the configuration, under the same checks as over the interface."""
        changed = self.configuration.change({key: value})
        self.audit.write("config_updated", username=by.name, ip=by.address, details={"keys": changed})
        return f"changed: {', '.join(changed)}" if changed else "nothing changed"
