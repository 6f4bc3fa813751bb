"""The ways to others: the hub, proxies, and from a container to the machine around it."""
import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from ananta.hub import wire
from ananta.llm import locating
from ananta.operations.checks.finding import Answer, Case
from ananta.settings import is_loopback

REACH_S, LOOK_S = 3.0, 1.0
CLOCKS_APART_S = 60
HOST = "host.docker.internal"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
LOCAL_URLS = ("lmstudio_url", "ollama_url")
ADD_HOST = (f"start the container with --add-host={HOST}:host-gateway (Compose: extra_hosts), or name the model server by an "
            "address.")
CLOUD = ("openai", "anthropic")


def hub(case: Case) -> Iterator[Answer]:
    """The hub is there, its clock is ours, and it can reach this agent."""
    settings = case.settings
    if settings.role == "hub":
        yield True, "this is one"
        return
    if "hub_url" not in settings.given:
        yield True, "none is named (HUB_URL); an agent works without one"
        return
    url = settings.hub_url.rstrip("/")
    try:
        status, apart_s = _ask(url)
    except wire.FAILURES as failure:
        yield False, f"{url} cannot be reached: {wire.reason(failure)}. Start the hub, or correct HUB_URL."
        return
    if status != 200:
        yield False, f"{url} answers {status} to /health: is it the hub? Correct HUB_URL."
        return
    text = f"{url} answers"
    if apart_s is not None and abs(apart_s) > CLOCKS_APART_S:
        yield False, (f"{text}, but its clock is {abs(apart_s):.0f} s {'ahead of' if apart_s > 0 else 'behind'} ours: set both by "
                      "NTP (timedatectl set-ntp true), or tokens count too long or not at all.")
        return
    if not is_loopback(urlsplit(url).hostname or "") and settings.agent_url is None:
        yield False, (f"{text}, but will look for this agent at http://localhost:{settings.port}, which is the hub's own machine: "
                      "set AGENT_URL to the address of this machine, as the hub sees it.")
        return
    yield True, text + ("" if apart_s is None else f", clocks {abs(apart_s):.0f} s apart")


def _ask(url: str) -> tuple[int, float | None]:
    """Returns the status of the hub's /health, and how many seconds its clock is ahead; None where it does not say.
    Raises what is in wire.FAILURES."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    before = time.time()
    with closing(kind(parts.hostname or "", parts.port, timeout=REACH_S)) as connection:
        connection.request("GET", f"{parts.path}/health")
        answer = connection.getresponse()
        date = answer.getheader("Date")
    try:
        theirs = parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError):
        theirs = None
    # A date has whole seconds: on average half a second has passed since.
    return answer.status, None if theirs is None else theirs + 0.5 - (before + time.time()) / 2


def proxies(case: Case) -> Iterator[Answer]:
    """What the environment says of proxies, and who heeds it."""
    found = {name: value for name in PROXIES for each in (name, name.lower()) if (value := case.environment.get(each))}
    if not found:
        yield True, "none in the environment"
        return
    spared = {part.strip().lower() for name in ("NO_PROXY", "no_proxy") for part in case.environment.get(name, "").split(",")}
    text = f"{', '.join(found)} set: commands use it, the agent itself asks models and its hub directly"
    if case.settings.default_provider in CLOUD:
        text += f" (so {case.settings.default_provider} must be reachable without it, or by its _URL setting)"
    if not spared & {"*", "localhost", "127.0.0.1"}:
        yield False, f"{text}. Commands reach this machine through the proxy, too: add localhost,127.0.0.1 to NO_PROXY."
    else:
        yield True, text


def container_host(case: Case, inside: str | None = "") -> Iterator[Answer]:
    """From a container to the machine around it. inside: what this is inside of, None for nothing; "": to be found out."""
    inside = locating.surroundings() if inside == "" else inside
    settings, known = case.settings, _is_known(HOST)
    named = [name.upper() for name in LOCAL_URLS if name in settings.given and urlsplit(getattr(settings, name)).hostname == HOST]
    if named and not known:
        yield False, f"{HOST} is not known, and {' and '.join(named)} names it: {ADD_HOST}"
        return
    if inside is None:
        yield True, "not in a container" + (f"; {HOST} is known" if known else "")
        return
    hosts = [HOST] if known else [around] if (around := locating.gateway()) else []
    found = [f"{host}:{port}" for host in hosts for port in locating.PORTS.values() if _listens(host, port)]
    looks_around = settings.default_provider in locating.LOCAL and f"{settings.default_provider}_url" not in settings.given
    if found or not looks_around:
        yield True, f"in {inside}" + (f"; around it {', '.join(found)} can be reached" if found else "")
    elif not known and inside != locating.WSL:
        yield False, f"this runs in {inside}, and {HOST}, the machine around it, is not known: {ADD_HOST}"
    else:
        # Whether that matters the model's own line says: a server may as well run in here.
        yield True, (f"in {inside}; neither LM Studio (1234) nor Ollama (11434) can be reached around it. If one runs there, let it "
                     "listen for others, too: LM Studio's `Serve on Local Network`, Ollama's OLLAMA_HOST=0.0.0.0, or on Windows "
                     "build/setup_host_services.ps1")


def _is_known(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:
        return False


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=LOOK_S):
            return True
    except OSError:
        return False
