"""data/config.json: what may be changed while running."""
import json
from pathlib import Path

from ananta.errors import FileDamaged
from ananta.store import files


class ConfigFile:
    """The file as a dict; a damaged one is left as it is."""

    def __init__(self, path: Path):
        self.path = path

    def load(self) -> dict:
        """Returns the content, {} without a file. Raises FileDamaged, which names file, line and column."""
        try:
            text = self.path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as cause:
            line = cause.object.count(b"\n", 0, cause.start) + 1
            column = cause.start - cause.object.rfind(b"\n", 0, cause.start)
            raise self._damaged(f"line {line}, column {column}: this is not UTF-8 text") from cause
        except OSError as cause:
            raise FileDamaged(f"The file {self.path} cannot be read: {files.reason(cause)}") from cause
        return self._parse(text)

    def save(self, content: dict) -> None:
        """Replaces the file, mode 0600. Raises StoreFailed, then the old content is still there."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        files.replace(self.path, text.encode("utf-8", "replace"))

    def _parse(self, text: str) -> dict:
        twice: list[str] = []

        def unique(pairs: list[tuple[str, object]]) -> dict:
            found = dict(pairs)
            if len(found) < len(pairs) and not twice:
                names = [name for name, _ in pairs]
                twice.append(next(name for name in names if names.count(name) > 1))
            return found

        def no_constant(name: str) -> None:
            raise self._damaged(f"{_place(text, text.find(name))}: {name} is not a number of JSON")

        try:
            found = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
        except json.JSONDecodeError as cause:
            raise self._damaged(f"line {cause.lineno}, column {cause.colno}: {cause.msg}") from cause
        except (RecursionError, ValueError) as cause:
            raise self._damaged("line 1, column 1: it is nested too deeply, or a number is too long") from cause
        if twice:
            written = json.dumps(twice[0])
            second = text.find(written, text.find(written) + 1)
            raise self._damaged(f"{_place(text, second)}: the key {written} stands there twice")
        if not isinstance(found, dict):
            raise self._damaged("line 1, column 1: an object { … } must stand there")
        return found

    def _damaged(self, what: str) -> FileDamaged:
        return FileDamaged(f"The file {self.path} is damaged at {what}. It was left as it is: correct it, or move it away "
                           "to start with the defaults.")


def _place(text: str, at: int) -> str:
    at = max(at, 0)
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"line {line}, column {column}"
