"""Server-sent events without a thread per client (HTML standard, section 9.2).

A route opens a stream and answers; once the headers are written, the socket leaves Waitress for good and belongs to
the one thread here. So an open stream holds none of the threads, is no connection that Waitress looks at in every turn
of its loop, and what is told leaves at once, whatever its send_bytes says. A message is encoded once for all.

That is nothing Waitress offers: `take` and `task_class` use what is not its official surface. A test holds them to the
version they were written for.
"""
import logging
import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial

import bottle
import msgspec
from bottle import HTTPResponse
from waitress.channel import HTTPChannel
from waitress.task import WSGITask

from ananta.domain.events import CREDENTIALS_CHANGED, TASK_RECORD, TOKEN_ROTATED, Event
from ananta.errors import AnantaError, Busy, NotAllowed, NotAuthenticated
from ananta.store import database
from ananta.web.access import Caller

log = logging.getLogger(__name__)
# Without poll, on Windows, 512 sockets can be watched at once.
PLACES = 600 if hasattr(select, "poll") else 400
KEEP_ALIVE_S, RETRY_S = 15.0, 5
QUEUE_BYTES, FIRST_BYTES = 256 << 10, 128 << 20
# Whoever takes nothing of what waits for it for so many keep-alives is gone, though its connection does not say so.
PATIENCE = 4
HAND_OVER_S = 10.0
OPENED, KEEP_ALIVE = b": open\n\n", b": keep-alive\n\n"
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
EVENTS = ("events",)
KEY = "ananta.stream"
# Set in the environment of a request after which its connection is closed.
LAST = "ananta.last"

Topic = tuple[str, ...]


def message(json: bytes) -> bytes:
    """One message of a stream, from JSON on one line. Other programs may have written a CR between its parts, which
    would end the message."""
    return b"data: " + json.replace(b"\r", b" ") + b"\n\n"


class Stream:
    """One client: what it listens to, who it is, and what it has not taken yet. Only Streams changes it."""

    def __init__(self, topic: Topic, caller: Caller, check: Callable[[], Caller], key: object):
        self.topic, self.admin, self.check, self.key = topic, caller.admin, check, key
        self.socket: socket.socket | None = None
        # What was told before the route had found what comes first.
        self.early: list[tuple[bytes, str | None]] | None = []
        # The ids of what it was told.
        self.seen: set[str] = set()
        # What comes first may be much; what is told after it may only be queue_bytes.
        self.first: deque[bytes | memoryview] = deque()
        self.first_bytes = 0
        self.queue: deque[bytes | memoryview] = deque()
        self.queued_bytes = self.silent_ticks = 0
        self.ending = self.writing = False


