"""Programs that run another command: sudo, env, xargs, sh -c, cmd /c … Opened, so that the command inside is judged."""
import base64
import re
from dataclasses import dataclass, field

from ananta.policy import cmdlets, dos
from ananta.policy.unix import asks_version, dangerous_variable, program_name
from ananta.policy.words import UNKNOWN, Command, Word, names

SHELLS = names("sh bash zsh dash ksh ash mksh fish rbash")
POWERSHELLS = names("powershell pwsh powershell.exe pwsh.exe")
# Wrapper: (its options that take a value as a word of their own, number of operands before the command)
PREFIXES: dict[str, tuple[frozenset[str], int]] = {
    "nice": (names("-n --adjustment"), 0), "ionice": (names("-c -n --class --classdata"), 0), "nohup": (frozenset(), 0), "setsid": (frozenset(), 0),
    "timeout": (names("-s --signal -k --kill-after"), 1), "gtimeout": (names("-s --signal -k --kill-after"), 1), "time": (frozenset(), 0),
    "stdbuf": (names("-i -o -e --input --output --error"), 0), "command": (frozenset(), 0), "builtin": (frozenset(), 0), "exec": (names("-a"), 0),
    "busybox": (frozenset(), 0), "toybox": (frozenset(), 0), "chronic": (frozenset(), 0), "unbuffer": (frozenset(), 0), "catchsegv": (frozenset(), 0),
    "taskset": (frozenset(), 1), "chrt": (frozenset(), 1), "numactl": (names("-N -m -C"), 0), "caffeinate": (names("-t -w"), 0), "eatmydata": (frozenset(), 0),
    "faketime": (frozenset(), 1), "setarch": (frozenset(), 1), "dbus-run-session": (frozenset(), 0), "proxychains": (names("-f"), 0),
    "sudo": (names("-u --user -g --group -h --host -p --prompt -C --close-from -D --chdir -R --chroot -T --command-timeout -r -t -U --other-user"), 0),
    "doas": (names("-u -C"), 0), "pkexec": (names("--user"), 0), "runuser": (names("-u --user -g --group"), 0), "gosu": (frozenset(), 1), "su-exec": (frozenset(), 1),
    "chroot": (names("--userspec --groups"), 1), "unshare": (frozenset(), 0), "nsenter": (names("-t --target"), 0), "firejail": (frozenset(), 0),
    "flock": (names("-w --timeout -E"), 1), "systemd-run": (names("-u --unit -p --property"), 0), "fakeroot": (frozenset(), 0), "strace": (names("-e -o -p -s -u"), 0),
    "ltrace": (names("-e -o -p"), 0), "watch": (names("-n --interval"), 0), "xargs": (names("-I -i -n -P -L -s -d -E -a --max-args --max-procs --max-lines --delimiter --arg-file --replace"), 0),
    "parallel": (names("-j --jobs -I -n -N --colsep"), 0), "env": (names("-u --unset -C --chdir -S --split-string"), 0), "entr": (frozenset(), 0),
    "start-stop-daemon": (frozenset(), 0), "dotenv": (frozenset(), 0), "perf": (frozenset(), 1), "valgrind": (frozenset(), 0), "hyperfine": (frozenset(), 0),
}
# What a wrapper does itself, when it does more than pass on.
OWN: dict[str, tuple[str, str]] = {
    **dict.fromkeys(names("sudo doas pkexec runuser gosu su-exec su"), ("system", "runs with the rights of another user")),
    **dict.fromkeys(names("chroot unshare nsenter firejail"), ("system", "runs in another environment")),
    "flock": ("write", "creates a lock file"), "systemd-run": ("system", "starts a unit"), "strace": ("system", "follows a process"), "ltrace": ("system", "follows a process"),
    "ssh": ("system", "runs something on another computer"), "start-stop-daemon": ("system", "starts a service"), "fakeroot": ("system", "runs in another environment"),
    "parallel": ("unclear", "runs a command for each line it is given"), "entr": ("unclear", "runs a command again and again"), "proxychains": ("system", "redirects the network"),
    "nohup": ("write", "may write nohup.out"), "perf": ("system", "measures a program"), "valgrind": ("system", "runs a program"), "dotenv": ("unclear", "loads an environment"),
    "hyperfine": ("unclear", "runs a program many times"), "dbus-run-session": ("system", "starts a session"), "setarch": ("unclear", "changes how programs run"),
}


