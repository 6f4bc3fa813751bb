"""The hash chain of the log: every line names the one before it, so none can be changed, removed or put in between
without leaving a mark.

The last fields of a line are "prev" and "hash". The body is the compact JSON of the record up to and including prev;
hash is the SHA-256 of exactly these bytes, and the line is the body with hash added behind. A line of another program
has neither: the next one names the SHA-256 of its bytes.
"""
import hashlib

import msgspec

FIRST = "0" * 64
_HEX = frozenset(b"0123456789abcdef")
_HASH, _PREV, _END = b',"hash":"', b',"prev":"', b'"}'
_FIELD = len(_HASH) + 64 + 2


def seal(fields: dict, prev: str) -> tuple[bytes, str]:
    """Returns the line, with its line break, and its link."""
    body = msgspec.json.encode({**fields, "prev": prev})
    link = hashlib.sha256(body).hexdigest()
    return body[:-1] + _HASH + link.encode() + _END + b"\n", link


def chained(line: bytes) -> bool:
    """Says whether the line (without its line break) ends as a line of ours does."""
    return (line[-_FIELD:-66] == _HASH and line.endswith(_END) and _HEX.issuperset(line[-66:-2])
            and line[-2 * _FIELD + 1:-_FIELD - 65] == _PREV and _HEX.issuperset(line[-_FIELD - 65:-_FIELD - 1]))


def link_of(line: bytes) -> str:
    """Returns what the next line names: the line's own hash as it stands there, or that of a foreign line's bytes."""
    return line[-66:-2].decode() if chained(line) else hashlib.sha256(line).hexdigest()


def prev_of(line: bytes) -> str:
    """Returns the link that a chained line names."""
    return line[-_FIELD - 65:-_FIELD - 1].decode()


def intact(line: bytes) -> bool:
    """Says whether the hash of a chained line is that of its bytes."""
    return hashlib.sha256(line[:-_FIELD] + b"}").hexdigest() == line[-66:-2].decode()
