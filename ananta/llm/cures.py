"""A server's refusal → a sentence that names the cure."""
import re
from collections.abc import Callable, Sequence

from ananta.errors import LLMFailed, LLMNoModel, LLMRefused
from ananta.llm.addresses import NAMES, base_url
from ananta.llm.calls import ServerRefusal
from ananta.llm.provider import JSON, SCHEMA, Target

LISTED_MODELS = 8
LOCAL = ("lmstudio", "ollama")

_ABOUT_FORM = re.compile(r"response_format|json_schema|json_object|json mode|structured output|schema|grammar"
                         r"|Request\.format|invalid format", re.IGNORECASE)
_NO_MODEL = re.compile(r"no models? (is |are )?(currently )?loaded|load a model|no model (is )?available", re.IGNORECASE)
_UNKNOWN_MODEL = re.compile(r"model.{0,120}(not found|does not exist|not exist|unknown|invalid|no such|not available)"
                            r"|(unknown|invalid|no such) model", re.IGNORECASE | re.DOTALL)
_TOO_LONG = re.compile(r"context (size|length|window)|context.{0,30}(exceed|overflow)|exceed.{0,40}context"
                       r"|too (long|many tokens)|maximum.{0,30}tokens", re.IGNORECASE)
_PARAMETER = re.compile(r"temperature|max_tokens", re.IGNORECASE)
_STATUS_OF_INPUT = (400, 404, 413, 422)


def is_about_form(refusal: ServerRefusal, form: str) -> bool:
    """Whether the server cannot hold a model to a form, and may answer when asked for less."""
    return (form in (SCHEMA, JSON) and refusal.http_status in (200, 400, 422, 501)
            and not _TOO_LONG.search(refusal.said) and bool(_ABOUT_FORM.search(refusal.said)))


def refused_parameter(refusal: ServerRefusal) -> str | None:
    """The optional parameter a server does not take: newer models of OpenAI refuse `temperature`."""
    found = _PARAMETER.search(refusal.said) if refusal.http_status in (400, 422) else None
    return found[0].lower() if found else None


def is_about_chat(refusal: ServerRefusal) -> bool:
    """Whether the older `completions` may work where `chat` did not."""
    return (refusal.http_status in (200, 400, 404, 405, 422, 500, 501) and not _TOO_LONG.search(refusal.said)
            and not _NO_MODEL.search(refusal.said) and not _UNKNOWN_MODEL.search(refusal.said))


def is_ours(error: LLMFailed) -> bool:
    """Whether what we sent was wrong, so that the server is not to be blamed: it answers."""
    return isinstance(error, LLMNoModel) or (isinstance(error, LLMRefused)
                                             and getattr(error, "http_status", 500) in (*_STATUS_OF_INPUT, 401, 403))


class Refused(LLMRefused):
    """A refusal in our words; http_status as the server gave it."""

    def __init__(self, message: str, http_status: int):
        super().__init__(message)
        self.http_status = http_status


def no_model(target: Target) -> LLMNoModel:
    """The error for a server that has nothing to use."""
    place = base_url(target.provider, target.url)
    if target.provider == "ollama":
        return LLMNoModel(f"Ollama answers at {place} but has no model: run `ollama pull llama3`, or set DEFAULT_MODEL.")
    return LLMNoModel(f"{NAMES[target.provider]} answers at {place} but has no model loaded: load one, "
                      "or set DEFAULT_MODEL.")


def cured(refusal: ServerRefusal, target: Target, listed: Callable[[], Sequence[str]]) -> LLMFailed:
    """Returns the error to raise in place of the refusal. listed: gives the models there, empty when unknown."""
    name, status, said = NAMES[target.provider], refusal.http_status, refusal.said or "no reason given"
    place = base_url(target.provider, target.url)
    if status in (401, 403):
        # The local servers have no setting of their own for it: few want one.
        key = (f"{target.provider}_api_key in the configuration (the console's Settings, or POST /config)" if target.provider in LOCAL else
               f"{target.provider.upper()}_API_KEY")
        state = "the key" if target.key else "a call without a key"
        return Refused(f"{name} at {place} refuses {state} ({status}): check {key}. It says: {said}", status)
    if _NO_MODEL.search(said):
        return no_model(target)
    if _TOO_LONG.search(said) or status == 413:
        return Refused(f"The order and its history are too long for the model {target.model} at {place}: load it with "
                       f"a longer context, or lower LMSTUDIO_MAX_CONTEXT_TOKENS. It says: {said}", status)
    if _UNKNOWN_MODEL.search(said) and status in (400, 404, 422):
        models = listed()
        if not models:
            return Refused(f"{name} at {place} does not know the model {target.model}: set DEFAULT_MODEL. "
                           f"It says: {said}", status)
        more = f" and {len(models) - LISTED_MODELS} more" if len(models) > LISTED_MODELS else ""
        return Refused(f"{name} at {place} does not know the model {target.model}. It has: "
                       f"{', '.join(models[:LISTED_MODELS])}{more}. Set DEFAULT_MODEL to one of them, or to auto.", status)
    if status == 404:
        return Refused(f"What answers at {place} has no such path ({status}): check {target.provider.upper()}_URL. "
                       f"It says: {said}", status)
    if status == 429:
        wait = f" Ask again in {refusal.retry_after_s:.0f} s." if refusal.retry_after_s else ""
        return Refused(f"{name} at {place} takes no more requests now (429): {said}.{wait}", status)
    verb = "failed" if status >= 500 else "refused the request"
    return Refused(f"{name} at {place} {verb} ({status}): {said}", status)