@dataclass
class Opened:
    """What stands inside a wrapper: commands as words, or texts to be read by a shell.

    own: class and reason for the wrapper itself, None if it only passes on; used: how many of its words are its own."""

    commands: list[Command] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    own: tuple[str, str] | None = None
    used: int = 1
    also: bool = False


def open_wrapper(command: Command) -> Opened | None:
    """Returns what a command runs, or None if it is no wrapper. Decides nothing about what is inside."""
    shell = command.shell
    name = command.words[0].guess
    if shell == "powershell":
        lower = cmdlets.canonical(name)
        if lower in ("invoke-expression", "start-process", "invoke-command") or lower in POWERSHELLS or dos.program(name) == "cmd":
            return _powershell(lower, command)
        base = lower.removesuffix(".exe")
        if base in ("wsl", "bash", "sh"):
            return _wsl(command) if base == "wsl" else _shell(base, command)
        return _find(command) if base == "find" and any(w.text.startswith("-exec") for w in command.words) else _prefix(base, command) if base in ("sudo", "env", "xargs", "timeout", "nice") else None
    if shell == "cmd":
        base = dos.program(name)
        if base in ("cmd", "powershell", "pwsh", "call", "start", "wsl", "forfiles", "runas", "bash", "sh"):
            return _cmd(base, command)
        return None
    base = program_name(name)
    base = base.rsplit("/", 1)[-1] if base.rsplit("/", 1)[-1] in SHELLS | {"env", "sudo", "busybox"} else base
    if asks_version(base, command.words[1:]):
        return None
    if base in SHELLS:
        return _shell(base, command)
    if base == "eval":
        return _joined(command.words[1:], "bash")
    if base == "su":
        return _su(command)
    if base in ("ssh", "autossh"):
        return _ssh(command)
    if base in ("find", "gfind", "fd", "fdfind"):
        return _find(command)
    if base in POWERSHELLS:
        return _powershell(base.removesuffix(".exe"), command)
    if base in ("cmd", "cmd.exe"):
        return _cmd("cmd", command)
    if base in ("alias", "trap"):
        return _alias(base, command)
    if base in PREFIXES:
        return _prefix(base, command)
    return None


def _inner(command: Command, words: list[Word], shell: str | None = None) -> Command:
    text = " ".join(word.guess.replace(UNKNOWN, "…") for word in words)
    return Command(words, text=text if len(text) < 200 else text[:197] + "...", piped_in=command.piped_in, captured=command.captured,
                   stdin=command.stdin, source=command, shell=shell or command.shell, sure=False)


