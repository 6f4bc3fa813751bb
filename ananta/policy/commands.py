"""A command line (bash, PowerShell, cmd) → its simple commands, wrappers opened."""
from ananta.policy import bash, batch, powershell, wrappers
from ananta.policy.words import Reading

READERS = {"bash": bash.read, "powershell": powershell.read, "cmd": batch.read}
MAX_WORDS = 1200
MAX_WRAPPERS = 8


def read(text: str, shell: str, *, home: str = "/root", cwd: str = "/", max_words: int = MAX_WORDS) -> Reading:
    """Returns the simple commands of one line as its shell would run them; nothing inside wrappers yet."""
    reading = READERS[shell](text, home=home, cwd=cwd, max_words=max_words)
    for command in reading.commands:
        command.shell = shell
    return reading


def simple_commands(text: str, shell: str) -> list[list[str]]:
    """Returns the words of every simple command, those inside wrappers too. A word that is not constant keeps U+0000."""
    found: list[list[str]] = []
    waiting = [(text, shell, 0)]
    while waiting:
        line, kind, depth = waiting.pop()
        commands = [c for c in read(line, kind).commands if c.words and not c.function]
        while commands:
            command = commands.pop()
            found.append([word.text for word in command.words])
            opened = wrappers.open_wrapper(command) if depth < MAX_WRAPPERS else None
            if opened is not None:
                commands.extend(c for c in opened.commands if c.words and len(c.words) < len(command.words))
                waiting.extend((inner, inner_shell, depth + 1) for inner, inner_shell in opened.texts)
    return found
