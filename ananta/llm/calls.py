"""POST and GET of JSON with a limit on the whole time, with retries, with failures in our words.

Nothing here follows a redirect, uses a proxy from the environment, reads .netrc or keeps a cookie: a key goes to the
address it belongs to.
"""
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ananta.errors import LLMBadAnswer, LLMFailed, LLMRefused, LLMTimeout, LLMUnreachable, ShuttingDown
from ananta.llm.sessions import Sessions, WireFailure

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_SAID_CHARS = 300
STOP_CHECK_S = 0.1
LOADING_PAUSES_S = 0.1, 2.0     # shortest, longest


class ServerRefusal(LLMRefused):
    """An HTTP status of 400 or more, or an error in place of an answer. said: the server's words, without the key."""

    def __init__(self, message: str, *, status: int, said: str, retry_after_s: float = 0.0):
        super().__init__(message)
        self.http_status = status
        self.said = said
        self.retry_after_s = retry_after_s


class Unreached(LLMUnreachable):
    """kind: "unknown_name", "refused", "tls", "silent" or "connection"."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


class CutOff(LLMBadAnswer):
    """An answer that ends too early; asking again may help."""


class Call:
    """One logical call: its time budget, its retries, its count of requests.

    budget_s: seconds for everything, pauses and retries included; retries: further tries of a request that failed;
    backoff: the pause before repetition n is backoff ** n seconds; stop: ends the call early when set; guarded: connect to
    nothing that domain.addresses forbids."""

    def __init__(self, sessions: Sessions, *, budget_s: float, retries: int = 0, backoff: float = 1.5,
                 stop: threading.Event | None = None, guarded: bool = False, clock: Callable[[], float] = time.monotonic):
        self.guarded = guarded
        self.sessions, self.retries, self.backoff, self.stop, self.clock = sessions, retries, backoff, stop, clock
        self.budget_s = budget_s
        self.deadline = clock() + budget_s
        self.attempts = 0

    def remaining_s(self) -> float:
        return max(0.0, self.deadline - self.clock())

    def shorter(self, budget_s: float) -> "Call":
        """Returns a call for a question beside this one: without retries, within this one's time."""
        return Call(self.sessions, budget_s=min(budget_s, self.remaining_s()), stop=self.stop, guarded=self.guarded,
                    clock=self.clock)

    def get(self, url: str, *, headers: Mapping[str, str] | None = None, key: str | None = None) -> dict:
        """Returns the JSON object at url. Raises LLMFailed, with key cut out of every message."""
        return self._repeated("GET", url, None, dict(headers or {}), key)

    def post(self, url: str, body: dict, *, headers: Mapping[str, str] | None = None, key: str | None = None) -> dict:
        """Returns the JSON object that answers body. All tries of it carry one Idempotency-Key. Raises LLMFailed."""
        # A changed body is another request: a server that remembers keys would answer it with the first one's result.
        own = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16), **(headers or {})}
        return self._repeated("POST", url, json.dumps(body).encode(), own, key)

    def _repeated(self, method: str, url: str, body: bytes | None, headers: dict, key: str | None) -> dict:
        failures = 0
        loading = False
        while True:
            if method == "POST":
                self.attempts += 1
            try:
                return self._once(method, url, body, headers, key)
            except LLMTimeout as error:
                raise (self._still_loading(url) if loading else error) from error.__cause__
            except (LLMUnreachable, LLMBadAnswer, ServerRefusal) as error:
                failures += 1
                loading = _is_loading(error)
                pause = self._pause_s(error, failures)
                if pause is None:
                    raise
                if pause >= self.remaining_s():
                    raise (self._still_loading(url) if loading else error) from error.__cause__
                log.info("%s; asking again in %.1f s", error.message, pause)
                self.wait(pause)

    def _still_loading(self, url: str) -> LLMTimeout:
        return LLMTimeout(f"{_place(url)} was still loading its model after {self.budget_s:.3g} s: "
                          "ask again when it is loaded.")

    def wait(self, pause_s: float) -> None:
        """Returns after pause_s seconds. Raises ShuttingDown when the call is stopped meanwhile."""
        if self.stop is None:
            time.sleep(pause_s)
        elif self.stop.wait(pause_s):
            raise ShuttingDown("The model call was stopped.")

    def _pause_s(self, error: LLMFailed, failures: int) -> float | None:
        """Seconds until the next try; None when there is none."""
        if _is_loading(error):
            return min(max(self.backoff ** min(failures, 8), LOADING_PAUSES_S[0]), LOADING_PAUSES_S[1])
        if failures > self.retries:
            return None
        if isinstance(error, ServerRefusal):
            # 501 is a server that will never do it.
            if error.http_status not in (408, 429) and (error.http_status < 500 or error.http_status == 501):
                return None
            return max(self.backoff ** failures, error.retry_after_s)
        if isinstance(error, LLMBadAnswer) and not isinstance(error, CutOff):
            return None
        if isinstance(error, Unreached) and error.kind in ("unknown_name", "tls"):
            return None
        return self.backoff ** failures

    def _once(self, method: str, url: str, body: bytes | None, headers: dict, key: str | None) -> dict:
        """One request in a thread of its own: a look-up of a name or a server that sends a byte now and then
        can outlast every timeout of a socket, and the caller's time is limited in all."""
        if self.remaining_s() <= 0:
            raise _late(url, self.budget_s)
        attempt = self.sessions.attempt(method, url, body, headers, timeout_s=self.remaining_s(),
                                        max_bytes=MAX_ANSWER_BYTES, guarded=self.guarded)
        while not attempt.done.wait(min(self.remaining_s(), STOP_CHECK_S) if self.stop else self.remaining_s()):
            stopped = self.stop is not None and self.stop.is_set()
            if stopped or self.remaining_s() <= 0:
                attempt.cut()
                raise ShuttingDown("The model call was stopped.") if stopped else _late(url, self.budget_s)
        if attempt.failure is not None:
            raise self._in_our_words(attempt.failure, url) from attempt.failure.__cause__
        return _json_of(attempt.status, attempt.headers, attempt.body, url, key)

    def _in_our_words(self, failure: WireFailure, url: str) -> LLMFailed:
        place = _place(url)
        if failure.kind == "timeout":
            return _late(url, self.budget_s)
        if failure.kind == "too_large":
            return LLMBadAnswer(f"{place} answered with more than {MAX_ANSWER_BYTES // 1024 // 1024} MiB: "
                                "is a model server running there?")
        if failure.kind == "cut_off":
            return CutOff(f"{place} broke its answer off: look into the server's own log.")
        if failure.kind == "forbidden":
            return LLMBadAnswer(f"{place} is not called: {failure.__cause__}")
        if failure.kind == "no_http":
            return LLMBadAnswer(f"What answers at {place} does not speak HTTP: check the address.")
        reason = {"unknown_name": "its name is not known", "refused": "it refuses the connection",
                  "tls": "its certificate or encryption is not accepted", "silent": "it does not accept a connection",
                  }.get(failure.kind, "the connection failed")
        cure = ("Correct the address, or look whether this machine can look up names." if failure.kind == "unknown_name" else
                "Start the model server, or correct its address.")
        return Unreached(f"Nothing answers at {place}: {reason}. {cure}", failure.kind)


