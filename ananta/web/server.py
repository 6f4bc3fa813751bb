"""Bottle behind Waitress: routes with access, answers as JSON; start, and a stop that lets work finish.

The Waitress settings are those measured to stay responsive: poll instead of select (which dies above descriptor
1024), a large send buffer (small ones collapse under many keep-alive clients), lookahead (to notice who has left).
"""
import io
import logging
import socket
import threading
import time
from collections.abc import Callable

import bottle
from bottle import Bottle, HTTPError, HTTPResponse
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from ananta import errors
from ananta.agent.tools import By
from ananta.errors import AnantaError, CannotStart
from ananta.store import answers, database
from ananta.web import payloads, responses
from ananta.web.access import CLASSES, Access
from ananta.web.gate import Gate, answer_headers, new_cid
from ananta.web.streams import Streams, task_class
from ananta.web.threads import Dispatcher

log = logging.getLogger(__name__)
BODY_BYTES = 2 << 20
THREADS_BESIDE_LANES = 24
STOP_REQUESTS_S = 3.0
LOOK_S = 1.0
SAME_KEY_WAIT_S = 20.0
SETTLE_TRIES = 24 * 3600
PROBLEMS = {400: "The request is not valid HTTP.", 413: "The body is larger than 2 MiB.",
            431: "The header is larger than this agent takes.", 501: "This transfer encoding is not supported."}


class Endpoint:
    """The Bottle plugin around every handler: who may call, body and query in, value or error out."""

    name, api = "endpoint", 2

    def __init__(self, access: Access):
        self.access = access

    def apply(self, handler: Callable, route: bottle.Route) -> Callable:
        config = route.config
        level, body, query = config["access"], config.get("body"), config.get("query")
        keyed, creates = config.get("idempotent", False), config.get("creates", False)
        status, schema, readable = config.get("status", 200), config.get("schema", False), config.get("readable", False)
        access, encode, otherwise = self.access, responses.encode, config.get("otherwise")
        # Counts a call, whatever is in its body; raises TooManyRequests.
        limited = config.get("limited")

        def identified(environ, path_values):
            try:
                return access.check(level, environ, insecure_too=config.get("insecure_too", True))
            except errors.NotAuthenticated:
                # A credential that is good for this path alone.
                caller = otherwise(environ, **path_values) if otherwise is not None else None
                if caller is None:
                    raise
                return caller

        def answer(**path_values):
            environ = bottle.request.environ
            try:
                environ["ananta.identity"] = identified(environ, path_values)
                if limited is not None:
                    limited()
                if keyed and "HTTP_IDEMPOTENCY_KEY" in environ:
                    return _once(environ, lambda: answer_now(environ, path_values), creates=creates)
                return answer_now(environ, path_values)
            except AnantaError as error:
                return responses.error_response(error, environ["ananta.cid"], readable=readable)
            finally:
                # The next thread that asks gets the connection: one for each of hundreds would be opened again and again.
                database.close_mine()

        def answer_now(environ, path_values):
            try:
                if query is not None:
                    path_values["query"] = payloads.query(_query(), query)
                if body is not None:
                    path_values["body"] = payloads.read(environ["wsgi.input"].read(), body, schema=schema)
                value = handler(**path_values)
            except AnantaError as error:
                code = responses.status_of(error)
                if code >= 500:
                    log.warning("%s [%s %s]", error.message, environ["REQUEST_METHOD"], route.rule)
                return responses.error_response(error, environ["ananta.cid"], readable=readable)
            except HTTPResponse as ready:
                return ready
            except Exception:
                log.exception("%s %s failed unexpectedly", environ["REQUEST_METHOD"], route.rule)
                return responses.error_response(
                    AnantaError("Something unexpected failed; the log of this agent says what."), environ["ananta.cid"],
                    readable=readable)
            if isinstance(value, HTTPResponse):
                return value
            return HTTPResponse(encode(value), status, {"Content-Type": responses.JSON})

        return answer


def begun() -> Callable[[str | None], None] | None:
    """For handlers that run something: to be called with the run's id just before, or with None when it did not come
    to that after all. None where the request has no Idempotency-Key."""
    return bottle.request.environ.get("ananta.begun")


