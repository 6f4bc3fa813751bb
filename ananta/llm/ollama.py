"""The wire format of Ollama. Source: github.com/ollama/ollama, docs/api.md."""
from ananta.domain.prompts import as_text
from ananta.errors import LLMBadAnswer
from ananta.llm.addresses import base_url
from ananta.llm.calls import Call
from ananta.llm.openai import NOT_FOR_TEXT
from ananta.llm.provider import JSON, SCHEMA, Model, Question, Target

USUAL_CONTEXT_TOKENS = 4096


class Ollama:
    name = "ollama"

    def complete(self, target: Target, question: Question, call: Call) -> tuple[str, str]:
        options: dict = {"temperature": question.temperature, "num_predict": question.max_tokens}
        if question.context_tokens > USUAL_CONTEXT_TOKENS:
            # Ollama cuts a longer prompt without a word. Where its usual size is enough it is left alone, because
            # another size makes it load the model again.
            options["num_ctx"] = question.context_tokens
        body: dict = {"model": target.model, "prompt": as_text(question.messages), "stream": False, "options": options}
        if question.form in (SCHEMA, JSON):
            body["format"] = question.schema if question.form == SCHEMA else "json"
        answer = call.post(f"{base_url(self.name, target.url)}/api/generate", body, headers=_key(target), key=target.key)
        text = answer.get("response")
        if not isinstance(text, str):
            raise LLMBadAnswer("Ollama answered without `response`: is it Ollama that runs there?")
        return text, str(answer.get("model") or target.model)

    def models(self, target: Target, call: Call) -> list[Model]:
        url = base_url(self.name, target.url)
        entries = call.get(f"{url}/api/tags", headers=_key(target), key=target.key).get("models")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            raise LLMBadAnswer(f"What answers at {url} is not Ollama: its list of models has another shape.")
        return [Model(str(entry["name"])) for entry in entries if not NOT_FOR_TEXT.search(str(entry["name"]))]


def _key(target: Target) -> dict:
    return {"Authorization": f"Bearer {target.key}"} if target.key else {}
