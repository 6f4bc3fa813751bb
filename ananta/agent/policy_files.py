"""blacklist.txt and policy.json, read again when they change."""
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ananta.errors import FileDamaged, InvalidInput
from ananta.store import files

if TYPE_CHECKING:
    from ananta.policy.rules import Blacklist, RuleSet

log = logging.getLogger(__name__)


class PolicyFiles:
    """blacklist.txt counts from the data directory, the working directory and next to the program, all together;
    policy.json from the data directory. Raises FileDamaged at the start for one that cannot be used; while running
    the last usable state goes on to count, since a typing error must not lift a rule."""

    def __init__(self, *folders: Path):
        self._lists = list(dict.fromkeys(folder.resolve() / "blacklist.txt" for folder in folders))
        self._rules = folders[0] / "policy.json"
        self._paths = [str(path) for path in (*self._lists, self._rules)]
        self._seen: list[tuple | None] = []
        self._now: tuple[Blacklist | None, RuleSet | None] = (None, None)
        self._seen, self._now = self._state(), self._read()

    def current(self) -> "tuple[Blacklist | None, RuleSet | None]":
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._now = self._read()
            except FileDamaged as error:
                log.error("%s The rules as they were before stay in force.", error.message)
        return self._now

    def document(self) -> dict:
        """Returns policy.json as it stands."""
        text = _text(self._rules)
        return json.loads(text) if text is not None else {"rules": []}

    def replace(self, document: dict) -> int:
        """Replaces policy.json and returns the number of its rules; they count from the next decision on. Raises
        InvalidInput, naming the rule and the example that does not hold; then nothing has changed."""
        from ananta.policy.rules import parse_rules

        text = json.dumps(document, ensure_ascii=False, indent=2)
        rules = parse_rules(text)
        files.replace(self._rules, text.encode() + b"\n")
        return len(rules.rules)

    def _state(self) -> list[tuple | None]:
        return [_mark(path) for path in self._paths]

    def _read(self) -> "tuple[Blacklist | None, RuleSet | None]":
        texts = [_text(path) for path in self._lists]
        rules = _text(self._rules)
        if rules is None and not any(texts):
            return None, None
        from ananta.policy.rules import blacklist, parse_rules  # most starts have neither file

        try:
            return (blacklist("\n".join(text for text in texts if text is not None)) if any(texts) else None,
                    parse_rules(rules) if rules is not None else None)
        except InvalidInput as cause:
            raise FileDamaged(f"{self._rules} cannot be used: {cause.message.rstrip('.')}. Correct it, or move it away.") from cause


def _mark(path: str) -> tuple | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise FileDamaged(f"{path} cannot be read ({cause.strerror}): correct its permissions, or move it away.") from cause
