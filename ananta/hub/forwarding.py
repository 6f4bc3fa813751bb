"""The two verbs at a worker: one honest HTTP call each.

The token goes to the worker's address only: no redirects, no proxies, no .netrc. An answer is bounded in size and in
time, however slowly it comes. An execution carries an Idempotency-Key, so that an answer that was lost is asked for
again instead of running twice; what then still is not known is unknown, and neither done nor failed.
"""
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ananta.agent.lanes import Lane
from ananta.errors import ApprovalRequired, CommandDenied, Conflict, ForwardingFailed, InvalidInput, NotAllowed
from ananta.hub import wire
from ananta.hub.wire import Connection

log = logging.getLogger(__name__)
ANSWER_BYTES = 16 << 20
TOLD_CHARS = 500
CONNECT_S, IDLE_S, KEPT = 5.0, 30.0, 16
PER_WORKER, IN_ALL, WORKERS = 64, 128, 2000
PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0)  # between the times a lost answer is asked for again
ASK_AGAIN_S = 10.0  # how long that may take beyond the time limit
# With these codes a worker says that nothing has run.
NOTHING_RAN = frozenset({"busy", "shutdown_in_progress", "service_unavailable", "journal_failed",
                         "containment_unavailable", "unauthorized", "forbidden", "host_not_allowed", "not_found",
                         "method_not_allowed", "payload_too_large", "rate_limited", "shell_failed"})
GATEWAY = (502, 503, 504)  # without one of our codes these are of a proxy, which does not know what happened
Tokens = Sequence[str | None]


class OutcomeUnknown(ForwardingFailed):
    """The worker may have run it, completely, in part or not at all, and does not say so."""


class _NotSent(Exception):
    """The request never reached anybody; says why."""


class _Lost(Exception):
    """The request may have arrived, and there is no whole answer; says why. fresh: on a connection of its own, so it
    was not one that the other side had just closed."""

    def __init__(self, why: str, *, fresh: bool = True):
        super().__init__(why)
        self.fresh = fresh


