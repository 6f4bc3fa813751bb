"""Programs whose arguments are small languages: find, sed, awk, tar, git, curl and the like.

Each function gets the arguments and returns why the call does more than read, or None.
"""
import re
from collections.abc import Callable

from ananta.policy.words import Word, names

Check = Callable[[list[Word]], str | None]

FIND_WRITES = {"-delete": "deletes what it finds", "-fprint": "writes a file", "-fprint0": "writes a file", "-fprintf": "writes a file",
               "-fls": "writes a file", "-ok": "", "-exec": "", "-execdir": "", "-okdir": "", "-files0-from": "reads names from a file"}
SED_SAFE = re.compile(r"(?:(?:\d+|\$|/(?:[^/\\\n]|\\.)*/I?)?(?:\s*,\s*(?:[+~]?\d+|\$|/(?:[^/\\\n]|\\.)*/I?))?\s*!?\s*"
                      r"(?:[pdqQhHgGxnNPDl=]\d*|s(?P<d>[/|#,:;@!%_])(?:\\.|(?!(?P=d))[^\\\n])*(?P=d)(?:\\.|(?!(?P=d))[^\\\n])*(?P=d)[gpiI\d]*|"
                      r"y/[^\n/]*/[^\n/]*/|[aic]\\?[^\n;{}]*|\{|\})?\s*(?:[;\n]\s*|(?<=\{)|(?=\})|$))*", re.DOTALL)
SED_DELIMITERS = "/|#,:;@!%_"
AWK_BAD = re.compile(r"\bsystem\s*\(|\|&?\s*(?!\|)|\bprintf?\b[^;}\n]*>|>>|@\s*(?:include|load)|\bgetline\s*<|\bclose\s*\(|\bfflush\b")
AWK_STRINGS = re.compile(r'"(?:[^"\\\n]|\\.)*"')
AWK_REGEX = re.compile(r"(?:^|[(,~!&|{};\s])/(?:[^/\\\n]|\\.)+/")
GIT_READ = names("""status log diff show blame annotate shortlog describe rev-parse rev-list ls-files ls-tree cat-file grep
show-ref name-rev merge-base cherry count-objects var whatchanged range-diff diff-tree diff-index diff-files for-each-ref
check-ignore check-attr verify-commit verify-tag show-branch version""")
GIT_ASK_OPTIONS = ("--output", "--ext-diff", "--textconv", "-O", "--open-files-in-pager", "--upload-pack", "--exec", "--show-signature",
                   "--filters", "--run-hooks", "--receive-pack")
GIT_LISTS = {"branch": ("--list", "-l", "-a", "--all", "-r", "--remotes", "-v", "-vv", "--verbose", "--show-current", "--merged", "--no-merged",
                        "--contains", "--no-contains", "--sort", "--format", "--points-at", "--column", "--no-column", "--no-color", "--color"),
             "tag": ("--list", "-l", "-n", "--sort", "--contains", "--merged", "--points-at", "--format", "--no-contains", "--column")}
GIT_SECOND = {"remote": ("", "-v", "--verbose", "show", "get-url"), "stash": ("list", "show"), "worktree": ("list",),
              "submodule": ("", "status", "summary"), "notes": ("", "list", "show"), "reflog": ("", "show", "exists"), "bisect": ("log", "view"),
              "lfs": ("ls-files", "status", "env", "version"), "bundle": ("verify", "list-heads"), "sparse-checkout": ("list",), "flow": ("version",),
              "rerere": ("status", "diff"), "maintenance": (), "hook": ()}
CURL_READ_SHORT = "sSLIkvfiagG#01246"


def find(args: list[Word]) -> str | None:
    """-exec and its kin are opened elsewhere; here only what find itself does."""
    for word in args:
        if FIND_WRITES.get(word.text):
            return FIND_WRITES[word.text]
    return None


