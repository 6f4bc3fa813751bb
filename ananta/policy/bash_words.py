"""One bash word: quotes, escapes, expansions. The base of bash.Reader."""
import abc
import re

from ananta.policy.unix import dangerous_variable
from ananta.policy.words import UNKNOWN, TooMuch, Word, names

PLAIN = re.compile(r"[^\s;&|<>()$`\"'\\{},*?\[\]~!\0]+")
DOUBLE_PLAIN = re.compile(r"[^\"$`\\\0]+")
SINGLE = re.compile(r"'([^']*)'")
ANSI = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
ANSI_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|c.|.)", re.DOTALL)
ANSI_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "E": "\x1b"}
VARIABLE = re.compile(r"\$([A-Za-z_]\w*|[0-9@*#?$!_-])")
BRACED = re.compile(r"\$\{(!)?(#)?([A-Za-z_]\w*|[0-9]+|[@*#?$!_-])(\[[\w@*-]*\])?")
ARITHMETIC = re.compile(r"[\w\s+\-*/%<>=!&|^~?:,()$#\[\]{}\".@]*")
SUBSCRIPT = re.compile(r"\w\[[^\]]*(?:\$\(|`|\$\{)")
TILDE = re.compile(r"~([A-Za-z_][\w.-]*)?(\+|-)?(?=[/\s;&|<>():]|$)")
RANGE = re.compile(r"(-?\d{1,6}|[A-Za-z])\.\.(-?\d{1,6}|[A-Za-z])(?:\.\.-?\d+)?$")
OPEN, COMMA, CLOSE = "\ue001", "\ue002", "\ue003"  # unquoted braces, until they are expanded
MAX_BRACE_WORDS = 256
# Variables whose value a person knows without looking: they cannot carry a surprise into an argument.
KNOWN = names("""HOME PWD OLDPWD USER LOGNAME UID EUID PPID HOSTNAME HOSTTYPE OSTYPE MACHTYPE SHELL LANG LC_ALL TERM PATH
TMPDIR RANDOM SECONDS LINENO BASHPID BASH_VERSION SHLVL COLUMNS LINES EPOCHSECONDS EPOCHREALTIME FUNCNAME BASH_SOURCE
PIPESTATUS OPTARG OPTIND REPLY DIRSTACK GROUPS XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME DISPLAY TZ
? # $ ! @ * - _ 0 1 2 3 4 5 6 7 8 9""")


class Variables:
    """What this line has assigned so far."""

    def __init__(self, home: str, cwd: str):
        self.values: dict[str, str | None] = {"HOME": home, "PWD": cwd}
        self.fixed = {"HOME", "PWD"}
        self.assigned: set[str] = set()
        self.in_function = False

    def assign(self, name: str, value: Word | None, *, sure: bool) -> None:
        """Remembers an assignment; None for a value that is only known when the command runs."""
        self.assigned.add(name)
        self.fixed.discard(name)
        self.values[name] = None if value is None or UNKNOWN in value.guess else value.guess
        if value is not None and value.wild:
            self.assigned.discard(name)
        elif value is not None and sure and value.constant and not self.in_function and re.fullmatch(r"[^\s*?\[-][^\s*?\[]*", value.text):
            self.fixed.add(name)

    def assign_loop(self, name: str, items: list[Word]) -> None:
        """Remembers a loop variable; the guess is its first item."""
        self.assigned.add(name)
        self.fixed.discard(name)
        guess = next((item.guess for item in items if UNKNOWN not in item.guess), None)
        self.values[name] = guess
        if any(item.wild for item in items):
            self.assigned.discard(name)

    def look(self, name: str) -> tuple[str, str, bool]:
        """Returns text, guess and whether the value is a surprise."""
        value = self.values.get(name)
        guess = UNKNOWN if value is None else value
        wild = name not in self.assigned and name not in KNOWN and not name.isdigit()
        return (guess if name in self.fixed else UNKNOWN), guess, wild


