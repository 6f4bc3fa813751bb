"""Values to JSON, errors to statuses: the only such table."""
from collections.abc import Iterator
from itertools import chain

import msgspec
from bottle import HTTPResponse

from ananta import errors as e

STATUS: dict[type, int] = {
    e.InvalidInput: 400, e.Unprocessable: 422, e.TooLarge: 413, e.NotAuthenticated: 401, e.NotAllowed: 403,
    e.NotFound: 404, e.MethodNotAllowed: 405, e.Conflict: 409, e.TooManyRequests: 429, e.Unavailable: 503,
    e.Upstream: 502,
}
REASONS = {200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large",
           422: "Unprocessable Content", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
           500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable"}
JSON = "application/json"
STREAM_BYTES = 256 << 10


class Raw(bytes):
    """JSON that is already text; sent as it is."""


def status_of(error: e.AnantaError) -> int:
    """The status of the nearest ancestor in the table, so a subclass needs no entry of its own."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def encode(value: object) -> bytes:
    return bytes(value) if isinstance(value, Raw) else msgspec.json.encode(value)


def error_body(error: e.AnantaError, cid: str, *, readable: bool = False) -> dict:
    """The body of every answer that is not 2xx. readable: `error` is the sentence instead of the code, as the
    sign-in paths promise."""
    body = {"error": error.message if readable else error.code, "code": error.code, "message": error.message,
            "cid": cid, **error.extras}
    return {**body, "details": error.details} if error.details is not None else body


def error_headers(error: e.AnantaError) -> dict[str, str]:
    headers = {"Content-Type": JSON}
    if "retry_after" in error.extras:
        headers["Retry-After"] = str(error.extras["retry_after"])
    if "allow" in error.extras:
        headers["Allow"] = str(error.extras["allow"])
    return headers


def error_response(error: e.AnantaError, cid: str, *, readable: bool = False) -> HTTPResponse:
    return HTTPResponse(encode(error_body(error, cid, readable=readable)), status_of(error), error_headers(error))


def streamed(pieces: Iterator[bytes]) -> Raw | HTTPResponse:
    """Returns the answer of JSON that comes in pieces: whole when it is small, else sent piece by piece, so that it never
    stands in memory as a whole. What fails at the beginning is an error answer; later it cuts the answer off."""
    begun: list[bytes] = []
    while sum(map(len, begun)) < STREAM_BYTES:
        piece = next(pieces, None)
        if piece is None:
            return Raw(b"".join(begun))
        begun.append(piece)
    return HTTPResponse(chain(begun, pieces), 200, {"Content-Type": JSON})