def _prefix(name: str, command: Command) -> Opened:
    """A wrapper whose command follows its options."""
    values, operands = PREFIXES[name]
    words, position = command.words, 1
    opened = Opened(own=OWN.get(name))
    while position < len(words):
        text = words[position].text
        if text == "--":
            position += 1
            break
        if name == "env" and re.match(r"[A-Za-z_]\w*=", text):
            if dangerous_variable(text.split("=")[0]):
                opened.own = ("system", f"sets `{text.split('=')[0]}`, which changes what runs")
            position += 1
            continue
        if name in ("sudo", "doas") and re.match(r"[A-Za-z_]\w*=", text):
            position += 1
            continue
        if not text.startswith("-") or text == "-":
            break
        if name == "command" and re.fullmatch(r"-[vV]+", text):
            return Opened(used=len(words))
        if name == "env" and (text.startswith(("-S", "--split-string")) or re.match(r"-\w*S", text)):
            first = text.partition("S")[2] if not text.startswith("--") else text.partition("=")[2]
            return Opened(texts=[(" ".join([first, *(w.guess for w in words[position + 1:])]), "bash")], own=("unclear", "splits a text into a command"))
        if name == "sudo" and re.match(r"-[a-zA-Z]*[els]|--edit|--list|--validate|--login|--shell", text) and position == len(words) - 1:
            return Opened(own=OWN["sudo"], used=len(words))
        if name == "xargs" and text in ("-a", "--arg-file"):
            opened.own = None
        if name == "time" and text.startswith(("-o", "--output", "-a")):
            opened.own = ("write", "writes a file")
        if name == "watch" and text.startswith(("-x", "--exec")):
            opened.also = True
        position += 2 if text in values else 1
    if name == "systemd-run" or name in ("perf", "faketime") or (operands and position < len(words)):
        position += operands
    if name == "busybox" and position >= len(words):
        return Opened(used=len(words))
    rest = words[position:]
    opened.used = position
    if not rest:
        if name == "env" and all(not w.text.startswith("-") or w.text in ("-0", "--null") for w in words[1:]):
            return opened
        if name == "xargs" or name == "exec" or name == "time" or name == "command":
            return opened
        opened.own = opened.own or ("unclear", "has no command")
        return opened
    if name == "watch" and not opened.also:
        return Opened(texts=[(" ".join(w.guess for w in rest), "bash")], own=opened.own or (None if all(w.constant for w in rest) else ("unclear", "runs a text that is not constant")), used=position)
    if name == "parallel":
        opened.texts = [(" ".join(w.guess for w in rest if w.text != ":::"), "bash")]
        return opened
    if name == "flock" and len(rest) >= 2 and rest[0].text == "-c":
        opened.texts = [(rest[1].guess, "bash")]
        return opened
    inner = list(rest)
    if name == "xargs":
        given = [w.text for w in words[1:position]]
        replace = next((text[2:] or "".join(given[i + 1:i + 2]) for i, text in enumerate(given) if text.startswith("-I")), "")
        # With NUL or newline between names none falls apart, and each begins as `find` was told to begin.
        whole = any(re.fullmatch(r"-[a-zA-Z]*0|--null|-I.*|-d(?:\\n|\n)", text) for text in given)
        name_in = f"{command.below.rstrip('/')}/{UNKNOWN}" if command.below and whole else UNKNOWN
        if replace:
            inner = [Word(w.text.replace(replace, name_in), w.guess.replace(replace, name_in)) if replace in w.text else w for w in inner]
        else:
            inner = [*inner, Word(name_in, split=name_in == UNKNOWN)]
    opened.commands = [_inner(command, inner)]
    return opened


def _joined(words: list[Word], shell: str) -> Opened:
    own = None if all(w.constant for w in words) else ("unclear", "runs a text that is not constant")
    return Opened(texts=[(" ".join(w.guess for w in words), shell)], own=own)


def _with_arguments(words: list[Word]) -> str:
    """The text of `sh -c text name arguments…` with $1, $2, … and $@ filled in; words[0] is the text."""
    given = [word.guess for word in words[2:]]
    one = re.sub(r'"?\$\{?([1-9])\}?"?', lambda found: "".join(given[int(found[1]) - 1:int(found[1])]), words[0].guess)
    return re.sub(r'"?\$\{?[@*]\}?"?', lambda found: " ".join(given), one)


def _shell(name: str, command: Command) -> Opened | None:
    """`sh -c text`, `sh < script`, `… | sh`, `sh file`."""
    words, position = command.words, 1
    while position < len(words) and words[position].text[:1] in ("-", "+"):
        text = words[position].text
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", text):
            following = words[position + 1:]
            while following and following[0].text.startswith("-"):
                following = following[1:]
            if not following:
                return Opened(own=("unclear", "has no command"))
            own = None if following[0].constant else ("unclear", "runs a text that is not constant")
            if re.search(r"[il]", text) or position > 1:
                own = own or ("unclear", "starts a shell with its own settings")
            opened = Opened(texts=[(following[0].guess, "bash")], own=own)
            if len(following) > 1 and re.search(r"\$(?:[@*1-9]|\{[@*1-9])", following[0].text):
                opened.own = ("unclear", "runs a text with arguments of its own")
                filled = _with_arguments(following)
                opened.texts.append((filled, "bash"))
            return opened
        position += 2 if text in ("-o", "-O", "+O", "--rcfile", "--init-file") else 1
    opened = Opened(own=("system", "runs a script" if position < len(words) else "runs the commands it is given"))
    if position >= len(words) and command.stdin is not None:
        opened.texts = [(command.stdin, "bash")]
    return opened


def _su(command: Command) -> Opened:
    opened = Opened(own=OWN["su"])
    for position, word in enumerate(command.words[1:], start=1):
        if word.text in ("-c", "--command") and position + 1 < len(command.words):
            opened.texts.append((command.words[position + 1].guess, "bash"))
        elif word.text.startswith("--command="):
            opened.texts.append((word.guess.partition("=")[2], "bash"))
    return opened