class WordReader(abc.ABC):
    """The part of the bash reader that reads one word at `pos`."""

    def __init__(self, text: str, *, variables: Variables, max_words: int):
        self.text, self.size, self.pos = text, len(text), 0
        self.variables = variables
        self.words_left = max_words
        self.in_backtick = 0

    @abc.abstractmethod
    def problem(self, sentence: str) -> None:
        """Notes that something cannot be checked, as the end of a sentence."""

    @abc.abstractmethod
    def nested(self, end: str) -> None:
        """Reads the commands of a substitution up to its end."""

    def spend(self, amount: int) -> None:
        """Counts work done, so that no text takes longer than a verdict is worth."""
        self.words_left -= amount
        if self.words_left < 0:
            raise TooMuch("it is too long to be checked")

    def word(self, value: bool = False) -> list[Word]:
        """Returns the word at `pos`, several if braces make it so, none if no word starts here."""
        self.spend(1)
        word = Word("", start=self.pos)
        text: list[str] = []
        guess: list[str] = []
        braces = False
        begin = self.pos
        while self.pos < self.size:
            plain = PLAIN.match(self.text, self.pos)
            if plain:
                self.pos = plain.end()
                text.append(plain.group())
                guess.append(plain.group())
                continue
            char = self.text[self.pos]
            if char in " \t\r\n;&|)" or (char == "`" and self.in_backtick):
                break
            if char in "<>":
                if not self.text.startswith("(", self.pos + 1):
                    break
                self.pos += 2
                self.nested(")")
                piece = ("/dev/fd/\0",) * 2
                word.literal = False
            elif char == "(":
                if self.pos > begin and self.text[self.pos - 1] in "?*+@!":
                    self.problem("an extended pattern such as `@(a|b)` cannot be checked")
                break
            elif char in "{,}":
                self.spend(1)
                braces = braces or char == "{"
                self.pos += 1
                piece = ({"{": OPEN, ",": COMMA, "}": CLOSE}[char],) * 2
            elif char in "*?[":
                self.spend(1)
                self.pos += 1
                word.glob = word.glob or self.pos - 1 > begin or char != "[" or self.text[self.pos:self.pos + 1] not in (" ", "[", "")
                piece = (char, char)
            elif char == "~":
                piece = self.tilde(first=self.pos == begin or (value and self.text[self.pos - 1] in ":="))
            elif char in "]!":
                self.spend(1)
                self.pos += 1
                piece = (char, char)
            else:
                word.literal = False
                piece = self.quoted(word, char)
            text.append(piece[0])
            guess.append(piece[1])
        if self.pos == begin:
            return []
        word.text, word.guess = "".join(text), "".join(guess)
        if SUBSCRIPT.search(word.text) and not word.literal:
            self.problem("a subscript may run a command when it is evaluated")
        if braces and not value:
            return self.expand_braces(word)
        for name in ("text", "guess"):
            setattr(word, name, _plain_braces(getattr(word, name)))
        return [word]

    def quoted(self, word: Word, char: str) -> tuple[str, str]:
        """Reads a quoted or expanded piece and returns its text and guess."""
        self.spend(1)
        if char == "\\":
            following = self.text[self.pos + 1:self.pos + 2]
            self.pos += 2
            return ("", "") if following == "\n" else (following, following)
        if char == "'":
            found = SINGLE.match(self.text, self.pos)
            if found is None:
                self.problem("a quote is not closed")
                rest = self.text[self.pos + 1:]
                self.pos = self.size
                return rest, rest
            self.pos = found.end()
            return found.group(1), found.group(1)
        if char == '"':
            self.pos += 1
            return self.double(word)
        if char == "`":
            return self.backtick(word, unquoted=True)
        if char == "$":
            return self.dollar(word, unquoted=True)
        self.problem(f"the character {char!r} cannot be checked")
        self.pos += 1
        return UNKNOWN, ""

    def double(self, word: Word) -> tuple[str, str]:
        """Reads up to the closing double quote."""
        text: list[str] = []
        guess: list[str] = []
        while self.pos < self.size:
            plain = DOUBLE_PLAIN.match(self.text, self.pos)
            if plain:
                self.pos = plain.end()
                piece = (plain.group(),) * 2
            else:
                char = self.text[self.pos]
                if char == '"':
                    self.pos += 1
                    return "".join(text), "".join(guess)
                piece = self.in_double(word, char)
            text.append(piece[0])
            guess.append(piece[1])
        self.problem("a quote is not closed")
        return "".join(text), "".join(guess)

    def in_double(self, word: Word, char: str) -> tuple[str, str]:
        self.spend(1)
        if char == "\\":
            following = self.text[self.pos + 1:self.pos + 2]
            self.pos += 2
            if following == "\n":
                return "", ""
            return (following,) * 2 if following in ("$", "`", '"', "\\") else ("\\" + following,) * 2
        if char == "`":
            return self.backtick(word, unquoted=False)
        if char == "$":
            return self.dollar(word, unquoted=False)
        self.pos += 1
        self.problem("a NUL character cannot be checked")
        return "", ""

    def backtick(self, word: Word, *, unquoted: bool) -> tuple[str, str]:
        """Reads an old-style substitution."""
        self.pos += 1
        close = re.compile(r"(?:[^`\\]|\\.)*`", re.DOTALL).match(self.text, self.pos)
        if close is None or self.in_backtick or "\\" in close.group():
            self.problem("nested or unclosed backticks cannot be checked")
            self.pos = close.end() if close else self.size
            return UNKNOWN, UNKNOWN
        self.in_backtick += 1
        self.nested("`")
        self.in_backtick -= 1
        word.split = word.split or unquoted
        return UNKNOWN, UNKNOWN

    def dollar(self, word: Word, *, unquoted: bool) -> tuple[str, str]:
        """Reads what follows a dollar sign."""
        self.spend(1)
        text, pos = self.text, self.pos
        following = text[pos + 1:pos + 2]
        if following == "(":
            if text.startswith("((", pos + 1) and self.arithmetic(3):
                return UNKNOWN, UNKNOWN
            self.pos = pos + 2
            inside, self.in_backtick = self.in_backtick, 0
            self.nested(")")
            self.in_backtick = inside
            word.split = word.split or unquoted
            return UNKNOWN, UNKNOWN
        if following == "[":
            self.problem("old arithmetic `$[` cannot be checked")
            self.pos = pos + 2
            return UNKNOWN, UNKNOWN
        if following == "{":
            return self.braced(word, unquoted=unquoted)
        if unquoted and following == "'":
            found = ANSI.match(text, pos)
            if found is None:
                self.problem("a quote is not closed")
                self.pos = self.size
                return UNKNOWN, ""
            self.pos = found.end()
            piece = ANSI_ESCAPE.sub(_unescape, found.group(1)).split("\0")[0]
            return piece, piece
        if unquoted and following == '"':
            self.pos = pos + 2
            return self.double(word)
        found = VARIABLE.match(text, pos)
        if found is None:
            self.pos = pos + 1
            return "$", "$"
        self.pos = found.end()
        return self.value(word, found.group(1), unquoted=unquoted)

    def value(self, word: Word, name: str, *, unquoted: bool) -> tuple[str, str]:
        text, guess, wild = self.variables.look(name)
        word.wild = word.wild or wild
        word.expanded = True
        word.ppid = word.ppid or name == "PPID"
        word.split = word.split or (unquoted and (UNKNOWN in text or name in "@*"))
        return text, guess

    def braced(self, word: Word, *, unquoted: bool) -> tuple[str, str]:
        """Reads `${…}`. Anything but a plain value or a cut piece of one stays unknown."""
        found = BRACED.match(self.text, self.pos)
        if found is None:
            self.problem("a parameter expansion cannot be read")
            self.pos += 2
            return UNKNOWN, UNKNOWN
        indirect, length, name, index = found.groups()
        self.pos = found.end()
        if self.text.startswith("}", self.pos):
            self.pos += 1
            if length:
                return UNKNOWN, UNKNOWN
            if indirect:
                word.wild = word.wild or index is None
                word.split = word.split or unquoted
                return UNKNOWN, UNKNOWN
            return self.value(word, name, unquoted=unquoted) if not index else (UNKNOWN, UNKNOWN)
        rest = self.pos
        if self.text[rest:rest + 1] == "@":
            self.problem("a parameter transformation such as `${x@P}` may run a command")
        if self.text[rest:rest + 1] not in tuple(":-=+?#%/^,@*"):
            self.problem("a parameter expansion cannot be read")
        inner = Word("")
        default = self.expandable_until_brace(inner)
        _, guess, wild = self.variables.look(name)
        word.expanded = True
        if re.match(r":?=", default) and dangerous_variable(name):
            self.problem(f"`{name}` is set, which changes what programs do")
        word.wild = word.wild or wild or inner.wild
        word.split = word.split or unquoted
        operator = re.match(r":?[-=]", default)
        if operator and guess == UNKNOWN:
            guess = default[operator.end():]
        elif not (operator or default[:1] in ":?+"):
            guess = UNKNOWN
        return UNKNOWN, guess

    def expandable_until_brace(self, word: Word) -> str:
        """Reads the rest of `${…` and returns its guess; substitutions inside are read as commands."""
        guess: list[str] = []
        plain = re.compile(r"[^\"'$`\\}\0]+")
        while self.pos < self.size:
            found = plain.match(self.text, self.pos)
            if found:
                self.pos = found.end()
                guess.append(found.group())
                continue
            char = self.text[self.pos]
            if char == "}":
                self.pos += 1
                return "".join(guess)
            if char == "'":
                # Inside double quotes a single quote is itself; reading it both ways would hide a substitution.
                closed = SINGLE.match(self.text, self.pos)
                if closed is None or re.search(r"[$`}]", closed.group()):
                    self.problem("quotes inside a parameter expansion cannot be checked")
                self.pos = closed.end() if closed else self.pos + 1
                guess.append(closed.group(1) if closed else "")
                continue
            guess.append(self.quoted(word, char)[1])
        self.problem("a parameter expansion is not closed")
        return "".join(guess)

    def expandable_text(self, stop: int) -> None:
        """Reads the substitutions of a here-document up to `stop`."""
        sign = re.compile(r"\\.|[$`\0]", re.DOTALL)
        size, self.size = self.size, stop
        whole, self.text = self.text, self.text[:stop] if stop < len(self.text) else self.text
        word = Word("")
        while self.pos < stop:
            found = sign.search(self.text, self.pos)
            if found is None:
                break
            self.pos = found.start()
            if found.group()[0] == "\\":
                self.pos = found.end()
            elif found.group() == "\0":
                self.problem("a NUL character cannot be checked")
                self.pos += 1
            else:
                self.in_double(word, found.group())
        self.text, self.size = whole, size

    def arithmetic(self, opening: int) -> bool:
        """Reads `((…))` or `$((…))`; False (and nothing read) if it is a subshell in a subshell instead."""
        start = self.pos + opening
        depth, pos = 2, start
        for found in re.compile(r"[()]").finditer(self.text, start):
            pos = found.start()
            depth += 1 if found.group() == "(" else -1
            if depth == 1 and self.text[pos + 1:pos + 2] == ")":
                break
            if depth < 2 or pos - start > 5000:
                self.spend((pos - start) // 10)
                return False
        else:
            self.spend((self.size - start) // 50)
            return False
        inner = self.text[start:pos]
        if "$(" in inner or "`" in inner or not re.compile(ARITHMETIC).fullmatch(inner.replace(";", "") if opening == 2 else inner):
            self.problem("an arithmetic expression cannot be checked")
            self.pos = start
            # Its substitutions are still read, so that a deletion inside one is seen.
            if "`" not in inner:
                size, self.size = self.size, pos
                whole, self.text = self.text, self.text[:pos]
                self.expandable_text(pos)
                self.text, self.size = whole, size
        self.pos = pos + 2
        return True

    def tilde(self, *, first: bool) -> tuple[str, str]:
        found = TILDE.match(self.text, self.pos) if first else None
        if found is None:
            self.pos += 1
            return "~", "~"
        self.pos = found.end()
        user, sign = found.groups()
        if sign:
            return (UNKNOWN, self.variables.values.get("PWD") or UNKNOWN)
        if user:
            return ("/root", "/root") if user == "root" else (f"/home/{user}",) * 2
        home = self.variables.values.get("HOME")
        return (home, home) if home is not None else (UNKNOWN, UNKNOWN)

    def expand_braces(self, word: Word) -> list[Word]:
        """Returns the words that braces make of one."""
        texts = _alternatives(word.text)
        guesses = _alternatives(word.guess)
        if texts is None or guesses is None or len(texts) != len(guesses):
            self.problem("braces make too many words to be checked")
            return [Word(UNKNOWN, start=word.start, wild=True, split=True)]
        self.words_left -= len(texts)
        return [Word(_plain_braces(text), _plain_braces(guess), word.glob, word.wild, word.split, word.literal and len(texts) == 1,
                     ppid=word.ppid, expanded=word.expanded, start=word.start) for text, guess in zip(texts, guesses, strict=True)]


def _plain_braces(text: str) -> str:
    return text.replace(OPEN, "{").replace(COMMA, ",").replace(CLOSE, "}")


def _alternatives(text: str) -> list[str] | None:
    """Returns what the unquoted braces of a text expand to, None if that is too much."""
    done: list[str] = []
    waiting = [text]
    steps = 0
    while waiting:
        current = waiting.pop()
        steps += 1
        if steps > MAX_BRACE_WORDS or len(current) > 1000:
            return None
        group = _innermost_first(current)
        if group is None:
            done.append(current)
            continue
        start, stop, choices = group
        waiting.extend(current[:start] + choice + current[stop:] for choice in reversed(choices))
    return done


def _innermost_first(text: str) -> tuple[int, int, list[str]] | None:
    """Returns the first brace group that expands, with its choices; an inner group is kept for the next round."""
    for start in (match.start() for match in re.finditer(OPEN, text)):
        depth, cut, choices = 0, start + 1, []
        for pos in range(start, len(text)):
            char = text[pos]
            if char == OPEN:
                depth += 1
            elif char == COMMA and depth == 1:
                choices.append(text[cut:pos])
                cut = pos + 1
            elif char == CLOSE:
                depth -= 1
                if depth == 0:
                    choices.append(text[cut:pos])
                    inner = text[start + 1:pos]
                    if len(choices) > 1:
                        return start, pos + 1, choices
                    numbers = RANGE.match(inner)
                    if numbers:
                        return start, pos + 1, _range(numbers.group(1), numbers.group(2))
                    break
    return None


def _range(first: str, last: str) -> list[str]:
    if first.lstrip("-").isdigit() and last.lstrip("-").isdigit():
        low, high = int(first), int(last)
        step = 1 if high >= low else -1
        values = range(low, high + step, step)
        return [str(value) for value in (values if len(values) <= 50 else [low, high])]
    if len(first) == 1 and len(last) == 1:
        low, high = ord(first), ord(last)
        step = 1 if high >= low else -1
        return [chr(code) for code in range(low, high + step, step)]
    return [first, last]


def _unescape(found: re.Match[str]) -> str:
    code = found.group(1)
    kind = code[0]
    if kind in "xuU" and len(code) > 1:
        value = int(code[1:], 16)
        return chr(value) if value < 0x110000 and not 0xD800 <= value < 0xE000 else UNKNOWN
    if kind in "01234567":
        return chr(int(code, 8) & 0xFF)
    if kind == "c" and len(code) > 1:
        return chr(ord(code[1]) & 0x1F)
    return ANSI_SIMPLE.get(code, code if code in "\\'\"?" else "\\" + code)
