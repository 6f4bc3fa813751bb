"""Finds a model server near us when nobody has said where it is."""
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ananta.errors import AnantaError, LLMBadAnswer, LLMFailed, LLMTimeout, LLMUnreachable
from ananta.llm.addresses import NAMES, base_url
from ananta.llm.calls import Call, ServerRefusal, Unreached
from ananta.llm.provider import Model, Provider, Target
from ananta.llm.sessions import Sessions

log = logging.getLogger(__name__)

LOCAL = ("lmstudio", "ollama")
PORTS = {"lmstudio": 1234, "ollama": 11434}
LOOK_S = 1.0
WSL = "the Windows Subsystem for Linux"


@dataclass(frozen=True)
class Candidate:
    """A place where a model server may be. url: as base_url() takes it."""

    provider: str
    url: str


@dataclass(frozen=True)
class Located:
    """Whom to ask, and how that was found, as a sentence."""

    target: Target
    how: str


def default_candidates() -> tuple[Candidate, ...]:
    """This machine, then the machine around this container, by name and as the default gateway."""
    hosts = ["127.0.0.1", "host.docker.internal"]
    around = gateway()
    return tuple(Candidate(provider, f"http://{host}:{PORTS[provider]}")
                 for host in [*hosts, *([around] if around else [])] for provider in LOCAL)


class Locator:
    """Remembers what it has found, per provider and address. Thread-safe."""

    def __init__(self, providers: Mapping[str, Provider], sessions: Sessions,
                 candidates: Sequence[Candidate] | Callable[[], Sequence[Candidate]] = default_candidates):
        self._providers, self._sessions, self._candidates = providers, sessions, candidates
        self._found: dict[tuple[str, str], Located] = {}

    def locate(self, target: Target, *, timeout_s: float) -> Located:
        """Returns the target itself when a model server answers there, else the first candidate that has a model,
        the same provider's before others', else one without a model. Raises LLMUnreachable, with all that was tried.

        Looks at all places at once, LOOK_S seconds or timeout_s at most. A key goes to the target's own address only."""
        known = self._found.get((target.provider, target.url))
        if known is not None:
            model = known.target.model if known.target.provider != target.provider else target.model
            return replace(known, target=replace(known.target, model=model, mode=target.mode))
        candidates = self._candidates() if callable(self._candidates) else self._candidates
        own = Candidate(target.provider, target.url)
        places = [own, *(each for each in candidates if _place(each) != _place(own))]
        results = self._look(places, target, min(LOOK_S, timeout_s))
        chosen = self._chosen(target, own, places, results)
        if chosen is None:
            raise LLMUnreachable(_nothing_found(target, places, results))
        if not isinstance(results[own], LLMTimeout) or chosen.target.url != target.url:
            self._found[(target.provider, target.url)] = chosen
            log.log(logging.INFO if chosen.target.url != target.url else logging.DEBUG, chosen.how)
        return chosen

    def forget(self, target: Target) -> None:
        """Forgets every find that led to the target's address, because nothing answers there any more."""
        for asked, located in list(self._found.items()):
            if located.target.url == target.url:
                self._found.pop(asked, None)

    def _look(self, places: Sequence[Candidate], target: Target,
              limit_s: float) -> dict[Candidate, list[Model] | AnantaError]:
        answers: queue.SimpleQueue = queue.SimpleQueue()

        def ask(place: Candidate, call: Call) -> None:
            key = target.key if place is places[0] else None
            try:
                answers.put((place, self._providers[place.provider].models(
                    Target(place.provider, "auto", place.url, key), call)))
            except AnantaError as error:
                answers.put((place, error))

        for place in places:
            call = Call(self._sessions, budget_s=limit_s)
            threading.Thread(target=ask, args=(place, call), name="llm-look", daemon=True).start()
        results = dict(answers.get() for _ in places)
        return {place: results[place] for place in places}

    def _chosen(self, target: Target, own: Candidate, places: Sequence[Candidate],
                results: Mapping[Candidate, list[Model] | AnantaError]) -> Located | None:
        first = results[own]
        there = base_url(own.provider, own.url)
        # A wrong key or an error of its own: somebody is there, and the call itself will say what is wrong.
        if isinstance(first, (list, ServerRefusal)) and not _is_missing_path(first):
            return Located(target, f"{NAMES[own.provider]} answers at {there}, its usual address.")
        ranked = sorted((place for place in places if isinstance(results[place], list)),
                        key=lambda place: (not results[place], place.provider != target.provider))
        if ranked:
            place = ranked[0]
            url = base_url(place.provider, place.url)
            model = target.model if place.provider == target.provider else "auto"
            return Located(Target(place.provider, model, url, None, target.mode),
                           f"{NAMES[place.provider]} was found at {url}, because {_why(first, there)}.")
        if isinstance(first, LLMTimeout):
            return Located(target, f"{NAMES[own.provider]} at {there} is slow to answer; nothing else was found.")
        return None


def _is_missing_path(result: object) -> bool:
    return isinstance(result, ServerRefusal) and result.http_status in (200, 404, 405)


def _place(candidate: Candidate) -> tuple[str, str]:
    return candidate.provider, base_url(candidate.provider, candidate.url)


def _why(result: object, there: str) -> str:
    if isinstance(result, LLMTimeout):
        return f"{there} does not answer in time"
    if isinstance(result, (LLMBadAnswer, ServerRefusal)):
        return f"what answers at {there} is no model server"
    return f"nothing answers at {there}"


def _nothing_found(target: Target, places: Sequence[Candidate], results: Mapping[Candidate, object]) -> str:
    tried = "; ".join(f"{NAMES[place.provider]} at {base_url(place.provider, place.url)} ({_short(results[place])})"
                      for place in places)
    return (f"No model server was found. Tried: {tried}. Start LM Studio's local server or Ollama, or set "
            f"{target.provider.upper()}_URL to where it runs. DEFAULT_PROVIDER=mock works without a model.")


def _short(result: object) -> str:
    if isinstance(result, Unreached):
        return {"unknown_name": "name not known", "refused": "refused", "silent": "no answer",
                "tls": "certificate not accepted"}.get(result.kind, "connection failed")
    if isinstance(result, LLMTimeout):
        return "no answer in time"
    return "another program" if isinstance(result, LLMFailed) else "failed"


def surroundings() -> str | None:
    """Returns what this process is inside of, in words: a container, or WSL; None for a machine of its own."""
    try:
        if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
            return "a container"
        return WSL if "microsoft" in Path("/proc/sys/kernel/osrelease").read_text().lower() else None
    except OSError:
        return None


def gateway() -> str | None:
    """The default gateway's IPv4 address inside a container or WSL; None elsewhere, where it is a router
    that has no business with our prompts. Source of the table's format: man 5 proc, /proc/net/route."""
    if surroundings() is None:
        return None
    try:
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            fields = line.split()
            if len(fields) > 2 and fields[1] == "00000000" and fields[2] != "00000000":
                return ".".join(str(byte) for byte in reversed(bytes.fromhex(fields[2])))
    except (OSError, ValueError):
        pass
    return None
