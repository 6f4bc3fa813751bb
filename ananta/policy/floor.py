"""What no setting can allow: wiping disks, deleting the system or a home, a fork bomb, ending this program, its secrets."""
import fnmatch
import re
from dataclasses import dataclass

from ananta.policy import cmdlets, dos, paths
from ananta.policy.context import Context
from ananta.policy.unix import program_name
from ananta.policy.words import UNKNOWN, Command, Word, names

DEVICE = re.compile(r"(?:/dev/(?:sd|hd|vd|xvd|nvme|mmcblk|disk|rdisk|mapper/|md\d|dm-|loop\d|zd|nbd|pmem|ram|root)[^\s]*|\\\\\.\\(?:physicaldrive|[a-z]:).*)", re.IGNORECASE)
MAKERS = re.compile(r"mkfs(?:\..+)?|mke2fs|mkswap|newfs(?:_.+)?|mkntfs|mkdosfs|mkreiserfs")
ENVIRON = re.compile(r"/proc/(?P<pid>[^/]+)/(?:task/[^/]+/)?(?:environ|mem|auxv|maps|fd(?:/.*)?|cmdline)")
KILLERS = names("kill pkill killall killall5 skill snice taskkill stop-process stop-service fuser xkill")
SERVICE_STOPS = names("stop disable mask kill restart uninstall delete remove try-restart isolate edit revert force-stop reset-failed")
PRINTERS = names("echo printf write-output write-host rem title")
DELETERS = names("rm rmdir unlink shred srm wipe truncate mv tee dd cp install ln chmod chown chattr rsync sed perl del erase rd rmdir remove-item clear-content set-content "
                 "add-content out-file move-item rename-item clear-item move ren rename touch find mkfs split gzip bzip2 xz sort tar zip copy xcopy robocopy copy-item icacls takeown "
                 "attrib cipher set-acl export-csv export-clixml tee-object new-item setfacl chgrp sponge ed ex vi vim nano unzip")
FILES_ONLY = names("rm unlink shred truncate sed perl bzip2 xz del erase clear-content set-content add-content out-file")  # unless recursive
COPIERS = names("cp tar zip rsync scp copy-item xcopy robocopy copy compress-archive 7z 7za mv gtar bsdtar cpio pax dar restic borg rclone ln install move move-item tar.exe sftp")
NARROW = names("-name -iname -path -ipath -regex -iregex -mtime -mmin -ctime -cmin -atime -amin -size -newer -user -group -empty -perm -inum -samefile -maxdepth")


SECRET_FILES = ("secret_key", "agent_token.json", "mfa_encryption_key", "config.json", "ananta.db", "ananta.db-wal")
GENERIC = re.compile(r"[*?]+(?:\.\w+)?")  # a pattern that names nothing in particular: `*`, `*.json`
# Options of Get-ChildItem with a value that is no place.
PLACELESS = names("-filter -include -exclude -depth -attributes -erroraction -ea -ev -errorvariable -outvariable -ov")


@dataclass
class Surroundings:
    """What the floor knows about a whole line: where it may be, and what it mentions."""

    context: Context
    windows: bool
    cwds: list[str]
    mentions_program: bool = False
    program: frozenset[str] = frozenset()
    listed: bool = False  # the line lists the files of a tree that holds the secrets, and nothing shields them
    dotglob: bool = False  # patterns of this line also stand for names with a leading dot
    tilde: bool = False  # the shell is PowerShell, where ~ is expanded by whoever opens the path

    def places(self, text: str) -> list[str]:
        """Returns the paths a word may mean, one per directory the line may be in."""
        if (self.windows or self.tilde) and re.match(r"~(?=[\\/]|$)", text):
            text = self.context.home + text[1:]
        return [paths.normal(text, cwd, windows=self.windows) for cwd in self.cwds]


