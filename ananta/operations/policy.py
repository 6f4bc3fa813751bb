"""`ananta policy`: check a command, test rules, replay them over what is on record. Nothing here changes anything."""
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ananta import packaged
from ananta.agent.policy_files import PolicyFiles
from ananta.domain.steps import Verdict
from ananta.errors import InvalidInput
from ananta.policy import decision
from ananta.policy.decision import Context, Report
from ananta.policy.rules import RuleSet, parse_rules
from ananta.settings import Settings
from ananta.shell import containment
from ananta.store.log_files import LogFiles, forwards

PLATFORM = "windows" if os.name == "nt" else "posix"


def context(settings: Settings, cwd: str | None = None) -> Context:
    """Returns what a worker with these settings would decide by."""
    return Context(cwd=os.path.abspath(cwd or "."), home=os.path.expanduser("~"), data_dir=str(settings.data_dir.resolve()),
                   secrets_dir=str(settings.secrets_folder), program=(str(packaged.program()), "ananta"), pid=None,
                   platform=PLATFORM, secrets_shielded=containment.active(settings.containment))


def check(settings: Settings, command: str, *, shell: str | None, cwd: str | None) -> Verdict:
    """Returns the verdict for one command line, by the rules in force."""
    blacklist, rules = _files(settings).current()
    return decision.decide(command, shell=shell or default_shell(settings), context=context(settings, cwd),
                           blacklist=blacklist, rules=rules)


def test(settings: Settings, file: str | None) -> tuple[int, list[str]]:
    """Returns the number of rules and a sentence for each that does not hold."""
    path = Path(file) if file else settings.data_dir.resolve() / "policy.json"
    if file is None and not path.exists():
        return 0, []
    try:
        return len(_rules(path).rules), []
    except InvalidInput as error:
        return 0, [f"{path}: {error.message}"]


def replay(settings: Settings, file: str) -> Report:
    """Returns what the rules in `file` would have decided about every command on record. Raises InvalidInput."""
    new = _rules(Path(file))
    blacklist, old = _files(settings).current()
    return decision.replay(_recorded(settings), old, new, context=context(settings), shell=default_shell(settings),
                           blacklist=blacklist)


def default_shell(settings: Settings) -> str:
    name = Path(settings.shell_path or ("powershell" if os.name == "nt" else "bash")).stem.lower()
    return {"cmd": "cmd", "pwsh": "powershell", "powershell": "powershell"}.get(name, "bash")


def _files(settings: Settings) -> PolicyFiles:
    return PolicyFiles(settings.data_dir.resolve(), Path.cwd(), packaged.program().parent)


def _rules(path: Path) -> RuleSet:
    try:
        return parse_rules(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as cause:
        raise InvalidInput(f"{path} cannot be read: {cause}.") from cause


def _recorded(settings: Settings) -> Iterator[str]:
    """The commands on record, oldest first; lines that are no records are passed over."""
    files = LogFiles(settings.data_dir.resolve())
    for generation in (*files.rotated(), None):
        path = files.current if generation is None else files.path(generation)
        if not path.exists():
            continue
        fd = os.open(path, os.O_RDONLY)
        try:
            for line in forwards(fd):
                try:
                    command = json.loads(line).get("command")
                except (ValueError, AttributeError, RecursionError):
                    continue
                if isinstance(command, str) and command.strip():
                    yield command
        finally:
            os.close(fd)
