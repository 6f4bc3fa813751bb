"""A bash line → its simple commands. Reads as bash does; what it does not know becomes a problem, never a guess.

One pass from left to right: nested substitutions are read where they stand, so that time grows with the length.
"""
import re
from dataclasses import dataclass

from ananta.policy.bash_words import Variables, WordReader
from ananta.policy.unix import dangerous_variable
from ananta.policy.words import Command, Reading, Redirect, TooMuch, Word

MAX_DEPTH = 40
BLANK = re.compile(r"(?:[ \t\r]|\\\r?\n)+")
COMMENT = re.compile(r"#[^\n]*")
REDIRECT = re.compile(r"(\d+|\{[A-Za-z_]\w*\})?(<<<|<<-|<<|<>|<&|>&|>>|>\||&>>|&>|<(?!\()|>(?!\())")
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[\w@*$\"'.-]*\])?\+?=")
FUNCTION = re.compile(r"[ \t]*\([ \t]*\)")
NAME_NEXT = re.compile(r"[ \t]*([^\s;&|<>()$`\"'\\]+)[ \t]*(\([ \t]*\))?")
SEPARATOR = re.compile(r";;&|;;|;&|;|&&|&|\|\||\|&|\||\n")
OPENERS = {"if": "fi", "while": "done", "until": "done", "{": "}"}
CONTINUE = {"then", "do", "else", "elif", "!"}


@dataclass
class _Block:
    closer: str
    sure: bool
    where: str = "body"
    function: str = ""


