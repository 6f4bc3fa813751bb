"""The labelled command lines: label, tab, line; backslashes double, newlines and tabs as in a Python text."""
from pathlib import Path

from ananta.policy.decision import Context

DIRECTORY = Path(__file__).parent / "corpus"
SHELLS = ("bash", "powershell", "cmd")
POSIX = Context(cwd="/home/me/project", home="/home/me", data_dir="/var/lib/ananta", secrets_dir="/var/lib/ananta/secrets",
                program=("/opt/ananta/ananta", "ananta"), pid=4242)
WINDOWS = Context(cwd="C:\\Users\\me\\project", home="C:\\Users\\me", data_dir="C:\\ProgramData\\ananta",
                  secrets_dir="C:\\ProgramData\\ananta\\secrets", program=("C:\\Program Files\\ananta\\ananta.exe", "ananta.exe"),
                  pid=4242, platform="windows")
CONTEXTS = {"bash": POSIX, "powershell": WINDOWS, "cmd": WINDOWS}
EXPECTED = {"read": "allow", "harmless": "allow", "ask": "ask", "deny": "deny"}


def load(shell: str) -> list[tuple[str, str]]:
    """Returns label and line of every entry of a shell."""
    entries = []
    for raw in (DIRECTORY / f"{shell}.tsv").read_text("utf-8").splitlines():
        label, _, line = raw.partition("\t")
        entries.append((label, line.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")))
    return entries