def line_reason(commands: list[Command]) -> str | None:
    """Returns why a whole line is denied: a function that starts itself again and again."""
    defined = {c.words[0].text for c in commands if c.function}
    for name in defined:
        calls = [c for c in commands if not c.function and c.words and c.words[0].text == name and c.inside == name]
        if len(calls) >= 2 and any(c.piped_in or c.captured or c.background for c in calls):
            return f"`{name}` starts itself again and again (fork bomb)"
        if any(c.background for c in calls):
            return f"`{name}` starts itself again and again (fork bomb)"
    return None


def reason(command: Command, around: Surroundings) -> str | None:
    """Returns why a command is denied, or None."""
    for redirect in command.redirects:
        if not redirect.op.startswith("<<"):
            found = _redirect(redirect.op, redirect.target, around)
            if found:
                return found
        elif not command.words or program_name(command.words[0].guess) == "xargs":
            # The text of a loop's input, or what xargs makes arguments of: names.
            found = next((why for piece in redirect.target.guess.split() if (why := _secret_path(Word(piece), around))), None)
            if found:
                return found
    if not command.words:
        return None
    words = _spread(command.words)
    name = name_of(words[0], command.shell)
    args = words[1:]
    return (_disk(name, args, around) or _deletion(name, args, command, around) or _self(name, args, around, command.piped_in)
            or _secrets(name, args, command, around) or _environment(name, args, around))


def _spread(words: list[Word]) -> list[Word]:
    """Splits unquoted variables as the shell would, by what was last assigned to them."""
    spread: list[Word] = []
    for word in words:
        if word.split and " " in word.guess and UNKNOWN not in word.guess:
            spread.extend(Word(piece, piece, word.glob) for piece in word.guess.split())
        else:
            spread.append(word)
    return spread or words


def name_of(word: Word, shell: str) -> str:
    if shell == "powershell":
        return cmdlets.canonical(word.guess).removesuffix(".exe")
    if shell == "cmd":
        return dos.program(word.guess)
    return program_name(word.guess)


def _redirect(op: str, target: Word, around: Surroundings) -> str | None:
    text = target.guess
    if ">" in op:
        for place in around.places(text):
            if DEVICE.fullmatch(place) or DEVICE.fullmatch(text):
                return f"writing to `{text}` destroys a disk"
            if around.context.data_dir and paths.may_reach(place, _cased(around.context.data_dir, around), glob=target.glob):
                return f"`> {text}` overwrites this program's own files"
    return _secret_path(target, around) or _environ_path(target, around)


def _disk(name: str, args: list[Word], around: Surroundings) -> str | None:
    texts = [w.guess for w in args]
    devices = [t for t in texts for place in around.places(t.partition("=")[2] if re.match(r"(of|--?[\w-]+)=", t) else t) if DEVICE.fullmatch(place) or DEVICE.fullmatch(t)]
    if MAKERS.fullmatch(name) and (devices or not [t for t in texts if not t.startswith("-")]):
        return f"`{name}` erases a file system"
    if name == "dd" and any(t.startswith("of=") and t in devices for t in texts):
        return "`dd` overwrites a disk"
    if name == "wipefs" and any(re.match(r"-\w*a|--all|-\w*o|--offset", t) for t in texts):
        return "`wipefs` erases a disk's signatures"
    if name in ("blkdiscard", "shred", "tee", "cp", "truncate", "sponge", "badblocks", "install", "pv", "mkntfs", "scrub", "nwipe", "ddrescue", "dcfldd") and devices and not (name == "badblocks" and "-w" not in texts):  # noqa: SIM102
        if name not in ("cp", "install", "ddrescue") or texts[-1] in devices:
            return f"`{name}` overwrites a disk"
    if name == "dcfldd" and any(t.startswith("of=/dev/") for t in texts):
        return "`dcfldd` overwrites a disk"
    wipe = {"sgdisk": r"-\w*[zZo]\w*|--zap.*|--clear", "sfdisk": r"--delete|--wipe.*", "parted": r"mklabel|mktable|rm", "hdparm": r"--security-erase.*|--trim-sector.*",
            "nvme": r"format|sanitize", "cryptsetup": r"luksFormat|erase|luksErase|reencrypt", "zpool": r"destroy|labelclear", "diskutil": r"(?:(?:secure)?erase|zero|random|partition)\w*|reformat|deleteContainer",
            "mdadm": r"--zero-superblock", "vgremove": r".*", "zfs": r"destroy", "lvremove": r"-\w*[fy]\w*|--force|--yes"}
    if name in wipe and any(re.fullmatch(wipe[name], t, re.IGNORECASE) for t in texts):
        return f"`{name}` erases a disk or file system"
    if name in ("format-volume", "clear-disk", "remove-partition", "initialize-disk", "reset-physicaldisk"):
        return f"`{name}` erases a disk"
    if name == "format" and any(re.fullmatch(r"[a-z]:\\?", t, re.IGNORECASE) for t in texts):
        return "`format` erases a drive"
    if name == "cipher" and any(re.match(r"/w", t, re.IGNORECASE) for t in texts) and around.windows:
        return None
    return None


