"""The model: is a server there, has it one that we may use, is there room for the prompt, who else can reach it."""
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from ananta import settings as settings_module
from ananta.agent.configuration import LiveConfiguration
from ananta.agent.watch import LIMIT_S, ModelWatch
from ananta.domain import prompts
from ananta.errors import LLMFailed
from ananta.llm import cures
from ananta.llm.catalog import CHARS_PER_TOKEN, SPARE_TOKENS, LanguageModels
from ananta.llm.locating import LOCAL
from ananta.llm.provider import Model, Target
from ananta.operations.checks.finding import Answer, Case
from ananta.operations.checks.network import CLOUD
from ananta.settings import is_loopback
from ananta.store.configuration import ConfigFile

ANSWER_TOKENS = 400
SERVED = {"lmstudio": "`Serve on Local Network` in LM Studio", "ollama": "OLLAMA_HOST=0.0.0.0"}


def model(case: Case) -> Iterator[Answer]:
    settings = case.settings
    configuration = LiveConfiguration(ConfigFile(case.data_dir / "config.json"),
                                      settings_module.configuration_defaults(settings), settings.given)
    models = LanguageModels(retries=0, backoff=1.0, max_context_tokens=settings.lmstudio_max_context_tokens,
                            history_path=None, locate_local=True)
    setting = configuration.model()
    if setting.provider in CLOUD and not (setting.key or setting.explicit):
        yield False, (f"{setting.provider} wants a key, and none is set: put it into a file for you alone and name that with "
                      f"{setting.provider.upper()}_API_KEY_FILE, or choose another DEFAULT_PROVIDER.")
        models.close()
        return
    try:
        good, text, seconds = ModelWatch(lambda: models, configuration, enabled=False).report()
        if not good:
            yield False, text
            return
        chosen = configuration.model()
        target = Target(chosen.provider, chosen.model, chosen.url, chosen.key, chosen.mode)
        target = models.locate(target, explicit=chosen.explicit, timeout_s=LIMIT_S).target
        if target.provider not in LOCAL:
            yield True, f"{text} ({seconds:.1f} s)"
            return
        found = models.described(target, LIMIT_S)
        problem = _unknown(target, found) or _too_small(target, found, settings.lmstudio_max_context_tokens)
        yield problem is None, problem or f"{text} ({seconds:.1f} s), {_room(target, found, settings)}"
        yield from _reach(target)
    except LLMFailed as error:
        yield False, error.message
    finally:
        models.close()


def _unknown(target: Target, found: list[Model]) -> str | None:
    names = [each.name for each in found]
    if target.model == "auto" or target.model in names or f"{target.model}:latest" in names:
        return None
    return (f"{target.url} has no model {target.model!r}. It has: {', '.join(names[:cures.LISTED_MODELS])}. Set DEFAULT_MODEL to "
            "one of them, or to auto.")


def needed_tokens() -> int:
    """Returns how many tokens a proposal takes that has room for a long order and what one earlier command printed."""
    messages = prompts.proposal_messages("", shell_kind="pwsh", os_name="Windows", cwd="")
    chars = sum(len(each.content) for each in messages) + 2 * prompts.OUTPUT_CHARS
    return chars // CHARS_PER_TOKEN + ANSWER_TOKENS + SPARE_TOKENS


def _context(target: Target, found: list[Model]) -> int | None:
    """The context of the model in use where the server tells it; of several that could be meant, the largest."""
    known = [each.context_tokens for each in found
             if each.context_tokens is not None and target.model in ("auto", each.name)]
    return max(known, default=None)


def _too_small(target: Target, found: list[Model], assumed: int) -> str | None:
    context = _context(target, found)
    if (context or assumed) >= needed_tokens():
        return None
    return (f"the model at {target.url} is loaded with a context of {context} tokens, and a proposal takes {needed_tokens()}: load "
            "it with 4096 or more." if context else
            f"LMSTUDIO_MAX_CONTEXT_TOKENS={assumed} is less than the {needed_tokens()} tokens that a proposal takes: load the model "
            "with 4096 or more, and set the same number here.")


def _room(target: Target, found: list[Model], settings: settings_module.Settings) -> str:
    context = _context(target, found)
    return f"context {context} tokens" if context else (
        f"context taken to be {settings.lmstudio_max_context_tokens} tokens (LMSTUDIO_MAX_CONTEXT_TOKENS)")


def _reach(target: Target) -> Iterator[Answer]:
    """Who can reach a model server of this machine."""
    parts = urlsplit(target.url)
    port = parts.port or 80
    if not is_loopback(parts.hostname or "") and not _is_ours(parts.hostname or ""):
        return
    hosts = listeners(port)
    if not hosts:
        return
    if all(is_loopback(each) for each in hosts):
        yield True, (f"its server listens on loopback only: containers and other machines cannot reach it (they could by "
                     f"{SERVED[target.provider]})")
    else:
        yield True, f"its server listens on {', '.join(sorted(hosts))}:{port}: others can reach it, too, without our rules"


def listeners(port: int) -> set[str]:
    """Returns the addresses of this machine on which somebody listens on a port; empty where nobody may know."""
    import psutil

    try:
        return {each.laddr.ip for each in psutil.net_connections("tcp")
                if each.laddr and each.laddr.port == port and each.status == psutil.CONN_LISTEN}
    except (psutil.Error, OSError):
        return set()


def _is_ours(host: str) -> bool:
    import psutil

    try:
        address = socket.gethostbyname(host)
    except OSError:
        return False
    return any(each.address == address for all_of in psutil.net_if_addrs().values() for each in all_of)