def _once(environ: dict, answer: Callable[[], HTTPResponse], *, creates: bool) -> HTTPResponse:
    """Answers a request with an Idempotency-Key: the first time by `answer`, then as it was answered (24 h).

    The key is free again when nothing was started; where requests create something, when nothing was created. (Draft
    standard: "The Idempotency-Key HTTP Header Field".)"""
    key, who = environ["HTTP_IDEMPOTENCY_KEY"], environ["ananta.identity"].name
    body = environ["wsgi.input"].read()
    environ["wsgi.input"] = io.BytesIO(body)
    stored = answers.begin(key, who, answers.fingerprint(environ["PATH_INFO"], body), time.time(), wait_s=SAME_KEY_WAIT_S)
    if stored is not None:
        return HTTPResponse(stored.body, stored.status, {"Content-Type": responses.JSON, "Idempotency-Replayed": "true"})
    started: list[str] = []

    def note(run_id: str | None) -> None:
        started.clear()
        if run_id is not None:
            answers.attach(key, who, run_id)
            started.append(run_id)

    environ["ananta.begun"] = note
    response = answer()
    done = response if started or (creates and response.status_code < 300) else None
    try:
        _settle(key, who, done)
    except errors.StoreFailed as failure:
        # What ran has run: the caller gets the answer, and the key gets it as soon as there is room.
        log.warning("an answer cannot be kept for its Idempotency-Key yet: %s", failure.message)
        threading.Thread(target=_settle_later, args=(key, who, done), daemon=True).start()
    return response


def _settle(key: str, who: str, response: HTTPResponse | None) -> None:
    if response is None:
        answers.release(key, who)
    else:
        answers.finish(key, who, response.status_code, response.body)


def _settle_later(key: str, who: str, response: HTTPResponse | None) -> None:
    for _ in range(SETTLE_TRIES):
        time.sleep(1)
        try:
            _settle(key, who, response)
            break
        except errors.StoreFailed:
            continue
    database.close_mine()


def _query() -> dict[str, str]:
    try:
        return {name: text for name, text in bottle.request.query.decode().items() if name != "token"}
    except (UnicodeError, ValueError) as cause:
        raise errors.InvalidInput("The query string is not valid.", code="invalid_value") from cause


def caller():
    """Who makes the request that is being answered (access.Caller)."""
    return bottle.request.environ["ananta.identity"]


def by(access: Access) -> By:
    """On whose word the request that is being answered calls for something, and from where."""
    who = caller()
    return By(who.name, who.admin, access.address(bottle.request.environ))


def application(parts: list, access: Access) -> Bottle:
    """Returns the Bottle application of these parts, each with `mount(app)`. Raises CannotStart for a route without
    `access`."""
    app = Bottle(catchall=False)
    app.install(Endpoint(access))
    app.default_error_handler = _router_error
    for part in parts:
        part.mount(app)
    check_declared(app)
    return app


def check_declared(app: Bottle) -> None:
    for route in app.routes:
        if route.config.get("access") not in CLASSES:
            raise CannotStart(f"The route {route.method} {route.rule} does not say who may call it: declare its access.")


def _router_error(problem: HTTPError) -> bytes:
    path = bottle.request.path
    error: AnantaError
    if problem.status_code == 405:
        allowed = problem.get_header("Allow", "").split(",")
        error = errors.MethodNotAllowed(f"{bottle.request.method} is not possible here.", allow=",".join(
            sorted({*allowed, "OPTIONS", *(["HEAD"] if "GET" in allowed else [])} - {""})))
    elif problem.status_code == 404:
        error = errors.NotFound(f"There is nothing at {path[:200]}: /openapi.json lists what there is.")
    else:
        error = errors.InvalidInput("The request cannot be understood.", code="invalid_request")
        error = error if problem.status_code < 500 else AnantaError("Something unexpected failed.")
    problem.status = responses.status_of(error)
    for name, text in responses.error_headers(error).items():
        problem.set_header(name, text)
    return responses.encode(responses.error_body(error, bottle.request.environ["ananta.cid"]))


class Parser(HTTPRequestParser):
    """Refuses what two programs could read differently: both length headers, odd encodings, folded header lines."""

    def parse_header(self, header_plus: bytes) -> None:
        if b"\n " in header_plus or b"\n\t" in header_plus:
            raise ParsingError("folded header lines are not accepted")
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            self.body_rcv = None
            raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        if "TRANSFER_ENCODING" in self.headers:
            raise ParsingError("Transfer-Encoding needs HTTP/1.1")
        if "," in self.headers.get("HOST", ""):
            raise ParsingError("more than one Host header")


class _Served(threading.local):
    """The connection whose request this thread answers."""

    channel: "HTTPChannel | None" = None


