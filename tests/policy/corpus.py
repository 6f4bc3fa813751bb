"""The labelled command lines: label, tab, line; backslashes double, newlines and tabs as in a Python text.

A label may say where it holds: `@service`, the data in a folder of the system; `@open`, nothing shields the secrets."""
from dataclasses import replace
from pathlib import Path

from ananta.policy.decision import Context

DIRECTORY = Path(__file__).parent / "corpus"
SHELLS = ("bash", "powershell", "cmd")
# As it is by default: the data and the secrets below the working folder, and what nobody decided cannot read them.
POSIX = Context(cwd="/home/me/project", home="/home/me", data_dir="/home/me/project/data", secrets_dir="/home/me/project/data/secrets",
                program=("/opt/ananta/ananta", "ananta"), pid=4242, secrets_shielded=True)
WINDOWS = Context(cwd="C:\\Users\\me\\project", home="C:\\Users\\me", data_dir="C:\\Users\\me\\project\\data",
                  secrets_dir="C:\\Users\\me\\project\\data\\secrets", program=("C:\\Program Files\\ananta\\ananta.exe", "ananta.exe"),
                  pid=4242, platform="windows", secrets_shielded=True)
CONTEXTS = {"bash": POSIX, "powershell": WINDOWS, "cmd": WINDOWS}
SERVICE = {"posix": {"data_dir": "/var/lib/ananta", "secrets_dir": "/var/lib/ananta/secrets"},
           "windows": {"data_dir": "C:\\ProgramData\\ananta", "secrets_dir": "C:\\ProgramData\\ananta\\secrets"}}
EXPECTED = {"read": "allow", "harmless": "allow", "ask": "ask", "deny": "deny"}


def load(shell: str) -> list[tuple[str, str, Context]]:
    """Returns label, line and context of every entry of a shell."""
    entries = []
    for raw in (DIRECTORY / f"{shell}.tsv").read_text("utf-8").splitlines():
        label, _, line = raw.partition("\t")
        label, _, where = label.partition("@")
        context = CONTEXTS[shell]
        if where == "service":
            context = replace(context, **SERVICE[context.platform])
        elif where:
            context = replace(context, secrets_shielded=False)
        entries.append((label, line.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\"), context))
    return entries
