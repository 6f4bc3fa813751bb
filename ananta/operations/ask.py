"""The product without a browser: a sentence in, a proposal out, a person decides, the outcome goes on as context."""
import importlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from ananta.agent.steps import Decider, Execution, Order, Steps
from ananta.agent.watch import ModelWatch
from ananta.domain.prompts import Earlier
from ananta.domain.steps import ASK
from ananta.errors import CommandDenied
from ananta.operations.client import Client
from ananta.store import proposals

RUN, EDIT, NO, QUIT = "run", "edit", "no", "quit"
OUTPUT_FOR_MODEL = 4000
GO_ON = "Go on: propose the next step, or say that it is done."
FAILED, NOT_RUN = 1, 3


@dataclass(frozen=True)
class Suggestion:
    reason: str
    command: str | None
    decision: str | None
    reasons: list[str]
    model: str | None
    id: str | None = None


@dataclass(frozen=True)
class Result:
    output: str
    exit_code: int
    duration: float
    streamed: bool = False


class Desk(Protocol):
    """Where a conversation proposes and runs."""

    where: str

    def propose(self, prompt: str, history: list[Earlier]) -> Suggestion: ...

    def edit(self, shown: Suggestion, command: str) -> Suggestion: ...

    def reject(self, shown: Suggestion, reason: str) -> None: ...

    def execute(self, shown: Suggestion, *, person: bool, show: Callable[[str], None]) -> Result: ...


class LocalDesk:
    """This process itself; Ctrl-C ends the command, not the program."""

    def __init__(self, steps: Steps, watch: ModelWatch, task: str, mask: Callable[[str], str]):
        self.steps, self.task, self.mask = steps, task, mask
        self.where = f"in {steps.runner.directory(task)}"

    def propose(self, prompt: str, history: list[Earlier]) -> Suggestion:
        done = self.steps.propose(Order(prompt, task_id=self.task, history=tuple(history)), store=True)
        verdict = done.verdict
        return Suggestion(done.proposal.reason, done.proposal.command, verdict.decision if verdict else None,
                          list(verdict.reasons) if verdict else [], done.model, done.stored.id if done.stored else None)

    def edit(self, shown: Suggestion, command: str) -> Suggestion:
        new = self.steps.decisions.edit(shown.id or "", command, _person())
        return replace(shown, command=command, decision=new.decision, reasons=list(new.reasons), id=new.id)

    def reject(self, shown: Suggestion, reason: str) -> None:
        proposals.refuse(shown.id or "", reason, _person(), time.time())

    def execute(self, shown: Suggestion, *, person: bool, show: Callable[[str], None]) -> Result:
        stop = threading.Event()
        with _on_ctrl_c(stop.set):
            done = self.steps.execute(Execution(proposal_id=shown.id), Decider(_person(), admin=True, person=person),
                                      on_output=show, stop=stop)
        return Result(done.output, done.exit_code, done.duration_s, streamed=True)


class RemoteDesk:
    """The server that runs on this data directory; Ctrl-C asks it to end the command."""

    def __init__(self, client: Client, task: str):
        self.client, self.task = client, task
        self.where = f"by the server at {client.url}"

    def propose(self, prompt: str, history: list[Earlier]) -> Suggestion:
        items = [{"prompt": each.prompt, "reason": each.reason, "command": each.command, "output": each.output,
                  "exit_code": each.exit_code, "refused": each.refusal} for each in history]
        answer = self.client.call("POST", "/step/propose", timeout_s=70,
                                  body={"prompt": prompt, "task_id": self.task, "history": items})
        return Suggestion(answer["reason"], answer["command"], answer["decision"], answer["reasons"], answer["model"],
                          answer["id"])

    def edit(self, shown: Suggestion, command: str) -> Suggestion:
        new = self.client.call("POST", "/step/edit", timeout_s=20, body={"proposal_id": shown.id, "command": command})
        return replace(shown, command=command, decision=new["decision"], reasons=new["reasons"], id=new["id"])

    def reject(self, shown: Suggestion, reason: str) -> None:
        self.client.call("POST", "/step/reject", timeout_s=20, body={"proposal_id": shown.id, "reason": reason})

    def execute(self, shown: Suggestion, *, person: bool, show: Callable[[str], None]) -> Result:
        def stop() -> None:
            self.client.call("POST", "/step/stop", timeout_s=10, body={"task_id": self.task})

        with _on_ctrl_c(stop):
            answer = self.client.call("POST", "/step/execute", timeout_s=3700,
                                      body={"proposal_id": shown.id, "autonomous": not person})
        return Result(answer["output"], answer["exit_code"], answer["duration"])