def _listener_class(access: Access, streams: Streams) -> type[TcpWSGIServer]:
    class Refusal(ErrorTask):
        """Waitress's own refusals in the form of all our errors."""

        def execute(self) -> None:
            problem = self.request.error
            message = PROBLEMS.get(problem.code, "The request is not valid HTTP.")
            kind = errors.TooLarge if problem.code == 413 else errors.InvalidInput
            error = kind(message, code=None if problem.code == 413 else "invalid_request", details=str(problem.body))
            cid = new_cid()
            environ = {f"HTTP_{name}": text for name, text in self.request.headers.items()}
            body = responses.encode(responses.error_body(error, cid))
            self.status = f"{problem.code} {responses.REASONS.get(problem.code, problem.reason)}"
            self.response_headers += [("Content-Type", responses.JSON), *answer_headers(cid, environ, access)]
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    answering = task_class(streams)

    class Channel(HTTPChannel):
        parser_class, error_task_class, task_class = Parser, Refusal, answering
        heard = False  # the loop waits for what the client sends next

        def writable(self) -> bool:
            """Whether the loop has something to do when the client takes more: see `handle_write`. What a thread has made
            and is about to send itself is nothing of that; the loop would be told of it as fast as it can ask, and keep
            the thread from sending it."""
            left = self.total_outbufs_len and (not self.requests or self.total_outbufs_len >= self.adj.send_bytes)
            return bool(left or self.will_close or self.close_when_flushed)

        def readable(self) -> bool:
            # First of all: a thread that ends meanwhile wakes the loop once too often, rather than not at all.
            self.heard = False
            self.heard = not self.writable() and len(self.requests) <= self.adj.channel_request_lookahead
            return self.heard

        def send_now(self) -> None:
            """Sends what is ready, from the thread that made it, as far as the connection takes it. The request is still
            among `requests`, which keeps the loop from sending at the same time."""
            self._flush_exception(self._flush_some_if_lockable, do_close=False)

        def service(self) -> None:
            served.channel = self
            try:
                super().service()
            finally:
                served.channel = None

    served = _Served()

    class Listener(TcpWSGIServer):
        channel_class = Channel

        def pull_trigger(self) -> None:
            # After most answers the loop has nothing to do for the connection: nothing is left to send, nothing to
            # close, and it listens for the next request already.
            at = served.channel
            if at is None or not at.heard or at.total_outbufs_len or at.close_when_flushed or at.will_close:
                super().pull_trigger()

    return Listener


class Server:
    """The listening server. threads: for the sum of all lanes, with enough left that quick requests never wait."""

    def __init__(self, gate: Gate, access: Access, streams: Streams, *, host: str, port: int, lane_places: int):
        self.streams = streams
        self.socket = _listen(host, port)
        self.host, self.port = self.socket.getsockname()[:2]
        self._map: dict = {}
        self._server = _listener_class(access, streams)(
            gate, self._map, _sock=self.socket, dispatcher=Dispatcher(lane_places + THREADS_BESIDE_LANES), bind_socket=False,
            sockinfo=(self.socket.family, self.socket.type, self.socket.proto, self.socket.getsockname()),
            asyncore_use_poll=True, connection_limit=900, channel_timeout=60, cleanup_interval=10,
            channel_request_lookahead=2, outbuf_high_watermark=1 << 20, max_request_body_size=BODY_BYTES + 1,
            max_request_header_size=32 << 10, send_bytes=1 << 20, ident=None, threads=lane_places + THREADS_BESIDE_LANES,
            clear_untrusted_proxy_headers=False, log_socket_errors=False)
        self._loop = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._loop.start()

    def stop(self, wait_s: float = STOP_REQUESTS_S) -> None:
        """Ends the event streams and refuses new connections at once, lets running requests finish for wait_s seconds,
        then ends."""
        self.streams.close()
        if self._loop.is_alive():
            # Within the loop, so that no connection is accepted while the socket closes.
            self._server.trigger.pull_trigger(self._close_listener)
        until = time.monotonic() + wait_s
        while time.monotonic() < until and self._working():
            time.sleep(0.01)
        self._server.task_dispatcher.shutdown(timeout=0.1)
        self._server.trigger.pull_trigger(self._drop)
        if self._loop.is_alive():
            self._loop.join(2)
        self._server.close()

    def _drop(self) -> None:
        for each in list(self._server.active_channels.values()):
            each.handle_close()
        self._map.clear()

    def _close_listener(self) -> None:
        self._server.del_channel(self._map)
        self.socket.close()

    def _working(self) -> bool:
        return any(each.requests or each.total_outbufs_len for each in list(self._server.active_channels.values()))

    def _run(self) -> None:
        try:
            self._server.asyncore.loop(map=self._map, timeout=LOOK_S, use_poll=True)
        except Exception:
            log.exception("the web server stopped unexpectedly")
            raise


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                             flags=socket.AI_PASSIVE)[0]
    except OSError as cause:
        raise CannotStart(f"HOST={host!r} is not an address of this machine: {cause.strerror}.") from cause
    listener = socket.socket(family, kind, proto)
    listener.setblocking(False)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows SO_REUSEADDR would let a second program take over the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as cause:
        listener.close()
        raise CannotStart(f"Port {port} on {host} cannot be used ({cause.strerror}): stop the program that uses it, or "
                          "choose another with PORT.") from cause
    return listener