def sed(args: list[Word]) -> str | None:
    """Only scripts whose every command is known to print pass."""
    scripts, rest, expects = [], [], ""
    for word in args:
        text = word.text
        if expects:
            scripts.append(word)
            expects = ""
        elif text.startswith("--"):
            name = text.split("=")[0]
            if name == "--expression":
                if "=" in text:
                    scripts.append(Word(text.partition("=")[2]))
                else:
                    expects = "e"
            elif name not in ("--quiet", "--silent", "--regexp-extended", "--separate", "--null-data", "--unbuffered", "--posix", "--sandbox",
                              "--debug", "--version", "--help", "--zero-terminated"):
                return "changes files in place or runs a script from a file"
        elif text.startswith("-") and len(text) > 1:
            for position, letter in enumerate(text[1:], start=1):
                if letter == "e":
                    if text[position + 1:]:
                        scripts.append(Word(text[position + 1:]))
                    else:
                        expects = "e"
                    break
                if letter not in "nrEsuz":
                    return "changes files in place" if letter in "iI" else "runs a script that is not shown"
        else:
            rest.append(word)
    if not scripts:
        scripts = rest[:1]
    for script in scripts:
        if not script.constant:
            return "has a script that is not constant"
        if len(script.text) > 2000 or not _sed_safe(script.text):
            return "has a script that may write files or run commands"
    return None


def _sed_safe(script: str) -> bool:
    """Reads a sed script; only commands that print, select or substitute without `w` and `e` pass."""
    address = re.compile(r"\s*(?:(?:\d+(?:~\d+)?|\$|/(?:[^/\\\n]|\\.)*/[IM]?)(?:\s*,\s*(?:[+~]?\d+|\$|/(?:[^/\\\n]|\\.)*/[IM]?))?\s*)?!?\s*")
    pos, size = 0, len(script)
    while pos < size:
        while pos < size and script[pos] in " \t\n;}":
            pos += 1
        if pos >= size:
            return True
        pos = address.match(script, pos).end()  # type: ignore[union-attr]
        if pos >= size:
            return False
        command = script[pos]
        pos += 1
        if command in "pdhHgGxnNPDl=F{z":
            pass
        elif command in "qQ":
            while pos < size and script[pos].isdigit():
                pos += 1
        elif command in "btT:":
            while pos < size and script[pos] not in ";\n}":
                pos += 1
        elif command == "s" or command == "y":
            if pos >= size or script[pos] in "\\\n":
                return False
            mark, pos = script[pos], pos + 1
            for _ in range(2):
                while pos < size and script[pos] != mark:
                    # A delimiter inside brackets ends the pattern for some seds and not for others.
                    pos += 2 if script[pos] == "\\" else 1
                pos += 1
            if pos > size:
                return False
            while pos < size and script[pos] in "gpiImM0123456789":
                pos += 1
        elif command in "aic":
            return "\n" not in script[pos:] and "}" not in script[pos:]
        else:
            return False
        while pos < size and script[pos] in " \t":
            pos += 1
        if command != "{" and pos < size and script[pos] not in ";\n}":
            return False
    return True


def awk(args: list[Word]) -> str | None:
    """Only programs without pipes, output redirections and system() pass."""
    position = awk_program(args)
    if position is None:
        return "runs a program from a file"
    if position >= len(args):
        return None
    program = args[position]
    if not program.constant:
        return "has a program that is not constant"
    bare = AWK_STRINGS.sub('""', program.text)
    without = AWK_REGEX.sub(" 0 ", bare).replace("||", " or ")
    if AWK_BAD.search(without) or re.search(r"\|\s*getline|\bsystem\b|@\w", bare):
        return "has a program that may write files or run commands"
    return None


def awk_program(args: list[Word]) -> int | None:
    """Returns where the program text stands, behind which awk looks for no options; None when it is no argument."""
    position = 0
    while position < len(args):
        text = args[position].text
        if text in ("-F", "-v", "--field-separator", "--assign"):
            position += 2
        elif re.match(r"-[Fv].|--field-separator=|--assign=|--(?:posix|re-interval|traditional|csv|sandbox|version)$|-[rbPcS]+$", text):
            position += 1
        elif text.startswith("-") and text not in ("-", "--"):
            return None
        else:
            return position + (text == "--")
    return position


def tar(args: list[Word]) -> str | None:
    """Only listing (`-t`) without an option that runs something passes."""
    if not args:
        return None
    listing = False
    for position, word in enumerate(args):
        text = word.text
        if text.startswith("--"):
            name = text.split("=")[0]
            if name == "--list":
                listing = True
            elif name not in ("--file", "--gzip", "--bzip2", "--xz", "--verbose", "--zstd", "--exclude", "--wildcards", "--version", "--help",
                              "--full-time", "--auto-compress", "--directory", "--strip-components", "--numeric-owner"):
                return "writes an archive or runs a program"
        elif text.startswith("-") or position == 0:
            letters = text.lstrip("-")
            if word.constant and re.fullmatch(r"[tvzjJafC]+", letters):
                listing = listing or "t" in letters
            else:
                return "writes an archive, unpacks one or runs a program"
        elif ":" in text:
            return "talks to another computer"
    return None if listing else "writes an archive or unpacks one"


