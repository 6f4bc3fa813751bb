"""Bodies and queries to dataclasses; a wrong field is named."""
import re
from typing import TypeVar

import msgspec

from ananta.errors import InvalidInput, Unprocessable

T = TypeVar("T")
# The client sends "" for drop-downs and inputs that were left alone.
BLANK_IS_ABSENT = frozenset({"team_type_id", "role_id", "template_id", "custom_template_id", "default_template_id",
                             "model", "provider", "base_url", "api_key", "prompt", "task_id"})
INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def value(body: bytes) -> object:
    """Returns the JSON value of a body. Raises InvalidInput `invalid_json`, saying what is wrong and where."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as cause:
        why = "it is nested too deeply" if isinstance(cause, RecursionError) else str(cause)
        raise InvalidInput(f"The body is not valid JSON: {why}.", code="invalid_json", details=why) from cause


def mapping(body: bytes) -> dict:
    """Returns the body's JSON object; an empty body is {}. Raises InvalidInput `invalid_json`."""
    if not body.strip():
        return {}
    decoded = value(body)
    if not isinstance(decoded, dict):
        raise InvalidInput("The body must be a JSON object.", code="invalid_json")
    return decoded


def read(body: bytes, wanted: type[T], *, schema: bool = False) -> T:
    """Returns the body as `wanted`: unknown fields are ignored, null counts as absent.

    Raises InvalidInput, or with schema Unprocessable with a list of what does not fit."""
    return convert(mapping(body), wanted, schema=schema)


def convert(fields: dict, wanted: type[T], *, schema: bool = False) -> T:
    present = {name: each for name, each in fields.items()
               if each is not None and not (each == "" and name in BLANK_IS_ABSENT)}
    try:
        return msgspec.convert(present, type=wanted)
    except msgspec.ValidationError as cause:
        raise _refusal(str(cause), schema) from cause


def query(text_fields: dict[str, str], wanted: type[T]) -> T:
    """Returns the query string's fields as `wanted`; whole numbers are read strictly. Raises InvalidInput."""
    fields: dict[str, object] = {}
    numbers = {field.name for field in msgspec.inspect.type_info(wanted).fields  # type: ignore[attr-defined]
               if any(isinstance(each, msgspec.inspect.IntType)
                      for each in getattr(field.type, "types", (field.type,)))}
    for name, text in text_fields.items():
        if name in numbers and text != "":
            if not INTEGER.fullmatch(text):
                raise InvalidInput(f"{name}={text[:50]!r} is not a whole number.", details=name)
            fields[name] = int(text)
        elif text != "":
            fields[name] = text
    return convert(fields, wanted)


def _refusal(cause: str, schema: bool) -> InvalidInput:
    what, _, path = cause.partition(" - at `")
    location = [int(part) if part.isdigit() else part for part in re.findall(r"[^.$\[\]`]+", path)] if path else []
    missing = re.search(r"required field `([^`]+)`", what)
    if missing:
        location.append(missing.group(1))
    name = ".".join(map(str, location)) or "the body"
    message = f"{name}: {what[0].lower()}{what[1:]}."
    if not schema:
        if missing:
            return InvalidInput(f"{missing.group(1)} is missing.", code=f"missing_{missing.group(1)}", details=name)
        return InvalidInput(message, code="invalid_value", details=name)
    return Unprocessable(message, details=name,
                         errors=[{"loc": ["body", *location], "msg": what, "type": "missing" if missing else "value"}])
