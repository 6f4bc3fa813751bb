"""The wire format of OpenAI, and of LM Studio and others that imitate it.

Source: platform.openai.com/docs/api-reference/chat; lmstudio.ai/docs/api/structured-output.
"""
import re

from ananta.domain.prompts import as_text
from ananta.errors import LLMBadAnswer
from ananta.llm.addresses import NAMES, base_url, mode_of
from ananta.llm.calls import Call
from ananta.llm.provider import JSON, SCHEMA, Model, Question, Target

# Names that say that a model makes vectors, sound or pictures.
NOT_FOR_TEXT = re.compile(r"embed|bge-|\be5-|rerank|whisper|\btts\b|dall-e|moderation|\bgte-|minilm", re.IGNORECASE)


class OpenAI:
    """name: "openai", or "lmstudio" for a server that also knows `completions` and limits of length."""

    def __init__(self, name: str):
        self.name = name

    def complete(self, target: Target, question: Question, call: Call) -> tuple[str, str]:
        if self.name == "lmstudio" and mode_of(target.url, target.mode) == "completions":
            path, body = "/completions", self._plain(target, question)
        else:
            path, body = "/chat/completions", self._chat(target, question)
        for parameter in question.without:
            body.pop(parameter, None)
        answer = call.post(base_url(self.name, target.url) + path, body, headers=_key(target), key=target.key)
        return _text(answer, NAMES[self.name]), str(answer.get("model") or target.model)

    def models(self, target: Target, call: Call) -> list[Model]:
        url = base_url(self.name, target.url)
        entries = call.get(f"{url}/models", headers=_key(target), key=target.key).get("data")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
            raise LLMBadAnswer(f"What answers at {url} is not {NAMES[self.name]}: its list of models has another shape.")
        return [Model(str(entry["id"]), _context(entry)) for entry in entries
                if not NOT_FOR_TEXT.search(str(entry["id"])) and entry.get("type") not in ("embedding", "embeddings")]

    def _chat(self, target: Target, question: Question) -> dict:
        body: dict = {"model": target.model, "temperature": question.temperature,
                      "messages": [{"role": each.role, "content": each.content} for each in question.messages]}
        if self.name == "lmstudio":
            # Not for OpenAI: its newer models refuse max_tokens.
            body |= {"stream": False, "max_tokens": question.max_tokens}
        if question.form == SCHEMA:
            body["response_format"] = {"type": "json_schema", "json_schema": {
                "name": "answer", "strict": _is_closed(question.schema), "schema": question.schema}}
        elif question.form == JSON:
            body["response_format"] = {"type": "json_object"}
        return body

    def _plain(self, target: Target, question: Question) -> dict:
        return {"model": target.model, "prompt": as_text(question.messages), "stream": False,
                "max_tokens": question.max_tokens, "temperature": question.temperature,
                # Without it a model plays both sides of the conversation.
                "stop": ["\nUser:", "\nSystem:"]}


def _key(target: Target) -> dict:
    return {"Authorization": f"Bearer {target.key}"} if target.key else {}


def _text(answer: dict, name: str) -> str:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        raise LLMBadAnswer(f"{name} answered without `choices`: is it a model server of this kind?")
    message = first.get("message")
    content = message.get("content") if isinstance(message, dict) else first.get("text")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _context(entry: dict) -> int | None:
    """The size the model was loaded with, where a server says it: LM Studio, vLLM, llama.cpp."""
    meta = entry.get("meta")
    for value in (entry.get("loaded_context_length"), entry.get("context_length"), entry.get("max_model_len"),
                  meta.get("n_ctx") if isinstance(meta, dict) else None):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _is_closed(schema: object) -> bool:
    """Whether OpenAI takes the schema as strict: every object closed, every property required."""
    if isinstance(schema, list):
        return all(_is_closed(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    return all(_is_closed(each) for each in schema.values())
