"""What schemathesis loads to speak with a hub (see contract.py): who calls, what exists there, and what must not leave it."""
import json
import os
import zlib

import schemathesis

COMMANDS = ("echo hi", "true", "false", "pwd")
USER_PATHS = ("/me", "/change-password", "/mfa/setup", "/mfa/verify", "/mfa/disable")
# Per path parameter, what there is; filled by contract.py.
KNOWN: dict[str, list[str]] = json.loads(os.environ.get("CONTRACT_KNOWN", "{}"))
TOKENS: dict[str, str] = json.loads(os.environ.get("CONTRACT_TOKENS", "{}"))


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    """Authorizes as the system, or as a user where only one is let in; a call that is meant to be without stays so."""
    path = case.operation.path.removeprefix("/api/auth")
    headers = dict(case.headers or {})
    if (case.meta is None or case.meta.generation.mode.is_positive) and "Authorization" not in headers:
        headers["Authorization"] = f"Bearer {TOKENS['user' if path in USER_PATHS else 'system']}"
        case.headers = headers


@schemathesis.hook
def map_path_parameters(context, parameters):
    """Every second call is about something that exists."""
    for name, value in (parameters or {}).items():
        known, number = KNOWN.get(name), _number(value)
        if known and number % 2:
            parameters[name] = known[number // 2 % len(known)]
    return parameters


@schemathesis.hook
def map_body(context, body):
    """Commands are harmless ones, and addresses are of a port where nothing listens: the calls stay on this machine."""
    return _tamed(body)


@schemathesis.check
def no_unexpected_failure(context, response, case) -> None:
    """No 500, whatever was asked; 502 and 503 only where they are declared, and with a sentence that says why."""
    if response.status_code == 500:
        raise AssertionError("500")
    declared = case.operation.definition.raw["responses"]
    if response.status_code >= 500 and (str(response.status_code) not in declared or not response.json().get("message")):
        raise AssertionError(f"{response.status_code} is not declared")


@schemathesis.serializer("application/csp-report", "application/reports+json")
def as_json(context, value):
    return json.dumps(value).encode()


def _tamed(value, name: str = ""):
    if isinstance(value, dict):
        return {each: _tamed(inner, each) for each, inner in value.items()}
    if isinstance(value, list):
        return [_tamed(each, name) for each in value]
    if isinstance(value, str) and value and name == "command":
        return COMMANDS[_number(value) % len(COMMANDS)]
    if isinstance(value, str) and "url" in name and "://" in value:
        return "http://127.0.0.1:9"
    if isinstance(value, str) and name.endswith("_id") and KNOWN.get(name) and _number(value) % 2:
        return KNOWN[name][0]
    return value


def _number(value) -> int:
    return zlib.crc32(str(value).encode("utf-8", "replace"))
