"""One question to a model that may ask for tools, and the calls of tools that somebody has confirmed.

What a model asks for never runs in the same request: it goes back to whoever asked, who sends exactly those calls again.
"""
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from ananta.agent.configuration import LiveConfiguration
from ananta.agent.steps import Steps
from ananta.agent.tools import By, ToolResult, Tools
from ananta.domain import assistant
from ananta.domain.assistant import Answer
from ananta.domain.configuration import MASK, PROVIDERS, ModelSetting
from ananta.domain.prompts import Message, clipped
from ananta.domain.redaction import masked
from ananta.domain.steps import ToolCall
from ananta.errors import AnantaError, InvalidInput, LLMBadAnswer, NotAllowed
from ananta.store.llm_log import LLMLog

log = logging.getLogger(__name__)
BUDGET_S = 110.0
NEED_KEY = ("openai", "anthropic")
KEPT_S, KEPT, KEPT_BYTES = 60.0, 64, 256 << 10
LOGGED_CHARS = 2000
OVERVIEW = "What do these results say?"


@dataclass(frozen=True)
class Choice:
    """What a request says about the model; None: as configured. key: MASK means the stored one."""

    provider: str | None = None
    model: str | None = None
    url: str | None = None
    key: str | None = field(default=None, repr=False)
    mode: str | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class Question:
    """tool_calls: what was confirmed, or asked for before; None where the request has none. owner: who may be given the
    same answer again; stream: nothing runs then."""

    prompt: str
    setting: ModelSetting
    by: By
    owner: str
    request_id: str
    timeout_s: float
    history: tuple[Message, ...] = ()
    context: object = None
    tool_calls: tuple[ToolCall, ...] | None = None
    confirmed: bool = False
    stream: bool = False


@dataclass(frozen=True)
class Generated:
    """What came of a question. tool_calls: what the model asks for; blocked: nobody here may confirm that; results: what
    the confirmed tools gave; blocked_tools: those that are not permitted, so that none ran. can_stream: False where a
    client has more to do than to show the text."""

    response: str
    thought: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    blocked: bool = False
    results: tuple[ToolResult, ...] | None = None
    blocked_tools: tuple[str, ...] = ()
    can_stream: bool = True


class Generation:
    """Answers questions. hide: text → text without the secrets that this process knows."""

    def __init__(self, steps: Steps, tools: Tools, llm_log: LLMLog, configuration: LiveConfiguration, hide: Callable[[str], str]):
        self.steps, self.tools, self.llm_log, self.configuration, self.hide = steps, tools, llm_log, configuration, hide
        self.kept = KeptAnswers()

    def setting(self, choice: Choice, *, admin: bool) -> ModelSetting:
        """Returns whom to ask: what the request says, else the configuration, else the provider's own default. The address
        of a request counts for administrators only.

        Raises InvalidInput: `llm_not_configured`, `llm_api_key_missing`, `llm_base_url_missing`, or for an address that is
        none or is never called."""
        name = choice.provider or self.configuration["default_provider"]
        if name not in PROVIDERS:
            raise InvalidInput(f"There is no provider {name!r}: use one of {', '.join(PROVIDERS)}.",
                               code="llm_not_configured", details=name)
        # A client sends the whole setting back: what it says of the configured provider is no wish for this very one.
        named = choice.provider if choice.provider != self.configuration["default_provider"] else None
        setting = self.configuration.model(named, choice.model)
        key = setting.key if choice.key in (None, MASK) else choice.key
        setting = replace(setting, key=key, mode=choice.mode or setting.mode)
        if name in NEED_KEY and not setting.key:
            raise InvalidInput(f"{name} needs a key: set {name}_api_key in the configuration, or {name.upper()}_API_KEY.",
                               code="llm_api_key_missing", details=name)
        if admin and choice.url and choice.url != setting.url:
            setting = replace(setting, url=_checked(name, choice.url), explicit=True, guarded=True)
        if name != "mock" and not setting.url:
            raise InvalidInput(f"{name} needs an address: set {name}_url in the configuration, or {name.upper()}_URL.",
                               code="llm_base_url_missing", details=name)
        return setting

    def limit_s(self, choice: Choice) -> float:
        """Returns the seconds that all of it may take."""
        return min(choice.timeout_s or self.configuration["http_timeout"], BUDGET_S)

    def answer(self, asked: Question) -> Generated:
        """Returns what the model says, or what the confirmed tools gave. Raises LLMFailed, BreakerOpen, Busy, NotAllowed;
        if that comes after a tool has run, the results are the answer instead."""
        return _Conversation(self, asked).answer()


