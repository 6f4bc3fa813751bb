"""Judges one command line: reads it, opens wrappers, applies the layers to each part."""
import re

from ananta.domain.steps import ALLOW, ASK, DENY, STRICTNESS, Part
from ananta.policy import classes, cmdlets, commands, floor, grammar, paths, unix, wrappers
from ananta.policy.rules import Blacklist, Rule, RuleSet
from ananta.policy.words import UNKNOWN, Command, Reading, Redirect, Word

MAX_DEPTH = 8
MAX_SHOWN = 120
MAX_COARSE = 5
# Words without which nothing in the unread rest of an overlong line can reach the floor.
COARSE_WORDS = ("rm", "mkfs", "dd", "wipe", "shred", "format", "rd", "del", "remove-item", "ri", "kill", "stop-", "systemctl", "sc ", "token", "environ",
                "blkdiscard", "sgdisk", "parted", "diskutil", "clear-disk", "secret", "/dev/")
LIFTABLE = (unix.WRITE, unix.SYSTEM, unix.UNCLEAR)
# They change what stands among their words and nothing else, so the floor has seen all of it.
PLAIN_WRITERS = frozenset({"touch", "mkdir", "rmdir", "rm", "tee", "unlink", "truncate", "new-item", "remove-item", "md", "rd", "del"})