def _ssh(command: Command) -> Opened:
    values = names("-p -i -l -o -F -b -c -D -E -e -I -J -L -m -O -Q -R -S -W -w")
    position = 1
    while position < len(command.words) and command.words[position].text.startswith("-"):
        position += 2 if command.words[position].text in values else 1
    rest = command.words[position + 1:]
    return Opened(texts=[(" ".join(w.guess for w in rest), "bash")] if rest else [], own=OWN["ssh"])


def _find(command: Command) -> Opened | None:
    """`find … -exec command ;`, as often as it occurs. What is found stays unknown."""
    opened = Opened(also=True, used=len(command.words))
    words = command.words
    position = 1
    starts = ("-exec", "-execdir", "-ok", "-okdir") if words[0].guess.rsplit("/", 1)[-1] in ("find", "gfind") else ("-x", "-X", "--exec", "--exec-batch")
    while position < len(words):
        if words[position].text in starts:
            stop = position + 1
            while stop < len(words) and words[stop].text not in (";", "+"):
                stop += 1
            where = [w for w in words[1:position] if not w.text.startswith("-")][:1]
            named = [words[i + 1].guess for i, w in enumerate(words[:position - 1]) if w.text in ("-name", "-iname") and words[i + 1].constant]
            # A pattern says what the found file is called; several, or parts of a choice, say nothing for certain.
            leaf = named[0].replace("*", UNKNOWN).replace("?", UNKNOWN) if len(named) == 1 and not any(w.text in ("-o", "-or", "!", "-not", ",") for w in words[:position]) and not re.search(r"[\[\\/]", named[0]) else UNKNOWN
            place = (where[0].guess if where else ".").rstrip("/") + "/" + leaf
            inner = [Word(w.text.replace("{}", place), w.guess.replace("{}", place)) if "{}" in w.text else w for w in words[position + 1:stop]]
            if inner:
                opened.commands.append(_inner(command, inner))
            else:
                opened.own = ("unclear", "runs a command that is missing")
            position = stop
        position += 1
    return opened if opened.commands or opened.own else None


def _alias(name: str, command: Command) -> Opened | None:
    if name == "trap":
        if len(command.words) > 2 and command.words[1].text not in ("-l", "-p", "-", ""):
            return Opened(texts=[(command.words[1].guess, "bash")], own=None if command.words[1].constant else ("unclear", "runs a text that is not constant"))
        return None
    texts = [(word.guess.partition("=")[2], "bash") for word in command.words[1:] if "=" in word.text]
    constant = all(word.constant for word in command.words[1:])
    if not texts:
        return Opened(used=len(command.words))
    return Opened(texts=texts, own=None if constant else ("unclear", "changes what a name runs"))


def _powershell(name: str, command: Command) -> Opened | None:
    """Invoke-Expression, Start-Process, Invoke-Command, powershell -Command and -EncodedCommand, cmd /c."""
    words = command.words
    if name == "invoke-expression":
        rest = [w for w in words[1:] if w.text.lower() not in ("-command", "-c")]
        opened = Opened(texts=[(" ".join(w.guess for w in rest), "powershell")])
        if not rest or not all(w.constant for w in rest):
            opened.own = ("unclear", "runs a text that is not constant")
        return opened
    if name == "invoke-command":
        return Opened(own=("system", "may run something on another computer"))
    if name == "start-process":
        rest = [w for w in words[1:] if w.text.lower() not in ("-filepath", "-argumentlist", "-wait", "-nonewwindow", "-passthru", "-args", ",")]
        flat = [Word(piece) for w in rest for piece in w.guess.split()]
        return Opened(commands=[_inner(command, flat)] if flat else [], own=("system", "starts a program"))
    base = dos.program(words[0].guess)
    return _cmd(base if base in ("cmd", "powershell", "pwsh") else name.removesuffix(".exe"), command)


def _wsl(command: Command) -> Opened:
    rest = [w for w in command.words[1:] if w.text not in ("-e", "--", "--exec")]
    return Opened(texts=[(" ".join(w.guess for w in rest), "bash")] if rest else [], own=("system", "runs something in another system"))


