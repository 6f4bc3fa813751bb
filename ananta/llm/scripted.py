"""Answers from a list: demonstrations and tests without a model."""
import json
import threading
from collections.abc import Sequence

from ananta.llm.calls import Call
from ananta.llm.provider import Model, Question, Target

ANSWER = json.dumps({"reason": "A greeting from the mock provider; no model was asked.",
                     "command": "echo hello from ananta"})


class Scripted:
    """Gives the answers in turn, again from the first after the last; without any, always ANSWER."""

    name = "mock"

    def __init__(self, answers: Sequence[str] = ()):
        self._answers = tuple(answers) or (ANSWER,)
        self._given = 0
        self._lock = threading.Lock()

    def complete(self, target: Target, question: Question, call: Call) -> tuple[str, str]:
        with self._lock:
            answer = self._answers[self._given % len(self._answers)]
            self._given += 1
        call.attempts += 1
        return answer, target.model

    def models(self, target: Target, call: Call) -> list[Model]:
        return [Model("mock")]
