"""The wire format of Anthropic. Source: docs.anthropic.com/en/api/messages."""
from ananta.domain.prompts import SYSTEM
from ananta.errors import LLMBadAnswer
from ananta.llm.addresses import base_url
from ananta.llm.calls import Call
from ananta.llm.provider import Model, Question, Target

VERSION = "2023-06-01"
MAX_TOKENS = 4096


class Anthropic:
    """Has no JSON mode: a schema is left to the words of the prompt."""

    name = "anthropic"

    def complete(self, target: Target, question: Question, call: Call) -> tuple[str, str]:
        turns = [{"role": each.role, "content": each.content} for each in question.messages if each.role != SYSTEM]
        body: dict = {"model": target.model, "max_tokens": max(MAX_TOKENS, question.max_tokens),
                      "temperature": question.temperature, "messages": turns}
        system = "\n\n".join(each.content for each in question.messages if each.role == SYSTEM)
        if system:
            body["system"] = system
        for parameter in question.without:
            body.pop(parameter, None)
        answer = call.post(f"{base_url(self.name, target.url)}/messages", body, headers=_headers(target), key=target.key)
        blocks = answer.get("content")
        if not isinstance(blocks, list):
            raise LLMBadAnswer("Anthropic answered without `content`: is its address right?")
        text = next((each.get("text") for each in blocks if isinstance(each, dict) and each.get("text")), "")
        return str(text), str(answer.get("model") or target.model)

    def models(self, target: Target, call: Call) -> list[Model]:
        url = base_url(self.name, target.url)
        entries = call.get(f"{url}/models", headers=_headers(target), key=target.key).get("data")
        if not isinstance(entries, list):
            raise LLMBadAnswer(f"What answers at {url} is not Anthropic: its list of models has another shape.")
        return [Model(str(entry["id"])) for entry in entries if isinstance(entry, dict) and "id" in entry]


def _headers(target: Target) -> dict:
    return {"anthropic-version": VERSION} | ({"x-api-key": target.key} if target.key else {})
