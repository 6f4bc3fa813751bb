"""What one call of a language model takes and gives, and what a provider has to offer."""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ananta.domain.prompts import Message
from ananta.llm.calls import Call

# Ways to ask for JSON, from the strictest to none.
SCHEMA, JSON, TEXT = "schema", "json", "text"


@dataclass(frozen=True)
class Target:
    """Whom to ask. model: a name or "auto"; mode: "chat" or "completions", which only LM Studio tells apart; guarded: the
    address came with a request, so it must not be one of domain.addresses.NEVER."""

    provider: str
    model: str
    url: str
    key: str | None = field(default=None, repr=False)
    mode: str = "chat"
    guarded: bool = False


@dataclass(frozen=True)
class Question:
    """What is asked. form: SCHEMA, JSON or TEXT; context_tokens: prompt and answer together;
    without: parameters this server has refused."""

    messages: Sequence[Message]
    schema: dict | None = None
    form: str = TEXT
    max_tokens: int = 1024
    temperature: float = 0.2
    context_tokens: int = 4096
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reply:
    """A model's text, and who wrote it. attempts: requests that were sent for it, the model list not counted."""

    text: str
    model: str
    provider: str
    duration_s: float
    attempts: int


@dataclass(frozen=True)
class Model:
    """A model that a server has. context_tokens: None when the server does not say."""

    name: str
    context_tokens: int | None = None


@dataclass(frozen=True)
class Probe:
    """How a server answers: "ok" (a status below 500, so also a refused key), "unstable" (an error of its own),
    "unreachable" or "error" (does not speak the protocol). message: what is wrong and its cure, empty when nothing is."""

    status: str
    latency_s: float
    models: tuple[Model, ...]
    message: str


class Provider(Protocol):
    """One wire format."""

    name: str

    def complete(self, target: Target, question: Question, call: Call) -> tuple[str, str]:
        """Returns the text of the answer and the model's name as the server gives it. Raises LLMFailed."""

    def models(self, target: Target, call: Call) -> list[Model]:
        """Returns what the server has, in its order, embedding models left out. Raises LLMFailed."""
