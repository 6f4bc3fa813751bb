"""Bodies and queries to dataclasses; a wrong field is named."""
import functools
import re
from typing import TypeVar

import msgspec

from ananta.errors import InvalidInput, Unprocessable

T = TypeVar("T")
# The client sends "" for drop-downs and inputs that were left alone.
BLANK_IS_ABSENT = frozenset({"team_type_id", "role_id", "template_id", "custom_template_id", "default_template_id",
                             "model", "provider", "base_url", "api_key", "prompt", "task_id"})
NOTHING: frozenset[str] = frozenset()
NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
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
    """Returns the body as `wanted`: unknown fields are ignored; null counts as absent, and so does "" in the fields of
    BLANK_IS_ABSENT. A type with CLEARS, a set of names, gets null for these fields when they are null or "".

    Raises InvalidInput, with the code REFUSED_AS if the type has one, or with schema Unprocessable with a list of what
    does not fit."""
    return convert(mapping(body), wanted, schema=schema)


def convert(fields: dict, wanted: type[T], *, schema: bool = False) -> T:
    clears = getattr(wanted, "CLEARS", NOTHING)
    present = {name: each for name, each in fields.items()
               if each is not None and not (each == "" and (name in BLANK_IS_ABSENT or name in clears))}
    present |= {name: None for name in clears & fields.keys() - present.keys()} if clears else {}
    try:
        return msgspec.convert(present, type=wanted)
    except msgspec.ValidationError as cause:
        refusal = _refusal(str(cause), schema)
        refusal.code = getattr(wanted, "REFUSED_AS", refusal.code)
        raise refusal from cause


def query(text_fields: dict[str, str], wanted: type[T]) -> T:
    """Returns the query string's fields as `wanted`; numbers are read strictly. Raises InvalidInput."""
    fields: dict[str, object] = {}
    whole, numbers = _numbers(wanted)  # type: ignore[arg-type]
    for name, text in text_fields.items():
        if name in whole and text != "":
            if not INTEGER.fullmatch(text):
                raise InvalidInput(f"{name}={text[:50]!r} is not a whole number.", details=name)
            fields[name] = int(text)
        elif name in numbers and text != "":
            if not NUMBER.fullmatch(text):
                raise InvalidInput(f"{name}={text[:50]!r} is not a number.", details=name)
            fields[name] = float(text)
        elif text != "":
            fields[name] = text
    return convert(fields, wanted)


@functools.lru_cache(maxsize=256)
def _numbers(wanted: type) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the names of the fields that are whole numbers, and of those that are any numbers."""
    kinds = {field.name: {type(each) for each in getattr(field.type, "types", (field.type,))}
             for field in msgspec.inspect.type_info(wanted).fields}  # type: ignore[attr-defined]
    return (frozenset(name for name, kind in kinds.items() if msgspec.inspect.IntType in kind),
            frozenset(name for name, kind in kinds.items() if msgspec.inspect.FloatType in kind))


def _refusal(cause: str, schema: bool) -> InvalidInput:
    what, _, path = cause.partition(" - at `")
    location = [int(part) if part.isdigit() else part for part in re.findall(r"[^.$\[\]`]+", path)] if path else []
    missing = re.search(r"required field `([^`]+)`", what)
    if missing:
        location.append(missing.group(1))
    name = ".".join(map(str, location)) or "the body"
    if missing:
        message = f"{name} is missing."
    elif "matching regex" in what:  # a client shows this to whoever has left a field empty
        message = f"{name} is empty, too long, or has characters that are not possible here."
    else:
        message = f"{name}: {what[0].lower()}{what[1:]}."
    if not schema:
        if missing:
            return InvalidInput(f"{missing.group(1)} is missing.", code=f"missing_{missing.group(1)}", details=name)
        return InvalidInput(message, code="invalid_value", details=name)
    return Unprocessable(message, details=name,
                         errors=[{"loc": ["body", *location], "msg": what, "type": "missing" if missing else "value"}])
