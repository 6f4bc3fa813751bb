"""Which class a simple command of a Unix shell belongs to: read, write or system, and why."""
import fnmatch
import re

from ananta.policy import unix_tables as tables
from ananta.policy.unix_options import CHECKS, awk, awk_program
from ananta.policy.words import UNKNOWN, Command, Word

READ, WRITE, SYSTEM, UNCLEAR = "read", "write", "system", "unclear"
# They only print their arguments, so an unknown value can do no harm.
PRINTERS = frozenset({"echo", "printf", "test", "[", "true", "false", ":", "export", "unset", "shift", "return", "exit", "break", "continue", "basename",
                      "dirname", "expr", "seq", "sleep", "which", "type", "declare", "local", "readonly", "typeset", "wait", "cd", "read", "id", "groups", "yes", "tput"})
FIND_VALUES = frozenset({"-name", "-iname", "-path", "-ipath", "-wholename", "-regex", "-iregex", "-mtime", "-mmin", "-ctime", "-size", "-newer", "-type", "-user", "-group",
                         "-maxdepth", "-mindepth", "-perm", "-atime", "-lname"})
STANDARD_DIRS = ("/bin/", "/usr/bin/", "/usr/local/bin/", "/sbin/", "/usr/sbin/", "/opt/homebrew/bin/", "/usr/local/sbin/")


def program_name(text: str) -> str:
    """Returns the name without a standard directory; other paths stay as they are, so that ./ls is not ls."""
    for directory in STANDARD_DIRS:
        if text.startswith(directory) and "/" not in text[len(directory):]:
            return text[len(directory):]
    return text


def classify(command: Command) -> tuple[str, str]:
    """Returns the class and, unless it is read, what the command does."""
    name, args = program_name(command.words[0].text), command.words[1:]
    if asks_version(name, args):
        return READ, ""
    kind = SYSTEM if name in tables.SYSTEM else WRITE
    if name in CHECKS:
        optional = args[:awk_program(args)] + [w for w in args if w.wild] if CHECKS[name] is awk else args
        reason = CHECKS[name](args) or _dynamic(name, optional)
        return (kind, reason) if reason else (READ, "")
    if name in tables.OPTIONS:
        reason = _options(name, args)
        return (kind, reason) if reason else _reader(name, args)
    if name in tables.READERS:
        return _reader(name, args)
    if tables.SUBCOMMANDS.get(name):
        reason = _subcommand(name, args)
        return (SYSTEM, reason) if reason else (READ, "")
    if tables.WRITERS.get(name):
        return kind, tables.WRITERS[name]
    if name in tables.SYSTEM:
        return SYSTEM, "changes the system or runs a program"
    if "/" in name:
        return UNCLEAR, "runs a program from a path that is not a standard one"
    return UNCLEAR, "is not known to only read"


def asks_version(name: str, args: list[Word]) -> bool:
    """Whether a program is only asked for its version or its help."""
    if len(args) != 1 or name not in tables.VERSIONED:
        return False
    text = args[0].text
    if text == "version":
        return name in tables.SUBCOMMANDS or name in ("git", "go")
    return text in tables.VERSION_FLAGS or (text == "-v" and name in tables.SHORT_VERSION)