def _cmd(name: str, command: Command) -> Opened | None:
    words = command.words
    if name in ("bash", "sh"):
        return _shell(name, command)
    if name == "wsl":
        return _wsl(command)
    if name == "cmd":
        for position, word in enumerate(words[1:], start=1):
            switch = re.fullmatch(r"/[ckr](.*)", word.text, re.IGNORECASE | re.DOTALL)
            if switch:
                rest = ([Word(switch.group(1))] if switch.group(1) else []) + words[position + 1:]
                odd = any(re.match(r"/[vdf]", w.text, re.IGNORECASE) for w in words[1:position])
                if word.text[:2].lower() == "/k" or not rest:
                    return Opened(texts=[(" ".join(w.guess for w in rest), "cmd")] if rest else [], own=("system", "starts a shell"))
                own = None if all(w.constant for w in rest) and not odd else ("unclear", "runs a text that is not constant")
                return Opened(texts=[(" ".join(w.guess for w in rest), "cmd")], own=own)
        return Opened(own=("system", "starts a shell"), texts=[(command.stdin, "cmd")] if command.stdin else [])
    if name in ("powershell", "pwsh"):
        return _pwsh(command)
    if name == "call":
        if len(words) > 1 and words[1].text.startswith(":"):
            return Opened(own=("unclear", "jumps inside a batch file"))
        # call expands variables a second time, so what is inside is constant only if it has none at all.
        own = None if all(w.constant and "%" not in w.text for w in words[1:]) else ("unclear", "runs a text that is not constant")
        return Opened(texts=[(" ".join(w.guess for w in words[1:]), "cmd")], own=own)
    if name == "start":
        rest = words[1:]
        if rest and not rest[0].literal:
            rest = rest[1:]
        while rest and re.match(r"/[a-z]+", rest[0].text, re.IGNORECASE):
            rest = rest[2 if rest[0].text.lower() in ("/d", "/node", "/affinity") else 1:]
        return Opened(commands=[_inner(command, rest)] if rest else [], own=("system", "starts a program"))
    if name == "forfiles":
        texts = [(words[i + 1].guess, "cmd") for i, w in enumerate(words[:-1]) if w.text.lower() == "/c"]
        return Opened(texts=texts, own=("unclear", "runs a command for each file"))
    if name == "runas":
        return Opened(texts=[(words[-1].guess, "cmd")] if len(words) > 1 else [], own=("system", "runs with the rights of another user"))
    return None


def _pwsh(command: Command) -> Opened:
    """`powershell -Command …`: options may be shortened, as in -c, -e, -enc."""
    words, position = command.words, 1
    while position < len(words):
        given = words[position].text.lower().replace("\u2013", "-")
        option = given.lstrip("-/") if given[:1] in "-/" else ""
        if (option and "encodedcommand".startswith(option) and option[:1] == "e" and option not in ("ex", "ep")) or option in ("ec",):
            text = _decoded(words[position + 1].text if position + 1 < len(words) else "")
            return Opened(texts=[(text, "powershell")] if text else [], own=None if text else ("unclear", "runs a text that cannot be decoded"))
        if option and ("command".startswith(option) or option == "cwa"):
            return _pwsh_text(command, words[position + 1:])
        if option and "file".startswith(option):
            return Opened(own=("system", "runs a script"))
        if option in ("version", "help", "?", "h", "v") and position == len(words) - 1:
            return Opened(used=len(words))
        if not option:
            return _pwsh_text(command, words[position:])
        takes_value = any(full.startswith(option) for full in ("executionpolicy", "windowstyle", "inputformat", "outputformat", "configurationname", "workingdirectory", "psconsolefile")) or option in ("ep", "wd")
        position += 2 if takes_value else 1
    opened = Opened(own=("system", "starts a shell or runs the commands it is given"))
    if command.stdin is not None:
        opened.texts = [(command.stdin, "powershell")]
    return opened


def _pwsh_text(command: Command, rest: list[Word]) -> Opened:
    text = " ".join(w.guess for w in rest)
    if text.strip() == "-" or not text.strip():
        return Opened(own=("system", "runs the commands it is given"))
    if rest and rest[0].block:
        return Opened()  # the block was read where it stands
    # What the outer shell left of the quotes is what PowerShell reads.
    own = None if all(w.constant for w in rest) else ("unclear", "runs a text that is not constant")
    return Opened(texts=[(text, "powershell")], own=own)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-16-le")
    except (ValueError, UnicodeDecodeError):
        return ""