class KeptAnswers:
    """A model's answers that could not be shown, for KEPT_S seconds: the same question asked otherwise gets them. In this
    process only, KEPT of at most KEPT_BYTES. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._lock = clock, threading.Lock()
        self._kept: dict[bytes, tuple[float, Answer]] = {}

    def keep(self, asked: Question, answer: Answer) -> None:
        if len(msgspec.json.encode(answer)) > KEPT_BYTES:
            return
        with self._lock:
            now = self._clock()
            self._kept = {key: each for key, each in self._kept.items() if each[0] > now}
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[_identity(asked)] = now + KEPT_S, answer

    def take(self, asked: Question) -> Answer | None:
        """Returns the kept answer, once."""
        with self._lock:
            until, answer = self._kept.pop(_identity(asked), (0.0, None))
        return answer if until > self._clock() else None


class _Conversation:
    """One question on its way."""

    def __init__(self, generation: Generation, asked: Question):
        self.asked, self.tools, self.steps, self.kept = asked, generation.tools, generation.steps, generation.kept
        self.llm_log, self._hide = generation.llm_log, generation.hide
        self.until = time.monotonic() + asked.timeout_s

    def answer(self) -> Generated:
        asked, setting = self.asked, self.asked.setting
        self._note("llm_request", prompt=asked.prompt, stream=asked.stream, confirm_tool_calls=asked.confirmed,
                   tool_calls_input=None if asked.tool_calls is None else self._calls(asked.tool_calls),
                   history_len=len(asked.history), provider=setting.provider, model=setting.model, base_url=setting.url,
                   is_admin=asked.by.admin)
        try:
            made = self._from_calls(asked.tool_calls) if asked.tool_calls or self._confirms_nothing() else self._from_model()
        except AnantaError as error:
            self._note("llm_error", error=error.message)
            raise
        self._note("llm_response", response=made.response, tool_calls=self._calls(made.tool_calls), status="ok")
        return made

    def _confirms_nothing(self) -> bool:
        return self.asked.confirmed and self.asked.tool_calls is not None

    def _from_model(self) -> Generated:
        answer = self.kept.take(self.asked) if not self.asked.stream else None
        if answer is None:
            offers = self.tools.offered(self.asked.by)
            messages = assistant.messages(self.asked.prompt, history=self.asked.history, context=self.asked.context, tools=offers)
            with self.steps.model_lane.take():
                answer = assistant.parse(self._ask(messages, assistant.schema(offers, self.asked.prompt)))
        if not answer.text and not answer.tool_calls:
            raise LLMBadAnswer("The model's answer holds nothing to show: ask in other words, or try another model.")
        if not answer.tool_calls:
            self._note("llm_no_tool_calls")
        made = self._asks_for(answer.tool_calls, answer.text, answer.thought) if answer.tool_calls else Generated(
            self._shown(answer.text), can_stream=not answer.suggests)
        if self.asked.stream and not made.can_stream:
            self.kept.keep(self.asked, answer)
        return made

    def _from_calls(self, calls: tuple[ToolCall, ...] | None) -> Generated:
        """What comes of the calls in the request."""
        if not calls:
            return Generated("There is nothing to run.")
        if not self.asked.confirmed:
            return self._asks_for(calls, "", "")
        if not self.asked.by.admin:
            self.tools.blocked(calls, self.asked.by)
            self._note("llm_blocked", tool_calls=self._calls(calls), reason="admin_required")
            raise NotAllowed("Only administrators may run tool calls.")
        if self.asked.stream:
            return Generated("Tools do not run in a stream: ask again without it.", tool_calls=calls, can_stream=False)
        blocked = self.tools.blocked(calls, self.asked.by)
        if blocked:
            self._note("llm_blocked", tool_calls=self._calls(calls), reason="tool_not_allowed")
            return Generated(f"Nothing was run, because these tools are not permitted: {', '.join(blocked)}. "
                             "llm_tool_allowlist and llm_tool_denylist of the configuration decide that.",
                             results=tuple(ToolResult(each, False, error="tool_not_allowed") for each in blocked),
                             blocked_tools=tuple(blocked))
        results = tuple(self.tools.call(each, self.asked.by) for each in calls)
        self._note("llm_tool_results", tool_results=[
            {"tool": each.tool, "success": each.success, "output": _short(each.output), "error": each.error} for each in results])
        return Generated(self._summary(results), results=results)

    def _asks_for(self, calls: tuple[ToolCall, ...], text: str, thought: str) -> Generated:
        names = ", ".join(dict.fromkeys(each.name for each in calls))
        blocked = not self.asked.by.admin
        if blocked:
            self._note("llm_blocked", tool_calls=self._calls(calls), reason="admin_required")
        else:
            self._note("llm_requires_confirmation", tool_calls=self._calls(calls))
        return Generated(self._shown(text or thought) or f"Tools to run: {names}.", self._shown(thought),
                         tuple(replace(each, args=self._shown_args(each)) for each in calls), blocked=blocked, can_stream=False)

    def _summary(self, results: tuple[ToolResult, ...]) -> str:
        """What the model makes of the results; the results themselves when it does not answer, since they are there."""
        told = [(each.tool, each.success, each.output if each.success else each.error) for each in results]
        asked = assistant.messages(self.asked.prompt or OVERVIEW, history=self.asked.history, context=self.asked.context)
        try:
            with self.steps.model_lane.take():
                answer = assistant.parse(self._ask(assistant.summary_messages(asked, told), None))
        except AnantaError as error:
            self._note("llm_error", error=error.message)
            return assistant.result_list(told)
        # Whatever it asks for now was confirmed by nobody.
        return self._shown(answer.text) or assistant.result_list(told)

    def _ask(self, messages: list[Message], schema: dict | None) -> str:
        setting = self.asked.setting
        self._note("llm_call_start", provider=setting.provider, model=setting.model)
        try:
            target, reply = self.steps.complete(setting, messages, schema=schema, budget_s=self.until - time.monotonic())
        except AnantaError:
            self._note("llm_call_end", success=False, attempts=None, response=None)
            raise
        self._note("llm_call_end", success=True, attempts=reply.attempts, response=reply.text, provider=target.provider,
                   model=reply.model)
        return reply.text

    # A server may say anything, also the key it was called with.

    def _shown(self, text: str) -> str:
        return _without(self.asked.setting.key, self._hide(text))

    def _shown_args(self, call: ToolCall) -> dict:
        return {self._shown(name): _each_text(each, self._shown) for name, each in call.args.items()}

    def _calls(self, calls: tuple[ToolCall, ...]) -> list[dict]:
        return [{"name": each.name, "args": each.args} for each in map(self.tools.shown, calls)]

    def _note(self, event: str, **fields: object) -> None:
        self.llm_log.write(event, request_id=self.asked.request_id,
                           **{name: masked(each, self._shown) for name, each in fields.items()})


def _short(output: object) -> str | None:
    return None if output is None else clipped(msgspec.json.encode(output).decode(), LOGGED_CHARS)


def _each_text(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, dict):
        return {change(name): _each_text(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_each_text(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


def _without(key: str | None, text: str) -> str:
    return text.replace(key, MASK) if key and len(key) > 5 else text


def _checked(provider: str, url: str) -> str:
    """Returns the address. Raises InvalidInput for what is none, and for one that is never called."""
    from urllib.parse import urlsplit

    from ananta.domain.addresses import Refused, check_host
    from ananta.llm.addresses import base_url

    try:
        check_host(urlsplit(base_url(provider, url)).hostname or "")
    except Refused as refused:
        raise InvalidInput(f"base_url is not possible: {refused}", details="base_url") from refused
    except InvalidInput as wrong:
        raise InvalidInput(wrong.message, details="base_url") from wrong
    return url


def _identity(asked: Question) -> bytes:
    """What makes a question the same one."""
    setting = asked.setting
    parts = (asked.owner, asked.prompt, [(each.role, each.content) for each in asked.history],
             setting.provider, setting.model, setting.url)
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