class Reader(WordReader):
    """Reads one text; `depth` counts the substitutions around it."""

    def __init__(self, text: str, *, home: str, cwd: str, max_words: int):
        super().__init__(text, variables=Variables(home, cwd), max_words=max_words)
        self.reading = Reading()
        self.heredocs: list[tuple[str, bool, bool, Command | None, Redirect]] = []
        self.depth = 0
        self.defining = ""
        self.inside: list[str] = []

    def read(self) -> Reading:
        """Returns the reading; text beyond a limit is in `unread`."""
        try:
            self.statements(end="")
        except TooMuch as limit:
            self.reading.problem(str(limit))
            self.reading.unread = self.text[self.pos:]
        return self.reading

    def problem(self, sentence: str) -> None:
        self.reading.problem(sentence)

    def nested(self, end: str) -> None:
        """Reads a substitution up to its end sign; its commands become parts like all others."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooMuch("it is nested too deeply to be checked")
        pending, self.heredocs = self.heredocs, []
        self.statements(end=end, captured=True)
        if self.heredocs:
            self.problem("a here-document inside a substitution has no end")
        self.heredocs = pending
        self.depth -= 1

    def statements(self, *, end: str, captured: bool = False) -> None:
        """Reads commands until the end sign (")" or "`", "" for the end of the text)."""
        stack: list[_Block] = []
        sure, piped, closed = True, False, False
        while True:
            self.skip_blanks()
            if self.pos >= self.size:
                if end:
                    self.problem("a substitution is not closed")
                break
            if end == "`" and self.text[self.pos] == "`":
                self.pos += 1
                break
            if stack and stack[-1].where == "pattern":
                self.case_pattern(stack)
                closed = False
                continue
            char = self.text[self.pos]
            if char == ")":
                self.pos += 1
                if stack and stack[-1].closer == ")":
                    stack.pop()
                    closed = True
                    continue
                if end == ")" and not stack:
                    return
                if end == ")":
                    self.problem("a block is not closed")
                    return
                self.problem("a closing parenthesis stands alone")
                continue
            separator = SEPARATOR.match(self.text, self.pos)
            if separator:
                self.spend(1)
            if separator and not REDIRECT.match(self.text, self.pos):
                self.pos = separator.end()
                sign = separator.group()
                if sign == "\n":
                    self.read_heredocs()
                elif sign in (";;", ";&", ";;&"):
                    if stack and stack[-1].closer == "esac":
                        stack[-1].where = "pattern"
                    else:
                        self.problem("`;;` stands outside of a case")
                sure = sign in (";", "\n") and all(block.sure for block in stack)
                piped = sign in ("|", "|&") or (piped and bool(stack) and sign in (";", "\n", "&&", "||"))
                closed = False
                continue
            if closed:
                closed = self.after_block(stack)
                continue
            if char == "(":
                if self.text.startswith("((", self.pos) and self.arithmetic(2):
                    closed = True
                    continue
                self.pos += 1
                self.spend(2)
                stack.append(_Block(")", False, function=self.defining))
                self.defining = ""
                if len(stack) > MAX_DEPTH * 5:
                    raise TooMuch("it is nested too deeply to be checked")
                continue
            closed = self.statement(stack, sure=sure and not captured and not self.depth, piped=piped, captured=captured)
            sure = sure and not stack
        if stack:
            self.problem("a block is not closed")
        if self.heredocs and not end:
            self.read_heredocs()

    def statement(self, stack: list[_Block], *, sure: bool, piped: bool, captured: bool) -> bool:
        """Reads a reserved word or a simple command. Returns whether a block has just been closed."""
        self.spend(4)
        word = self.peek_reserved()
        if word in OPENERS:
            stack.append(_Block(OPENERS[word], word == "{" and not self.defining, function=self.defining))
            self.defining = ""
        elif word == "time":
            self.skip_blanks()
            self.pos += 2 if re.compile(r"-p\s").match(self.text, self.pos) else 0
        elif word in CONTINUE:
            pass
        elif word in ("fi", "done", "}", "esac"):
            if stack and stack[-1].closer == word:
                stack.pop()
                return True
            self.problem(f"`{word}` closes nothing")
        elif word in ("for", "select"):
            self.loop(stack)
        elif word == "case":
            self.case(stack)
        elif word == "function":
            name = NAME_NEXT.match(self.text, self.pos)
            if name is None:
                self.problem("a function has no name")
            else:
                self.pos = name.end()
                self.define(name.group(1), sure)
        elif word == "[[":
            self.condition()
            return True
        elif word == "coproc":
            self.problem("`coproc` starts something in the background")
        else:
            self.inside.append(next((block.function for block in reversed(stack) if block.function), self.inside[-1] if self.inside else ""))
            self.simple(sure=sure, piped=piped, captured=captured)
            self.inside.pop()
        return False

    def peek_reserved(self) -> str:
        """Consumes a reserved word and returns it, or "" if none stands here."""
        found = RESERVED.match(self.text, self.pos)
        if found is None:
            return ""
        self.pos = found.end()
        return found.group()

    def after_block(self, stack: list[_Block]) -> bool:
        """Reads what may follow a closed block: redirections or another closing word."""
        if REDIRECT.match(self.text, self.pos):
            holder = Command([], start=self.pos)
            self.redirect(holder)
            holder.text = self.text[holder.start:self.pos].strip()
            self.reading.commands.append(holder)
            return True
        word = self.peek_reserved()
        if stack and word == stack[-1].closer:
            stack.pop()
            return True
        if word in ("then", "do", "else", "elif"):
            return False
        self.problem("something unexpected follows a block")
        if not word:
            self.simple(sure=False, piped=True, captured=True)
        return False

    def simple(self, *, sure: bool, piped: bool, captured: bool) -> None:
        """Reads assignments, words and redirections up to the next separator."""
        command = Command([], start=self.pos, piped_in=piped, sure=sure, captured=captured)
        begin = self.pos
        while True:
            self.skip_blanks(comments=bool(command.words or command.assignments))
            if self.pos >= self.size:
                break
            if REDIRECT.match(self.text, self.pos):
                self.redirect(command)
                continue
            char = self.text[self.pos]
            if char in ";&|\n)" or (char == "`" and self.in_backtick):
                break
            if char == "(":
                function = FUNCTION.match(self.text, self.pos)
                if function and len(command.words) == 1 and not command.assignments and not command.redirects:
                    self.pos = function.end()
                    self.define(command.words[0].text, sure)
                    return
                self.problem("a parenthesis stands where no list can begin")
                self.pos += 1
                continue
            if not command.words and self.assignment(command, sure):
                continue
            before = self.pos
            command.words.extend(self.word())
            if self.pos == before:
                self.problem(f"unexpected {self.text[before]!r}")
                self.pos += 1
        command.text = self.text[begin:self.pos].strip()
        following = SEPARATOR.match(self.text, self.pos)
        command.captured = captured or (following is not None and following.group() in ("|", "|&"))
        command.background = following is not None and following.group() == "&"
        command.inside = self.inside[-1] if self.inside else ""
        if command.words or command.redirects or command.assignments:
            self.reading.commands.append(command)
            self.remember(command, sure)

    def remember(self, command: Command, sure: bool) -> None:
        """Keeps what the command does to variables; a bare assignment counts, a prefix does not."""
        if not command.words:
            for name, value in command.assignments:
                self.variables.assign(name, value, sure=sure)
            return
        name = command.words[0].text
        if name in ("export", "declare", "typeset", "local", "readonly"):
            for word in command.words[1:]:
                variable, equals, _ = word.text.partition("=")
                if equals:
                    _, _, guess = word.guess.partition("=")
                    value = Word(word.text.partition("=")[2], guess, wild=word.wild)
                    self.variables.assign(variable.rstrip("+"), value, sure=sure)
        elif name in ("read", "mapfile", "readarray", "getopts"):
            for word in command.words[1:]:
                self.variables.assign(word.text, None, sure=sure)

    def assignment(self, command: Command, sure: bool) -> bool:
        """Reads `name=value` or `name=(…)` before the command's name. Returns whether there was one."""
        found = ASSIGNMENT.match(self.text, self.pos)
        if found is None:
            return False
        if found.group(2) and ("$" in found.group(2) or "`" in found.group(2)):
            self.problem("an array index is not constant")
        self.pos = found.end()
        if self.text.startswith("(", self.pos):
            self.pos += 1
            self.word_list(")")
            command.assignments.append((found.group(1), Word("\0")))
            return True
        if self.pos < self.size and self.text[self.pos] not in " \t\r\n;&|)":
            value = self.word(value=True)
            merged = Word(" ".join(w.text for w in value), " ".join(w.guess for w in value), wild=any(w.wild for w in value))
        else:
            merged = Word("")
        command.assignments.append((found.group(1), merged))
        return True

    def define(self, name: str, sure: bool) -> None:
        """Remembers a function; its body follows and is judged like everything else."""
        if sure:
            self.reading.functions.add(name)
        self.variables.in_function = True
        self.defining = name
        self.reading.commands.append(Command([Word(name)], text=f"{name}()", start=-1, function=True, sure=sure))
        self.skip_newlines()
        if self.text[self.pos:self.pos + 1] not in ("{", "("):
            self.problem("a function's body is not a block")

    def word_list(self, end: str) -> list[Word]:
        """Reads words up to a closing parenthesis."""
        words: list[Word] = []
        while True:
            self.skip_newlines()
            if self.pos >= self.size:
                self.problem("a list is not closed")
                return words
            if self.text[self.pos] == end:
                self.pos += 1
                return words
            before = self.pos
            words.extend(self.word())
            if self.pos == before:
                self.problem(f"unexpected {self.text[before]!r} in a list")
                self.pos += 1

    def loop(self, stack: list[_Block]) -> None:
        """Reads `for x in …` up to its separator; `do` follows."""
        self.skip_newlines()
        stack.append(_Block("done", False))
        if self.text.startswith("((", self.pos):
            if not self.arithmetic(2):
                self.problem("the head of a loop cannot be read")
            return
        name = NAME_NEXT.match(self.text, self.pos)
        if name is None:
            self.problem("a loop has no variable")
            return
        self.pos = name.end(1)
        self.skip_newlines()
        items: list[Word] = []
        if re.compile(r"in(?=[\s;]|$)").match(self.text, self.pos):
            self.pos += 2
            while True:
                self.skip_blanks()
                if self.pos >= self.size or self.text[self.pos] in ";\n&|":
                    break
                before = self.pos
                items.extend(self.word())
                if self.pos == before:
                    self.problem(f"unexpected {self.text[before]!r} in a loop")
                    self.pos += 1
        if dangerous_variable(name.group(1)):
            self.problem(f"`{name.group(1)}` is set, which changes what programs do")
        self.variables.assign_loop(name.group(1), items)

    def case(self, stack: list[_Block]) -> None:
        """Reads `case word in`; the patterns follow."""
        self.skip_newlines()
        self.word()
        self.skip_newlines()
        if not re.compile(r"in(?=[\s(]|$)").match(self.text, self.pos):
            self.problem("a case has no `in`")
            return
        self.pos += 2
        stack.append(_Block("esac", False, "pattern"))

    def case_pattern(self, stack: list[_Block]) -> None:
        """Reads the patterns of one branch, or `esac`."""
        self.skip_newlines()
        if re.compile(r"esac(?=[\s;&|)<>]|$)").match(self.text, self.pos):
            stack[-1].where = "body"
            return
        if self.text.startswith("(", self.pos):
            self.pos += 1
        while self.pos < self.size:
            self.skip_newlines()
            char = self.text[self.pos:self.pos + 1]
            if char == ")":
                self.pos += 1
                stack[-1].where = "body"
                return
            if char == "|":
                self.spend(1)
                self.pos += 1
                continue
            before = self.pos
            self.word()
            if self.pos == before:
                break
        self.problem("the branches of a case cannot be read")
        stack[-1].where = "body"

    def condition(self) -> None:
        """Reads `[[ … ]]`; comparisons inside are no redirections."""
        while self.pos < self.size:
            self.skip_newlines()
            if re.compile(r"\]\](?=[\s;&|)<>]|$)").match(self.text, self.pos):
                self.pos += 2
                return
            if self.pos < self.size and self.text[self.pos] in "()<>|&":
                self.spend(1)
                if self.text.startswith(("<(", ">("), self.pos):
                    self.pos += 2
                    self.nested(")")
                else:
                    self.pos += 1
                continue
            before = self.pos
            self.word()
            if self.pos == before:
                break
        self.problem("a condition `[[` is not closed")

    def redirect(self, command: Command) -> None:
        """Reads one redirection; the text of a here-document follows after the line."""
        found = REDIRECT.match(self.text, self.pos)
        assert found is not None
        self.pos = found.end()
        self.skip_blanks(comments=False)
        op, start = found.group(2), self.pos
        target = self.word() if self.pos < self.size and self.text[self.pos] not in "\n;&|)" else []
        if not target:
            self.problem("a redirection has no target")
            return
        redirect = Redirect(op, target[0] if len(target) == 1 else Word("\0", wild=True))
        command.redirects.append(redirect)
        if op in ("<<", "<<-"):
            raw = self.text[start:self.pos]
            quoted = any(sign in raw for sign in "'\"\\")
            self.heredocs.append((re.sub(r"['\"\\]", "", raw), op == "<<-", quoted, command, redirect))
        elif op == "<<<":
            command.stdin = redirect.target.guess

    def read_heredocs(self) -> None:
        """Reads the bodies that wait for the end of the line."""
        pending, self.heredocs = self.heredocs, []
        for delimiter, tabs, quoted, command, redirect in pending:
            indent = r"\t*" if tabs else ""
            found = re.compile(rf"^{indent}{re.escape(delimiter)}$", re.MULTILINE).search(self.text, self.pos)
            if found is None:
                self.problem("a here-document has no end")
            stop, after = (found.start(), found.end()) if found else (self.size, self.size)
            body = self.text[self.pos:stop]
            if not quoted:
                self.expandable_text(stop)
            redirect.target = Word(body)
            if command is not None:
                command.stdin = body
            self.pos = after

    def skip_blanks(self, comments: bool = True) -> None:
        while True:
            blank = BLANK.match(self.text, self.pos)
            if blank:
                self.pos = blank.end()
            if comments or blank:
                comment = COMMENT.match(self.text, self.pos)
                if comment and (self.pos == 0 or self.text[self.pos - 1] in " \t\r\n;&|()"):
                    self.pos = comment.end()
                    continue
            if not blank:
                return

    def skip_newlines(self) -> None:
        while True:
            self.skip_blanks()
            if self.text[self.pos:self.pos + 1] != "\n":
                return
            self.pos += 1
            self.read_heredocs()


RESERVED = re.compile(r"(?:if|then|else|elif|fi|while|until|do|done|for|select|case|esac|function|time|coproc|\[\[|!|\{|\})"
                      r"(?=[\s;&|()<>]|$)")


def read(text: str, *, home: str, cwd: str, max_words: int) -> Reading:
    """Returns the simple commands of a bash line."""
    return Reader(text, home=home, cwd=cwd, max_words=max_words).read()
