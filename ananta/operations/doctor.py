"""`ananta doctor`: every question that a failed start or an unreachable model would raise, asked at once."""
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ananta.errors import AnantaError
from ananta.operations.checks import machine, model, network, secrets, storage
from ananta.operations.checks.finding import Case, Check, Finding
from ananta.settings import Settings

CHECKS: dict[str, Check] = {
    "program": machine.program, "data": storage.data, "configuration": storage.configuration, "database": storage.database,
    "disk": storage.disk, "temporary": storage.temporary, "token": secrets.token, "secrets": secrets.files,
    "port": machine.port, "shell": machine.shell, "containment": machine.containment, "record": storage.record,
    "clock": storage.clock, "hub": network.hub, "proxies": network.proxies, "container": network.container_host,
    "model": model.model}


def examine(load: Callable[[], Settings], environment: Mapping[str, str] = os.environ,
            secret_files: Callable[[], list[Path]] = list) -> list[Finding]:
    """Returns one or more findings for each subject; never raises for what it finds.

    environment: as the agent would see it; secret_files: gives the files that settings name for secrets."""
    try:
        settings = load()
        case = Case(settings, environment, tuple(secret_files()))
    except AnantaError as error:
        return [Finding("settings", False, error.message)]
    findings = [Finding("settings", True, _given(settings))]
    for subject, check in CHECKS.items():
        try:
            findings += [Finding(subject, *each) for each in check(case)]
        except AnantaError as error:
            findings.append(Finding(subject, False, error.message))
        except OSError as error:
            findings.append(Finding(subject, False, f"{error.filename or 'the system'}: {error.strerror or error}. Correct the "
                                                    "permissions, or choose another folder with DATA_DIR."))
    return findings


def report(findings: list[Finding]) -> str:
    """Returns the findings for people, one a line."""
    width = max(len(each.subject) for each in findings)
    return "\n".join(f"{'ok  ' if each.ok else 'DO  '}{each.subject.ljust(width)}  {each.text}" for each in findings)


def _given(settings: Settings) -> str:
    names = sorted(name.upper() for name in settings.given)
    return f"set: {', '.join(names)}" if names else "all at their defaults"