def _deletion(name: str, args: list[Word], command: Command, around: Surroundings) -> str | None:
    flags = [w.guess for w in args if w.guess.startswith("-")]
    recursive = False
    targets = [w for w in args if not w.guess.startswith("-")]
    if "--" in [w.guess for w in args]:
        cut = [w.guess for w in args].index("--")
        targets = [w for w in args[:cut] if not w.guess.startswith("-")] + args[cut + 1:]
    if name == "rm":
        recursive = any(re.fullmatch(r"-[a-zA-Z]*[rR][a-zA-Z]*|--r(?:e(?:c.*)?)?", flag) for flag in flags)
        if "--no-preserve-root" in flags and recursive:
            return "`rm --no-preserve-root` deletes the whole system"
    elif name == "remove-item":
        recursive = any(re.fullmatch(r"-r(?:e(?:c\w*)?)?|-[rR]\w*[fF]?", flag.split(":")[0], re.IGNORECASE) for flag in flags)
        targets = [w for w in targets if w.guess != ","]
    elif name in ("rd", "rmdir", "del", "erase"):
        recursive = any("/s" in w.guess.lower() for w in args)
        targets = [w for w in args if not w.guess.startswith("/") or len(w.guess) == 1]
    elif name in ("find", "gfind"):
        words = [w.guess for w in args]
        runs_rm = any(t in ("-exec", "-execdir", "-ok") for t in words) and any(t.rsplit("/", 1)[-1] in ("rm", "shred", "unlink") for t in words)
        narrow = any(t in NARROW and (position + 1 >= len(words) or words[position + 1] not in ("*", ".*", "?*")) for position, t in enumerate(words))
        if ("-delete" in words or runs_rm) and not narrow:
            recursive = True
            first = next((i for i, t in enumerate(words) if t.startswith(("-", "(", "!"))), len(words))
            targets = args[:first] or [Word(".")]
    elif name in ("shred", "srm", "wipe", "unlink"):
        recursive = (name == "srm" and any("r" in flag for flag in flags)) or name == "wipe"
    elif name == "mv" and len(targets) >= 2 and targets[-1].guess == "/dev/null":
        recursive = True
        targets = targets[:-1]
    elif name == "rsync" and any(flag.startswith(("--del", "--remove-source")) for flag in flags):
        recursive = True
        targets = targets[-1:]
    if name in ("rm", "remove-item") and any(w.guess == UNKNOWN and around.mentions_program for w in targets):
        return f"`{name}` would delete this program"
    if recursive:
        for word in targets:
            # An empty variable would make "$x/" the root, but that is unclear and asked about, not known.
            # A drive is a drive, wherever the line is judged: PowerShell rules are written for Windows on other systems, too.
            drive = command.shell == "powershell" and re.match(r"[A-Za-z]:(?:[\\/]|$)", word.guess) is not None
            places = [paths.normal(word.guess, "C:\\", windows=True)] if drive else around.places(word.guess)
            for place in places if UNKNOWN not in word.guess else []:
                if paths.is_system(place, around.context.home, windows=around.windows or drive, glob=word.glob or "*" in place):
                    return f"`{name}` deletes `{word.guess}`, a system or home directory, with everything in it"
    return _own_files(name, targets, args, recursive, around)


