"""What a command line is made of, whatever the shell: words, redirections, simple commands."""
from dataclasses import dataclass, field

UNKNOWN = "\0"  # stands in a word's text for a piece that is only known when the command runs


def names(text: str) -> frozenset[str]:
    """Returns the words of a table."""
    return frozenset(text.split())


@dataclass
class Word:
    """One argument as the program would get it.

    text: quotes and escapes resolved, UNKNOWN for what is not known; guess: the same with variables replaced by
    what this line last assigned to them; glob: it is a pattern of file names; wild: it holds a variable this
    line did not set; split: an unquoted unknown piece may become several words; literal: written without any
    quoting or expansion; block: PowerShell, it is a script block or a hash table;
    ppid: it holds the number of the shell's parent, which is this program; expanded: it holds a
    variable, known or not."""

    text: str
    guess: str = ""
    glob: bool = False
    wild: bool = False
    split: bool = False
    literal: bool = True
    block: bool = False
    ppid: bool = False
    expanded: bool = False
    start: int = 0

    def __post_init__(self):
        if not self.guess:
            self.guess = self.text

    @property
    def constant(self) -> bool:
        return UNKNOWN not in self.text


@dataclass
class Redirect:
    """`<`, `>`, `>>` ... and where to; `here` for text that stands in the line itself."""

    op: str
    target: Word


@dataclass
class Command:
    """One simple command: what it sets for itself, its name and arguments, where its input and output go."""

    words: list[Word]
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    text: str = ""
    start: int = 0
    piped_in: bool = False
    captured: bool = False
    sure: bool = True
    stdin: str | None = None
    below: str = ""  # its input names files below this directory
    source: "Command | None" = None
    function: bool = False
    inside: str = ""
    background: bool = False
    shell: str = "bash"


@dataclass
class Call:
    """PowerShell: a method that is called, or a property that is assigned."""

    type: str | None
    name: str
    text: str
    assigned: bool = False
    argument: str = ""


@dataclass
class Reading:
    """All simple commands of a line. `problems` are sentences about what could not be understood."""

    commands: list[Command] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    unread: str = ""

    def problem(self, sentence: str) -> None:
        if sentence not in self.problems and len(self.problems) < 20:
            self.problems.append(sentence)


class TooMuch(Exception):
    """A limit of depth or of the number of words is reached; the rest stays unread."""
