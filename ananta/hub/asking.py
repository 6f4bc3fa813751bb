"""Short questions between a hub and its agents: one request, one small JSON object."""
from dataclasses import dataclass

import msgspec

from ananta.hub import wire
from ananta.hub.wire import NoAnswer

__all__ = ["Answer", "NoAnswer", "ask"]
ANSWER_BYTES = 64 << 10


@dataclass(frozen=True)
class Answer:
    """content: the JSON object of the body, {} for anything else."""

    status: int
    content: dict

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def ask(method: str, url: str, *, token: str | None = None, body: dict | None = None, timeout_s: float) -> Answer:
    """Returns the answer; all of it takes timeout_s at most, but for the look-up of the name. Raises NoAnswer."""
    content = None if body is None else msgspec.json.encode(body)
    try:
        status, raw = wire.once(method, url, content, token, timeout_s=timeout_s, most_bytes=ANSWER_BYTES)
    except wire.TooLarge as answer:
        return Answer(answer.status, {})
    return Answer(status, wire.json_object(raw) or {})