class Judge:
    """Collects the parts of one line and of all lines inside its wrappers."""

    def __init__(self, context, blacklist: Blacklist | None, rules: RuleSet | None):
        self.context, self.blacklist, self.rules = context, blacklist, rules
        self.parts: dict[tuple[str, str, str], Part] = {}
        self.words_left = commands.MAX_WORDS
        windows = context.platform == "windows"
        program = {re.split(r"[\\/]", name)[-1].lower() for name in context.program if name}
        program |= {re.sub(r"\.(?:exe|py)$", "", name) for name in program}
        self.around = floor.Surroundings(context, windows, [context.cwd or "/"], program=frozenset(program))
        self.unread: list[tuple[str, str]] = []

    def line(self, text: str, shell: str) -> list[Part]:
        """Returns the parts of a whole line with what was decided about each."""
        self.around.tilde, self.around.dotglob = shell == "powershell", "dotglob" in text or "GLOBIGNORE" in text
        clean = text.encode("utf-8", "replace").decode("utf-8")
        if clean != text or "\0" in text or any(sign in text for sign in "\ue001\ue002\ue003"):
            self.add(_short(clean), ASK, "it contains characters that no command line can have")
            clean = clean.replace("\0", "")
        if shell not in commands.READERS:
            self.add(_short(clean), ASK, f"the shell `{shell}` is not known")
            shell = "bash"
        if self.blacklist is not None and (hit := self.blacklist.hit(clean)) is not None:
            self.add(_short(clean), DENY, f"the blacklist line `{hit}` matches")
        if self.around.windows is False and shell in ("powershell", "cmd"):
            self.around.windows = bool(re.match(r"[A-Za-z]:|\\\\", self.context.cwd)) or shell == "cmd"
        self.read(clean, shell, 0)
        for rest, kind in self.unread:
            self.coarse(rest, kind)
        return list(self.parts.values())

    def add(self, text: str, decision: str, reason: str, *, opaque: bool = False) -> None:
        self.parts.setdefault((text, decision, reason), Part(text, decision, reason, opaque))

    def read(self, text: str, shell: str, depth: int, *, captured: bool = False) -> None:
        """Reads one text as its shell would and judges every command in it."""
        reading = commands.read(text, shell, home=self.context.home, cwd=self.context.cwd, max_words=self.words_left)
        self.words_left = max(50, self.words_left - 3 * len(reading.commands))
        if reading.unread:
            self.unread.append((reading.unread, shell))
        for problem in reading.problems:
            self.add(_short(text), ASK, f"`{_short(text, 60)}` cannot be checked: {problem}")
        try:
            missed = grammar.overlooked(text, shell, reading)
        except ImportError:
            missed = None
            self.add(_short(text), ASK, "the grammars are not installed, so nothing can be checked")
        if missed:
            self.add(_short(text), ASK, f"`{_short(missed, 60)}` can be read in two ways")
        self.look_around(reading, text, shell)
        bomb = floor.line_reason(reading.commands) or _windows_bomb(text, shell)
        if bomb:
            self.add(_short(text), DENY, bomb)
        for call in reading.calls:
            self.call(call)
        functions: set[str] = set()
        seen: set[tuple] = set()
        previous: Command | None = None
        for command in reading.commands:
            if command.function:
                if command.sure:
                    functions.add(command.words[0].text)
                continue
            if captured:
                command.captured = True
            if command.piped_in and previous is not None and command.stdin is None:
                command.stdin, command.below = _printed(previous), _searched(previous)
            previous = command
            if command.words and command.stdin is None and not command.assignments and not command.redirects and all(word.constant for word in command.words):
                twin = (command.text, command.piped_in, command.captured, command.inside, len(functions), len(self.around.cwds))
                if twin in seen:
                    continue
                seen.add(twin)
            self.command(command, functions if shell == "bash" else reading.functions, depth)
        if not reading.commands and not reading.calls and not reading.problems and text.strip():
            self.add(_short(text), ALLOW, f"`{_short(text, 60)}` only computes a value")

    def look_around(self, reading: Reading, text: str, shell: str) -> None:
        """Remembers where the line goes with cd, whether it names this program, and whether it lists its secrets."""
        for command in reading.commands:
            if not command.words:
                continue
            name = cmdlets.canonical(command.words[0].guess) if command.shell == "powershell" else command.words[0].guess.lower()
            if name in ("cd", "pushd", "chdir", "set-location", "push-location") and len(self.around.cwds) < 8:
                targets = [w for w in command.words[1:] if not re.match(r"-[A-Za-z@]+$|/d$", w.guess)]
                target = targets[0].guess if targets else self.context.home
                if UNKNOWN not in target:
                    self.around.cwds.extend(place for place in self.around.places(target) if place not in self.around.cwds)
                    del self.around.cwds[8:]
        if self.context.secrets_dir and not self.context.secrets_shielded and not self.around.listed:
            self.around.listed = self.lists(reading, text, shell)
        self.around.mentions_program = self.around.mentions_program or floor.mentions(reading.commands, self.around)

    def lists(self, reading: Reading, text: str, shell: str) -> bool:
        """Whether a part of the line prints the names of files among which the secrets are."""
        walks = (shell == "cmd" and bool(re.search(r"\bfor\s+/r\b", text, re.IGNORECASE))) or any("alldirectories" in call.argument.lower() for call in reading.calls)
        if walks and any(paths.inside(floor.secrets(self.around), place) for place in self.around.places(".")):
            return True
        for command in reading.commands:
            words = [word for word in command.words if word.text not in ("sudo", "env", "time", "nice")]
            if words and not command.function:
                name = cmdlets.canonical(words[0].guess) if shell == "powershell" else unix.program_name(words[0].guess).lower()
                if floor.lists_secrets(name, words[1:], self.around):
                    return True
        return False

    def command(self, command: Command, functions: set[str], depth: int, *, lifted: int = 0) -> None:
        """Judges one simple command with its assignments and redirections, and what it runs."""
        shown = _short(command.text, MAX_SHOWN)
        denied = floor.reason(command, self.around)
        if denied:
            self.add(shown, DENY, f"`{shown}`: {denied}")
        self.black(command, shown)
        self.assigned(command, shown)
        for item in command.redirects:
            self.redirect(item, command, shown)
        if not command.words:
            return
        rule = self.rule(command, shown)
        covered = rule is not None and rule.decision == ALLOW and all(w.constant and not w.glob for w in command.words)
        opened = wrappers.open_wrapper(command) if depth < MAX_DEPTH else None
        if depth >= MAX_DEPTH:
            self.add(shown, ASK, f"`{shown}` is nested too deeply to be checked")
        if opened is None or opened.also:
            self.classify(command, functions, shown, lifted=covered or lifted > 0, rule=rule)
        if opened is None:
            return
        if opened.own is not None:
            kind, why = opened.own
            self.decide(kind, f"`{shown}` {why}", shown, lifted=covered or lifted > 0, rule=rule)
        # A rule that names the command inside a wrapper speaks for that command too.
        reach = len(rule.prefix) - opened.used if covered and rule is not None else lifted - opened.used
        outside, self.parts = self.parts, {}
        for inner in opened.commands:
            if inner.words:
                self.command(inner, set(), depth + 1, lifted=max(0, reach))
        for text, shell in opened.texts:
            self.read(text, shell, depth + 1, captured=command.captured)
        inside, self.parts = self.parts, outside
        if opened.own is None and not opened.also:
            # It is as harmless as the worst that it runs: whoever looks at this part alone is not misled.
            worst = max(inside.values(), key=lambda part: STRICTNESS[part.decision], default=None)
            if worst is None or worst.decision == ALLOW:
                self.add(shown, ALLOW, f"`{_short(shown, 60)}` is judged by what it runs")
            else:
                self.add(shown, worst.decision, worst.reason)
        for key, part in inside.items():
            self.parts.setdefault(key, part)

    def classify(self, command: Command, functions: set[str], shown: str, *, lifted: bool, rule: Rule | None) -> None:
        kind, why = classes.classify(command, functions, self.around)
        if kind == classes.READ:
            self.add(shown, ALLOW, f"`{_short(shown, 60)}` only reads")
        else:
            if not command.words[0].constant:
                lifted = False
            name = floor.name_of(command.words[0], command.shell)
            self.decide(kind, f"`{shown}` {why}", shown, lifted=lifted, rule=rule, opaque=name not in PLAIN_WRITERS)

    def decide(self, kind: str, sentence: str, shown: str, *, lifted: bool, rule: Rule | None, opaque: bool = True) -> None:
        """Adds an ask, unless a rule allows exactly this part."""
        if lifted and kind in LIFTABLE:
            self.add(shown, ALLOW, f"`{shown}` is allowed by a rule" + (f": {rule.reason}" if rule and rule.reason else ""),
                     opaque=opaque)
        else:
            self.add(shown, ASK, sentence)

    def rule(self, command: Command, shown: str) -> Rule | None:
        """Returns the rule for a command; a rule that asks or denies is added at once."""
        if self.rules is None:
            return None
        loose = [word.guess for word in command.words]
        rule = self.rules.find(loose, command.shell)
        if rule is not None and rule.decision != ALLOW:
            verb = "forbids" if rule.decision == DENY else "asks about"
            self.add(shown, rule.decision, f"a rule {verb} `{shown}`" + (f": {rule.reason}" if rule.reason else ""))
        return rule

    def black(self, command: Command, shown: str) -> None:
        """The blacklist also looks at the command as it would run, quotes and escapes resolved."""
        if self.blacklist is None or not command.words:
            return
        resolved = " ".join(word.guess for word in command.words)
        if (hit := self.blacklist.hit(resolved)) is not None:
            self.add(shown, DENY, f"the blacklist line `{hit}` matches `{shown}`")

    def assigned(self, command: Command, shown: str) -> None:
        name = command.words[0].text if command.words else ""
        pairs = [pair[0] for pair in command.assignments]
        if name in ("export", "declare", "typeset", "local", "readonly"):
            pairs += [word.text.partition("=")[0].rstrip("+") for word in command.words[1:] if "=" in word.text]
        if name in ("read", "mapfile", "readarray", "getopts"):
            pairs += [word.text for word in command.words[1:]]
        for variable in pairs:
            if unix.dangerous_variable(variable) and not (variable == "IFS" and name in ("read", "mapfile", "readarray")):
                self.add(shown, ASK, f"`{shown}` sets `{variable}`, which changes what programs do")
        if command.assignments and not command.words:
            for variable, value in command.assignments:
                if re.search(r"\[[^\]]*(?:\$\(|`)", value.text):
                    self.add(shown, ASK, f"`{shown}` may run a command when `{variable}` is evaluated")
            self.add(shown, ALLOW, f"`{_short(shown, 60)}` only sets a variable")

    def redirect(self, item: Redirect, command: Command, shown: str) -> None:
        found = classes.redirect(item, self.around, command.shell)
        if found is not None:
            self.add(shown, ASK, f"`{shown}` {found[1]}")
        elif not command.words:
            self.add(shown, ALLOW, f"`{_short(shown, 60)}` only redirects")

    def call(self, call) -> None:
        kind, why = cmdlets.judge_call(call)
        shown = _short(call.text, MAX_SHOWN)
        if call.type and self.context.secrets_dir and call.argument:
            constant = re.search(r"['\"]([^'\"$]+)['\"]", call.argument)
            if constant:
                denied = floor.reason(Command([Word("get-content"), Word(constant.group(1))], text=shown, shell="powershell"), self.around)
                if denied:
                    self.add(shown, DENY, f"`{shown}`: {denied}")
        if kind == classes.READ and self.around.listed and call.type and call.name.lower().startswith("read"):
            kind, why = classes.UNCLEAR, "may read this program's secrets among what is found"
        self.add(shown, ALLOW if kind == classes.READ else ASK, f"`{shown}` " + (why or "only reads"))

    def coarse(self, rest: str, shell: str) -> None:
        """Looks through what was too long to be read for anything the floor denies."""
        pieces: dict[str, None] = {}
        lower = rest.lower()
        for word in COARSE_WORDS:
            # The first and the last ones: what is to be hidden stands before or behind the padding.
            for find, position, step in ((lower.find, 0, 1), (lower.rfind, len(lower), -1)):
                for _ in range(MAX_COARSE):
                    position = find(word, position) if step > 0 else find(word, 0, position)
                    if position < 0:
                        break
                    if not lower[position - 1:position].isalnum():
                        pieces[_around(rest, position, position + len(word))] = None
                    position += step if step > 0 else 0
        for piece in pieces:
            reading = commands.read(piece.strip(), shell, home=self.context.home, cwd=self.context.cwd, max_words=60)
            for command in reading.commands:
                denied = floor.reason(command, self.around)
                if denied:
                    self.add(_short(command.text, MAX_SHOWN), DENY, f"`{_short(command.text, MAX_SHOWN)}`: {denied}")