@dataclass
class Conversation:
    """Proposals and decisions until the person stops. Questions go to standard error, so that output can be piped."""

    desk: Desk
    say: Callable[..., None]
    yes: bool = False
    as_json: bool = False
    history: list[Earlier] = field(default_factory=list)

    def hold(self, sentence: str) -> int:
        """Returns the exit code: that of the last round."""
        prompt, code = sentence, NOT_RUN
        while True:
            suggestion = self.desk.propose(prompt, self.history[-8:])
            self._show(suggestion)
            if not suggestion.command:
                self.history.append(Earlier(prompt, suggestion.reason))
                code = NOT_RUN if code == NOT_RUN else code
            else:
                choice, text, suggestion = self._decide(suggestion)
                if choice == QUIT:
                    return code
                if choice == NO:
                    self.history.append(Earlier(prompt, suggestion.reason, suggestion.command,
                                                refusal=text or "The person did not want this command."))
                    if self.yes:
                        return NOT_RUN
                    self.desk.reject(suggestion, text or "The person did not want this command.")
                    prompt = sentence if not text else f"{sentence}\nNot like that: {text}"
                    code = NOT_RUN
                    continue
                code = self._run(prompt, suggestion)
            if self.yes:
                return code
            following = self._question("next (Enter: go on, q: stop) > ")
            if following is None or following.lower() in ("q", "quit", "exit"):
                return code
            prompt = following or GO_ON

    def _run(self, prompt: str, suggestion: Suggestion) -> int:
        command = suggestion.command
        shown = (lambda text: None) if self.as_json else self._stream
        try:
            result = self.desk.execute(suggestion, person=not self.yes, show=shown)
        except CommandDenied as refusal:
            self.say(f"denied    {refusal.message}", error=True)
            self.history.append(Earlier(prompt, suggestion.reason, command, refusal=refusal.message))
            return 5
        if self.as_json:
            self.say(json.dumps({**asdict(suggestion), **asdict(result)}, ensure_ascii=False))
        elif not result.streamed and result.output:
            self.say(result.output)
        self.say(f"[exit code {result.exit_code} after {result.duration:.2f} s]", error=True)
        self.history.append(Earlier(prompt, suggestion.reason, command, result.output[-OUTPUT_FOR_MODEL:],
                                    result.exit_code))
        return 0 if result.exit_code == 0 else FAILED

    def _show(self, suggestion: Suggestion) -> None:
        if self.as_json:
            if not suggestion.command:
                self.say(json.dumps(asdict(suggestion), ensure_ascii=False))
            return
        self.say(f"reason    {_visible(suggestion.reason)}", error=True)
        if suggestion.command is None:
            self.say("command   none: the model gave no command", error=True)
            return
        self.say(f"command   {_visible(suggestion.command)}", error=True)
        self.say(f"policy    {suggestion.decision}: {'; '.join(suggestion.reasons)}   ({suggestion.model})", error=True)

    def _decide(self, suggestion: Suggestion) -> tuple[str, str, Suggestion]:
        if self.yes:
            if suggestion.decision != ASK:
                return RUN, "", suggestion  # a denied one is refused and recorded where everything is decided
            self.say(f"not run   --yes runs only what the policy allows; this is {suggestion.decision}: "
                     f"{'; '.join(suggestion.reasons)}", error=True)
            if self.as_json:
                self.say(json.dumps(asdict(suggestion), ensure_ascii=False))
            return NO, "", suggestion
        while True:
            typed = self._question("[r]un  [e]dit  [n]o, because …  [q]uit > ")
            if typed is None:
                self.say("not run   nobody decided", error=True)
                return QUIT, "", suggestion
            word, _, rest = typed.strip().partition(" ")
            if word.lower() in ("r", "run", "y", "yes"):
                return RUN, "", suggestion
            if word.lower() in ("n", "no"):
                return NO, rest.strip() or (self._question("why? > ") or ""), suggestion
            if word.lower() in ("q", "quit", "exit"):
                return QUIT, "", suggestion
            if word.lower() in ("e", "edit"):
                command = rest.strip() or self._edited(suggestion.command or "")
                if command.strip() and command != suggestion.command:
                    suggestion = self.desk.edit(suggestion, command)
                    self._show(suggestion)

    def _edited(self, command: str) -> str:
        try:
            readline: Any = importlib.import_module("readline")  # not on Windows
        except ImportError:
            return self._question("command > ") or command
        readline.set_startup_hook(lambda: readline.insert_text(command))
        try:
            return self._question("command > ") or command
        finally:
            readline.set_startup_hook(None)

    def _question(self, text: str) -> str | None:
        """Returns what was typed, None at the end of input or after Ctrl-C."""
        try:
            if sys.stdin.isatty() and sys.stderr.isatty():
                return _input(text)
            print(text, end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            print(line.rstrip("\n") if line else "", file=sys.stderr, flush=True)
            return line.rstrip("\n").strip() if line else None
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return None

    def _stream(self, text: str) -> None:
        try:
            sys.stdout.write(_visible(text))
            sys.stdout.flush()
        except UnicodeEncodeError:
            sys.stdout.write(text.encode("ascii", "replace").decode())


def _input(text: str) -> str:
    """input() with its question on standard error, so that standard output stays clean when it is piped."""
    if sys.stdout.isatty():
        return input(text).strip()
    print(text, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _visible(text: str) -> str:
    """The text with control characters shown instead of obeyed: hostile output must not redraw the question."""
    return "".join(char if char in "\n\t" or (char.isprintable() and char not in BIDI) else
                   "\n" if char == "\r" else f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
                   for char in text.replace("\r\n", "\n"))


BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _person() -> str:
    try:
        import getpass

        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "command-line"


@contextmanager
def _on_ctrl_c(act: Callable[[], None]) -> Iterator[None]:
    def handle(number, frame) -> None:
        print("ending the command ...", file=sys.stderr, flush=True)
        # Not here: the interrupted code may hold the very lock that `act` needs.
        threading.Thread(target=act, daemon=True).start()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


