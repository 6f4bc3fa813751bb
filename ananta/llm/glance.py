"""A look at a model server without the weight of requests, for the start of the program.

HTTP/1.0 (RFC 1945) on purpose: the server then sends no chunks and closes the connection at the end, so that the whole
answer is what comes until then. Only for plain http; a start with requests loaded does not come here.
"""
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

HEAD_BYTES = 64 << 10
TOO_LARGE = "too large"


def get(url: str, headers: Mapping[str, str], *, timeout_s: float, max_bytes: int,
        uses: Callable[[object], None]) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers (lower case) and body. timeout_s limits each wait, not their sum.

    uses: gets the connection, so that it can be cut. Raises OSError, ValueError for what is no HTTP answer or too
    large, EOFError for one that ends too early."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {path} HTTP/1.0", f"Host: {parts.netloc}", "Connection: close",
             *(f"{name}: {text}" for name, text in headers.items())]
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=timeout_s) as connection:
        uses(connection)
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        received = bytearray()
        while part := connection.recv(64 << 10):
            received += part
            if len(received) > max_bytes + HEAD_BYTES:
                raise ValueError(TOO_LARGE)
    head, found, body = bytes(received).partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/") or not found:
        raise ValueError("no HTTP answer") if received else EOFError("closed without an answer")
    fields = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in rest)}
    if len(body) < int(fields.get("content-length") or 0):
        raise EOFError("the answer ends too early")
    return int(first.split(" ")[1]), fields, body