def git(args: list[Word]) -> str | None:
    """Global options that change what runs ask; of the subcommands only the reading ones pass."""
    position = 0
    while position < len(args) and args[position].text.startswith("-"):
        text = args[position].text
        if text in ("-C", "--git-dir", "--work-tree", "--namespace"):
            if text != "-C":
                return "uses another repository's settings"
            position += 2
        elif text in ("--no-pager", "-P", "--no-replace-objects", "--literal-pathspecs", "--no-optional-locks", "--version", "--help", "--bare",
                      "--glob-pathspecs", "--icase-pathspecs", "--html-path", "--man-path", "--info-path", "-h", "-v"):
            position += 1
        else:
            return f"`git {text}` may change what git runs"
    if position >= len(args):
        return None
    command, rest = args[position].text, args[position + 1:]
    texts = [word.text for word in rest]
    for text in texts:
        if text == "--":
            break
        if any(text == option or text.startswith(option + "=") or (option.startswith("--") and len(text) > 4 and option.startswith(text.split("=")[0])
                                                                    and text.split("=")[0] not in ("--exec",) and text.startswith("--"))
               or (option == "-O" and command == "grep" and text.startswith("-O")) for option in GIT_ASK_OPTIONS):
            if command == "diff" and text.startswith("-O"):
                continue
            return f"`{text}` makes git write a file or run a program"
    options = [text.split("=")[0] for text in texts if text.startswith("-")]
    operands = [text for text in texts if not text.startswith("-")]
    if command in GIT_READ or (command == "help" and not options):
        return None
    if command in GIT_LISTS:
        if not texts:
            return None
        listed = all(option in GIT_LISTS[command] or (command == "tag" and re.fullmatch(r"-n\d+", option)) or (command == "branch" and re.fullmatch(r"-[arv]+", option))
                     for option in options)
        starts = bool(options) and any(option in ("--list", "-l", "--contains", "--no-contains", "--merged", "--no-merged", "--points-at", "--sort", "--format")
                                       for option in options)
        return None if listed and (not operands or starts) else f"`git {command}` changes the repository"
    if command in GIT_SECOND:
        first = operands[0] if operands else (texts[0] if texts else "")
        if command == "reflog" and first not in ("expire", "delete", "drop"):
            return None
        if first in GIT_SECOND[command] or (not operands and "" in GIT_SECOND[command] and all(o in ("-v", "--verbose", "--recursive") for o in options)):
            return "asks another computer" if command == "remote" and first == "show" else None
        return f"`git {command}` changes the repository"
    if command == "config":
        reading = any(option in ("--get", "--list", "-l", "--get-all", "--get-regexp", "--get-urlmatch", "--show-origin", "--show-scope") for option in options)
        writing = any(option in ("--add", "--unset", "--unset-all", "--replace-all", "--edit", "-e", "--remove-section", "--rename-section") for option in options)
        known = all(option in ("--get", "--list", "-l", "--get-all", "--get-regexp", "--global", "--local", "--system", "--show-origin", "--show-scope",
                               "--name-only", "-z", "--null", "--type", "--bool", "--int", "--default", "--get-urlmatch") for option in options)
        if not writing and known and (reading or len(operands) == 1 or operands[:1] in (["get"], ["list"])) and operands[:1] not in (["set"], ["unset"], ["edit"]):
            return None
        return "changes git's settings"
    if command in ("fetch", "pull", "push", "clone", "ls-remote"):
        return f"`git {command}` talks to another computer"
    if command == "symbolic-ref" and len(operands) == 1 and all(o in ("--short", "-q") for o in options):
        return None
    if command == "apply" and options and all(option in ("--stat", "--check", "--numstat", "--summary") for option in options):
        return None
    return f"`git {command}` changes the repository"


def curl(args: list[Word]) -> str | None:
    return "sends a request over the network"


def date(args: list[Word]) -> str | None:
    position = 0
    while position < len(args):
        text = args[position].text
        if text in ("-d", "--date", "-r", "--reference", "-f", "--file", "-v", "-j"):
            position += 1 if text == "-j" else 2
            continue
        if text.startswith("--s") or (re.fullmatch(r"-[A-Za-z]+.*", text) and not text.startswith(("-d", "-r", "-f", "-I", "-v", "-j")) and "s" in text):
            return "sets the clock"
        if not text.startswith(("-", "+")):
            return "sets the clock"
        position += 1
    return None


