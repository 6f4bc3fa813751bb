"""A model's text → Proposal.

Models leave the form they were asked for: JSON in a fence, cut off, with prose around it, or no JSON at all. The forms
are tried from the most to the least certain one; a text that has none of them becomes a reason without a command.
"""
import json
import re
import shlex
from collections.abc import Iterator, Mapping

from ananta.domain.steps import Proposal, ToolCall

READ_CHARS = 200_000      # of a longer text only the start is looked at
REASON_CHARS = 200        # of plain text
OBJECTS_TRIED = 20
NO_COMMAND = ("null", "none", "n/a")
CUT_OFF = "(The answer was cut off: the command may be incomplete.)"

REASON_KEYS = ("reason", "thought", "explanation", "begründung")
COMMAND_KEYS = ("command", "befehl")
SHELLS = ("bash", "sh", "shell", "zsh", "powershell", "pwsh", "ps1", "cmd", "bat", "batch", "console", "terminal")

_LABEL = re.compile(r"^[ \t>*_#-]{0,8}(reason|begründung|command|befehl)[ \t]*[*_]{0,2}[ \t]*:[ \t]*(?:\*\*|__)?",
                    re.IGNORECASE | re.MULTILINE)
# A small model goes on with a turn that is not its own.
_NEXT_TURN = re.compile(r"^[ \t]*(?:user|human|assistant|system|output|result|note)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OBJECT_START = re.compile(r'\{\s*["}]')
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")
_DECODER = json.JSONDecoder(strict=False)


def parse(text: str) -> Proposal:
    """Returns what the text proposes; command is None when it holds none. Never raises, whatever the text.

    The results hold no NUL and no lone surrogates: neither a shell nor a file of UTF-8 takes them."""
    raw = cleaned(text)
    body = without_thoughts(raw[:READ_CHARS])
    try:
        found = _from_json(body) or _from_labels(body) or _from_fence(body)
    except RecursionError:      # brackets nested thousands deep: no proposal of anybody's
        found = None
    reason, command, calls = found or (_shortened(body), None, None)
    return Proposal(reason=reason, command=command, tool_calls=calls, raw=raw)


def bare_command(text: str) -> str | None:
    """Returns the command of an answer that was to be nothing but a command; None when it is empty."""
    proposal = parse(text)
    if proposal.command is not None or proposal.tool_calls:
        return proposal.command
    return _command(_THOUGHTS.sub("", proposal.raw, count=1))


def without_thoughts(text: str) -> str:
    """Returns the text without what a model has thought aloud before it, and without NUL and lone surrogates."""
    return _THOUGHTS.sub("", cleaned(text), count=1).strip().removeprefix("Assistant:").strip()


def completed(text: str) -> dict | None:
    """Returns the JSON object whose end is missing, closed; None when it is broken in another way."""
    found = _completed(text)
    return found[0] if found else None


def cleaned(text: str) -> str:
    """Returns the text without NUL and lone surrogates."""
    return _UNPRINTABLE.sub("", text)


_Found = tuple[str, str | None, tuple[ToolCall, ...] | None]


def _from_json(text: str) -> _Found | None:
    for value, cut_in_command in _json_values(text):
        if isinstance(value, dict):
            found = _from_object(value)
        else:
            calls = tool_calls_of(value)
            inner = next((each for each in map(_from_object, value) if each and each[1]), None)
            found = ("", None, calls) if calls else inner
        if found:
            reason, command, calls = found
            return (f"{reason} {CUT_OFF}".strip() if cut_in_command and command else reason), command, calls
    return None


def _json_values(text: str) -> Iterator[tuple[dict | list, bool]]:
    """The objects and arrays of the text, and whether the text breaks off inside a command.

    What stands in a shell's fence or after COMMAND: is left alone: there, braces belong to the command."""
    for candidate in (text, *(block for tag, block, _ in _fences(text) if tag not in SHELLS)):
        if candidate.lstrip()[:1] in ("{", "["):
            value = _decoded(candidate.strip())
            if isinstance(value, (dict, list)):
                yield value, False
    end = min([match.start() for match in _LABEL.finditer(text)]
              + [start for tag, _, start in _fences(text) if tag in SHELLS] + [len(text)])
    for count, match in enumerate(_OBJECT_START.finditer(text, 0, end)):
        if count == OBJECTS_TRIED:
            return
        found = _decoded(text[match.start():])
        if isinstance(found, dict):
            yield found, False
        elif count == 0 or text[:match.start()].isspace():
            completed = _completed(text[match.start():])
            if completed is not None:
                yield completed


def _decoded(text: str) -> object:
    try:
        return _DECODER.raw_decode(text)[0]
    except ValueError:
        return None


