"""A PowerShell line → its simple commands and method calls.

PowerShell reads a statement either as a command (it begins with a bare word) or as an expression. Both are read
here without building a tree: what counts is which commands and methods run, and with which constant arguments.
"""
import re

from ananta.policy.words import UNKNOWN, Call, Command, Reading, Redirect, TooMuch, Word

MAX_DEPTH = 40
BLANK = re.compile(r"(?:[ \t\r\f\u00a0]|`\r?\n)+")
COMMENT = re.compile(r"#[^\n]*")
BARE = re.compile(r"[^\s;|&(){}\"'`$,<>@#\0\u2018-\u201e\u00a0]+")
REDIRECT = re.compile(r"([1-6*])?(>>|>)(&[12])?")
VARIABLE = re.compile(r"\$(?:\{([^}`]*)\}|((?:[A-Za-z_]\w*:)?\w+)|([$?^]))")
SINGLE = re.compile(r"'((?:[^']|'')*)'")
HERE = re.compile(r"@(['\"])[ \t]*\r?\n")
UNARY = re.compile(r"-(?:not|join|bnot|i?split|csplit)(?![\w-])", re.IGNORECASE)
TYPE = re.compile(r"\[([A-Za-z_][\w.,\[\] `+]*)\]")
NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?:[kKmMgGtTpP][bB])?[lLdD]?")
OPERATOR = re.compile(r"-[A-Za-z]+(?![\w-])|\+\+|--|\.\.|[+\-*/%!,]|::")
ASSIGN = re.compile(r"[ \t]*(=(?!=)|\+=|-=|\*=|/=|%=|\?\?=)")
MEMBER = re.compile(r"(::|\??\.)([A-Za-z_]\w*)")
KEYWORD = re.compile(r"(if|elseif|else|foreach|for|while|do|until|switch|try|catch|finally|function|filter|param|begin|process|"
                     r"end|return|throw|exit|break|continue|trap|class|enum|using|data|dynamicparam|workflow|configuration|"
                     r"in)(?![\w.\\/:-])", re.IGNORECASE)
WITH_CONDITION = {"if", "elseif", "while", "until", "for", "switch", "catch"}
ASK_KEYWORDS = {"trap", "class", "enum", "using", "data", "dynamicparam", "workflow", "configuration"}
SAFE_SCOPES = {"env", "script", "global", "local", "private", "using", "variable"}
AUTOMATIC = {"home": "HOME", "pwd": "CWD", "env:userprofile": "HOME", "env:home": "HOME", "env:systemroot": r"C:\Windows",
             "env:windir": r"C:\Windows", "env:systemdrive": "C:", "env:programfiles": r"C:\Program Files",
             "env:programdata": r"C:\ProgramData", "env:comspec": r"C:\Windows\System32\cmd.exe", "null": "", "true": "True",
             "false": "False"}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"',
                        "\u2013": "-", "\u2014": "-", "\u2015": "-"})