def hostname(args: list[Word]) -> str | None:
    return None if all(re.fullmatch(r"-[fisdIAya]+|--(?:fqdn|ip-address|short|long|domain|all-.*|version|help)", w.text) for w in args) else "sets the computer's name"


def sysctl(args: list[Word]) -> str | None:
    for word in args:
        if "=" in word.text or word.text.startswith(("-w", "-p", "--write", "--load", "--system", "-f")) or re.fullmatch(r"-\w*[wpf]\w*", word.text):
            return "changes a setting of the kernel"
    return None


def ifconfig(args: list[Word]) -> str | None:
    return None if len([w for w in args if not w.text.startswith("-")]) <= 1 else "changes a network interface"


def route(args: list[Word]) -> str | None:
    return None if all(w.text in ("-n", "-e", "-v", "-6", "-4", "get", "print") for w in args) else "changes the routes"


def mount(args: list[Word]) -> str | None:
    return None if not args or all(w.text in ("-l", "-v", "--version", "-h") for w in args) or (len(args) == 2 and args[0].text == "-t") else "mounts a file system"


def history(args: list[Word]) -> str | None:
    return None if all(w.text.isdigit() for w in args) else "changes the history"


def unzip(args: list[Word]) -> str | None:
    return None if any(re.fullmatch(r"-[lvtqZ12pc]*[lvtZpc][lvtqZ12pc]*", w.text) for w in args[:1]) else "unpacks files"


def archive_list(args: list[Word]) -> str | None:
    return None if args and args[0].text in ("l", "-l", "--list", "lb", "v", "vt") else "writes files"


def gzip(args: list[Word]) -> str | None:
    flags = [w.text for w in args if w.text.startswith("-")]
    safe = any(re.fullmatch(r"-[dcvlkt0-9]*[clt][dcvlkt0-9]*|--(?:stdout|to-stdout|list|test)", flag) for flag in flags)
    return None if safe and not any(re.match(r"-o|--output|--rm|-f", flag) for flag in flags) else "replaces files"


def openssl(args: list[Word]) -> str | None:
    command = args[0].text if args else ""
    texts = [w.text for w in args]
    bad = {"-out", "-engine", "-provider", "-provider-path", "-keyout", "-writerand", "-CAserial", "-CAcreateserial", "-config", "-rand"}
    if command in ("version", "ciphers", "list", "help", "errstr"):
        return None
    if command in ("x509", "req", "crl", "dgst", "sha256", "md5", "sha1", "asn1parse", "verify", "base64", "prime") and not bad & set(texts) and not {"-sign", "-signkey", "-new", "-CA", "-CAkey"} & set(texts):
        return None
    return "makes or uses keys, or talks to another computer"


def dpkg(args: list[Word]) -> str | None:
    ok = ("-l", "-L", "-S", "-s", "-p", "-c", "-I", "--list", "--listfiles", "--search", "--status", "--print-architecture", "--print-foreign-architectures",
          "--get-selections", "--audit", "-V", "--verify", "--version", "--contents", "--info", "--compare-versions", "--print-avail", "-C")
    return None if args and args[0].text in ok and not any(w.text.startswith(("--root", "--admindir", "--pre-invoke", "-i", "-r", "-P", "--install")) for w in args) else "changes packages"


def rpm(args: list[Word]) -> str | None:
    bad = any(w.text.startswith(("--pipe", "--define", "--eval", "-D", "-E", "--root", "--macros", "--rcfile", "--load", "--initdb", "--rebuilddb", "--import", "--erase", "--install", "--upgrade"))
              for w in args)
    return None if args and re.fullmatch(r"-q[a-zA-Z]*|--query|-V[a-z]*|--version", args[0].text) and not bad else "changes packages"


def tee(args: list[Word]) -> str | None:
    targets = [w for w in args if not w.text.startswith("-")]
    return None if all(w.text in ("/dev/null", "/dev/stderr", "/dev/stdout", "/dev/tty") for w in targets) else "writes files"


def set_builtin(args: list[Word]) -> str | None:
    if not args or args[0].text in ("--", "-"):
        return None
    joined = [w.text for w in args]
    return None if all(re.fullmatch(r"[-+][eufxvCobnhE]+|[-+]o|pipefail|errexit|nounset|xtrace|noglob|verbose|posix", text) for text in joined) else "changes how the shell reads"


def kill(args: list[Word]) -> str | None:
    return None if args and args[0].text in ("-l", "-L", "--list", "-0") else "ends or signals processes"