def _completed(text: str) -> tuple[dict, bool] | None:
    """The object whose end is missing, closed; None when it is broken in another way."""
    closers: list[str] = []
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            closers.append("}" if char == "{" else "]")
        elif char in "}]" and closers and closers.pop() != char:
            return None
    end = "".join(reversed(closers))
    if in_string:
        # Half an escape (\ or \u12) cannot be closed; what it would have become is lost anyway.
        body = re.sub(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?\Z", r"\1", text) + '"'
        tails: tuple[str, ...] = (body, body + ":null")
    else:
        body = text.rstrip().removesuffix("```").rstrip()
        tails = (body, body.rstrip(","), body + "null", body + ":null")
    for tail in tails:
        value = _decoded(tail + end)
        if isinstance(value, dict):
            last = str(next(reversed(value), "")).casefold()
            return value, in_string and last in COMMAND_KEYS and len(closers) == 1
    return None


def _from_object(value: object) -> _Found | None:
    if not isinstance(value, dict):
        return None
    keys = {str(key).casefold(): each for key, each in value.items()}
    if not any(key in keys for key in (*REASON_KEYS, *COMMAND_KEYS, "tool_calls")):
        return None
    reason = next((keys[key] for key in REASON_KEYS if keys.get(key)), "")
    command = next((keys[key] for key in COMMAND_KEYS if keys.get(key)), None)
    if not isinstance(reason, str):
        reason = json.dumps(reason, ensure_ascii=False)
    return cleaned(reason).strip(), _command(command), tool_calls_of(keys.get("tool_calls"))


def tool_calls_of(value: object) -> tuple[ToolCall, ...] | None:
    calls = []
    for entry in [value] if isinstance(value, dict) else value if isinstance(value, list) else []:
        if not isinstance(entry, dict):
            continue
        inner = entry.get("function")
        source = inner if isinstance(inner, dict) else entry
        name = source.get("name") or source.get("tool") or (inner if isinstance(inner, str) else None)
        args: object = next((source[key] for key in ("args", "arguments", "parameters") if key in source), {})
        if isinstance(args, str):
            args = _decoded(args.strip())
        if isinstance(name, str) and cleaned(name).strip():
            calls.append(ToolCall(cleaned(name).strip(), _clean_object(args) if isinstance(args, dict) else {}))
    return tuple(calls) or None


def _from_labels(text: str) -> _Found | None:
    """REASON: and COMMAND: lines; the first of each counts, a value ends at the next one or at another's turn."""
    whole = sole_fence(text)
    text = text if whole is None else whole
    labels = list(_LABEL.finditer(text))
    values: dict[str, str] = {}
    for match, following in zip(labels, [*labels[1:], None], strict=False):
        value = text[match.end():following.start() if following else len(text)]
        turn = _NEXT_TURN.search(value)
        kind = "command" if match[1].casefold() in COMMAND_KEYS else "reason"
        values.setdefault(kind, (value[:turn.start()] if turn else value).strip())
    if not values:
        return None
    command = values.get("command")
    return values.get("reason", ""), None if command is None else _command(_first_paragraph(command)), None


def _first_paragraph(command: str) -> str:
    """The command without the prose that follows it after an empty line."""
    block = next(_fences(command), None)
    if block and not command[:block[2]].strip():
        return block[1]
    # The text of a here-document may hold empty lines.
    return command if "<<" in command else re.split(r"\n[ \t]*\n", command, maxsplit=1)[0]


def _from_fence(text: str) -> _Found | None:
    blocks = list(_fences(text))
    block = next((each for each in blocks if each[0] in SHELLS), blocks[0] if blocks else None)
    if block is None:
        return None
    before = text[:blocks[0][2]].strip()
    command = _command(block[1])
    return (before, command, None) if command else None


def _fences(text: str) -> Iterator[tuple[str, str, int]]:
    """Each fenced block as (language in lower case, content, where it starts); one that never ends counts too."""
    position = 0
    while opening := _FENCE.search(text, position):
        mark, info = opening[1], opening[2]
        closing = re.compile(rf"^[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE).search(text, opening.end())
        content = text[opening.end():closing.start() if closing else len(text)].strip("\r\n")
        if "`" not in info:     # else it is code within a line
            words = info.split()
            tag = words[0].casefold() if len(words) == 1 else ""
            if len(words) > 1 or (words and not content.strip() and tag not in SHELLS):
                content = f"{info}\n{content}".strip("\r\n")
            first, _, rest = content.partition("\n")
            if not tag and rest.strip() and first.strip().casefold() in SHELLS:
                tag, content = first.strip().casefold(), rest
            yield tag, content, opening.start()
        position = (closing.end() if closing else len(text)) if "`" not in info else opening.end()


def sole_fence(text: str) -> str | None:
    """Returns what stands in the fenced block that is the whole text; None for any other text."""
    block = next(_fences(text), None)
    whole = block is not None and block[2] == 0 and text.rstrip().endswith(("```", "~~~"))
    return block[1] if whole and block else None


def _command(value: object) -> str | None:
    """The command a shell can be given: without fence, backticks around it, prompt sign; None when nothing is left."""
    if isinstance(value, list):
        value = _joined(value)
    if not isinstance(value, str):
        return None
    text = cleaned(value).strip()
    fenced = sole_fence(text)
    text = (text if fenced is None else fenced).strip()
    # Given to a shell with its backticks, `pwd` would run what pwd prints.
    wrapped = re.fullmatch(r"(`{1,3})([^`]+)\1", text)
    text = _without_prompt((wrapped[2] if wrapped else text).strip()).strip()
    return None if not text or text.casefold() in NO_COMMAND else text


def _joined(words: list) -> str | None:
    if not words or not all(isinstance(word, str) and word for word in words):
        return None
    if len(words) == 1:
        return words[0]
    # No program's name has a space in it here: these are several commands.
    return " && ".join(words) if " " in words[0].strip() else shlex.join(words)


def _without_prompt(text: str) -> str:
    lines = text.split("\n")
    if not lines[0].startswith(("$ ", "> ")):
        return re.sub(r"\APS [^>\n]*> ", "", text)
    typed = [line[2:] for line in lines if line.startswith("$ ")]
    # Two lines with a prompt are a copied session: the others are what was printed.
    return "\n".join(typed) if len(typed) > 1 else text[2:]


def _shortened(text: str) -> str:
    return text if len(text) <= REASON_CHARS else text[:REASON_CHARS] + "..."


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, Mapping):
        return _clean_object(value)
    return [_clean_value(each) for each in value] if isinstance(value, list) else value


def _clean_object(value: Mapping) -> dict:
    return {cleaned(str(key)): _clean_value(each) for key, each in value.items()}
