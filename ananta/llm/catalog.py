"""All providers behind one door: who is asked, with which model, in which form, and what a failure means."""
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ananta.domain.prompts import Message, fit
from ananta.errors import InvalidInput, LLMBadAnswer, LLMFailed, LLMRefused, LLMUnreachable
from ananta.llm import cures
from ananta.llm.addresses import DEFAULT_MODELS, DEFAULT_URLS, NAMES, base_url, mode_of
from ananta.llm.anthropic import Anthropic
from ananta.llm.breaker import Breaker
from ananta.llm.calls import Call, ServerRefusal
from ananta.llm.choosing import AUTO, Chooser
from ananta.llm.history import History
from ananta.llm.locating import LOCAL, Candidate, Located, Locator, default_candidates
from ananta.llm.ollama import Ollama
from ananta.llm.openai import OpenAI
from ananta.llm.provider import JSON, SCHEMA, TEXT, Model, Probe, Provider, Question, Reply, Target
from ananta.llm.scripted import Scripted
from ananta.llm.sessions import Sessions

__all__ = ["AUTO", "DEFAULT_MODELS", "DEFAULT_URLS", "PROVIDERS", "Candidate", "LanguageModels", "Located", "Probe",
           "Reply", "Target"]

log = logging.getLogger(__name__)

PROVIDERS: dict[str, Callable[[], Provider]] = {
    "ollama": Ollama, "lmstudio": lambda: OpenAI("lmstudio"), "openai": lambda: OpenAI("openai"),
    "anthropic": Anthropic, "mock": Scripted}
FORMS = (SCHEMA, JSON, TEXT)

CHARS_PER_TOKEN = 4
SPARE_TOKENS = 256
REMOTE_CONTEXT_TOKENS = 100_000
LIST_S = 2.0


