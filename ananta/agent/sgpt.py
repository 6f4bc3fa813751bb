"""Answers in the way of the program sgpt: by that program where it is installed, else by our own model call."""
import os
import platform
import re
import shutil
import subprocess
import threading
import time

from ananta.agent.lanes import Lane
from ananta.agent.steps import Decider, Execution, Steps
from ananta.domain import answers, prompts
from ananta.errors import AnantaError, ApprovalRequired, BreakerOpen, CommandDenied, InvalidInput
from ananta.shell.environment import child_environment
from ananta.store.audit import Audit

# name → whether a value follows
OPTIONS = {"--shell": False, "--model": True, "--temperature": True, "--top-p": True, "--md": False,
           "--no-interaction": False, "--cache": False, "--no-cache": False}
VALUES = {"--model": re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}"), "--temperature": re.compile(r"[0-2](\.[0-9]+)?"),
          "--top-p": re.compile(r"[01](\.[0-9]+)?")}
LIMIT_S = 60.0
FAILURES, PAUSE_S = 5, 60.0


class SgptFailed(AnantaError):
    code = "sgpt_failed"


class Sgpt:
    """One call at a time; after five failures in a row a pause of a minute."""

    def __init__(self, steps: Steps, audit: Audit, *, default_model: str | None, secret_names: list[str]):
        self.steps, self.audit, self.default_model, self.secret_names = steps, audit, default_model, secret_names
        self.lane = Lane("sgpt", 1, retry_after_s=5)
        self._failures, self._closed_until, self._lock = 0, 0.0, threading.Lock()

    def execute(self, prompt: str, options: list[str], *, run: bool, caller: str, address: str) -> dict:
        """Returns {output, errors}, with `run` also {command, exit_code}.

        Raises InvalidInput, Busy, BreakerOpen, SgptFailed, LLMFailed; with `run` CommandDenied, ApprovalRequired."""
        chosen, dropped = parse_options(options)
        if run and "--shell" not in chosen:
            raise InvalidInput("execute needs the option --shell.", code="shell_option_required", details="execute")
        with self.lane.take():
            if time.monotonic() < self._closed_until:
                wait = round(self._closed_until - time.monotonic()) + 1
                raise BreakerOpen(f"The last {FAILURES} calls failed: try again in {wait} s.", retry_after=wait)
            answer = self._answer(prompt, chosen, caller, address)
        if dropped:
            answer["errors"] = (answer["errors"] + "\n" if answer["errors"] else "") + (
                "Options that are not possible here were left out: " + ", ".join(dropped))
        if not run:
            return answer
        if not answer["output"]:
            raise SgptFailed("The model gave no command: say more exactly what shall be done.")
        try:
            done = self.steps.execute(Execution(answer["output"], reason=f"sgpt: {prompt}"),
                                      Decider(caller, admin=False, person=False))
        except (ApprovalRequired, CommandDenied) as refusal:
            refusal.extras["command"] = answer["output"]
            raise
        return {**answer, "command": answer["output"], "output": done.output, "exit_code": done.exit_code}

    def _answer(self, prompt: str, chosen: dict[str, str | None], caller: str, address: str) -> dict:
        try:
            program = shutil.which("sgpt")
            answer = self._by_program(program, prompt, chosen) if program else self._by_model(prompt, chosen)
        except AnantaError as error:
            with self._lock:
                self._failures += 1
                if self._failures >= FAILURES:
                    self._failures, self._closed_until = 0, time.monotonic() + PAUSE_S
            self.audit.write("sgpt_error", username=caller, ip=address, details={"error": error.message})
            raise
        self._failures = 0
        self.audit.write("sgpt_success", username=caller, ip=address, details={"options": list(chosen)})
        return answer

    def _by_model(self, prompt: str, chosen: dict[str, str | None]) -> dict:
        setting = self.steps.configuration.model(model=chosen.get("--model") or self.default_model)
        messages = prompts.sgpt_messages(prompt, tuple(chosen), shell_kind=self.steps.runner.shell_kind,
                                         os_name=platform.system())
        _, reply = self.steps.complete(setting, messages, budget_s=LIMIT_S,
                                       temperature=float(chosen.get("--temperature") or 0.2))
        text = (answers.bare_command(reply.text) or "") if "--shell" in chosen else reply.text.strip()
        return {"output": text, "errors": ""}

    def _by_program(self, program: str, prompt: str, chosen: dict[str, str | None]) -> dict:
        setting = self.steps.configuration.model()
        environment = child_environment(os.environ, self.secret_names)
        environment |= {"OPENAI_API_KEY": setting.key or "none"}
        if setting.provider == "lmstudio":
            environment |= {"API_BASE_URL": setting.url, "OPENAI_BASE_URL": setting.url}
        words = [word for name, value in chosen.items() for word in ((name, value) if value else (name,))]
        if "--model" not in chosen and self.default_model:
            words += ["--model", self.default_model]
        if "--no-interaction" not in chosen and "--shell" in chosen:
            words.append("--no-interaction")
        try:
            done = subprocess.run([program, *words, "--", prompt], capture_output=True, text=True, timeout=LIMIT_S,
                                  errors="replace", stdin=subprocess.DEVNULL, env=environment, check=False)
        except subprocess.TimeoutExpired as cause:
            raise SgptFailed(f"sgpt gave no answer within {LIMIT_S:g} s.") from cause
        except OSError as cause:
            raise SgptFailed(f"sgpt could not be started: {cause.strerror}.") from cause
        if done.returncode != 0 and not done.stdout.strip():
            raise SgptFailed(done.stderr.strip()[:2000] or f"sgpt ended with {done.returncode} and said nothing.")
        return {"output": done.stdout.strip(), "errors": done.stderr.strip()}


def parse_options(options: list[str]) -> tuple[dict[str, str | None], list[str]]:
    """Returns the permitted options with their values, and the names of those that were dropped.

    A value follows as the next item or as --name=value. Raises InvalidInput for a value that is not possible."""
    chosen: dict[str, str | None] = {}
    dropped: list[str] = []
    items = iter(options)
    for item in items:
        name, joined, value = item.partition("=")
        if name not in OPTIONS or (joined and not OPTIONS[name]):
            dropped.append(name[:50])
            continue
        if OPTIONS[name]:
            value = value if joined else next(items, "")
            if VALUES[name].fullmatch(value) is None:
                raise InvalidInput(f"{name}={value[:50]!r} is not possible.", details=name)
        chosen[name] = value or None
    return chosen, dropped
