"""Addresses of model servers as people write them → the one form we use."""
import re
from urllib.parse import urlsplit

from ananta.errors import InvalidInput

DEFAULT_URLS = {
    "ollama": "http://localhost:11434/api/generate",
    "lmstudio": "http://host.docker.internal:1234/v1",
    "openai": "https://api.openai.com/v1/chat/completions",
    "anthropic": "https://api.anthropic.com/v1/messages",
    "mock": "",
}
DEFAULT_MODELS = {"ollama": "llama3", "lmstudio": "auto", "openai": "gpt-4o-mini",
                  "anthropic": "claude-3-5-sonnet-20240620", "mock": "mock"}
NAMES = {"ollama": "Ollama", "lmstudio": "LM Studio", "openai": "OpenAI", "anthropic": "Anthropic", "mock": "mock"}

# What may stand at the end of an address, longest first, and the path below which the provider's calls lie.
_ENDINGS = {
    "lmstudio": (("/chat/completions", "/completions", "/models"), "/v1"),
    "openai": (("/chat/completions", "/completions", "/models"), "/v1"),
    "anthropic": (("/messages", "/models"), "/v1"),
    "ollama": (("/api/generate", "/api/chat", "/api/tags", "/api", "/v1"), ""),
}


def base_url(provider: str, url: str) -> str:
    """Returns the address below which the provider's paths lie, without a slash at its end.

    A missing scheme is http, a missing path the provider's usual one; an empty url is the provider's default;
    mock has none.
    Raises InvalidInput for what is no web address, and for one that holds a user name or password."""
    if provider == "mock":
        return ""
    text = (url or DEFAULT_URLS.get(provider, "")).strip()
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme.lower() not in ("http", "https") or re.search(r"\s", text):
        raise InvalidInput(f"{url!r} is not the address of a model server: write it like {DEFAULT_URLS['lmstudio']}.")
    if "@" in parts.netloc:
        raise InvalidInput("The address of a model server cannot hold a user name: set the key on its own.")
    endings, usual = _ENDINGS.get(provider, ((), ""))
    path = parts.path.rstrip("/")
    ending = next((each for each in endings if path.endswith(each)), "")
    path = path.removesuffix(ending) if ending else path
    return f"{parts.scheme.lower()}://{parts.netloc}{path or usual}"


def mode_of(url: str, mode: str) -> str:
    """Returns "chat" or "completions": what the address names, else the given mode."""
    path = urlsplit(url.strip()).path.rstrip("/")
    if path.endswith("/chat/completions"):
        return "chat"
    return "completions" if path.endswith("/completions") or mode == "completions" else "chat"
