"""Ask the model directly; which models there are, and how they have worked."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from bottle import Bottle, HTTPResponse, request
from msgspec import UNSET, Meta, UnsetType

from ananta.agent.configuration import LiveConfiguration
from ananta.agent.generation import Choice, Generated, Generation, Question
from ananta.agent.loaded_models import LoadedModels
from ananta.domain import assistant
from ananta.domain.configuration import MASK
from ananta.domain.nesting import DEEPEST, deeper
from ananta.domain.steps import ToolCall
from ananta.errors import Conflict, InvalidInput
from ananta.web import server
from ananta.web.access import AUTH, Access
from ananta.web.routes.steps import ToolCallItem, tool_calls
from ananta.web.streams import HEADERS

USUAL_MODELS = {"ollama": ("llama3", "mistral"), "openai": ("gpt-4o", "gpt-4-turbo"),
                "anthropic": ("claude-3-5-sonnet-20240620",), "lmstudio": ("auto",)}
NEEDS_KEY = ("openai", "anthropic")
PIECE_CHARS, MOST_CALLS = 80, 50
NAME = r"^[^\x00-\x1f\x7f]*$(?!\n)"


@dataclass
class ModelChoice:
    """Which model, for this call only; "" and null: as configured. base_url counts for administrators; ******** as api_key
    means the stored key; timeout: seconds, 110 at most."""

    provider: Annotated[str, Meta(max_length=100, pattern=NAME)] | None = None
    model: Annotated[str, Meta(max_length=200, pattern=NAME)] | None = None
    base_url: Annotated[str, Meta(max_length=2000, pattern=NAME)] | None = None
    api_key: Annotated[str, Meta(max_length=500, pattern=r"^[ -~]*$(?!\n)")] | None = None
    timeout: Annotated[float, Meta(gt=0)] | Literal[""] | None = None
    lmstudio_api_mode: Literal["chat", "completions", ""] | None = None


@dataclass
class GenerateRequest:
    """prompt may be missing where there are tool_calls. confirm_tool_calls (or confirmed): run exactly the tool_calls of
    this request. stream: the answer as events; nothing runs then."""

    prompt: Annotated[str, Meta(max_length=1_000_000)] = ""
    config: ModelChoice | None = None
    history: Annotated[Any, Meta(description="[{role: user, assistant or system, content}], oldest first; anything else "
                                             "counts as empty")] = None
    context: Annotated[Any, Meta(description="what the question is about, added to the instruction")] = None
    tool_calls: Annotated[Any, Meta(description="[{name, args}], as the model has asked for them")] = None
    confirm_tool_calls: bool = False
    confirmed: bool = False
    stream: bool = False


@dataclass
class ToolResultItem:
    tool: str
    success: bool
    output: Any
    error: str | None


@dataclass
class GenerateAnswer:
    """response: for the user. tool_calls: what the model asks for, with requires_confirmation where an administrator may
    send them again with confirm_tool_calls, with blocked where nobody may; tool_results: what the confirmed ones gave;
    blocked_tools: those that are not permitted, so that none ran."""

    response: str
    requires_confirmation: bool | UnsetType = UNSET
    thought: str | UnsetType = UNSET
    tool_calls: list[ToolCallItem] | UnsetType = UNSET
    blocked: bool | UnsetType = UNSET
    tool_results: list[ToolResultItem] | UnsetType = UNSET
    blocked_tools: list[str] | UnsetType = UNSET


@dataclass
class ModelEntry:
    """A model that can be asked; id: as `provider:model`."""

    id: str
    name: str
    selected: bool


@dataclass
class HistoryEntry:
    """How a model of LM Studio has worked; times in epoch seconds, last_seen for people."""

    id: str
    model: str
    provider: str
    success: int
    fail: int
    last_success: float | None
    last_fail: float | None
    last_used: float | None
    first_seen: float | None
    last_seen: str | None


class LLMRoutes:
    """POST /llm/generate, GET /llm/history, GET /providers. history: gives how the models have worked."""

    def __init__(self, generation: Generation, loaded: LoadedModels, configuration: LiveConfiguration, access: Access,
                 history: Callable[[], list[dict]]):
        self.generation, self.loaded, self.configuration, self.access, self.models = (
            generation, loaded, configuration, access, history)

    def mount(self, app: Bottle) -> None:
        app.post("/llm/generate", callback=self.generate, access=AUTH, body=GenerateRequest, gives=GenerateAnswer,
                 streams=True, fails=(403, 409, 502, 503))
        app.get("/llm/history", callback=self.history, access=AUTH, gives=list[HistoryEntry])
        app.get("/providers", callback=self.providers, access=AUTH, gives=list[ModelEntry])

    def generate(self, body: GenerateRequest) -> GenerateAnswer | HTTPResponse:
        """Asks the model, or runs the confirmed tool calls of the request and asks what they say. What the model itself
        asks for never runs in the same request.

        As a stream: events with pieces of the text, the last one is `done`; 409 `stream_not_possible`, with the answer in
        it, where a client has more to do than to show the text."""
        made = self.generation.answer(self._question(body))
        if not body.stream:
            return _answer(made)
        if not made.can_stream:
            raise Conflict("This answer has more than text: ask again without stream.", code="stream_not_possible",
                           **msgspec.to_builtins(_answer(made)))
        return HTTPResponse(events(made.response), 200, HEADERS)

    def history(self) -> list[dict]:
        """Models of LM Studio and how often they have answered, last used first."""
        return self.models()

    def providers(self) -> list[ModelEntry]:
        """Models that can be asked: the configured one, which alone is selected, those that the local servers have now, and
        usual ones."""
        shown = self.configuration.shown()
        chosen = f"{shown['default_provider']}:{shown['default_model']}"
        names = [chosen, *self.loaded.ids()]
        for provider, models in USUAL_MODELS.items():
            if provider not in NEEDS_KEY or shown.get(f"{provider}_api_key") == MASK:
                names += [f"{provider}:{model}" for model in models]
        return [ModelEntry(name, name.replace(":", " · ", 1), name == chosen) for name in dict.fromkeys(names)]

    def _question(self, body: GenerateRequest) -> Question:
        """The request, checked in the order in which a client wants to hear of what is missing."""
        caller, confirmed = server.caller(), body.confirm_tool_calls or body.confirmed
        if not body.prompt.strip() and not body.tool_calls and not (confirmed and body.tool_calls == []):
            raise InvalidInput("prompt is missing.", code="missing_prompt", details="prompt")
        if deeper(body.context):
            raise InvalidInput(f"context may have {DEEPEST} levels.", details="context")
        choice = _choice(body.config or ModelChoice())
        setting = self.generation.setting(choice, admin=caller.admin)
        return Question(
            body.prompt.strip(), setting, server.by(self.access), f"{caller.kind}:{caller.name}", request.environ["ananta.cid"],
            self.generation.limit_s(choice), assistant.turns(body.history), body.context, _calls(body.tool_calls), confirmed,
            body.stream)


def events(text: str) -> bytes:
    """Returns the text as server-sent events (HTML standard, section 9.2), the last one `done`.

    Lines within an event end with CR LF and the event with LF LF, so that also a client that looks for LF LF only finds
    its end."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    pieces = (lines[start:start + PIECE_CHARS] for start in range(0, len(lines), PIECE_CHARS))
    told = "".join("data: " + piece.replace("\n", "\r\ndata: ") + "\n\n" for piece in pieces)
    return (told + "event: done\ndata: [DONE]\n\n").encode()