def _own_files(name: str, targets: list[Word], args: list[Word], recursive: bool, around: Surroundings) -> str | None:
    """Changing or deleting the data directory or the program itself."""
    if name not in DELETERS:
        return None
    if name in ("sed", "find", "sort", "tar", "perl", "zip", "gzip") and not any(w.guess.startswith(("-i", "-delete", "--in-place", "-o", "-exec", "-x", "--delete", "-pi", "-fprint", "--remove")) for w in args):  # noqa: SIM102
        if name in ("sed", "find", "sort", "tar", "perl", "zip"):
            return None
    if name in ("cp", "install", "ln", "rsync", "copy", "xcopy", "robocopy", "copy-item", "tar", "zip", "touch"):
        targets = targets[-1:]
    directory = _cased(around.context.data_dir, around)
    own = [_cased(p, around) for p in around.context.program if "/" in p or "\\" in p]
    for word in targets:
        text = word.guess.partition("=")[2] if name == "dd" else word.guess
        if name == "dd" and not word.guess.startswith("of="):
            continue
        for place in around.places(text):
            if UNKNOWN in text and directory and not _names(place, directory, around):
                continue  # it may be anything in a folder that happens to hold the data: that is asked about
            if word.glob and not recursive and name in FILES_ONLY and directory and _before(place) == _before(directory) and not _names(place, directory, around):
                continue  # of the folder that holds the data it changes the files only
            if directory and paths.may_reach(place, directory, glob=word.glob):
                return f"`{name}` would change or delete this program's own files"
            if any(paths.may_reach(place, path, glob=word.glob) for path in own):
                return f"`{name}` would change or delete this program itself"
            if recursive and (paths.inside(directory, place) or any(paths.inside(path, place) for path in own)):
                return f"`{name}` would delete a directory that holds this program's files"
            if recursive and word.glob and directory and paths.inside(directory, place.rpartition("\\" if around.windows else "/")[0] or "/") and paths.may_reach(
                    directory, place, glob=False) is False and _glob_above(place, directory):
                return f"`{name}` would delete a directory that holds this program's files"
    return None


def _glob_above(pattern: str, directory: str) -> bool:
    parts, wanted = pattern.replace("\\", "/").strip("/").split("/"), directory.replace("\\", "/").strip("/").split("/")
    return len(parts) <= len(wanted) and paths.may_match("/" + "/".join(parts), "/" + "/".join(wanted[:len(parts)]))


def _self(name: str, args: list[Word], around: Surroundings, piped: bool) -> str | None:
    """Stopping or uninstalling this program, or printing its token."""
    context = around.context
    texts = [w.guess for w in args]
    lowered = [t.lower() for t in texts]
    mentioned = any(_mentions(t, around) for t in texts)
    if name in KILLERS:
        if any(t.removeprefix("-") in context.pids for t in texts):
            return f"`{name}` would end this program"
        if mentioned or (around.mentions_program and (piped or any(UNKNOWN in w.guess for w in args))):
            return f"`{name}` would end this program"
        if name == "kill" and any(t == "-1" for t in texts[1:]):
            return "`kill -1` ends every process"
        if name == "kill" and any(w.guess == UNKNOWN and w.ppid for w in args):
            return "`kill $PPID` would end this program"
        if name in ("pkill", "killall") and any(_pattern_hits(t, around) for t in texts if not t.startswith("-")):
            return f"`{name}` would end this program"
        if name == "stop-process" and any(_pattern_hits(t.replace("*", ".*"), around) for t in texts if not t.startswith("-")):
            return "`Stop-Process` would end this program"
    if name in ("systemctl", "service", "sc", "net", "launchctl", "rc-service", "initctl", "supervisorctl", "stop-service", "remove-service", "restart-service", "set-service",
                "suspend-service", "nssm", "svcadm", "sv", "update-rc.d", "chkconfig", "wmic", "schtasks"):
        stops = set(lowered) & SERVICE_STOPS or name in ("stop-service", "remove-service", "restart-service", "set-service", "suspend-service") or "config" in lowered
        if stops and (mentioned or any(_pattern_hits(t.replace("*", ".*").removesuffix(".service"), around) for t in texts if "*" in t)):
            return f"`{name}` would stop or remove this program"
    if name in ("apt", "apt-get", "dpkg", "dnf", "yum", "rpm", "pip", "pip3", "pipx", "uv", "brew", "winget", "choco", "snap", "zypper", "pacman", "apk", "msiexec", "uninstall-package") and mentioned:  # noqa: SIM102
        if set(lowered) & names("remove purge uninstall erase autoremove del -r -p -e -rns --purge --remove /x"):
            return f"`{name}` would uninstall this program"
    if _is_program(name, around):
        return _own_command(lowered)
    if re.fullmatch(r"(?:python|py|pypy)[\d.]*w?", name) and any(_is_program(t, around) for t in texts):
        position = next(i for i, t in enumerate(texts) if _is_program(t, around))
        return _own_command(lowered[position + 1:])
    return None