def test_v(args: list[Word]) -> str | None:
    return None if all(w.constant or "-v" not in [x.text for x in args] for w in args) else "evaluates a name"


def declare(args: list[Word]) -> str | None:
    """`declare x=…` is judged like an assignment; here only that the value cannot run anything."""
    return "evaluates an expression" if any("i" in w.text for w in args if w.text.startswith(("-", "+")) and "=" not in w.text) else None


def printf(args: list[Word]) -> str | None:
    return "sets a variable" if args and args[0].text.startswith("-v") else None


def stty(args: list[Word]) -> str | None:
    return None if all(w.text in ("-a", "--all", "size", "speed", "-g") for w in args) else "changes the terminal"


def ar(args: list[Word]) -> str | None:
    return None if args and re.fullmatch(r"-?[tp]v?", args[0].text) else "writes an archive"


def python(args: list[Word]) -> str | None:
    texts = [w.text for w in args]
    pretty = texts[:2] == ["-m", "json.tool"] and len([t for t in texts[2:] if not t.startswith("-")]) <= 1 and not any(w.glob for w in args)
    return None if pretty else "runs a program"


def trap(args: list[Word]) -> str | None:
    return None if not args or args[0].text in ("-l", "-p", "-", "") else "runs a command later"


def uniq(args: list[Word]) -> str | None:
    operands, skip = [], False
    for w in args:
        if skip:
            skip = False
        elif w.text in ("-f", "-s", "-w"):
            skip = True
        elif not w.text.startswith("-") or w.text == "-":
            operands.append(w)
    return None if len(operands) <= 1 and not any(w.split or (w.glob and not w.constant) for w in operands) and not any(w.glob for w in operands) else "writes its second file"


def xxd(args: list[Word]) -> str | None:
    operands, skip = 0, False
    for w in args:
        if skip:
            skip = False
        elif w.text in ("-c", "-s", "-l", "-g", "-n", "-o", "-cols", "-seek", "-len", "-groupsize"):
            skip = True
        elif w.text.startswith("-") and len(w.text) > 1:
            if w.text.lstrip("-").startswith("r"):
                return "writes a file"
        else:
            operands += 1
    return None if operands <= 1 else "writes its second file"


def ping(args: list[Word]) -> str | None:
    return None if not any(w.text in ("-f", "--flood") or re.fullmatch(r"-\w*f\w*", w.text) for w in args) else "floods the network"


def shopt(args: list[Word]) -> str | None:
    return None if not any(w.text in ("-s", "-u") or re.fullmatch(r"-[qpo]*[su][qpo]*", w.text) for w in args) or all(
        w.text in ("-s", "-u", "nullglob", "globstar", "nocaseglob", "failglob", "dotglob", "inherit_errexit", "lastpipe", "nocasematch") for w in args) else "changes how the shell reads"


def journal(args: list[Word]) -> str | None:
    return None


def make(args: list[Word]) -> str | None:
    return None if args and all(w.text in ("--version", "-v", "--help") for w in args) else "runs the commands of a makefile"


def jq(args: list[Word]) -> str | None:
    return None if all(w.constant or not w.wild for w in args) else "depends on an unknown value"


def npx(args: list[Word]) -> str | None:
    return "runs a program"


def command_less(args: list[Word]) -> str | None:
    return "opens its own prompt" if any(w.text.startswith("+") and "!" in w.text for w in args) else None


CHECKS: dict[str, Check] = {
    "find": find, "gfind": find, "sed": sed, "gsed": sed, "awk": awk, "gawk": awk, "mawk": awk, "nawk": awk, "tar": tar, "bsdtar": tar, "gtar": tar,
    "git": git, "curl": curl, "date": date, "hostname": hostname, "sysctl": sysctl, "ifconfig": ifconfig, "route": route, "mount": mount,
    "history": history, "unzip": unzip, "7z": archive_list, "7za": archive_list, "unrar": archive_list, "gzip": gzip, "xz": gzip, "bzip2": gzip, "zstd": gzip,
    "gunzip": gzip, "openssl": openssl, "dpkg": dpkg, "rpm": rpm, "tee": tee, "set": set_builtin, "kill": kill, "declare": declare, "typeset": declare,
    "local": declare, "trap": trap, "printf": printf, "stty": stty, "ar": ar, "python": python, "python3": python, "uniq": uniq, "xxd": xxd, "ping": ping, "shopt": shopt, "jq": jq, "make": make,
}