class Reader:
    """Reads one text; positions only move forward, so time grows with the length."""

    def __init__(self, text: str, *, home: str, cwd: str, max_words: int):
        # PowerShell takes typographic quotes and dashes for the plain ones.
        self.text = text.translate(QUOTES)
        self.size, self.pos, self.left, self.depth = len(self.text), 0, max_words, 0
        self.reading = Reading()
        self.known = {"HOME": home, "CWD": cwd}
        self.assigned: dict[str, str] = {}

    def read(self) -> Reading:
        """Returns the reading; text beyond a limit is in `unread`."""
        try:
            self.statements("")
        except TooMuch as limit:
            self.reading.problem(str(limit))
            self.reading.unread = self.text[self.pos:]
        return self.reading

    def spend(self, amount: int = 1) -> None:
        """Counts work done, so that no text takes longer than a verdict is worth."""
        self.left -= amount
        if self.left < 0:
            raise TooMuch("it is too long to be checked")

    def problem(self, sentence: str) -> None:
        self.reading.problem(sentence)

    def peek(self, length: int = 1) -> str:
        return self.text[self.pos:self.pos + length]

    def nested(self, end: str) -> None:
        """Reads statements up to the end sign, which is consumed."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooMuch("it is nested too deeply to be checked")
        self.statements(end)
        self.depth -= 1

    def statements(self, end: str) -> None:
        """Reads pipelines up to the end sign (")" or "}", "" for the end of the text)."""
        piped = False
        while True:
            self.skip_blanks()
            if self.pos >= self.size:
                if end:
                    self.problem("a bracket is not closed")
                return
            char = self.peek()
            if char == end:
                self.pos += 1
                return
            if char in ";\n":
                self.pos += 1
                piped = False
            elif self.peek(2) in ("&&", "||"):
                self.pos += 2
                piped = False
            elif char == "|":
                self.pos += 1
                piped = True
            elif char in ")}":
                self.problem(f"`{char}` closes nothing")
                self.pos += 1
            else:
                self.spend(7)
                before = self.pos
                self.statement(piped)
                if self.pos == before:
                    self.problem(f"unexpected {char!r}")
                    self.pos += 1

    def statement(self, piped: bool) -> None:
        """Reads a keyword, a command or an expression up to the next separator."""
        keyword = KEYWORD.match(self.text, self.pos)
        if keyword and not piped and not ASSIGN.match(self.text, keyword.end()):
            self.pos = keyword.end()
            self.keyword(keyword.group(1).lower())
            return
        char = self.peek()
        if char in "&." and re.match(r"[&.](?=[\s\"'$({])", self.peek(2)):
            self.pos += 1
            self.skip_blanks()
            if self.peek() == "{":
                self.pos += 1
                self.nested("}")
            self.command(piped, called=True)
        elif char in "$\"'([{@-+!,0123456789" and (
                not re.match(r"-[A-Za-z]", self.peek(2)) or UNARY.match(self.text, self.pos)) and not self.bare_number():
            self.expression()
        elif char == "<" or char == ">":
            self.problem(f"unexpected {char!r}")
            self.pos += 1
        else:
            self.command(piped)

    def bare_number(self) -> bool:
        """Whether a word that begins with a digit is the name of a command, such as `7z`."""
        return bool(re.compile(r"\d+[A-Za-z_\\][\w.\\-]*").match(self.text, self.pos)) and not NUMBER.fullmatch(
            re.compile(r"[\w.]*").match(self.text, self.pos).group())  # type: ignore[union-attr]

    def keyword(self, name: str) -> None:
        """Reads what stands between a keyword and its block; the block follows as a script block."""
        if name in ASK_KEYWORDS:
            self.problem(f"`{name}` cannot be checked")
        self.skip_newlines()
        if name in ("function", "filter"):
            found = re.compile(r"[\w:.-]+").match(self.text, self.pos)
            if found:
                self.pos = found.end()
                if self.depth == 0:
                    self.reading.functions.add(found.group().lower().removeprefix("global:").removeprefix("script:"))
                else:
                    self.problem("a function is defined inside a block")
            self.skip_newlines()
        if name == "switch":
            self.switch()
            return
        if name == "foreach" and self.peek() == "(":
            found = re.compile(r"\(\s*\$([\w:]+)\s+in\s").match(self.text, self.pos)
            if found:
                self.pos = found.end()
                self.assigned[found.group(1).lower()] = UNKNOWN
                self.nested(")")
            else:
                self.problem("the head of a loop cannot be read")
        elif name == "catch":
            while self.peek() == "[":
                found = TYPE.match(self.text, self.pos)
                self.pos = found.end() if found else self.pos + 1
                self.skip_newlines()
        elif (name in WITH_CONDITION or name in ("param", "function", "filter")) and self.peek() == "(":
            self.pos += 1
            self.nested(")")
        self.skip_newlines()
        if self.peek() == "{" and name not in ("return", "throw", "exit"):
            self.pos += 1
            self.nested("}")

    def switch(self) -> None:
        """Reads `switch (value) { pattern { … } }`; patterns may be words, strings or blocks."""
        option = re.compile(r"(?:-(?:regex|wildcard|exact|casesensitive)\s+)*", re.IGNORECASE)
        self.pos = option.match(self.text, self.pos).end()  # type: ignore[union-attr]
        if self.peek() != "(":
            self.problem("the head of a switch cannot be read")
            return
        self.pos += 1
        self.nested(")")
        self.skip_newlines()
        if self.peek() != "{":
            self.problem("the head of a switch cannot be read")
            return
        self.pos += 1
        while True:
            self.skip_newlines()
            if self.pos >= self.size:
                self.problem("a switch is not closed")
                return
            if self.peek() == "}":
                self.pos += 1
                return
            before = self.pos
            if self.peek() == ";":
                self.pos += 1
            elif self.peek() == "{":
                self.pos += 1
                self.nested("}")
            else:
                self.element()
            if self.pos == before:
                self.problem("the branches of a switch cannot be read")
                self.pos += 1

    def expression(self) -> None:
        """Reads an expression; an assignment makes what follows a statement of its own."""
        begin = self.pos
        while self.pos < self.size:
            self.skip_blanks()
            char = self.peek()
            if char == "" or char in ";\n|)}" or self.peek(2) == "&&":
                return
            self.spend()
            assign = ASSIGN.match(self.text, self.pos)
            if assign and self.pos > begin:
                self.assignment(self.text[begin:self.pos].strip())
                self.pos = assign.end()
                self.skip_newlines()
                right = self.pos
                self.statement(False)
                self.learn(self.text[begin:assign.start()].strip(), self.text[right:self.pos].strip())
                return
            if REDIRECT.match(self.text, self.pos) and char in ">*123456" and (char in ">*" or self.text[self.pos + 1] == ">"):
                self.redirect(holder := Command([], start=self.pos, shell="powershell"))
                self.reading.commands.append(holder)
                continue
            operator = OPERATOR.match(self.text, self.pos)
            number = NUMBER.match(self.text, self.pos)
            if number:
                self.pos = number.end()
            elif operator:
                self.pos = operator.end()
                if self.peek() == "\n" or operator.group() == ",":
                    self.skip_newlines()
            elif char in "$\"'([{@":
                self.value()
            elif char == "&":
                self.problem("something is started in the background")
                self.pos += 1
            elif self.text[self.pos - 1] == "." or char == ".":
                self.pos += 1
            else:
                self.problem(f"the expression `{_short(self.text[begin:begin + 60])}` cannot be read")
                bare = BARE.match(self.text, self.pos)
                self.pos = bare.end() if bare else self.pos + 1

    def assignment(self, target: str) -> None:
        """Judges where an assignment goes: a variable of this line is harmless, all else is a call."""
        simple = re.fullmatch(r"(?:\[[\w.\[\]]+\]\s*)?\$(?:\{?(\w+)\}?|(\w+):(\w+))(?:\s*,\s*\$\w+)*(?:\[[^\]]*\])?", target)
        if simple is None:
            self.reading.calls.append(Call(None, target, f"{target} =", assigned=True))
            return
        scope, name = (simple.group(2) or "").lower(), (simple.group(3) or simple.group(1) or "")
        if scope and scope not in SAFE_SCOPES:
            self.reading.calls.append(Call(None, target, f"{target} =", assigned=True))
        elif scope == "env" or name.lower().startswith(("psdefault", "psmoduleauto", "executioncontext", "psstyle", "profile")):
            self.reading.calls.append(Call("env" if scope == "env" else None, name, f"{target} =", assigned=True))

    def learn(self, target: str, right: str) -> None:
        """Remembers a constant that a variable was set to, as a guess for the floor."""
        name = re.fullmatch(r"(?:\[\w+\]\s*)?\$((?:\w+:)?\w+)", target)
        if name:
            value = re.fullmatch(r"'([^']*)'|\"([^\"$`]*)\"", right)
            self.assigned[name.group(1).lower()] = (value.group(1) or value.group(2) or "") if value else UNKNOWN

    def command(self, piped: bool, called: bool = False) -> None:
        """Reads a command's name and arguments up to the next separator."""
        command = Command([], start=self.pos, piped_in=piped, shell="powershell")
        begin = self.pos
        while self.pos < self.size:
            self.skip_blanks()
            char = self.peek()
            if char == "" or char in ";\n|)}" or self.peek(2) == "&&":
                break
            if char == "&":
                self.problem("something is started in the background")
                self.pos += 1
                continue
            redirect = REDIRECT.match(self.text, self.pos)
            if redirect and (redirect.group(1) is None or self.text[self.pos - 1] in " \t)"):
                self.redirect(command)
                continue
            if char == "<":
                self.problem("`<` cannot be read")
                self.pos += 1
                continue
            if char == ",":
                self.pos += 1
                self.skip_newlines()
                command.words.append(Word(","))
                continue
            if self.peek(3) == "--%":
                self.problem("`--%` passes the rest of the line on unread")
            self.spend()
            before = self.pos
            word = self.element(name=not command.words)
            if self.pos == before:
                self.problem(f"unexpected {char!r}")
                self.pos += 1
                continue
            command.words.append(word)
        command.text = self.text[begin:self.pos].strip()
        command.captured = self.peek() == "|"
        if command.words or command.redirects:
            self.reading.commands.append(command)
        elif not called:
            self.problem("a command has no name")

    def element(self, name: bool = False) -> Word:
        """Reads one argument, which may be glued from a bare word, strings and variables."""
        word = Word("", start=self.pos)
        text: list[str] = []
        guess: list[str] = []
        begin = self.pos
        while self.pos < self.size:
            bare = BARE.match(self.text, self.pos)
            if bare:
                self.pos = bare.end()
                text.append(bare.group())
                guess.append(bare.group())
                word.glob = word.glob or any(sign in bare.group() for sign in "*?[")
                if bare.group()[-1:] == ":" and bare.group()[:1] == "-" and self.pos == begin + len(bare.group()):
                    break
                continue
            char = self.peek()
            if char == "`":
                self.spend()
                escaped = self.text[self.pos + 1:self.pos + 2]
                if name and escaped in tuple("0abefnrtuv"):
                    self.problem("an escape in a command's name cannot be checked")
                    guess.append(escaped)
                else:
                    text.append(escaped)
                    guess.append(escaped)
                self.pos += 2
                word.literal = False
                continue
            if char == "#" and self.pos > begin:
                text.append("#")
                guess.append("#")
                self.pos += 1
                continue
            if self.pos > begin and char in "({@" and (char != "(" or (text and text[-1][-1:] != ".")):
                if char == "@" and text:
                    text.append("@")
                    guess.append("@")
                    self.pos += 1
                    continue
                break
            if char in "\"'$@({":
                word.literal = False
                before = self.pos
                piece, piece_guess, block, wild = self.value()
                word.block = word.block or block
                word.wild = word.wild or wild
                text.append(piece)
                guess.append(piece_guess)
                if self.pos == before or char in "({@":
                    break
                continue
            break
        word.text, word.guess = "".join(text), "".join(guess) or "".join(text)
        return word

    def value(self) -> tuple[str, str, bool, bool]:
        """Reads one value with what hangs on it (members, indexes); returns text, guess, is a block, is wild."""
        begin, char = self.pos, self.peek()
        text = guess = UNKNOWN
        block = wild = False
        kind: str | None = None
        if char == "'":
            found = SINGLE.match(self.text, self.pos)
            if found is None:
                self.problem("a quote is not closed")
                text = guess = self.text[self.pos + 1:]
                self.pos = self.size
            else:
                self.pos = found.end()
                text = guess = found.group(1).replace("''", "'")
        elif char == '"':
            self.pos += 1
            text, guess, wild = self.double()
        elif char == "@":
            text, guess, block = self.at()
        elif char == "(":
            self.pos += 1
            begin_inner = self.pos
            self.nested(")")
            inner = re.fullmatch(r"\s*(?:'([^']*)'|\"([^\"$`]*)\")\s*", self.text[begin_inner:self.pos - 1])
            guess = (inner.group(1) or inner.group(2) or "") if inner else UNKNOWN
        elif char == "{":
            self.pos += 1
            self.nested("}")
            block = True
        elif char == "[":
            found = TYPE.match(self.text, self.pos)
            if found is None:
                self.pos += 1
                self.index()
            else:
                self.pos = found.end()
                kind = found.group(1)
                if self.peek(2) != "::":
                    self.reading.calls.append(Call(kind, "", f"[{kind}]"))
        else:
            text, guess, wild = self.variable()
        if self.members(begin, kind, guess):
            text = guess = UNKNOWN
        return text, guess, block, wild

    def at(self) -> tuple[str, str, bool]:
        """Reads `@'…'@`, `@(…)`, `@{…}` or `@name`."""
        here = HERE.match(self.text, self.pos)
        if here:
            stop = self.text.find("\n" + here.group(1) + "@", here.end() - 1)
            if stop < 0:
                self.problem("a here-string has no end")
                self.pos = self.size
                return UNKNOWN, UNKNOWN, False
            body = self.text[here.end():stop].rstrip("\r")
            if here.group(1) == '"' and ("$(" in body or "`" in body):
                self.problem("a substitution in a here-string cannot be checked")
            self.pos = stop + 3
            return (body, body, False) if here.group(1) == "'" else (UNKNOWN, body, False)
        following = self.text[self.pos + 1:self.pos + 2]
        if following == "(":
            self.pos += 2
            self.nested(")")
            return UNKNOWN, UNKNOWN, False
        if following == "{":
            self.pos += 2
            self.hash_table()
            return UNKNOWN, UNKNOWN, True
        found = re.compile(r"@\w+").match(self.text, self.pos)
        self.pos = found.end() if found else self.pos + 1
        if found is None:
            self.problem("`@` cannot be read")
        return UNKNOWN, UNKNOWN, False

    def hash_table(self) -> None:
        """Reads `key = value; …` up to the closing brace."""
        key = re.compile(r"\s*(?:[\w.-]+|'[^']*'|\"[^\"$`]*\")\s*=(?!=)")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooMuch("it is nested too deeply to be checked")
        while True:
            while self.peek() in (" ", "\t", "\r", "\n", ";", "#", "<", "`") and self.pos < self.size:
                before = self.pos
                self.skip_newlines()
                if self.peek() == ";":
                    self.pos += 1
                elif self.pos == before:
                    break
            if self.pos >= self.size:
                self.problem("a bracket is not closed")
                break
            if self.peek() == "}":
                self.pos += 1
                break
            self.spend()
            found = key.match(self.text, self.pos)
            before = self.pos
            if found:
                self.pos = found.end()
                self.skip_newlines()
                self.statement(False)
                while self.peek() == "|":
                    self.pos += 1
                    self.skip_newlines()
                    self.statement(True)
            if self.pos == before or not found:
                self.problem("a hash table cannot be read")
                self.pos += 1
        self.depth -= 1

    def variable(self) -> tuple[str, str, bool]:
        """Reads `$name`, `${name}` or `$(…)`."""
        if self.peek(2) == "$(":
            self.pos += 2
            self.nested(")")
            return UNKNOWN, UNKNOWN, False
        found = VARIABLE.match(self.text, self.pos)
        if found is None:
            self.pos += 1
            return "$", "$", False
        self.pos = found.end()
        name = (found.group(1) or found.group(2) or found.group(3) or "").lower()
        scope, colon, bare = name.partition(":")
        if colon and scope not in SAFE_SCOPES:
            self.problem(f"`${name}` may read a file")
        name = name if not colon or scope == "env" else bare
        if name in self.assigned:
            return UNKNOWN, self.assigned[name], False
        if name in AUTOMATIC:
            value = self.known.get(AUTOMATIC[name], AUTOMATIC[name])
            return value, value, False
        return UNKNOWN, UNKNOWN, name not in ("_", "psitem", "args", "input", "matches", "?", "^", "$", "this", "psversiontable", "pid",
                                              "host", "pshome", "lastexitcode", "iswindows", "islinux", "ismacos", "error", "foreach", "ofs")

    def members(self, begin: int, kind: str | None, constant: str) -> bool:
        """Reads `.Name`, `::Name`, `(…)` calls and `[…]` indexes behind a value. Returns whether there were any."""
        start = self.pos
        while self.pos < self.size:
            found = MEMBER.match(self.text, self.pos)
            if found:
                self.spend()
                self.pos = found.end()
                if self.peek() == "(" or (self.peek() == "{" and found.group(2).lower() in ("where", "foreach")):
                    name = found.group(2)
                    opening = self.peek()
                    self.pos += 1
                    inside = self.pos
                    self.nested(")" if opening == "(" else "}")
                    text = _short(self.text[begin:self.pos])
                    self.reading.calls.append(Call(kind if found.group(1) == "::" else None, name, text,
                                                   argument=self.text[inside:self.pos - 1].strip()))
                    kind = None
                continue
            if re.compile(r"(?:::|\.)[\"'$({]").match(self.text, self.pos):
                self.reading.calls.append(Call(kind, "", _short(self.text[begin:self.pos + 20]), assigned=True))
                self.pos += 1 if self.peek() == "." else 2
                self.value()
                continue
            if self.peek() == "[" and self.pos > start - 1 and self.text[self.pos - 1] not in " \t\n" and kind is None:
                self.pos += 1
                self.index()
                continue
            if self.peek(2) in ("++", "--"):
                self.pos += 2
                continue
            break
        return self.pos > start

    def index(self) -> None:
        """Reads an index up to its closing bracket."""
        while self.pos < self.size:
            self.skip_newlines()
            char = self.peek()
            if char == "]":
                self.pos += 1
                return
            self.spend()
            token = NUMBER.match(self.text, self.pos) or OPERATOR.match(self.text, self.pos)
            if token:
                self.pos = token.end()
            elif char and char in "$\"'([{@":
                self.value()
            else:
                break
        self.problem("an index cannot be read")

    def double(self) -> tuple[str, str, bool]:
        """Reads up to the closing double quote; substitutions inside are read as commands."""
        text: list[str] = []
        guess: list[str] = []
        wild = False
        plain = re.compile(r"[^\"`$]+")
        while self.pos < self.size:
            found = plain.match(self.text, self.pos)
            if found:
                self.pos = found.end()
                piece, piece_guess = found.group(), found.group()
            else:
                self.spend()
                char = self.peek()
                if self.peek(2) == '""':
                    self.pos += 2
                    piece = piece_guess = '"'
                elif char == '"':
                    self.pos += 1
                    return "".join(text), "".join(guess), wild
                elif char == "`":
                    escaped = self.text[self.pos + 1:self.pos + 2]
                    piece = piece_guess = ESCAPES.get(escaped, escaped)
                    self.pos += 2
                else:
                    piece, piece_guess, surprise = self.variable()
                    wild = wild or surprise
            text.append(piece)
            guess.append(piece_guess)
        self.problem("a quote is not closed")
        return "".join(text), "".join(guess), wild

    def redirect(self, command: Command) -> None:
        """Reads one redirection."""
        found = REDIRECT.match(self.text, self.pos)
        assert found is not None
        self.pos = found.end()
        if found.group(3):
            return
        self.skip_blanks()
        before = self.pos
        target = self.element()
        if self.pos == before:
            self.problem("a redirection has no target")
            return
        command.redirects.append(Redirect(found.group(2), target))
        command.text = command.text or self.text[command.start:self.pos]

    def skip_blanks(self) -> None:
        while True:
            blank = BLANK.match(self.text, self.pos)
            if blank:
                self.pos = blank.end()
            if self.text.startswith("<#", self.pos):
                stop = self.text.find("#>", self.pos + 2)
                if stop < 0:
                    self.problem("a comment is not closed")
                self.pos = self.size if stop < 0 else stop + 2
                continue
            comment = COMMENT.match(self.text, self.pos)
            if comment is None or (self.pos and self.text[self.pos - 1] not in " \t\r\n;|&(){}"):
                return
            self.pos = comment.end()

    def skip_newlines(self) -> None:
        while True:
            self.skip_blanks()
            if self.peek() != "\n":
                return
            self.pos += 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def read(text: str, *, home: str, cwd: str, max_words: int) -> Reading:
    """Returns the simple commands and method calls of a PowerShell line."""
    return Reader(text, home=home, cwd=cwd, max_words=max_words).read()