def _own_command(args: list[str]) -> str | None:
    operands = [t for t in args if not t.startswith("-")]
    if operands[:1] == ["token"]:
        return "`token` prints or changes this program's own secret"
    if operands[:2] in (["service", "uninstall"], ["service", "stop"], ["service", "remove"], ["service", "disable"]):
        return "this program would be uninstalled or stopped"
    if operands[:1] in (["restore"], ["update"]):
        return f"`{operands[0]}` would replace this program, or everything it has on record"
    if operands[:1] == ["backup"] and "--with-secrets" in args:
        return "the secrets of this program would be copied"
    return None


def _is_program(text: str, around: Surroundings) -> bool:
    last = re.split(r"[\\/]", text.lower())[-1]
    return last in around.program or last.removesuffix(".exe").removesuffix(".py") in around.program


def _mentions(text: str, around: Surroundings) -> bool:
    lower = text.lower()
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w])", lower) for name in around.program if len(name) > 2)


def _pattern_hits(text: str, around: Surroundings) -> bool:
    if not text or len(text) > 100 or UNKNOWN in text:
        return False
    pattern = text.lower().strip("^$")
    if re.fullmatch(r"[\w.\[\]*?|-]+", pattern) and pattern.count("*") <= 3:
        try:
            return any(re.search(pattern, name) for name in around.program)
        except re.error:
            return False
    return False


def mentions(commands: list[Command], around: Surroundings) -> bool:
    """Whether any word of a line names this program."""
    return bool(around.program) and any(_mentions(w.guess, around) for c in commands for w in c.words)


def _secrets(name: str, args: list[Word], command: Command, around: Surroundings) -> str | None:
    printing = name in PRINTERS and not command.captured
    if printing:
        return None
    for word in args:
        found = _secret_path(word, around, named=name not in COPIERS)
        if found:
            return found
    directory = _cased(around.context.secrets_dir, around)
    data = _cased(around.context.data_dir, around)
    copies = name in COPIERS or (name in ("grep", "rg", "ag", "ack", "egrep", "fgrep", "zgrep", "diff", "select-string", "findstr", "sls") and _recursive(name, args))
    if directory and data and copies:
        for word in args:
            for place in around.places(word.guess):
                if (paths.inside(directory, place) and paths.inside(place, data)) or (word.glob and _glob_above(place, directory) and paths.inside(place.split("*")[0].rstrip("/\\"), data)):
                    return f"`{name}` would read this program's secrets along with `{word.guess}`"
    return None


def secrets(around: Surroundings) -> str:
    """Returns the directory of the secrets as paths are compared."""
    return _cased(around.context.secrets_dir, around)


def holds_secrets(name: str, args: list[Word], around: Surroundings) -> bool:
    """Whether a reader is pointed at a tree, or a pattern, that has the secrets among much else, and nothing shields them."""
    directories = _secret_places(around)
    if not directories or around.context.secrets_shielded:
        return False
    if any(word.glob and _secret_path(word, around) for word in args):
        return True
    if not (name in COPIERS or _recursive(name, args)):
        return False
    operands = [word for word in args if not word.guess.startswith("/" if name == "findstr" else "-")]
    places = [place for word in operands for place in around.places(word.guess)]
    if name in ("rg", "ag", "ack") or len(operands) < 2:
        places += around.places(".")
    if name == "findstr":
        places += [_before(place) for place in places]
    return any(paths.inside(directory, place) for place in places for directory in directories)


