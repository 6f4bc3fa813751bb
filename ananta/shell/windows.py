"""How PowerShell and cmd are made to run one command and to tell their state. Pure: nothing here needs Windows."""
import base64
import json
import ntpath
from collections.abc import Mapping

from ananta.shell.orders import MARKER, State

PREFERRED = ["pwsh", "powershell", "cmd"]
SCRIPT = {"powershell": "command.ps1.txt", "cmd": "command.cmd"}  # file with the command, by kind
WRAPPER, TOLD, TOLD_CWD = "run.cmd", "state.txt", "directory.txt"

# The command stands in a file: a command line ends at 32767 characters, and needs no quoting rules this way.
POWERSHELL = """\
$ErrorActionPreference = 'Continue'; $ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false; $OutputEncoding = [Console]::OutputEncoding
$global:LASTEXITCODE = 0
try {
    . ([scriptblock]::Create([IO.File]::ReadAllText(%(script)s)))
    $__ananta_code = if ($?) { 0 } elseif ($global:LASTEXITCODE) { $global:LASTEXITCODE } else { 1 }
} catch {
    [Console]::Error.WriteLine(($_ | Out-String)); $__ananta_code = 1
} finally {
    $__ananta_state = @{ cwd = (Get-Location -PSProvider FileSystem).ProviderPath; environment = @{} }
    Get-ChildItem Env: | ForEach-Object { $__ananta_state.environment[$_.Name] = $_.Value }
    [IO.File]::WriteAllText(%(told)s, (ConvertTo-Json $__ananta_state -Compress))
}
exit $__ananta_code
"""
# Known limit: `exit` without /b ends cmd before it can tell its state.
CMD = """\
@echo off
chcp 65001 >nul
call "%(script)s"
set "__ananta_code=%%errorlevel%%"
cd >"%(told_cwd)s"
set >"%(told)s"
exit /b %%__ananta_code%%
"""


def kind_of(path: str) -> str:
    """Returns "powershell" or "cmd" for the path of a shell; what is not cmd is taken for a PowerShell."""
    return "cmd" if ntpath.splitext(ntpath.basename(path))[0].lower() == "cmd" else "powershell"


def files(kind: str, command: str, folder: str) -> dict[str, bytes]:
    """Returns the files, by name, that have to stand in the folder before the shell is started there."""
    if kind == "powershell":
        return {SCRIPT[kind]: command.encode("utf-8", "replace")}
    lines = "@echo off\r\n" + command.replace("\r\n", "\n").replace("\n", "\r\n") + "\r\n"
    names = {"script": SCRIPT[kind], "told": TOLD, "told_cwd": TOLD_CWD}
    # A percent sign in the folder's name would be taken for a variable.
    places = {key: ntpath.join(folder, name).replace("%", "%%") for key, name in names.items()}
    return {SCRIPT[kind]: lines.encode("utf-8", "replace"),
            WRAPPER: (CMD % places).replace("\n", "\r\n").encode("utf-8", "replace")}


def command_line(kind: str, path: str, folder: str) -> str:
    """Returns the command line that runs the files of the folder."""
    if kind == "cmd":
        # /s takes away the outer quotes and nothing else; /d: no AutoRun.
        return f'"{path}" /d /s /c ""{ntpath.join(folder, WRAPPER)}""'
    script = POWERSHELL % {"script": quoted(ntpath.join(folder, SCRIPT[kind])), "told": quoted(ntpath.join(folder, TOLD))}
    return f'"{path}" -NoLogo -NoProfile -NonInteractive -EncodedCommand {encoded(script)}'


def encoded(script: str) -> str:
    """Returns a script as PowerShell's -EncodedCommand wants it: UTF-16, little endian, in base64."""
    return base64.b64encode(script.encode("utf-16-le")).decode("ascii")


def quoted(text: str) -> str:
    """Returns a text as a PowerShell literal in which nothing is replaced."""
    # PowerShell takes typographic quotes for quotes as well.
    return "'" + "".join(letter * 2 if letter in "'‘’‚‛" else letter for letter in text) + "'"


def told(kind: str, found: Mapping[str, bytes]) -> State | None:
    """Returns the state in the files a shell left, by name; None when it left none that is whole."""
    try:
        text = found[TOLD].decode("utf-8-sig", "replace")
        if kind == "powershell":
            state = json.loads(text)
            return State(str(state["cwd"]), _kept(state["environment"]))
        cwd = found[TOLD_CWD].decode("utf-8-sig", "replace").strip("\r\n")
        pairs = (line.partition("=") for line in text.replace("\r\n", "\n").split("\n"))
        return State(cwd, _kept({name: value for name, _, value in pairs if name})) if cwd else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _kept(variables: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in variables.items()
            if name.upper() != MARKER and not name.startswith("__ananta_")}