def _json_of(status: int, headers: Mapping[str, str], body: bytes, url: str, key: str | None) -> dict:
    """The object in an answer; what is none becomes an error."""
    place = _place(url)
    if 300 <= status < 400:
        raise LLMBadAnswer(f"{place} points to another address, which is not followed: set that address itself.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if status >= 400 or (isinstance(value, dict) and value.get("error") and "choices" not in value):
        said = without(key, _said(value, body))
        raise ServerRefusal(f"{place} answered {status}: {said or 'no reason given'}", status=status, said=said,
                            retry_after_s=_seconds(headers.get("retry-after", "")))
    if isinstance(value, dict):
        return value
    if body.lstrip()[:1] == b"<":
        raise LLMBadAnswer(f"{place} answered with a web page instead of JSON: another program runs there, "
                           "or the path is wrong.")
    if body.lstrip()[:1] == b"{":
        raise CutOff(f"{place} answered with JSON that ends too early.")
    raise LLMBadAnswer(f"{place} answered with something other than a JSON object: is a model server running there?")


def _said(value: object, body: bytes) -> str:
    """The reason a server gives: OpenAI's {error: {message}}, LM Studio's and Ollama's {error}, FastAPI's {detail}."""
    if isinstance(value, dict):
        error = value.get("error") or value.get("message") or value.get("detail") or ""
        if isinstance(error, dict):
            error = error.get("message") or error.get("type") or error
        text = error if isinstance(error, str) else json.dumps(error)
    else:
        text = "" if body.lstrip()[:1] == b"<" else body[:2000].decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def without(key: str | None, text: str) -> str:
    """Returns the text, shortened, with every occurrence of the key replaced."""
    if key:
        text = text.replace(key, "***")
    # Longer runs of a key's shape may be another's, echoed by a gateway.
    text = re.sub(r"\b(sk-[A-Za-z0-9_-]{3})[A-Za-z0-9_-]{8,}", r"\1***", text)
    return text if len(text) <= MAX_SAID_CHARS else text[:MAX_SAID_CHARS] + "..."


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 86400.0)
    except ValueError:
        return 0.0


def _is_loading(error: LLMFailed) -> bool:
    return isinstance(error, ServerRefusal) and error.http_status == 503 and "loading" in error.said.lower()


def _late(url: str, budget_s: float) -> LLMTimeout:
    return LLMTimeout(f"{_place(url)} gave no answer within {budget_s:.3g} s: a smaller model, a shorter order "
                      "or a larger HTTP_TIMEOUT helps.")


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