def _secret_places(around: Surroundings) -> list[str]:
    """The directories that hold nothing but secrets of this program."""
    return [_cased(each, around) for each in (around.context.secrets_dir, around.context.credentials_dir) if each]


def lists_secrets(name: str, args: list[Word], around: Surroundings) -> bool:
    """Whether a command prints the names of all files of a tree that holds the secrets, for others to open."""
    directory, texts = _cased(around.context.secrets_dir, around), [word.guess for word in args]
    lower = [text.lower() for text in texts]
    if name in ("find", "gfind"):
        first = next((i for i, text in enumerate(texts) if text.startswith(("-", "(", "!"))), len(texts))
        operands = args[:first]
        patterns = [texts[i + 1] for i, text in enumerate(texts[:-1]) if text in ("-name", "-iname")]
        if any(text in ("-o", "-or", "!", "-not", ",") for text in texts):
            patterns = []
    elif name in ("fd", "fdfind"):
        operands = [word for word in args if not word.guess.startswith("-")][1:]
        patterns = [f"*.{texts[i + 1]}" for i, text in enumerate(texts[:-1]) if text in ("-e", "--extension")]
    elif name == "get-childitem":
        if not any(re.match(r"-(?:r(?:e(?:c\w*)?)?|s|dep\w*)(?::|$)", text) for text in lower):
            return False
        given = [word for i, word in enumerate(args) if not word.guess.startswith("-") and word.guess != "," and not (i and lower[i - 1] in PLACELESS)]
        patterns = [texts[i + 1] for i, text in enumerate(lower[:-1]) if text in ("-filter", "-include")]
        patterns += [re.split(r"[\\/]", word.guess)[-1] for word in given if word.glob]
        operands = [Word(_before(word.guess.replace("/", "\\")) or ".") if word.glob else word for word in given]
    elif name in ("dir", "ls", "tree", "where"):
        if not any(re.fullmatch(r"/s|/r|/f|-[a-zA-Z]*[Rf][a-zA-Z]*|--recursive", text) for text in texts if text.lower() != "/f" or name == "tree"):
            return False
        given = [word for word in args if not word.guess.startswith(("-", "/s", "/b", "/a", "/o", "/r", "/f", "/S", "/B", "/A", "/O"))]
        patterns = [re.split(r"[\\/]", word.guess)[-1] for word in given if word.glob]
        operands = [Word(_before(word.guess.replace("/", "\\")) or ".") if word.glob else word for word in given]
    elif name in ("rg", "ag", "ack"):
        operands, patterns = [word for word in args if not word.guess.startswith("-")], []
        operands = operands if "--files" in texts else operands[1:]
    else:
        return False
    if patterns and not any(fnmatch.fnmatchcase(each, pattern.lower()) for pattern in patterns for each in SECRET_FILES):
        return False
    places = [place for word in operands for place in around.places(word.guess)] or around.places(".")
    return any(paths.inside(directory, place) or paths.inside(place, directory) for place in places)


def _recursive(name: str, args: list[Word]) -> bool:
    if name in ("rg", "ag", "ack"):
        return True
    if name == "findstr":
        return any("/s" in w.guess.lower() for w in args)
    if name == "rgrep":
        return True
    return name in ("grep", "egrep", "fgrep", "diff", "zgrep") and any(re.fullmatch(r"-[a-zA-Z]*[rR][a-zA-Z]*|--(?:dereference-)?recursive", w.guess) for w in args)


def _secret_path(word: Word, around: Surroundings, *, named: bool = False) -> str | None:
    """Whether a word may name the secrets, or the configuration, which may hold keys of model services.

    named: patterns that fit everything, such as `*/*`, do not count."""
    data = _cased(around.context.data_dir, around)
    places = [*_secret_places(around), data and data.rstrip("\\/") + ("\\" if around.windows else "/") + "config.json"]
    return next((found for place in places if place and (found := _reaches(word, place, around, named))), None)


