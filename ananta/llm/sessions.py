"""HTTP connections that are kept, and single requests on them that can be cut at any moment."""
import contextlib
import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ananta.domain.addresses import Address, Refused, check_address
from ananta.llm import glance

CONNECT_TIMEOUT_S = 5.0
CHUNK_BYTES = 64 * 1024
KEPT_CONNECTIONS = 16

_current = threading.local()


class WireFailure(Exception):
    """A request without a whole answer. kind: timeout, silent, refused, unknown_name, tls, cut_off, too_large,
    no_http, forbidden or connection."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


def _failed(kind: str, cause: BaseException) -> WireFailure:
    failure = WireFailure(kind)
    failure.__cause__ = cause
    return failure


class Attempt:
    """One request under way. After `done` is set either `failure` or status, headers and body hold the result."""

    def __init__(self, check: Callable[[Address], None] | None = None) -> None:
        self.check = check
        self.done = threading.Event()
        self.failure: WireFailure | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self._lock = threading.Lock()
        self._connection: object = None
        self._is_cut = False

    def cut(self) -> None:
        """Ends the request: its thread, wherever it waits for the server, goes on with an error."""
        with self._lock:
            self._is_cut = True
            _shut(self._connection)

    def uses(self, connection: object) -> None:
        with self._lock:
            self._connection = connection
            if self._is_cut:
                _shut(connection)


class Sessions:
    """One session per server, made when first needed. Thread-safe. close() ends the kept connections. check: raises
    domain.addresses.Refused where a guarded request may not go."""

    def __init__(self, check: Callable[[Address], None] = check_address) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str, bool], object] = {}

    def attempt(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], *, timeout_s: float,
                max_bytes: int, guarded: bool = False) -> Attempt:
        """Returns a request that has just been started. timeout_s limits each wait for the server, not their sum:
        the caller watches the clock and cuts. guarded: fails as "forbidden" before anything is sent to an address that
        is not called, whatever its name was."""
        attempt = Attempt(self._check if guarded else None)
        thread = threading.Thread(target=self._run, args=(attempt, method, url, body, headers, timeout_s, max_bytes),
                                  name="llm-request", daemon=True)
        thread.start()
        return attempt

    def close(self) -> None:
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.close()         # type: ignore[attr-defined]

    def _run(self, attempt: Attempt, method: str, url: str, body: bytes | None, headers: Mapping[str, str],
             timeout_s: float, max_bytes: int) -> None:
        if method == "GET" and url.startswith("http://") and attempt.check is None and "requests" not in sys.modules:
            self._glance(attempt, url, headers, timeout_s, max_bytes)
            return
        import requests  # 60 ms, and a start without a model call does not need it
        _current.attempt = attempt
        try:
            response = self._session(url, attempt.check is not None).request(
                method, url, data=body, stream=True, allow_redirects=False,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s))
            with contextlib.closing(response):
                received = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    received += chunk
                    if len(received) > max_bytes:
                        raise WireFailure("too_large")
                attempt.status = response.status_code
                attempt.headers = {name.lower(): value for name, value in response.headers.items()}
                attempt.body = bytes(received)
        except WireFailure as failure:
            attempt.failure = failure
        except (requests.RequestException, OSError, ValueError) as error:
            attempt.failure = _failed(_kind(error), error)
        except BaseException as error:
            attempt.failure = _failed("connection", error)
        finally:
            del _current.attempt
            attempt.done.set()

    def _glance(self, attempt: Attempt, url: str, headers: Mapping[str, str], timeout_s: float, max_bytes: int) -> None:
        try:
            attempt.status, attempt.headers, attempt.body = glance.get(
                url, {"Accept": "application/json", **headers}, timeout_s=timeout_s, max_bytes=max_bytes,
                uses=attempt.uses)
        except EOFError as error:
            attempt.failure = _failed("cut_off", error)
        except TimeoutError as error:
            attempt.failure = _failed("timeout", error)
        except ConnectionRefusedError as error:
            attempt.failure = _failed("refused", error)
        except socket.gaierror as error:
            attempt.failure = _failed("unknown_name", error)
        except ValueError as error:
            attempt.failure = _failed("too_large" if str(error) == glance.TOO_LARGE else "no_http", error)
        except Exception as error:
            attempt.failure = _failed("connection", error)
        finally:
            attempt.done.set()

    def _session(self, url: str, guarded: bool):
        parts = urlsplit(url)
        # A guarded request must not find a connection that was made without a look at its address.
        server = parts.scheme, parts.netloc, guarded
        with self._lock:
            if server not in self._sessions:
                self._sessions[server] = _new_session()
            return self._sessions[server]


def _new_session():
    from http.cookiejar import DefaultCookiePolicy

    import requests
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _cuttable_adapter()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _cuttable_adapter():
    """An adapter whose connections tell the attempt of their thread that it uses them.

    requests gives no hold on a connection before the first line of the answer is there, which is when a
    silent or dripping server has to be left."""
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Told:
        def connect(self) -> None:
            super().connect()       # type: ignore[misc]
            _check_peer(self)
            _tell(self)

        def putrequest(self, *args: object, **named: object) -> None:
            _tell(self)
            super().putrequest(*args, **named)      # type: ignore[misc]

    class ToldHTTP(Told, HTTPConnection):
        pass

    class ToldHTTPS(Told, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = ToldHTTP

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = ToldHTTPS

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: object, **named: object) -> None:
            super().init_poolmanager(*args, **named)        # type: ignore[arg-type]
            self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

    return Adapter(pool_maxsize=KEPT_CONNECTIONS)


def _check_peer(connection: object) -> None:
    """Raises WireFailure where a guarded request may not go: asked of the connection, since a name can mean one address
    when it is looked at and another one when it is called."""
    attempt = getattr(_current, "attempt", None)
    if attempt is None or attempt.check is None:
        return
    try:
        attempt.check(ipaddress.ip_address(connection.sock.getpeername()[0]))       # type: ignore[attr-defined]
    except Refused as refused:
        raise _failed("forbidden", refused) from refused


def _tell(connection: object) -> None:
    attempt = getattr(_current, "attempt", None)
    if attempt is not None:
        # The socket, not the connection: urllib3 forgets it while the body is still being read.
        attempt.uses(getattr(connection, "sock", None) or connection)


def _shut(connection: object) -> None:
    sock = connection if isinstance(connection, socket.socket) else getattr(connection, "sock", None)
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            # Of the plain socket: TLS would wait for the other side's good-bye.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _kind(error: BaseException) -> str:
    """What went wrong, from the chain of causes: requests wraps urllib3, which wraps the system's error."""
    import requests
    import urllib3.exceptions as lower
    chain: list[BaseException] = []
    pending: list[object] = [error]
    while pending and len(chain) < 20:
        each = pending.pop(0)
        if isinstance(each, BaseException) and each not in chain:
            chain.append(each)
            pending += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]

    def has(*kinds: type) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if has(requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, lower.LocationParseError):
        return "unknown_name"
    if has(requests.exceptions.SSLError, lower.SSLError):
        return "tls"
    if has(socket.gaierror, lower.NameResolutionError):
        return "unknown_name"
    if has(ConnectionRefusedError):
        return "refused"
    if has(requests.exceptions.ConnectTimeout, lower.ConnectTimeoutError):
        return "silent"
    if has(lower.IncompleteRead, lower.ProtocolError, requests.exceptions.ChunkedEncodingError):
        from http.client import BadStatusLine, RemoteDisconnected
        # RemoteDisconnected is a BadStatusLine: the server was there and went away.
        strange = any(isinstance(each, BadStatusLine) and not isinstance(each, RemoteDisconnected) for each in chain)
        return "no_http" if strange else "cut_off"
    if has(requests.exceptions.Timeout, lower.TimeoutError, TimeoutError):
        return "timeout"
    return "connection"
