"""What a command prints, kept within bounds: the head and the tail of each stream, and of both as they arrived."""
from collections.abc import Callable

HIGHEST_CONTINUATION = 3  # bytes that may follow the first one of a UTF-8 character


class Buffer:
    """The first and the last half of `limit` bytes of a stream of any length, in memory of about twice the limit."""

    def __init__(self, limit: int):
        self.total = 0
        self._limit = max(limit, 0)
        self._head_room = self._limit - self._limit // 2
        self._tail_room = self._limit // 2
        self._head = bytearray()
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Shortening at double length only: each byte is then moved once, however small the pieces are.
        if len(self._tail) > 2 * self._tail_room:
            del self._tail[: len(self._tail) - self._tail_room]

    def text(self) -> tuple[str, int]:
        """Returns the text, with a line that says how much is missing, and the number of missing bytes.

        A character that the cut would split is left out whole; undecodable bytes are replaced."""
        if self.total <= self._limit:
            return bytes(self._head + self._tail).decode("utf-8", "replace"), 0
        head = bytes(self._head[: len(self._head) - unfinished(self._head)])
        tail = bytes(self._tail[len(self._tail) - self._tail_room:] if self._tail_room else b"")
        tail = tail[_orphans(tail):]
        cut = self.total - len(head) - len(tail)
        return f"{_decoded(head)}\n[... {cut:,} bytes cut ...]\n{_decoded(tail)}", cut


class Capture:
    """stdout and stderr of one command, each and together. on_output gets every text as it arrives, uncut."""

    def __init__(self, limit: int, on_output: Callable[[str], None] | None = None):
        self.streams = (Buffer(limit), Buffer(limit))
        self.both = Buffer(limit)
        self._on_output = on_output
        self._held = [b"", b""]

    def feed(self, stream: int, data: bytes) -> None:
        """Adds what arrived from stream 0 (stdout) or 1 (stderr)."""
        self.streams[stream].feed(data)
        # The end of a character may be still on its way while the other stream speaks.
        data = self._held[stream] + data if self._held[stream] else data
        held = unfinished(data)
        self._held[stream] = data[len(data) - held:] if held else b""
        self._pass_on(data[: len(data) - held] if held else data)

    def finish(self) -> None:
        """Adds what was held back. To be called once, when nothing more can arrive."""
        for stream, held in enumerate(self._held):
            self._held[stream] = b""
            self._pass_on(held)

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        self.both.feed(data)
        if self._on_output:
            self._on_output(_decoded(data))


def unfinished(data: bytes | bytearray) -> int:
    """Returns how many bytes at the end begin a UTF-8 character that is not complete yet: 0 to 3."""
    for back in range(1, min(HIGHEST_CONTINUATION, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF8 else 0
            return back if length > back else 0
    return 0


def _orphans(data: bytes) -> int:
    count = 0
    while count < min(HIGHEST_CONTINUATION, len(data)) and 0x80 <= data[count] < 0xC0:
        count += 1
    return count


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")
