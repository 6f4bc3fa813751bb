"""A cmd line → its simple commands, as cmd reads it: percent signs first, then carets, quotes and operators."""
import re

from ananta.policy.words import UNKNOWN, Command, Reading, Redirect, TooMuch, Word, names

MAX_DEPTH = 40
PERCENT = re.compile(r"%(?:([^%\s:&|<>^\"]{1,64})(:[^%]*)?%|~?[a-z$:]*[0-9*]|%?~?[a-z$:]*?[A-Za-z](?![A-Za-z0-9_]))")
PLAIN = re.compile(r"[^\s\"^&|<>()%!,;=\0]+")
INSIDE = re.compile(r"[^\s\"^&|<>)%!,;=\0]+")  # once a word has begun, an opening bracket is part of it
REDIRECT = re.compile(r"([0-9])?(>>|>|<)(&[0-9])?")
NAME_END = re.compile(r"[/,;=(\[+:\\.]")
BUILTINS = names("""assoc break call cd chdir cls color copy date del dir echo endlocal erase exit for ftype goto if md mkdir
mklink move path pause popd prompt pushd rd rem ren rename rmdir set setlocal shift start time title type ver verify vol""")
KNOWN = {"cd": None, "userprofile": None, "homepath": None, "systemroot": r"C:\Windows", "windir": r"C:\Windows",
         "systemdrive": "C:", "programfiles": r"C:\Program Files", "programfiles(x86)": r"C:\Program Files (x86)",
         "programdata": r"C:\ProgramData", "comspec": r"C:\Windows\System32\cmd.exe", "homedrive": "C:"}
TAME = names("""path temp tmp date time errorlevel username computername os processor_architecture number_of_processors
userdomain random appdata localappdata public allusersprofile pathext processor_identifier logonserver sessionname
cmdcmdline commonprogramfiles psmodulepath userdnsdomain""")


class Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str, *, home: str, cwd: str, max_words: int):
        self.text = text
        self.size, self.pos, self.left = len(self.text), 0, max_words
        self.known = {**KNOWN, "cd": cwd, "userprofile": home, "homepath": home[2:] if home[1:2] == ":" else home}
        self.assigned: dict[str, str] = {}
        self.reading = Reading()

    def read(self) -> Reading:
        """Returns the reading; text beyond a limit is in `unread`."""
        try:
            self.statements(0)
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

    def blanks(self, signs: str = " \t\r\v\f") -> None:
        while self.pos < self.size and self.text[self.pos] in signs:
            self.pos += 1

    def statements(self, depth: int) -> None:
        """Reads commands up to the closing parenthesis or the end."""
        if depth > MAX_DEPTH:
            raise TooMuch("it is nested too deeply to be checked")
        piped = False
        while True:
            self.blanks(" \t\r\v\f,;=@")
            if self.pos >= self.size:
                if depth:
                    self.problem("a parenthesis is not closed")
                return
            char = self.text[self.pos]
            if char == ")":
                self.pos += 1
                if depth:
                    return
                self.problem("a closing parenthesis stands alone")
            elif char in "&|\n":
                both = self.text[self.pos:self.pos + 2] in ("&&", "||")
                self.pos += 2 if both else 1
                piped = char == "|" and not both
            else:
                self.spend(2)
                self.statement(depth, piped)

    def statement(self, depth: int, piped: bool) -> None:
        """Reads a block, `if`, `for` or a simple command."""
        if self.text[self.pos] == "(":
            self.pos += 1
            self.statements(depth + 1)
            self.after_block()
            return
        word = re.compile(r"(if|for|else|rem)(?=[\s(/]|$)", re.IGNORECASE).match(self.text, self.pos)
        kind = word.group(1).lower() if word else ""
        if kind == "if":
            self.pos += 2
            self.condition()
        elif kind == "for":
            self.pos += 3
            self.loop(depth)
        elif kind == "else":
            self.pos += 4
        else:
            self.simple(piped)

    def after_block(self) -> None:
        """Reads redirections behind a closing parenthesis."""
        self.blanks()
        holder = Command([], start=self.pos, shell="cmd")
        while self.pos < self.size and REDIRECT.match(self.text, self.pos):
            self.redirect(holder)
            self.blanks()
        if holder.redirects:
            holder.text = self.text[holder.start:self.pos].strip()
            self.reading.commands.append(holder)

    def condition(self) -> None:
        """Reads what stands between `if` and its command."""
        option = re.compile(r"[\s]*(/i|not)(?=\s)", re.IGNORECASE)
        while found := option.match(self.text, self.pos):
            self.pos = found.end()
        self.blanks()
        unary = re.compile(r"(exist|defined|errorlevel|cmdextversion)\s+", re.IGNORECASE).match(self.text, self.pos)
        if unary:
            self.pos = unary.end()
            words = self.words(1)
        else:
            words = self.words(1, stop="=")
            self.blanks()
            if self.text.startswith("==", self.pos):
                self.pos += 2
            elif not (found := re.compile(r"(equ|neq|lss|leq|gtr|geq)\s+", re.IGNORECASE).match(self.text, self.pos)):
                self.problem("a condition cannot be read")
            else:
                self.pos = found.end()
            self.blanks()
            words += self.words(1)
        if not words:
            self.problem("a condition cannot be read")

    def loop(self, depth: int) -> None:
        """Reads `for [/f "…"] %i in (…) do`; the command in quotes of /f is judged too."""
        head = re.compile(r"\s*(/[dlrf])?\s*(\"[^\"]*\"|(?:[A-Za-z]:)?[^\s%(\"]*)?\s*%{1,2}([^\s%])\s+in\s*\(", re.IGNORECASE)
        found = head.match(self.text, self.pos)
        if found is None:
            self.problem("the head of a loop cannot be read")
            return
        self.pos = found.end()
        stop = self.pos
        quote = ""
        while stop < self.size:
            char = self.text[stop]
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'`":
                quote = char
            elif char == ")":
                break
            stop += 1
        self.spend((stop - self.pos) // 20)
        inner = self.text[self.pos:stop].strip()
        if (found.group(1) or "").lower() == "/f" and inner[:1] in ("'", "`"):
            if len(inner) < 2 or inner[-1] != inner[0]:
                self.problem("the command of a loop cannot be read")
            self.inside(inner[1:-1], depth)
        elif (found.group(1) or "").lower() == "/f" and not inner.startswith('"'):
            self.reading.commands.append(Command([Word("type"), *(Word(item) for item in inner.split())], text=f"for /f ({inner})",
                                                 shell="cmd"))
        self.assigned["for " + found.group(3).lower()] = inner if re.fullmatch(r"[^\s%,;=\"'`]+", inner) else UNKNOWN
        self.pos = stop + 1
        after = re.compile(r"\s*do(?=[\s(])", re.IGNORECASE).match(self.text, self.pos)
        if after is None:
            self.problem("a loop has no `do`")
            return
        self.pos = after.end()

    def inside(self, text: str, depth: int) -> None:
        """Reads a command that stands in quotes."""
        outer = self.text, self.size, self.pos
        text = text.replace("^|", "|").replace("^&", "&").replace("^>", ">").replace("^<", "<")
        self.text, self.size, self.pos = text, len(text), 0
        before = len(self.reading.commands)
        if depth > MAX_DEPTH:
            raise TooMuch("it is nested too deeply to be checked")
        self.statements(0)
        for command in self.reading.commands[before:]:
            command.captured = True
        self.text, self.size, self.pos = outer

    def simple(self, piped: bool) -> None:
        """Reads a name, its arguments and redirections."""
        command = Command([], start=self.pos, piped_in=piped, shell="cmd")
        begin = self.pos
        if self.text[self.pos] == ":":
            # What follows a label is a comment only up to a separator, at least at the prompt.
            end = re.compile(r"[&|\n]").search(self.text, self.pos)
            self.pos = end.start() if end else self.size
            return
        while True:
            self.blanks(" \t\r\v\f,;=" if command.words else " \t\r\v\f")
            if self.pos >= self.size or self.text[self.pos] in "&|\n)":
                break
            if REDIRECT.match(self.text, self.pos) and (self.pos == begin or not self.text[self.pos].isdigit() or self.text[self.pos - 1] in " \t"):
                self.redirect(command)
                continue
            before = self.pos
            word = self.word()
            if self.pos == before:
                self.problem(f"unexpected {self.text[before]!r}")
                self.pos += 1
                continue
            command.words.extend([word] if command.words else _name(word))
            if len(command.words) and command.words[0].text.lower() == "set":
                self.set_value(command)
        command.text = self.text[begin:self.pos].strip()
        command.captured = self.text[self.pos:self.pos + 1] == "|" and self.text[self.pos:self.pos + 2] != "||"
        if command.words or command.redirects:
            self.reading.commands.append(command)

    def set_value(self, command: Command) -> None:
        """Remembers `set name=value` as a guess for the floor."""
        found = re.compile(r"\s*\"?([\w.]+)=([^&|\n\"]*)", re.ASCII).match(self.text, self.pos)
        if found and len(command.words) == 1:
            self.assigned[found.group(1).lower()] = found.group(2).strip()

    def words(self, count: int, stop: str = "") -> list[Word]:
        """Reads a number of words."""
        words = []
        for _ in range(count):
            self.blanks(" \t\r\v\f,;")
            before = self.pos
            word = self.word(stop)
            if self.pos > before:
                words.append(word)
        return words

    def word(self, stop: str = "") -> Word:
        """Reads one word; quotes are removed, carets resolved, variables unknown unless everyone knows them."""
        self.spend()
        text: list[str] = []
        guess: list[str] = []
        word = Word("", start=self.pos)
        quoted = False
        begin = self.pos
        while self.pos < self.size:
            plain = (INSIDE if text else PLAIN).match(self.text, self.pos)
            if plain:
                self.pos = plain.end()
                text.append(plain.group())
                guess.append(plain.group())
                continue
            char = self.text[self.pos]
            if char == "%":
                self.spend()
                piece, piece_guess, wild = self.percent()
                word.wild, word.literal = word.wild or wild, False
                text.append(piece)
                guess.append(piece_guess)
                continue
            if char == "!":
                self.spend()
                closed = re.compile(r"!(\w+)(:[^!]*)?!").match(self.text, self.pos)
                self.pos = closed.end() if closed else self.pos + 1
                text.append(UNKNOWN if closed else "!")
                guess.append(self.assigned.get(closed.group(1).lower(), UNKNOWN) if closed else "!")
                word.wild = word.wild or bool(closed)
                continue
            if char == '"':
                self.spend()
                quoted, word.literal = not quoted, False
                self.pos += 1
                continue
            if quoted and char != "\n":
                piece = char
                self.pos += 1
                if char == "\0":
                    self.problem("a NUL character cannot be checked")
                    piece = ""
            elif char == "^":
                self.spend()
                word.literal = False
                piece = self.text[self.pos + 1:self.pos + 2]
                self.pos += 2
                if piece == "\n":
                    piece = self.text[self.pos:self.pos + 1]
                    self.pos += 1
            elif (char == "(" and (text or self.pos > begin)) or (char == "=" and stop != "=" and text and text[0][:1] in "-/"):
                piece = char
                self.pos += 1
            elif char == "\0":
                self.problem("a NUL character cannot be checked")
                piece = ""
                self.pos += 1
            elif char == "(":
                piece = char
                self.pos += 1
            else:
                break
            text.append(piece)
            guess.append(piece)
        if quoted:
            self.problem("a quote is not closed")
        word.text, word.guess = "".join(text), "".join(guess)
        word.glob = "*" in word.text or "?" in word.text
        return word

    def percent(self) -> tuple[str, str, bool]:
        """Reads `%NAME%`, `%NAME:~0,1%`, `%1` or a loop's `%i`."""
        found = PERCENT.match(self.text, self.pos)
        if found is None:
            self.pos += 1
            return "%", "%", False
        self.pos = found.end()
        name, cut = (found.group(1) or "").lower(), found.group(2)
        if not name:
            guess = self.assigned.get("for " + found.group()[-1].lower(), UNKNOWN)
            return UNKNOWN, guess, False
        if cut:
            return UNKNOWN, UNKNOWN, True
        value = self.known.get(name)
        if value is not None and name not in self.assigned:
            return value, value, False
        return UNKNOWN, self.assigned.get(name, UNKNOWN), name not in TAME

    def redirect(self, command: Command) -> None:
        """Reads one redirection."""
        found = REDIRECT.match(self.text, self.pos)
        assert found is not None
        self.pos = found.end()
        if found.group(3):
            return
        self.blanks()
        before = self.pos
        target = self.word()
        if self.pos == before:
            self.problem("a redirection has no target")
            return
        command.redirects.append(Redirect(found.group(2), target))


def _name(word: Word) -> list[Word]:
    """Returns the name and the argument glued to it, as in `del/q` or `echo.text`."""
    if not word.constant and not word.text.split(UNKNOWN)[0]:
        return [word]
    cut = NAME_END.search(word.text)
    if cut and word.text[:cut.start()].lower() in BUILTINS:
        rest = word.text[cut.start():]
        return [Word(word.text[:cut.start()], literal=word.literal, start=word.start),
                Word(rest, word.guess[cut.start():], wild=word.wild, literal=word.literal)]
    switch = word.text.find("/")
    if switch > 0 and not word.text.startswith((".", "/")) and ":" not in word.text[:switch] and "\\" not in word.text[:switch]:
        return [Word(word.text[:switch], literal=word.literal, start=word.start), Word(word.text[switch:], wild=word.wild)]
    return [word]


def read(text: str, *, home: str, cwd: str, max_words: int) -> Reading:
    """Returns the simple commands of a cmd line."""
    return Reader(text, home=home, cwd=cwd, max_words=max_words).read()
