"""A file of settings as systemd reads it (EnvironmentFile= in systemd.exec(5))."""
import re

from ananta.errors import InvalidInput

LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)")
HEAD = """\
# Settings of the service, one a line: see the table in README.md. `systemctl restart ananta` makes a change count.
# Secrets do not belong here: put each into a file in {credentials}, named like openai_api_key, and call
# `ananta service install` again.
"""


def read(text: str) -> dict[str, str]:
    """Returns the variables of a file; comments and what is no assignment are left out."""
    found = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            found[match[1]] = _bare(match[2].strip())
    return found


def changed(text: str, new: dict[str, str]) -> str:
    """Returns the file's text with these variables set; the other lines stay. Raises InvalidInput."""
    left, lines = dict(new), []
    for line in text.splitlines():
        match = LINE.match(line)
        lines.append(_line(match[1], left.pop(match[1])) if match and match[1] in left else line)
    return "\n".join([*lines, *(_line(name, value) for name, value in left.items())]) + "\n"


def _line(name: str, value: str) -> str:
    if not value.isprintable():
        raise InvalidInput(f"{name} cannot be kept: it holds a character that cannot be printed.")
    return f'{name}="' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def _bare(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value