class Streams:
    """All open streams of this process. Its threads start with the first of them, so that a start costs nothing.

    places: how many may be open; keep_alive_s: how often each hears something and its credential is looked at again;
    queue_bytes: who has not taken so much is dropped, and comes back; first_bytes: what may wait for all of them
    together of what comes first."""

    def __init__(self, *, places: int = PLACES, keep_alive_s: float = KEEP_ALIVE_S, queue_bytes: int = QUEUE_BYTES,
                 first_bytes: int = FIRST_BYTES):
        self.places, self.keep_alive_s, self.queue_bytes, self.first_bytes = places, keep_alive_s, queue_bytes, first_bytes
        self._lock = threading.Lock()
        self._open: set[Stream] = set()
        self._topics: dict[Topic, frozenset[Stream]] = {}
        self._work: deque[Callable[[], None]] = deque()
        self._threads: list[threading.Thread] = []
        self._look, self._closing = threading.Event(), threading.Event()

    # --- for any thread

    def __len__(self) -> int:
        return len(self._open)

    def wanted(self, topic: Topic) -> bool:
        """Whether anybody listens to it."""
        return topic in self._topics

    def open(self, topic: Topic, caller: Caller, check: Callable[[], Caller], key: object) -> Stream:
        """Returns a stream that collects what is told from now on; give it to `answer`, or else to `forget`.

        check: returns the caller as it counts then, and raises NotAuthenticated or NotAllowed when that is over; key:
        the same for the same credential, which is then looked at once for all. Raises Busy."""
        stream = Stream(topic, caller, check, key)
        with self._lock:
            if self._closing.is_set() or len(self._open) >= self.places:
                raise Busy(f"All {self.places} places for event streams are taken: try again in {RETRY_S} s.",
                           retry_after=RETRY_S)
            if not self._threads:
                self._start()
            self._open.add(stream)
            self._topics[topic] = self._topics.get(topic, frozenset()) | {stream}
        return stream

    def answer(self, stream: Stream, first: Iterable[bytes] = (), *, seen: Collection[str] = ()) -> HTTPResponse:
        """Returns the answer of a route that opened a stream.

        first: messages that come before all others; seen: the ids of what they tell, which is not told again. Raises
        Busy while too much waits for others; then the stream has ended."""
        joined = b"".join(first)
        with self._lock:
            waiting = sum(each.first_bytes for each in self._open)
            stream.first_bytes = len(joined)
        if waiting and waiting + len(joined) > self.first_bytes:
            self.forget(stream)
            raise Busy("Too much waits for other clients of event streams, who take it slowly: try again in "
                       f"{RETRY_S} s.", retry_after=RETRY_S)
        self._post(lambda: self._begin(stream, joined, set(seen)))
        return _answer(stream)

    def forget(self, stream: Stream) -> None:
        """Ends a stream, also one that has no client yet."""
        self._post(lambda: self._drop(stream))

    def tell(self, topic: Topic, told: bytes, *, admins: bool = False, identity: str | None = None) -> None:
        """Sends a message to all who listen to the topic. identity: of what it tells; who knows that gets nothing."""
        if topic in self._topics:
            self._post(lambda: self._tell(topic, told, admins, identity))

    def on_event(self, event: Event) -> None:
        """Listens to the events of this process, and shows them on /events, but for those that are only for us."""
        if EVENTS in self._topics and event.type not in (TASK_RECORD, CREDENTIALS_CHANGED):
            body = {"type": event.type, "data": event.data, "timestamp": event.timestamp}
            self.tell(EVENTS, message(msgspec.json.encode(body)), admins=event.admins)
        if event.type in (TOKEN_ROTATED, CREDENTIALS_CHANGED) and self._open:
            # Only after the message is with those who now have to go: it tells them the new token.
            self._post(self._look.set)

    def close(self) -> None:
        """Ends all streams, at once."""
        with self._lock:
            self._closing.set()
            threads = list(self._threads)
        self._look.set()
        if threads:
            self._wake()
        for each in threads:
            each.join(2)

    def hand_over(self, channel: HTTPChannel, stream: Stream) -> None:
        """Moves a connection from Waitress to here; from a thread that answers a request of it. Returns when done."""
        done = threading.Event()

        def take() -> None:
            try:
                self._take(channel, stream)
            finally:
                done.set()

        # In the thread of its loop, which then cannot be busy with this connection.
        channel.server.trigger.pull_trigger(take)
        done.wait(HAND_OVER_S)

    def _take(self, channel: HTTPChannel, stream: Stream) -> None:
        with channel.requests_lock, channel.outbuf_lock:
            if not channel.connected or channel.will_close or channel.close_when_flushed:
                self.forget(stream)
                return
            left = [each.get() for each in channel.outbufs]
            for each in channel.outbufs:
                each.close()
            channel.total_outbufs_len = 0
            channel.del_channel()
            taken, channel.socket, channel.connected = channel.socket, None, False
        self._post(lambda: self._adopt(stream, taken, left))

    def _post(self, work: Callable[[], None]) -> None:
        self._work.append(work)
        self._wake()

    def _wake(self) -> None:
        # A full one wakes, too; behind a closed one nobody is left to wake.
        with suppress(OSError):
            self._waker.send(b"x")

    def _start(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for each in (self._woken, self._waker):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._threads = [threading.Thread(target=self._run, name="streams", daemon=True),
                         threading.Thread(target=self._check_all, name="stream-checks", daemon=True)]
        for thread in self._threads:
            thread.start()

    # --- in the thread of the streams

    def _run(self) -> None:
        tick_at = time.monotonic() + self.keep_alive_s
        while not self._closing.is_set():
            for key, events in self._selector.select(max(0.0, tick_at - time.monotonic())):
                self._guarded(partial(self._moved, key.data, events))
            while self._work:
                self._guarded(self._work.popleft())
            if time.monotonic() >= tick_at:
                tick_at = time.monotonic() + self.keep_alive_s
                self._guarded(self._tick)
        self._end()

    @staticmethod
    def _guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("an event stream failed unexpectedly")

    def _moved(self, stream: Stream | None, events: int) -> None:
        if stream is None:
            self._woken.recv(4096)
        elif events & selectors.EVENT_READ and self._left(stream):
            self._drop(stream)
        elif events & selectors.EVENT_WRITE:
            self._flush(stream)

    @staticmethod
    def _left(stream: Stream) -> bool:
        """Whether the client is gone. What it says is not listened to."""
        if stream.socket is None:
            return False
        try:
            return not stream.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _begin(self, stream: Stream, first: bytes, seen: set[str]) -> None:
        stream.seen, early, stream.early = seen, stream.early or [], None
        if first:
            stream.first.append(first)
        for told, identity in early:
            self._add(stream, told, identity)

    def _adopt(self, stream: Stream, taken: socket.socket, left: list[bytes]) -> None:
        if stream not in self._open:
            taken.close()
            return
        stream.socket = taken
        stream.first.extendleft(reversed(left))
        self._selector.register(taken, selectors.EVENT_READ, stream)
        self._flush(stream)

    def _tell(self, topic: Topic, told: bytes, admins: bool, identity: str | None) -> None:
        for stream in self._topics.get(topic, ()):
            if stream.admin or not admins:
                self._add(stream, told, identity)

    def _add(self, stream: Stream, told: bytes, identity: str | None = None) -> None:
        if stream.early is not None:
            stream.early.append((told, identity))
        elif identity is None or identity not in stream.seen:
            if identity is not None:
                stream.seen.add(identity)
            if stream.queued_bytes > self.queue_bytes:
                self._drop(stream)
                return
            stream.queue.append(told)
            stream.queued_bytes += len(told)
            # With something in front of it, it leaves when the socket takes that.
            if not stream.writing:
                self._flush(stream)

    def _flush(self, stream: Stream) -> None:
        if stream.socket is None or stream not in self._open:
            return
        try:
            for parts in (stream.first, stream.queue):
                while parts:
                    sent = stream.socket.send(parts[0])
                    stream.silent_ticks = 0
                    stream.queued_bytes -= sent if parts is stream.queue else 0
                    if sent == len(parts[0]):
                        parts.popleft()
                    else:
                        parts[0] = memoryview(parts[0])[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(stream)
            return
        if not stream.first:
            stream.first_bytes = 0
        waits = bool(stream.first or stream.queue)
        if waits != stream.writing:
            stream.writing = waits
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(stream.socket, both if waits else selectors.EVENT_READ, stream)
        if stream.ending and not waits:
            self._drop(stream)

    def _tick(self) -> None:
        for stream in list(self._open):
            if stream.ending or stream.silent_ticks >= PATIENCE:
                self._drop(stream)
            elif stream.socket is None or stream.writing:
                stream.silent_ticks += 1
            else:
                self._add(stream, KEEP_ALIVE)

    def _drop(self, stream: Stream) -> None:
        with self._lock:
            self._open.discard(stream)
            rest = self._topics.get(stream.topic, frozenset()) - {stream}
            if rest:
                self._topics[stream.topic] = rest
            else:
                self._topics.pop(stream.topic, None)
        stream.first.clear()
        stream.queue.clear()
        if stream.socket is not None:
            self._selector.unregister(stream.socket)
            stream.socket.close()
            stream.socket = None

    def _finish(self, streams: Iterable[Stream]) -> None:
        for stream in streams:
            stream.ending = True
            self._flush(stream)

    def _end(self) -> None:
        while self._work:
            self._guarded(self._work.popleft())
        for stream in list(self._open):
            self._guarded(partial(self._drop, stream))
        self._selector.close()
        self._woken.close()
        self._waker.close()

    # --- in a thread of its own, since it may ask the database

    def _check_all(self) -> None:
        while not self._closing.is_set():
            self._look.wait(self.keep_alive_s)
            self._look.clear()
            with self._lock:
                held: dict[object, list[Stream]] = {}
                for stream in self._open:
                    held.setdefault(stream.key, []).append(stream)
            for streams in held.values():
                if not self._closing.is_set():
                    self._check(streams)
        database.close_mine()

    def _check(self, streams: list[Stream]) -> None:
        try:
            caller = streams[0].check()
        except (NotAuthenticated, NotAllowed):
            self._post(lambda: self._finish(streams))
        except AnantaError as failure:
            log.warning("whether event streams may go on cannot be found out for now: %s", failure.message)
        except Exception:
            log.exception("whether event streams may go on cannot be found out")
        else:
            for stream in streams:
                stream.admin = caller.admin


def head() -> HTTPResponse:
    """Returns the answer to HEAD: that of a stream, without one."""
    return _answer(None)


def _answer(stream: Stream | None) -> HTTPResponse:
    bottle.request.environ[KEY] = stream
    # An iterator: of anything else Bottle would count the bytes.
    return HTTPResponse(iter((OPENED,)), 200, HEADERS)


def task_class(streams: Streams) -> type[WSGITask]:
    """Returns what answers a request for Waitress; a connection whose answer is a stream leaves it here."""

    class Task(WSGITask):
        handed_over = False

        def service(self) -> None:
            try:
                super().service()
            finally:
                stream = (self.environ or {}).get(KEY)
                if stream is not None and not self.handed_over:
                    # The client left, or the answer failed, before there was a stream.
                    streams.forget(stream)

        def build_response_header(self) -> bytes:
            if LAST in self.environ:
                self.set_close_on_finish()
            header = super().build_response_header()
            if KEY not in self.environ:
                return header
            # A stream ends with its connection, in HTTP/1.1 as in HTTP/1.0.
            self.chunked_response = False
            return header.replace(b"\r\nTransfer-Encoding: chunked", b"", 1)

        def finish(self) -> None:
            super().finish()
            stream = self.environ.get(KEY)
            if stream is not None:
                streams.hand_over(self.channel, stream)
                self.handed_over = True
            else:
                self.channel.send_now()

    return Task