def dangerous_variable(name: str) -> bool:
    """Whether setting this variable may change which program runs, or what it does."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in tables.DANGEROUS_VARIABLES)


def _reader(name: str, args: list[Word]) -> tuple[str, str]:
    if name in PRINTERS:
        return READ, ""
    wild = next((w for w in args if w.wild), None)
    return (UNCLEAR, "depends on a variable this line does not set") if wild else (READ, "")


def could_be_option(word: Word) -> bool:
    """Whether an unknown value may turn out to be an option."""
    if word.constant:
        return False
    if not word.wild and UNKNOWN not in word.guess and not word.guess.startswith("-") and " " not in word.guess:
        return False
    return word.text.startswith(UNKNOWN) or word.split


def _dynamic(name: str, args: list[Word]) -> str | None:
    if name == "printf":
        return None
    for position, word in enumerate(args):
        if word.text == "--" and name not in ("find",):
            return None if not any(w.wild for w in args[position:]) else "depends on a variable this line does not set"
        if name in ("date", "kill", "hostname", "set", "tee", "declare", "local", "typeset", "history") and not word.wild:
            continue
        if name in ("find", "gfind") and position and args[position - 1].text in FIND_VALUES and not word.split:
            continue
        if could_be_option(word) or (word.wild and name not in ("declare", "local", "typeset")):
            return "has an argument that is not constant and could be an option"
    return None


def _options(name: str, args: list[Word]) -> str | None:
    bad, values, reason = tables.OPTIONS[name]
    if reason and not bad and name not in ("base32", "objdump", "tree", "diff", "uniq", "top", "time"):
        return reason
    asks = bad.split()
    long_asks = [option for option in asks if option.startswith("--")]
    short_asks = {option[1] for option in asks if re.fullmatch(r"-[A-Za-z]", option)}
    skip = False
    for word in args:
        text = word.text
        if skip:
            skip = False
            continue
        if text == "--":
            break
        if could_be_option(word):
            return "has an argument that is not constant and could be an option"
        if text.startswith("+") and name in ("less", "more", "man", "zless"):
            return "runs commands of its own"
        if text in asks:
            return f"`{text}` {reason}"
        if text.startswith("--"):
            given = text.split("=")[0]
            if any(option == given or (len(given) > 3 and option.startswith(given)) for option in long_asks):
                return f"`{given}` {reason}"
        elif text.startswith("-") and len(text) > 1:
            for position, letter in enumerate(text[1:], start=1):
                if letter in short_asks:
                    return f"`-{letter}` {reason}"
                if letter in values:
                    skip = position == len(text) - 1
                    break
    return None


def _subcommand(name: str, args: list[Word]) -> str | None:
    allowed = _parsed(name)
    leading = tables.LEADING_VALUES.get(name, frozenset())
    asks = tables.SUBCOMMAND_ASKS.get(name, ())
    for word in args:
        if any(word.text == ask or (ask.startswith("--") and word.text.startswith(ask + "=")) or (re.fullmatch(r"-[A-Z]", ask) and word.text.startswith(ask) and name in ("docker",))
               for ask in asks):
            return f"`{word.text}` does more than look"
        if could_be_option(word) or word.wild:
            return "has an argument that is not constant"
    position = 0
    while position < len(args) and args[position].text.startswith("-") and args[position].text not in allowed:
        text = args[position].text
        position += 2 if text in leading else 1
    if position >= len(args):
        if args and any(w.text in tables.VERSION_FLAGS for w in args):
            return None
        return None if ":" in allowed or "" in allowed else f"`{name}` is not known to only read when called like this"
    first = args[position].text
    if "*" in allowed:
        return None
    seconds = allowed.get(first)
    if seconds is None:
        return f"`{name} {first}` may change something"
    if not seconds:
        return None
    following = args[position + 1:]
    operands = [w.text for i, w in enumerate(following) if not w.text.startswith("-") and (i == 0 or following[i - 1].text not in NAMED_VALUES)]
    second = operands[0] if operands else ""
    return None if second in seconds else f"`{name} {first} {second}`".rstrip("` ") + "` may change something"


NAMED_VALUES = frozenset({"-f", "--file", "-p", "--project-name", "-n", "--namespace", "--context"})
_CACHE: dict[str, dict[str, frozenset[str]]] = {}


def _parsed(name: str) -> dict[str, frozenset[str]]:
    """The entry of the table: subcommand → its own subcommands, empty if it needs none."""
    if name not in _CACHE:
        parsed: dict[str, frozenset[str]] = {}
        for item in tables.SUBCOMMANDS[name].split():
            first, colon, second = item.partition(":")
            if item == ":":
                parsed[":"] = frozenset()
            elif colon:
                parsed[first] = frozenset(second.split(","))
            else:
                parsed[first] = frozenset()
        _CACHE[name] = parsed
    return _CACHE[name]