def _choice(config: ModelChoice) -> Choice:
    def given(text: str | None) -> str | None:
        return (text or "").strip() or None

    return Choice(given(config.provider), given(config.model), given(config.base_url), given(config.api_key),
                  config.lmstudio_api_mode or None, config.timeout or None)


def _calls(items: object) -> tuple[ToolCall, ...] | None:
    if items is None:
        return None
    if not isinstance(items, list) or len(items) > MOST_CALLS or not all(isinstance(each, dict) for each in items):
        raise InvalidInput(f"tool_calls must be a list of at most {MOST_CALLS} objects with name and args.",
                           code="invalid_tool_calls", details="tool_calls")
    return tool_calls(items)


def _answer(made: Generated) -> GenerateAnswer:
    answer = GenerateAnswer(made.response)
    if made.tool_calls:
        answer.tool_calls = [ToolCallItem(each.name, each.args) for each in made.tool_calls]
    if made.blocked:
        answer.blocked = True
    elif made.tool_calls:
        answer.requires_confirmation, answer.thought = True, made.thought
    if made.results is not None:
        answer.tool_results = [ToolResultItem(each.tool, each.success, each.output, each.error) for each in made.results]
    if made.blocked_tools:
        answer.blocked_tools = list(made.blocked_tools)
    return answer
