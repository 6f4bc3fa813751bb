"""Which class a cmd command belongs to: builtins and the programs of Windows."""
import re

from ananta.policy import unix
from ananta.policy.unix import READ, SYSTEM, UNCLEAR, WRITE
from ananta.policy.words import Command, Word, names

READERS = names("""dir type echo ver vol cls title rem chdir cd pushd popd tree findstr find where more fc comp tasklist systeminfo whoami hostname
getmac driverquery tracert ping pathping nslookup netstat qprocess query quser qwinsta timeout pause exit color
setlocal endlocal goto help shift break gpresult
 chcp winver""")
WRITERS = {"del": "deletes files", "erase": "deletes files", "rd": "deletes a directory", "rmdir": "deletes a directory", "md": "creates a directory", "mkdir": "creates a directory",
           "copy": "copies files", "xcopy": "copies files", "robocopy": "copies files", "move": "moves files", "ren": "renames files", "rename": "renames files",
           "mklink": "creates a link", "replace": "replaces files", "attrib": "changes attributes", "compact": "changes files", "expand": "unpacks files",
           "makecab": "writes an archive", "clip": "changes the clipboard", "setx": "changes the environment for good", "subst": "changes drives", "label": "changes a drive's name"}
SYSTEM_NAMES = names("""format diskpart chkdsk shutdown taskkill sc net netsh reg regedit regsvr32 rundll32 mshta wscript cscript schtasks at bcdedit bootrec
icacls cacls takeown runas start call powershell pwsh cmd wmic msiexec dism sfc bitsadmin certutil wevtutil vssadmin cipher fsutil powercfg
gpupdate manage-bde logoff tsshutdn psexec forfiles assoc ftype curl wget ftp tftp ssh telnet cmdkey winrm winrs esentutl pnputil""")
SECOND = {
    "sc": "query queryex qc qdescription qfailure sdshow getdisplayname getkeyname enumdepend", "reg": "query", "schtasks": "/query query", "wevtutil": "el enum-logs gl qe query-events gli ep",
    "powercfg": "/list /l /query /q /a /availablesleepstates /getactivescheme /devicequery /lastwake /requests /waketimers -list -l -a", "bcdedit": "/enum", "dism": "",
    "vssadmin": "list", "net": "", "fsutil": "", "certutil": "-hashfile -dump -?", "netsh": "", "wmic": "", "mode": "con:? :", "w32tm": "/query /tz", "auditpol": "/get",
    "pnputil": "/enum-drivers /enum-devices", "manage-bde": "-status", "cmdkey": "", "driverquery": "*", "gpresult": "*", "logman": "query", "typeperf": "-q", "winget": "list search show --version",
}
PROGRAMS = names("""systeminfo tasklist ipconfig netstat findstr where find tree whoami hostname getmac driverquery tracert pathping nslookup sc reg net netsh
schtasks wevtutil powercfg bcdedit vssadmin certutil wmic quser query arp route fc comp more sort ping taskkill icacls dism w32tm pnputil cmdkey xcopy robocopy
attrib setx""")


def classify(command: Command) -> tuple[str, str]:
    """Returns the class and, unless it is read, what the command does."""
    name = program(command.words[0].text)
    copy = Command([Word(name), *command.words[1:]], text=command.text, shell="cmd")
    for word in command.words[1:]:
        if word.wild and name not in ("echo", "set", "if", "cd", "title"):
            return UNCLEAR, "depends on a variable whose value is not known"
    result = classify_program(copy)
    if result[0] == UNCLEAR and name in ("git", "docker", "docker-compose", "kubectl", "helm", "npm", "yarn", "pnpm", "pip", "pip3", "python", "python3", "node", "dotnet", "java",
                                         "go", "cargo", "rustup", "gh", "terraform", "az", "aws", "gcloud", "winget", "choco", "scoop", "jq", "rg", "tar", "conda", "uv", "poetry", "fd",
                                         "javac", "mvn", "gradle", "gcc", "cmake", "make", "rustc", "npx", "openssl", "code", "ruby", "perl", "php", "vim", "nano"):
        return unix.classify(copy)
    return result


def program(text: str) -> str:
    """Returns the name in lower case without `.exe` and without the system's own directory."""
    lower = text.lower().lstrip("@")
    for directory in ("c:\\windows\\system32\\", "c:\\windows\\"):
        lower = lower.removeprefix(directory)
    return re.sub(r"\.(?:exe|com)$", "", lower)