class Workers:
    """Calls workers; thread-safe. `close` ends the calls under way. own_urls: addresses that are this hub itself;
    mask: a text without the secrets this hub knows."""

    def __init__(self, *, own_urls: Callable[[], frozenset[str]], mask: Callable[[str], str], per_worker: int = PER_WORKER, in_all: int = IN_ALL):
        self.own_urls, self.mask, self._per_worker = own_urls, mask, per_worker
        self.lane = Lane("calls of agents", in_all, retry_after_s=5)
        self._lanes: dict[str, Lane] = {}
        self._idle: dict[tuple[str, str], list[tuple[float, Connection]]] = {}
        self._active: set[Connection] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.pauses_s = PAUSES_S
        self._swept_at = time.monotonic()

    def is_self(self, url: str) -> bool:
        """Whether the address is this hub's own."""
        return url.rstrip("/").lower() in self.own_urls()

    def propose(self, url: str, tokens: Tokens, body: dict, *, timeout_s: float) -> dict:
        """Returns the worker's proposal. Raises ForwardingFailed, Busy and what the worker refuses as wrong input."""
        with self._places(url):
            until = time.monotonic() + timeout_s
            for attempt in (1, 2):
                try:
                    status, answer = self._call("POST", url, "/step/propose", tokens, body, until=until)
                    break
                except _NotSent as failure:
                    raise ForwardingFailed(f"The agent at {url} cannot be reached: {failure}.", details=str(failure)) from failure
                except _Lost as failure:
                    # A connection that had been kept is given up by the other side at some moment.
                    if attempt == 2 or failure.fresh:
                        raise ForwardingFailed(f"The agent at {url} did not answer: {failure}.",
                                               details=str(failure)) from failure
        if not 200 <= status < 300:
            self._pass_on(status, answer)
            raise failed(url, status, answer)
        if answer is None:
            raise ForwardingFailed(f"The agent at {url} did not answer with a JSON object.", details=f"{status} no JSON object")
        return unwrapped(answer)

    def execute(self, url: str, tokens: Tokens, body: dict, *, idempotency_key: str, timeout_s: float) -> dict:
        """Returns what the worker ran. Raises ForwardingFailed when nothing ran, OutcomeUnknown when that is not known,
        Busy, and the worker's own refusal (CommandDenied, ApprovalRequired, Conflict, InvalidInput)."""
        with self._places(url):
            return self._execute(url, tokens, body, idempotency_key, time.monotonic() + timeout_s)

    def hand_over(self, url: str, tokens: Tokens, task: dict, *, idempotency_key: str,
                  timeout_s: float) -> tuple[int, dict | None]:
        """Returns status and answer of another hub that is given a task, or of a worker, which takes none. Raises
        ForwardingFailed when it did not get it, OutcomeUnknown when that is not known, and Busy."""
        with self._places(url):
            until, lost = time.monotonic() + timeout_s, ""
            for _ in range(2):
                try:
                    status, answer = self._call("POST", url, "/tasks", tokens, task, until=until, key=idempotency_key)
                except _NotSent as failure:
                    if not lost:
                        raise ForwardingFailed(f"The agent at {url} cannot be reached: {failure}.",
                                               details=str(failure)) from failure
                except _Lost as failure:
                    lost = str(failure)
                else:
                    # It is there already: what was lost was the answer.
                    return (201, None) if lost and status == 409 else (status, answer)
            raise self._unknown(url, lost)

    def get(self, url: str, path: str, token: str | None, *, timeout_s: float) -> tuple[int, dict]:
        """Returns status and body, {} when that is no JSON object. Raises ForwardingFailed."""
        try:
            status, answer = self._call("GET", url, path, [token], None, until=time.monotonic() + timeout_s)
        except (_NotSent, _Lost) as failure:
            raise ForwardingFailed(f"The agent at {url} does not answer: {failure}.", details=str(failure)) from failure
        return status, answer or {}

    def refuses(self, url: str, tokens: Tokens, *, timeout_s: float) -> ForwardingFailed | None:
        """Returns why the agent takes none of the tokens; None when it takes one, or does not say."""
        with suppress(_NotSent, _Lost):
            status, answer = self._call("GET", url, "/config", tokens, None, until=time.monotonic() + timeout_s)
            return failed(url, status, answer) if status in (401, 403) else None
        return None

    def stop(self, url: str, tokens: Tokens, task_id: str, *, timeout_s: float) -> bool:
        """Ends the command that runs in the task's session at the worker; says whether one ran. Raises ForwardingFailed."""
        try:
            # Outside of the places, all of which may be taken by what is to be stopped.
            status, answer = self._call("POST", url, "/step/stop", tokens, {"task_id": task_id}, until=time.monotonic() + timeout_s)
        except (_NotSent, _Lost) as failure:
            raise ForwardingFailed(f"The agent at {url} does not answer: {failure}.", details=str(failure)) from failure
        if not 200 <= status < 300:
            raise failed(url, status, answer)
        return bool(answer and answer.get("stopped") is True)

    def close(self) -> None:
        """Ends all calls: they fail, or are unknown, at once."""
        self._closed.set()
        with self._lock:
            for each in self._active:
                each.cut()
            idle, self._idle = self._idle, {}
        for kept in idle.values():
            for _, connection in kept:
                connection.close()

    # ---

    @contextmanager
    def _places(self, url: str) -> Iterator[None]:
        with self._lock:
            if url not in self._lanes:
                if len(self._lanes) > WORKERS:
                    self._lanes = {name: lane for name, lane in self._lanes.items() if lane.busy}
                self._lanes[url] = Lane(f"calls of the agent at {url}", self._per_worker, retry_after_s=2)
            lane = self._lanes[url]
        # Of its own first: a slow worker's callers do not take places that others could use.
        with lane.take(), self.lane.take():
            yield

    def _execute(self, url: str, tokens: Tokens, body: dict, key: str, until: float) -> dict:
        arrived, tries, why = False, 0, ""
        while True:
            try:
                status, answer = self._call("POST", url, "/step/execute", tokens, body, until=until, key=key)
            except _NotSent as failure:
                if not arrived:
                    raise ForwardingFailed(f"The agent at {url} cannot be reached: {failure}. Nothing was run.",
                                           details=str(failure)) from failure
                why = str(failure)
            except _Lost as failure:
                arrived, why = True, str(failure)
                if tries == 0:
                    # An agent of another make would run it again: only ours keep the answer for the key.
                    until = max(until, time.monotonic() + ASK_AGAIN_S)
                    if not self._keeps_answers(url, tokens):
                        raise self._unknown(url, why) from failure
            else:
                try:
                    done = self._done(url, status, answer)
                except OutcomeUnknown:
                    raise
                except ForwardingFailed as failure:
                    if not arrived:
                        raise
                    # That this one was not let in says nothing of the one before it.
                    raise self._unknown(url, f"{why}, and then {told(status, answer)}") from failure
                if done is not None:
                    return done
                arrived, why = True, "it still runs"
                tries = 0
            if tries >= len(self.pauses_s) or self._closed.is_set() or time.monotonic() >= until:
                raise self._unknown(url, why)
            self._closed.wait(self.pauses_s[tries])
            tries += 1

    def _done(self, url: str, status: int, answer: dict | None) -> dict | None:
        """Returns what ran, None for a run of this key that has not ended yet; raises as `execute`."""
        code = answer.get("code") if answer else None
        if 200 <= status < 300:
            if answer is None:
                raise self._unknown(url, f"it answered {status} without a JSON object")
            return unwrapped(answer)
        if code == "in_progress":
            return None
        if code == "outcome_unknown":
            raise self._unknown(url, "it was stopped while it ran this")
        if code == "ran_but_not_recorded" and answer is not None:
            return answer
        self._pass_on(status, answer)
        if status < 500 or code in NOTHING_RAN:
            raise failed(url, status, answer)
        raise self._unknown(url, told(status, answer))

    def _keeps_answers(self, url: str, tokens: Tokens) -> bool:
        for pause_s in (0.0, *self.pauses_s[:3]):
            if self._closed.wait(pause_s):
                return False
            with suppress(_NotSent, _Lost):
                status, answer = self._call("GET", url, "/health?verbose=1", tokens, None, until=time.monotonic() + 3)
                return status == 200 and bool(answer) and isinstance((answer or {}).get("version"), str) and "role" in (answer or {})
        return False

    @staticmethod
    def _unknown(url: str, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(f"Whether the agent at {url} ran it is not known ({why}): it is not repeated. Look there.",
                              details=f"unknown: {why}")

    @staticmethod
    def _pass_on(status: int, answer: dict | None) -> None:
        """Raises what the worker has decided; it is no failure of the way there."""
        code, message = (answer or {}).get("code"), (answer or {}).get("message")
        if not isinstance(code, str) or not isinstance(message, str):
            return
        reasons = (answer or {}).get("reasons")
        extras: dict[str, Any] = {"reasons": [str(each) for each in reasons]} if isinstance(reasons, list) else {}
        if status == 403 and code == "command_denied":
            raise CommandDenied(message, **extras)
        if status == 403 and code == "forbidden":
            raise NotAllowed(message)
        if status == 409 and code == "approval_required":
            raise ApprovalRequired(message, **extras)
        if status == 409:
            raise Conflict(message, code=code)
        if status in (400, 422):
            raise InvalidInput(message, code=code)

    def _call(self, method: str, url: str, path: str, tokens: Tokens, body: dict | None, *, until: float,
              key: str | None = None) -> tuple[int, dict | None]:
        """Returns status and JSON object of the first token that is not refused. Raises _NotSent and _Lost."""
        content = None if body is None else msgspec.json.encode(body)
        status, answer = 0, None
        for token in tokens or (None,):
            status, answer = self._once(method, url, path, token, content, until, key)
            if status != 401:
                break
        if not 200 <= status < 300 and answer:
            answer = self._clean(answer, tokens)
        return status, answer

    def _clean(self, answer: dict, tokens: Tokens) -> dict:
        """What an agent says went wrong, without tokens and not longer than somebody reads."""
        def text(value: str) -> str:
            for token in tokens:
                value = value.replace(token, "***") if token else value
            return self.mask(value)[:TOLD_CHARS]

        kept = {name: text(each) if isinstance(each, str) else each for name, each in answer.items()
                if name in ("code", "error", "message", "exit_code", "id")}
        if isinstance(answer.get("reasons"), list):
            kept["reasons"] = [text(str(each)) for each in answer["reasons"][:20]]
        if isinstance(answer.get("output"), str):
            kept["output"] = answer["output"]
        return kept

    def _once(self, method: str, url: str, path: str, token: str | None, content: bytes | None, until: float,
              key: str | None) -> tuple[int, dict | None]:
        if token is not None and not (token.isascii() and token.isprintable()):
            raise _NotSent("its token cannot stand in a header")
        headers = wire.headers(content, token, *([f"Idempotency-Key: {key}"] if key is not None else []))
        connection, fresh = self._connection(url, until)
        keep = False
        try:
            status, raw, keep = connection.ask(method, url + path, headers, content, until, most_bytes=ANSWER_BYTES)
        except wire.FAILURES as failure:
            raise _Lost(wire.reason(failure), fresh=fresh) from failure
        finally:
            self._give_back(url, connection, keep)
        answer = wire.json_object(raw)
        if status in GATEWAY and not (answer and answer.get("code")):
            raise _Lost(f"something between here and there answered {status}")
        return status, answer

    def _connection(self, url: str, until: float) -> tuple[Connection, bool]:
        if self._closed.is_set():
            raise _NotSent("this hub is stopping")
        parts = urlsplit(url)
        place = parts.scheme, parts.netloc
        with self._lock:
            kept = self._idle.get(place, [])
            while kept:
                since, connection = kept.pop()
                if time.monotonic() - since < IDLE_S and not connection.is_stale():
                    self._active.add(connection)
                    return connection, False
                connection.close()
        try:
            connection = Connection(url, min(until, time.monotonic() + CONNECT_S))
        except wire.FAILURES as failure:
            raise _NotSent(wire.reason(failure)) from failure
        with self._lock:
            self._active.add(connection)
        return connection, True

    def _give_back(self, url: str, connection: Connection, keep: bool) -> None:
        parts = urlsplit(url)
        now, old = time.monotonic(), []
        with self._lock:
            self._active.discard(connection)
            place = parts.scheme, parts.netloc
            if keep and len(self._idle.get(place, ())) < KEPT and not self._closed.is_set():
                self._idle.setdefault(place, []).append((now, connection))
            else:
                old.append(connection)
            if now - self._swept_at > IDLE_S:
                self._swept_at = now
                old += [each for kept in self._idle.values() for since, each in kept if now - since >= IDLE_S]
                self._idle = {name: young for name, kept in self._idle.items()
                              if (young := [pair for pair in kept if now - pair[0] < IDLE_S])}
        for each in old:
            each.close()


def unwrapped(answer: dict) -> dict:
    """The body itself; agents of another make wrap it as {status, data}."""
    inner = answer.get("data")
    return inner if isinstance(inner, dict) and ("status" in answer or "code" in answer) else answer


def told(status: int, answer: dict | None) -> str:
    code = (answer or {}).get("code") or (answer or {}).get("error")
    return f"{status} {code}"[:100] if isinstance(code, str) and code.isprintable() else str(status)


def failed(url: str, status: int, answer: dict | None) -> ForwardingFailed:
    why = told(status, answer)
    if 300 <= status < 400:
        return ForwardingFailed(f"The agent at {url} answers with a redirect, which is not followed: assign the task to its "
                                "real address.", details=why)
    cure = {401: " Its token is another one: assign the task anew with the right one, or let the agent register.",
            404: " Is this the address of an agent?"}.get(status, "")
    return ForwardingFailed(f"The agent at {url} answered {why}. Nothing was run.{cure}", details=why)

