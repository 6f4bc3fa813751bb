"""How a POSIX shell is made to run one command, and to tell afterwards where it is and what it exported."""
import os
import re
from collections.abc import Mapping

from ananta.shell.orders import MARKER, State

# All is one line, so that the shell counts the lines of the command from 1. The command is the last thing evaluated:
# a syntax error or `exit` then gives the shell's own exit code. `command` in front, because the user's functions are
# not meant; quiet, because the user's `set -x` or DEBUG trap would speak in between. @ is the descriptor to tell it to.
TELL = ("__ananta_tell() { __ananta_code=$?; set +e; { command export -p && command printf '\\0' && command pwd; }"
        " >|/dev/fd/@ || :; return $__ananta_code; }; "
        "trap '{ __ananta_tell || :; } >/dev/null 2>&1' EXIT; trap 'exit 143' TERM; ")

# Only for commands that say "trap": their own EXIT trap then runs after ours, instead of replacing it. In a subshell
# it is left alone, since a subshell's state is not the session's. Bash knows functions of this name, others aliases.
TRAP = ("__ananta_trap() { command trap \"$@\" || return; { "
        "if [ -n \"${BASH_VERSION-}\" ]; then __ananta_pid=${BASHPID-$$}; "
        "elif [ -r /proc/self/stat ]; then IFS=' ' read -r __ananta_pid __ananta_rest </proc/self/stat; "
        "else __ananta_pid=$$; fi; [ \"$__ananta_pid\" = \"$$\" ] || return 0; "
        "[ \"${1-}\" != -- ] || shift; __ananta_do=${1-}; "
        "case $__ananta_do in -[lp]*) return 0;; -) __ananta_do=;; esac; "
        "if [ $# -gt 1 ]; then shift; else __ananta_do=; fi; "
        "for __ananta_on in \"$@\"; do case $__ananta_on in 0|EXIT|exit|SIGEXIT) "
        "command trap \"{ __ananta_tell; } >/dev/null 2>&1; $__ananta_do\" EXIT;; esac; done; return 0; } >/dev/null 2>&1; }; "
        "case ${BASH_VERSION-}:${SHELLOPTS-}: in :*|*:posix:*) alias trap=__ananta_trap;; "
        "*) eval 'trap() { __ananta_trap \"$@\"; }';; esac; ")

NOT_KEPT = ("_", "SHLVL", "SHELLOPTS", "BASHOPTS", "BASH_EXECUTION_STRING", MARKER)  # the shell's own, not the user's
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
QUOTED = r"""'[^']*'|\$'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|\\."""
SEGMENT = re.compile(QUOTED + r"""|[^\s'"\\$]+|\$""", re.DOTALL)
# Groups: flags of declare, name, a value in quotes that holds nothing to undo, any other value or an array.
EXPORT = re.compile(
    r"(?:export|(?:declare|typeset)((?: -[A-Za-z]+)+)) ([A-Za-z_][A-Za-z0-9_]*)"
    r"""(?:="([^"\\$`]*)"\n|(?:=(\((?:""" + QUOTED + r"""|[^'"\\)])*\)|(?:""" + QUOTED + r"""|[^\s'"\\])*))?\n)""", re.DOTALL)
ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|(.))", re.DOTALL)
LETTERS = {b"a": b"\a", b"b": b"\b", b"e": b"\x1b", b"E": b"\x1b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
           b"v": b"\v"}


def arguments(path: str, command: str, tell_fd: int, command_fd: int | None, limit: str = "") -> list[str]:
    """Returns the argument list that makes the shell at `path` run the command.

    limit: what it does first (descriptors.limit_kept). tell_fd: inherited descriptor on which it tells its state. command_fd: one from which it reads the command, for a
    command too long for an argument; None: the command is an argument."""
    name = os.path.basename(path)
    bash = "bash" in name
    prelude = limit + TELL.replace("@", str(tell_fd)) + (TRAP if "trap" in command else "")
    # Other shells know only one digit in front of a redirection; there the commands inherit the descriptors too.
    closed = f" {tell_fd}>&-" if bash else ""
    if command_fd is None:
        fetch, given = "__ananta_command=$1; shift; ", [command]
    else:
        fetch, given = f"__ananta_command=$({'<' if bash else 'cat '}/dev/fd/{command_fd}); ", []
        closed += f" {command_fd}>&-" if bash else ""
    options = ["--noprofile", "--norc"] if bash else []
    return [path, *options, "-c", f'{prelude}{fetch}eval "$__ananta_command"{closed}', name, *given]


def told(data: bytes, before: Mapping[str, str]) -> State | None:
    """Returns the state that the shell wrote, or None when it is not there as a whole.

    before: the environment the shell was started with; from it come the variables no shell can show or change."""
    listing, separator, cwd = os.fsdecode(data).rpartition("\0")
    exported = _exports(listing) if separator and cwd.endswith("\n") else None
    if exported is None:
        return None
    for name, value in before.items():
        if name != MARKER and (name in NOT_KEPT or not IDENTIFIER.match(name)):
            exported[name] = value
    return State(cwd[:-1], exported)


def _exports(listing: str) -> dict[str, str] | None:
    found, position = {}, 0
    for match in EXPORT.finditer(listing):
        # Without gaps: a value may contain a line that looks like an export.
        if match.start() != position:
            return None
        position = match.end()
        flags, name, plain, word = match.groups()
        if name in NOT_KEPT or name.startswith("__ananta_"):
            continue
        if plain is not None:
            found[name] = plain
        elif word is not None and not (flags and ("a" in flags or "A" in flags)):  # shells do not pass arrays on
            found[name] = "".join(_unquoted(segment) for segment in SEGMENT.findall(word))
    return found if position == len(listing) else None


def _unquoted(segment: str) -> str:
    if segment.startswith("'"):
        return segment[1:-1]
    if segment.startswith('"'):
        return re.sub(r'\\([$`"\\\n])', lambda match: match[1].strip("\n"), segment[1:-1])
    if segment.startswith("$'"):
        return os.fsdecode(ESCAPE.sub(_character, os.fsencode(segment[2:-1])))
    return segment[1:] if segment.startswith("\\") else segment


def _character(match: re.Match[bytes]) -> bytes:
    octal, byte, short, long, letter = match.groups()
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if byte:
        return bytes([int(byte, 16)])
    if short or long:
        return chr(int(short or long, 16)).encode("utf-8", "surrogatepass")
    return LETTERS.get(letter, letter)