def _printed(command: Command) -> str | None:
    """Returns what an echo at the head of a pipe prints, as far as it is known."""
    if not command.captured or not command.words or command.words[0].guess.rsplit("/", 1)[-1].lower() not in ("echo", "printf", "write-output"):
        return None
    return " ".join(word.guess for word in command.words[1:] if not re.fullmatch(r"-[neE]+", word.guess))


def _searched(command: Command) -> str:
    """Returns the one directory below which a find looks for the names it prints, "" when there are more or none is known."""
    texts = [word.text for word in command.words]
    if not texts or unix.program_name(texts[0]) not in ("find", "gfind") or any(text.startswith(("-printf", "-ls", "-exec", "-ok", "-files0")) for text in texts):
        return ""
    first = next((i for i, text in enumerate(texts) if i and text.startswith(("-", "(", "!"))), len(texts))
    starts = texts[1:first] or ["."]
    return starts[0] if len(starts) == 1 and UNKNOWN not in starts[0] and not command.words[1].glob else ""


def _around(text: str, start: int, stop: int) -> str:
    """Returns the simple command around a place, cut at separators."""
    before, after = text[max(0, start - 80):start], text[stop:stop + 120]
    return re.split(r"[;&|\n`()]", before)[-1] + text[start:stop] + re.split(r"[;&|\n`()]", after)[0]


def _windows_bomb(text: str, shell: str) -> str | None:
    if shell == "cmd" and re.search(r"%0\s*\|\s*%0|%~?[fs]*0\s*[|&]\s*(?:start\s+)?%~?[fs]*0", text):
        return "`%0|%0` starts itself again and again (fork bomb)"
    if shell == "powershell" and re.search(r"while\s*\(\s*(?:\$true|1)\s*\)\s*\{[^}]*\b(?:start-process|saps|start-job|start)\b", text, re.IGNORECASE):
        return "it starts processes without end (fork bomb)"
    return None


def _short(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[:length - 3] + "..."