def _names(pattern: str, directory: str, around: Surroundings) -> bool:
    """Whether a pattern that fits a private path says so by more than wildcards."""
    data = _cased(around.context.data_dir, around)
    parts, wanted, own = (re.split(r"[\\/]+", text.strip("\\/")) for text in (pattern.replace(UNKNOWN, "*"), directory, data))
    start = min(len(own) if data and paths.inside(directory, data) else len(wanted), len(wanted)) - 1
    if "**" in parts:
        start = min(start, parts.index("**"))
    known = {*wanted[start:], own[-1], *SECRET_FILES}
    return any(not GENERIC.fullmatch(part) and any(fnmatch.fnmatchcase(each, part) for each in known) for part in parts[start:])


def finds_secrets(name: str, args: list[Word], around: Surroundings) -> bool:
    """Whether what `find` hands on to a reader may be among the secrets: below them or above, and of a fitting name."""
    directory = "" if around.context.secrets_shielded else _cased(around.context.secrets_dir, around)
    for word in args:
        start, sign, found = word.guess.rpartition("/")
        if sign and UNKNOWN in found and directory:
            name_fits = any(fnmatch.fnmatchcase(each, found.replace(UNKNOWN, "*")) for each in SECRET_FILES)
            if name_fits and any(paths.inside(directory, place) or paths.inside(place, directory) for place in around.places(start or "/")):
                return True
    return False


def _reaches(word: Word, directory: str, around: Surroundings, named: bool) -> str | None:
    text = word.guess.lstrip("@")
    pieces = {text, *re.split(r"[=:@,<]", text, maxsplit=1)[1:]} if re.search(r"[=:@,<]", text) else {text}
    for piece in pieces:
        if not piece or piece == UNKNOWN or len(piece) > 4000:
            continue
        for place in around.places(piece):
            if UNKNOWN in place and not place.startswith(_before(directory)):
                continue
            if paths.may_reach(place, directory, glob=word.glob or "*" in piece or "?" in piece) and not (
                    named and not paths.inside(place, directory) and not _names(place, directory, around)):
                return f"`{word.guess.replace(UNKNOWN, '…')}` reaches this program's secrets"
    if len(text) > 20 and directory in text.replace("\\\\", "\\").lower().replace("//", "/"):
        return "it reaches this program's secrets"
    return None


def _before(directory: str) -> str:
    return directory.rpartition("\\" if "\\" in directory else "/")[0]


def _environ_path(word: Word, around: Surroundings) -> str | None:
    if "proc" not in word.guess and not any("/proc" in cwd for cwd in around.cwds):
        return None
    for text in (word.guess, *around.places(word.guess)):
        found = ENVIRON.search(re.sub(r"/+", "/", text))
        if found and found.group("pid") not in ("self", "thread-self"):
            pid, context = found.group("pid"), around.context
            own = pid in context.pids
            secret = found.group().rsplit("/", 1)[-1] not in ("cmdline", "maps")
            if own or word.ppid or re.search(r"[*?\[]", pid) or (UNKNOWN in pid and around.mentions_program):  # noqa: SIM102
                if secret:
                    return "it reads this program's process environment"
    return None


def _environment(name: str, args: list[Word], around: Surroundings) -> str | None:
    for word in args:
        found = _environ_path(word, around)
        if found:
            return found
    if name == "ps" and args and re.fullmatch(r"[a-zA-Z]*e[a-zA-Z]*", args[0].guess) and not around.windows and args[0].guess != "e-":
        return "`ps e` prints the environment of processes"
    if name in ("gdb", "gcore", "strace", "ltrace", "py-spy", "procdump") and any(w.guess in around.context.pids for w in args):
        return f"`{name}` would look into this program's memory"
    return None


def _cased(path: str, around: Surroundings) -> str:
    return paths.normal(path, "C:\\" if around.windows else "/", windows=around.windows) if path else ""