@dataclass
class _Ability:
    """What one server has shown it can do with one model. forms: by the title of the schema, since what cannot hold a
    model to a rich schema may well hold it to a plain one."""

    forms: dict[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    mode: str | None = None


class LanguageModels:
    """Asks language models. Thread-safe; close() it at the end.

    retries: further tries after a failure that may pass, with pauses of backoff ** n seconds; max_context_tokens: of
    local models that do not say theirs, prompt and answer together; history_path: file of model statistics, None for
    none; mock_answers: what the mock provider says in turn; locate_local: whether locate() may look around;
    candidates: where it looks."""

    def __init__(self, *, retries: int = 3, backoff: float = 1.5, max_context_tokens: int = 4096,
                 history_path: Path | None = None, mock_answers: Sequence[str] = (), locate_local: bool = True,
                 candidates: Sequence[Candidate] | Callable[[], Sequence[Candidate]] = default_candidates,
                 clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time):
        self._retries, self._backoff, self._context, self._clock = retries, backoff, max_context_tokens, clock
        self._providers = {name: create() for name, create in PROVIDERS.items()} | {"mock": Scripted(mock_answers)}
        self._sessions = Sessions()
        self._history = History(history_path, now)
        self._chooser = Chooser(self._history, clock)
        self._breaker = Breaker(clock)
        self._locator = Locator(self._providers, self._sessions, candidates) if locate_local else None
        self._abilities: dict[tuple[str, str], _Ability] = {}

    def complete(self, target: Target, messages: Sequence[Message], *, schema: dict | None = None, budget_s: float,
                 max_tokens: int = 1024, temperature: float = 0.2, stop: threading.Event | None = None) -> Reply:
        """Returns the model's answer within budget_s seconds, retries and pauses included.

        schema: the answer's JSON schema, which the server is made to keep where it can; the text may break it all the
        same. Messages too long for the model lose their oldest turns. temperature: 0.0 for proposals. stop: ends the
        call when set. Raises LLMFailed, BreakerOpen, or ShuttingDown when stopped."""
        self._check(target)
        server = f"{NAMES[target.provider]} at {base_url(target.provider, target.url)}"
        self._breaker.check(server)
        call = Call(self._sessions, budget_s=budget_s, retries=self._retries, backoff=self._backoff, stop=stop,
                    guarded=target.guarded, clock=self._clock)
        question = Question(messages, schema, TEXT, max_tokens, temperature)
        try:
            reply = self._answer(target, question, call)
        except LLMFailed as error:
            self._after_failure(target, server, error)
            raise
        self._breaker.succeeded(server)
        return reply

    def models(self, target: Target, timeout_s: float) -> list[str]:
        """Returns the names of the models the server has. Raises LLMFailed."""
        return [model.name for model in self.described(target, timeout_s)]

    def described(self, target: Target, timeout_s: float) -> list[Model]:
        """Returns the models the server has. Raises LLMFailed."""
        self._check(target)
        call = Call(self._sessions, budget_s=timeout_s, guarded=target.guarded, clock=self._clock)
        try:
            return self._providers[target.provider].models(target, call)
        except ServerRefusal as refusal:
            raise cures.cured(refusal, target, lambda: ()) from refusal

    def probe(self, target: Target, timeout_s: float) -> Probe:
        """Returns how the server answers now; never raises LLMFailed. One request, no retries, no breaker."""
        start = self._clock()
        status, message = "ok", ""
        models: list[Model] = []
        try:
            models = self.described(target, timeout_s)
            if not models and target.provider in LOCAL:
                message = cures.no_model(target).message
        except InvalidInput as error:
            status, message = "error", error.message
        except LLMRefused as error:
            status, message = "unstable" if getattr(error, "http_status", 0) >= 500 else "ok", error.message
        except LLMBadAnswer as error:
            status, message = "error", error.message
        except LLMFailed as error:
            status, message = "unreachable", error.message
        return Probe(status, self._clock() - start, tuple(models), message)

    def locate(self, target: Target, *, explicit: bool, timeout_s: float) -> Located:
        """Returns whom to ask: the target, or, when nobody has set its address and nothing answers there, a model
        server found near us. explicit: somebody has set the address. Raises LLMUnreachable, listing what was tried."""
        if explicit or self._locator is None or target.provider not in LOCAL:
            return Located(target, "The address is taken as it is set.")
        self._check(target)
        return self._locator.locate(target, timeout_s=timeout_s)

    def history(self) -> list[dict]:
        """Returns LM Studio's models with their successes and failures, last used first."""
        return self._history.entries()

    def close(self) -> None:
        """Ends the kept connections."""
        self._sessions.close()

    def _check(self, target: Target) -> None:
        if target.provider not in self._providers:
            raise InvalidInput(f"There is no provider {target.provider!r}: use one of {', '.join(PROVIDERS)}.")
        if target.key and not (target.key.isascii() and target.key.isprintable() and target.key == target.key.strip()):
            # requests would print it in its own error.
            raise LLMRefused(f"The key for {NAMES[target.provider]} has characters that no key has: set it again.")
        base_url(target.provider, target.url)

    def _answer(self, target: Target, question: Question, call: Call) -> Reply:
        provider = self._providers[target.provider]
        output = min(question.max_tokens, max(64, (self._context - SPARE_TOKENS) // 2))
        try:
            candidates = self._chooser.candidates(target, provider, call, needed_tokens=2 * SPARE_TOKENS + output)
        except ServerRefusal as refusal:
            raise cures.cured(refusal, target, lambda: ()) from refusal
        for index, model in enumerate(candidates):
            chosen = replace(target, model=model.name)
            start = self._clock()
            try:
                text, name = self._from_model(provider, chosen, self._sized(question, chosen, model), call)
            except (LLMRefused, LLMBadAnswer) as error:
                self._note(chosen, error)
                if index + 1 == len(candidates) or _is_the_servers(error):
                    raise
                log.info("%s; trying %s", error.message, candidates[index + 1].name)
            except LLMFailed as error:
                self._note(chosen, error)
                raise
            else:
                self._note(chosen, None)
                return Reply(text, name or chosen.model, target.provider, self._clock() - start, call.attempts)
        raise cures.no_model(target)

    def _sized(self, question: Question, target: Target, model: Model) -> Question:
        """The question with messages and answer that fit the model."""
        local = self._context if target.provider in (*LOCAL, "mock") else REMOTE_CONTEXT_TOKENS
        context = model.context_tokens or local
        output = min(question.max_tokens, max(64, (context - SPARE_TOKENS) // 2))
        chars = max(64, context - output - SPARE_TOKENS) * CHARS_PER_TOKEN
        return replace(question, messages=fit(question.messages, chars), max_tokens=output, context_tokens=context)

    def _from_model(self, provider: Provider, target: Target, question: Question, call: Call) -> tuple[str, str]:
        """The text of one model; an empty one is asked for once more."""
        for _ in range(2):
            try:
                text, name = self._in_some_mode(provider, target, question, call)
            except ServerRefusal as refusal:
                raise cures.cured(refusal, target, lambda: self._listed(provider, target, call)) from refusal
            if text.strip():
                return text, name
        raise LLMBadAnswer(f"{NAMES[target.provider]} answered twice with an empty text (model {target.model}): "
                           "try another model, or a shorter order.")

    def _in_some_mode(self, provider: Provider, target: Target, question: Question, call: Call) -> tuple[str, str]:
        """LM Studio's older interface is tried once where its chat fails, and kept when it works."""
        ability = self._ability(target)
        if target.provider != "lmstudio" or mode_of(target.url, target.mode) == "completions":
            return self._in_some_form(provider, target, question, call)
        older = replace(target, url=base_url("lmstudio", target.url), mode="completions")
        if ability.mode == "completions":
            return provider.complete(older, question, call)
        try:
            return self._in_some_form(provider, target, question, call)
        except ServerRefusal as refusal:
            if not cures.is_about_chat(refusal):
                raise
            single = call.shorter(call.remaining_s())
            try:
                result = provider.complete(older, question, single)
            except LLMFailed:
                raise refusal from None
            finally:
                call.attempts += single.attempts
            ability.mode = "completions"
            return result

    def _in_some_form(self, provider: Provider, target: Target, question: Question, call: Call) -> tuple[str, str]:
        """The strictest form the server knows; what it refuses is not asked for again."""
        ability = self._ability(target)
        while True:
            title = "" if question.schema is None else question.schema.get("title", "")
            form = ability.forms.get(title, SCHEMA) if question.schema is not None else TEXT
            try:
                return provider.complete(target, replace(question, form=form, without=ability.without), call)
            except ServerRefusal as refusal:
                parameter = cures.refused_parameter(refusal)
                if cures.is_about_form(refusal, form):
                    ability.forms[title] = FORMS[FORMS.index(form) + 1]
                elif parameter and parameter not in ability.without:
                    ability.without |= {parameter}
                else:
                    raise
                log.info("%s; asking in another form from now on", refusal.message)

    def _ability(self, target: Target) -> _Ability:
        return self._abilities.setdefault((base_url(target.provider, target.url), target.model), _Ability())

    def _listed(self, provider: Provider, target: Target, call: Call) -> list[str]:
        try:
            return [model.name for model in provider.models(target, call.shorter(LIST_S))]
        except LLMFailed:
            return []

    def _note(self, target: Target, error: LLMFailed | None) -> None:
        """Counts for or against the model, unless the failure is not its own."""
        if target.provider == "lmstudio" and not isinstance(error, LLMUnreachable) and not (
                error is not None and _is_the_servers(error)):
            self._history.record(target.model, success=error is None)

    def _after_failure(self, target: Target, server: str, error: LLMFailed) -> None:
        self._chooser.forget(target)
        if isinstance(error, LLMUnreachable) and self._locator is not None:
            self._locator.forget(target)
        if cures.is_ours(error):
            self._breaker.succeeded(server)
        else:
            self._breaker.failed(server)


def _is_the_servers(error: LLMFailed) -> bool:
    """Whether another model at the same server would fail the same way: the key, the number of calls."""
    return getattr(error, "http_status", 0) in (401, 403, 429)