def classify_program(command: Command) -> tuple[str, str]:
    """Judges a builtin or a program of Windows by name and arguments."""
    name, args = command.words[0].text, [word.text.lower() for word in command.words[1:]]
    if name in ("help",) or (name in SYSTEM_NAMES | set(WRITERS) | READERS and args == ["/?"]):
        return READ, ""
    if name == "set":
        return _set(args)
    if name in ("date", "time"):
        return (READ, "") if args == ["/t"] else (SYSTEM, "sets the clock")
    if name in ("path", "prompt", "verify"):
        return (READ, "") if not args else (UNCLEAR, "changes the shell's settings")
    if name == "ipconfig":
        return (READ, "") if all(arg in ("/all", "/displaydns", "/allcompartments") for arg in args) else (SYSTEM, "changes the network")
    if name == "sort":
        return (READ, "") if not any(re.match(r"/(?:o|t)", arg) for arg in args) else (WRITE, "writes a file")
    if name in ("arp", "route"):
        return (READ, "") if args[:1] in ([], ["-a"], ["print"], ["/a"], ["-g"]) else (SYSTEM, "changes the network")
    if name == "attrib":
        return (READ, "") if not any(re.match(r"[+-][a-z]", arg) for arg in args) else (WRITE, "changes attributes")
    if name in ("icacls", "cacls"):
        return (READ, "") if len(args) == 1 or set(args[1:]) <= {"/t", "/c", "/q", "/l"} else (SYSTEM, "changes permissions")
    if name in ("assoc", "ftype"):
        return (READ, "") if not any("=" in arg for arg in args) and len(args) <= 1 else (SYSTEM, "changes what opens a file")
    if name == "wmic":
        return _wmic(args)
    if name == "net":
        return _net(args)
    if name == "netsh":
        return (READ, "") if "show" in args and not any(arg in ("add", "set", "delete", "reset", "exec", "-f", "import", "dump", "connect") for arg in args) and not any(
            arg in ("clear", "key=clear") for arg in args) else (SYSTEM, "changes the network")
    if name == "fsutil":
        return (READ, "") if args[:2] in (["fsinfo", "drives"], ["fsinfo", "volumeinfo"], ["fsinfo", "ntfsinfo"], ["volume", "diskfree"], ["dirty", "query"], ["fsinfo", "drivetype"]) else (SYSTEM, "changes a file system")
    if name == "dism":
        return (READ, "") if "/online" in args and any(arg.startswith("/get-") for arg in args) else (SYSTEM, "changes the system")
    if name == "cmdkey":
        return (READ, "") if args[:1] == ["/list"] else (SYSTEM, "changes stored passwords")
    if name == "gpresult":
        return (READ, "") if not any(arg in ("/x", "/h") for arg in args) else (WRITE, "writes a file")
    if name == "chcp":
        return READ, ""
    if name == "mode":
        return (READ, "") if not args else (UNCLEAR, "changes a device")
    if name in SECOND:
        allowed = SECOND[name].split()
        bad = name == "wevtutil" and args[:1] == ["ep"] and len(args) > 1
        if "*" in allowed or (args and args[0] in allowed and not bad and not (name == "reg" and any("save" in arg for arg in args[:1]))):
            return READ, ""
        return SYSTEM, "changes the system"
    if name in READERS:
        return READ, ""
    if name in WRITERS:
        return WRITE, WRITERS[name]
    if name in SYSTEM_NAMES:
        return SYSTEM, "changes the system or runs a program"
    return UNCLEAR, "is not known to only read"


def _set(args: list[str]) -> tuple[str, str]:
    if not args:
        return READ, ""
    if args[0].startswith("/a"):
        return READ, ""
    if args[0].startswith("/p"):
        return READ, ""
    variable = args[0].split("=")[0].strip().upper()
    if unix.dangerous_variable(variable) and (len(args) > 1 or "=" in args[0]):
        return SYSTEM, "changes which programs run"
    return READ, ""


def _wmic(args: list[str]) -> tuple[str, str]:
    bad = any(arg in ("call", "delete", "create", "set") or arg.startswith(("/node", "/output", "/append", "/record", "/format:http", "/format:\\", "/user", "/password", "/format:\"")) or
              (arg.startswith("/format") and not re.fullmatch(r"/format:(?:list|csv|table|value|htable)", arg)) for arg in args)
    return (SYSTEM, "changes the system") if bad or not args or not ({"get", "list"} & set(args)) else (READ, "")


def _net(args: list[str]) -> tuple[str, str]:
    first, rest = (args[0] if args else ""), args[1:]
    changes = any(arg in ("/add", "/delete", "/d", "/active:yes", "/active:no", "*") or arg.startswith(("/active", "/set", "/grant", "/persistent", "/user:", "/domain:")) for arg in rest)
    if first in ("view", "statistics", "help", "config", "helpmsg") and not changes and not (first == "config" and any(a.startswith("/") for a in rest)):
        return READ, ""
    if first in ("user", "localgroup", "group", "accounts", "share", "session", "file", "start", "use") and not changes:
        if first == "start" and rest:
            return SYSTEM, "starts a service"
        if first == "user" and len([arg for arg in rest if not arg.startswith("/")]) > 1:
            return SYSTEM, "changes a user"
        if first == "accounts" and any(arg.startswith("/") and arg != "/domain" for arg in rest):
            return SYSTEM, "changes the rules for passwords"
        if (first == "use" and rest) or (first == "share" and len(rest) > 1):
            return SYSTEM, "connects to another computer"
        return READ, ""
    return SYSTEM, "changes the system"
