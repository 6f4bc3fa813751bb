"""A second reading by the tree-sitter grammars, loaded at the first decision.

Our own readers resolve words and know what the grammars get wrong; the grammar guards against a command that a
reader overlooked: each command it sees must have been seen by the reader too, or the line is asked about. A part the
grammar cannot read counts only if the reader could not read it either.
"""
import re
from functools import lru_cache

from ananta.policy.words import Reading

MAX_CHARS = 4000
UNUSUAL = re.compile(r"[^\n\t -~]")
KEYWORDS = ("time", "coproc", "function", "in", "do", "then")  # words the bash grammar takes for commands
QUERIES = {"bash": "(command_name) @name", "powershell": "(command_name) @name (invokation_expression) @call", "cmd": "(command_name) @name"}


@lru_cache(maxsize=3)
def _tools(shell: str):
    import tree_sitter_bash
    import tree_sitter_batch
    import tree_sitter_powershell
    from tree_sitter import Language, Parser, Query

    module = {"bash": tree_sitter_bash, "powershell": tree_sitter_powershell, "cmd": tree_sitter_batch}[shell]
    language = Language(module.language())
    return Parser(language), Query(language, QUERIES[shell])


def overlooked(text: str, shell: str, reading: Reading) -> str | None:
    """Returns a command the grammar sees and the reader does not, or None.

    Longer texts are not read twice: the grammar alone would take longer than a verdict may."""
    if len(text) > MAX_CHARS or not text.strip():
        return None
    from tree_sitter import QueryCursor

    parser, query = _tools(shell)
    # Characters beyond the usual planes end the whole process inside the bash grammar's scanner.
    raw = (UNUSUAL.sub("_", text) + "\n").encode("ascii")
    tree = parser.parse(raw)
    if tree.root_node.has_error and shell != "bash":
        return None  # both grammars report errors on plain lines, and what follows an error is noise
    seen = {_key(word.text) for c in reading.commands for word in c.words[:1]} | {_key(c.words[0].guess) for c in reading.commands if c.words}
    starts = tuple(c.text.lower().lstrip('@"(&. ') for c in reading.commands) if shell == "cmd" else ()
    inner = {_key(word.guess) for c in reading.commands for word in c.words} if shell != "powershell" else set()
    for name, nodes in QueryCursor(query).captures(tree.root_node).items():
        for node in nodes:
            found = raw[node.start_byte:node.end_byte].decode("utf-8", "replace")
            if name == "call":
                if "::" in found and not any(call.text[:20] in found or found[:20] in call.text for call in reading.calls) and "(" in found:
                    return found
            elif found not in KEYWORDS and _plain(found) and _key(found) not in seen and _key(found) not in inner and not any(
                    start.startswith(found.lower()) for start in starts):
                return found
    return None


def _plain(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_./-][\w./:+-]*", name))


def _key(name: str) -> str:
    name = UNUSUAL.sub("_", name)
    return re.split(r"[\\/]", name.strip("\"'&@ ").lower())[-1].removesuffix(".exe")
